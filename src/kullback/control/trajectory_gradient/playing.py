"""On-policy learning under the driver: blocks on the device, or steps on the host and updates on the device.

A state is one pytree of arrays. Numbers that are no sizes are arguments, so that another rate compiles nothing.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kullback.control.envs.simulator import Stepper, fresh_lanes, moved_lanes, start_lanes
from kullback.control.learning.policy import Fixed
from kullback.control.learning.running_moments import Running, at_start
from kullback.control.learning.temperature import adapt, log_temperature
from kullback.control.learning.training import COLUMNS, CURVE, Goal, Playing, is_due, nothing_played
from kullback.control.trajectory_gradient.update import (
    Block,
    Numbers,
    Problem,
    State,
    epochs,
    line_of,
    prepared,
    scaled,
    totals_after,
)
from kullback.runtime.export_cache import Effort, program
from kullback.runtime.random import key_of, shared_out
from kullback.training.optimiser import begin

DUAL_RATE = 0.05  # of the temperature's steps, one a block


class Keys(NamedTuple):
    """The keys of a block: of the actions at each step [T]; of the KL; of the updates and each epoch [1 + epochs]; of
    every lane's environment at each step, and of a fresh episode there [2, T, n], none where it only steps."""

    actions: Any
    kl: Any
    epochs: Any
    lanes: Any


def keys_of(problem: Problem, numbers: Numbers, blocks: Any) -> Keys:
    """From the two words of a seed and the number of the block."""
    key = jax.random.fold_in(key_of(numbers.seed), blocks)
    lanes = problem.lanes if problem.simulator is not None else 0
    return Keys(*shared_out(key, (problem.block,), (), (1 + problem.epochs,), (2, problem.block, lanes)))


@program
def start_playing(problem: Problem, parameters: Any, seed: Any) -> Any:
    """Fresh episodes in every lane of a compiled simulator."""
    assert problem.simulator is not None
    key = key_of(seed)
    return start_lanes(problem.simulator, parameters, key, problem.lanes)


@partial(jax.jit, static_argnums=0)
def act(problem: Problem, fixed: Fixed, x: Any, inputs: Running, observation: Any, mask: Any, numbers: Numbers,
        block: Any, t: Any) -> Any:  # fmt: skip
    """What every lane does at step t of a block [n, *shape], for simulators that only step."""
    key = keys_of(problem, numbers, block).actions[t]
    return problem.acting.at(problem.layout.tree(x)[0], scaled(fixed, inputs), observation, mask).draw(key)[0]


@program(effort=Effort.FULL)
def learn(problem: Problem, fixed: Fixed, state: State, block: Block, numbers: Numbers) -> State:
    """The state after learning from a block that was played on the host."""
    return learned(problem, fixed, state, block, numbers, keys_of(problem, numbers, state.blocks))


@program(effort=Effort.FULL)
def improve(problem: Problem, fixed: Fixed, parameters: Any, state: State, numbers: Numbers) -> State:
    """As many blocks as `numbers.budget` says; fewer where the total is reached, an update fails, or a look is due."""

    def going(s: State) -> Any:
        more = (s.recorded < jnp.minimum(numbers.budget, CURVE)) & (s.steps < numbers.total)
        return more & (s.failed == 0) & ~s.look

    def one(s: State) -> State:
        keys = keys_of(problem, numbers, s.blocks)
        lanes, block = collected(problem, fixed, parameters, s, keys)
        return learned(problem, fixed, s._replace(lanes=lanes), block, numbers, keys)

    return lax.while_loop(going, one, state._replace(recorded=jnp.zeros_like(state.recorded)))


def _sound(block: Block) -> Any:
    """Whether rewards and observations are finite."""
    seen = jnp.isfinite(jnp.where(block.valid, block.reward, 0.0)).all()
    return seen & jnp.isfinite(block.observation).all() & jnp.isfinite(block.following).all()


def collected(problem: Problem, fixed: Fixed, parameters: Any, state: State, keys: Keys) -> tuple[Any, Block]:
    """The lanes after a block of steps, and the block."""
    assert problem.simulator is not None
    simulator, now = problem.simulator, scaled(fixed, state.inputs)
    free = problem.layout.tree(state.descent.x)[0]

    def step(lanes: Any, given: Any) -> tuple[Any, Block]:
        key, keys, instead = given
        here = problem.acting.at(free, now, lanes.observation, lanes.mask)
        action, _ = here.draw(key)
        after, seen = moved_lanes(simulator, parameters, lanes, action, keys, instead)
        return after, Block(seen.observation, seen.mask, action, seen.reward, seen.terminated, seen.truncated,
                            seen.following, seen.valid, lanes.elapsed)  # fmt: skip

    fresh = jax.vmap(partial(fresh_lanes, simulator, parameters))(keys.lanes[1])
    return lax.scan(step, state.lanes, (keys.actions, keys.lanes[0], fresh))


def learned(problem: Problem, fixed: Fixed, state: State, block: Block, numbers: Numbers, keys: Keys) -> State:
    """The state after learning from a block."""
    fraction = (state.steps / numbers.total).astype(state.log_alpha.dtype)
    # A schedule ends with the last block, which begins that much before the end.
    before_last = jnp.maximum(numbers.total - problem.lanes * problem.block, 1)
    annealed = jnp.minimum(state.steps / before_last, 1.0).astype(state.log_alpha.dtype)
    log_alpha = log_temperature(numbers.temperature, state.log_alpha, annealed, problem.adapted)
    lesson = prepared(problem, fixed, state, block, numbers, jnp.exp(log_alpha), keys.kl)
    rate = numbers.rate + fraction * (numbers.last_rate - numbers.rate)
    before = state.descent._replace(x=lesson.x)
    # One scale for blocks that tell much and blocks that tell little.
    scale = jnp.where(lesson.power > 0, jnp.sqrt(lesson.power), 1.0)
    descent = epochs(problem, lesson.fixed, lesson.alpha, scale, numbers, rate, before, lesson.rows, keys.epochs)
    if problem.adapted:
        log_alpha = adapt(numbers.temperature, log_alpha, lesson.kl, DUAL_RATE)
    totals = totals_after(state.totals, block, lesson.soft, numbers.discount)
    steps, blocks = state.steps + jnp.sum(block.valid).astype(state.steps.dtype), state.blocks + 1
    after = state._replace(
        values=lesson.values,
        power=lesson.power,
        log_alpha=log_alpha.astype(state.log_alpha.dtype),
        steps=steps,
        blocks=blocks,
        look=is_due(totals, steps, state.check, numbers.until, numbers.hopeful),
        totals=totals,
    )
    usable = jnp.all(jnp.isfinite(descent.x))
    kept = lambda new, old: jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, old)  # noqa: E731
    failed = jnp.where(usable, 0, jnp.where(_sound(block), blocks, -blocks)).astype(state.failed.dtype)
    after = after._replace(
        descent=kept(descent, state.descent), inputs=kept(lesson.inputs, state.inputs), failed=failed
    )
    line = line_of(after, lesson.kl, lesson.alpha).astype(state.curve.dtype)
    return after._replace(curve=state.curve.at[state.recorded].set(line), recorded=state.recorded + 1)


class OnPolicy(Playing):
    """The state at the start, and the policy in it; the work of a call is blocks."""

    most = CURVE
    screened = 10

    @abc.abstractmethod
    def lanes(self) -> Any:
        """Where the lanes stand at the start."""

    def init(self) -> State:
        x, dtype, whole, no = self.goal.start, jnp.result_type(float), np.zeros((), np.int32), np.zeros((), bool)
        policy, log_alpha = self.goal.fixed.policy, self.goal.numbers.temperature[0]
        descent = begin(x, self.goal.problem.descent)
        return State(
            descent, at_start(policy["x_mean"], policy["x_scale"]), at_start(0.0, 1.0), np.zeros((), dtype),
            np.asarray(log_alpha, dtype), whole, whole, whole, no, np.full((), -np.inf, dtype), whole,
            nothing_played(2, self.goal.problem.lanes, dtype), self.lanes(), np.zeros((CURVE, len(COLUMNS)), dtype),
            whole,
        )  # fmt: skip

    def free(self, state: State) -> Any:
        return self.goal.problem.layout.tree(np.asarray(state.descent.x))[0]


class CompiledPlaying(OnPolicy):
    """Everything on the device: several blocks a call."""

    cheap = 50

    def __init__(self, goal: Goal) -> None:
        super().__init__(goal, 4)

    def lanes(self) -> Any:
        compiled = self.goal.task.compiled
        assert compiled is not None
        return start_playing(self.goal.problem, compiled.parameters, self.goal.numbers.seed)

    def played(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(OnPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 1

    def __init__(self, goal: Goal, stepper: Stepper) -> None:
        super().__init__(goal, 1)
        self.stepper = stepper
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def lanes(self) -> Any:
        self.stepper.reset(int(self.goal.numbers.seed[0]))
        self._stands = self._now(np.zeros(self.stepper.lanes, np.int32))
        return self._stands

    def _now(self, elapsed: np.ndarray) -> dict[str, Any]:
        return {"elapsed": elapsed, "environment": self.stepper.state()}

    def played(self, state: State) -> State:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes["environment"]) or self.note
        elapsed = np.asarray(state.lanes["elapsed"])
        device = state._replace(lanes=())
        for _ in range(self.budget):
            block, elapsed = self._block(device, elapsed)
            device = learn(self.goal.problem, self.goal.fixed, device, block, self.goal.numbers)
            if bool(device.look) or int(device.failed) or int(device.steps) >= int(self.goal.numbers.total):
                break
        self._stands = self._now(elapsed)
        return device._replace(lanes=self._stands)

    def _block(self, state: State, elapsed: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of steps of every lane, and how long their episodes then are."""
        goal, stepper, steps = self.goal, self.stepper, []
        for t in range(goal.problem.block):
            action = act(
                goal.problem,
                goal.fixed,
                state.descent.x,
                state.inputs,
                stepper.observation,
                stepper.mask,
                goal.numbers,
                state.blocks,
                np.int32(t),
            )
            action = np.asarray(action)
            seen = stepper.step(action)
            steps.append(Block(seen.observation, seen.mask, action, seen.reward, seen.terminated, seen.truncated,
                               seen.following, seen.valid, elapsed))  # fmt: skip
            over = seen.terminated | seen.truncated
            elapsed = np.where(over, 0, elapsed + seen.valid).astype(np.int32)
        block = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        reward = np.where(block.valid, block.reward, 0.0)
        return block._replace(reward=reward.astype(jnp.result_type(float))), elapsed

    def close(self) -> None:
        self.stepper.close()
