"""On-policy learning under the driver: blocks on the device, or steps on the host and updates on the device."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.learning import on_policy_program as program
from kullback.control.learning.acting import Fixed
from kullback.control.learning.episodes import EPISODES, play
from kullback.control.learning.on_policy_state import COLUMNS, CURVE, Block, State, Totals
from kullback.control.learning.on_policy_update import Adam, Numbers, Problem
from kullback.control.learning.running import at_start, scale_of
from kullback.control.task import Task
from kullback.errors import EnvironmentFault
from kullback.minimize.driver import Iterative, Progress, fingerprint
from kullback.result import Status

_SECONDS = 0.3  # that one call should take
_SCREENED = 10  # greedy episodes that say whether a hundred are worth stepping through
# How many steps of greedy episodes cost as much as one of training, roughly; they should take a small part of it.
_CHEAP_COMPILED, _CHEAP_STEPPED = 50, 1
_WAIT = 0.1  # of the steps so far, before greedy episodes are played again


@dataclass(frozen=True)
class Goal:
    """What is played, and until when: the task, what decides on its state, arrays, numbers, and where to start."""

    title: str
    task: Task
    problem: Problem
    numbers: Numbers
    fixed: Fixed
    start: np.ndarray
    settings: str


class Playing(Iterative):
    """What the two ways of playing share: looks at the greedy policy, progress, the history."""

    cheap: int
    note: str = ""

    def __init__(self, goal: Goal) -> None:
        self.goal, self.title = goal, goal.title
        self.budget, self.speed = 4, 0.0

    @abc.abstractmethod
    def lanes(self) -> Any:
        """Where the lanes stand at the start."""

    @abc.abstractmethod
    def blocks(self, state: State) -> State:
        """The state after as many blocks as the budget says."""

    def close(self) -> None:
        """Let the environments go."""

    def init(self) -> State:
        x, dtype, whole, no = self.goal.start, jnp.result_type(float), np.zeros((), np.int32), np.zeros((), bool)
        zero = np.zeros((), dtype)
        totals = Totals(np.zeros((2, self.goal.problem.lanes), dtype), np.zeros(3, dtype), zero, zero, whole)
        policy, log_alpha = self.goal.fixed.policy, self.goal.numbers.temperature[0]
        return State(
            Adam(x, np.zeros_like(x), np.zeros_like(x), whole), at_start(policy["x_mean"], policy["x_scale"]),
            at_start(0.0, 1.0), zero, np.asarray(log_alpha, dtype), whole, whole, whole, no,
            np.full((), -np.inf, dtype), whole, totals, self.lanes(), np.zeros((CURVE, len(COLUMNS)), dtype), whole,
        )  # fmt: skip

    def step(self, state: State) -> State:
        start, before = time.monotonic(), int(state.steps)
        state = jax.block_until_ready(self.blocks(state._replace(recorded=np.zeros((), np.int32))))
        took = max(time.monotonic() - start, 1e-4)
        # How much is done between two looks changes nothing but the time between them.
        self.speed = (int(state.steps) - before) / took
        self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
        self.budget = min(max(self.budget, 1), CURVE)
        if int(state.failed) < 0:
            raise EnvironmentFault(f"env: {self.goal.task.facts.name} gave a reward or an observation that is NaN or "
                                   f"infinite within {int(state.steps):,} steps; let it give finite ones")  # fmt: skip
        return self._looked(state) if bool(state.look) else state

    def _looked(self, state: State) -> State:
        """The state with what greedy episodes returned, and when to play some again."""
        steps, until = int(state.steps), float(self.goal.numbers.until)
        played = self._greedy(state, EPISODES if self.goal.task.compiled is not None else _SCREENED, 0)
        if np.mean(played.returns) >= until:
            # The best of many looks is luck in part: what counts are episodes that did not choose it.
            played = self._greedy(state, EPISODES, 1)
        mean, wait = float(np.mean(played.returns)), _WAIT * steps + float(np.sum(played.length)) / self.cheap
        return state._replace(greedy=np.asarray(mean, jnp.result_type(float)), look=np.zeros((), bool),
                              check=np.asarray(min(steps + wait, 2**31 - 1), np.int32))  # fmt: skip

    def _greedy(self, state: State, episodes: int, stream: int) -> Any:
        words = np.random.default_rng([*self.goal.numbers.seed.tolist(), int(state.steps), stream])
        key = jax.random.wrap_key_data(jnp.asarray(words.integers(2**32, size=2, dtype=np.uint32)), impl="threefry2x32")
        return play(self.goal.task, self.goal.problem.acting, *self.policy(state), True, key, episodes)

    def policy(self, state: State) -> tuple[Any, Fixed]:
        """The policy's parameters, and its arrays with the scales of its inputs, on the host."""
        adam, inputs = jax.tree.map(np.asarray, (state.adam, state.inputs))
        fixed = {**self.goal.fixed.policy, "x_mean": inputs.mean, "x_scale": scale_of(inputs.variance, np)}
        return self.goal.problem.layout.tree(adam.x)[0], self.goal.fixed._replace(policy=fixed)

    def progress(self, state: State) -> Progress:
        steps, until = int(state.steps), float(self.goal.numbers.until)
        line = self._line(state, max(int(state.recorded) - 1, 0))
        words = (f"return {line['return']:,.1f} · {line['kl']:.2g} nats/step · α {line['temperature']:.3g} · "
                 f"{self.speed:,.0f} steps/s")  # fmt: skip
        if int(state.failed):
            message = (f"the parameters became NaN or infinite after {steps:,} steps, and those before are returned; "
                       "check the rewards, or pass a rule with a smaller rate=")  # fmt: skip
            return Progress(line["objective"], steps, Status.DIVERGED, message, words)
        if float(state.greedy) >= until:
            message = f"the greedy policy returned {float(state.greedy):,.1f} on average over {EPISODES} fresh episodes"
            return Progress(line["objective"], steps, Status.CONVERGED, message, words)
        return Progress(line["objective"], steps, words=words)

    def _line(self, state: State, row: int) -> dict[str, float]:
        return dict(zip(COLUMNS, np.asarray(state.curve, np.float64)[row].tolist(), strict=True))

    def history(self, state: State) -> tuple[dict[str, float], ...]:
        return tuple(self._line(state, row) for row in range(int(state.recorded)))

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        goal = self.goal
        numbers = goal.numbers._replace(total=0, budget=0)
        simulator = None if goal.task.compiled is None else goal.task.compiled.parameters
        return fingerprint(goal.title, goal.settings, repr(goal.task.facts), goal.start, goal.fixed, numbers, simulator)


class CompiledPlaying(Playing):
    """Everything on the device: several blocks a call."""

    cheap = _CHEAP_COMPILED

    def lanes(self) -> Any:
        compiled = self.goal.task.compiled
        assert compiled is not None
        return program.begin(self.goal.problem, compiled.parameters, self.goal.numbers.seed)

    def blocks(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return program.improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(Playing):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = _CHEAP_STEPPED

    def __init__(self, goal: Goal, stepper: Any) -> None:
        super().__init__(goal)
        self.stepper, self.budget = stepper, 1
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def lanes(self) -> Any:
        self.stepper.reset(int(self.goal.numbers.seed[0]))
        self._stands = self._now(np.zeros(self.stepper.lanes, np.int32))
        return self._stands

    def _now(self, elapsed: np.ndarray) -> dict[str, Any]:
        return {"elapsed": elapsed, "environment": self.stepper.state()}

    def blocks(self, state: State) -> State:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes["environment"]) or self.note
        elapsed = np.asarray(state.lanes["elapsed"])
        device = state._replace(lanes=())
        for _ in range(self.budget):
            block, elapsed = self._played(device, elapsed)
            device = program.learn(self.goal.problem, self.goal.fixed, device, block, self.goal.numbers)
            if bool(device.look) or int(device.failed) or int(device.steps) >= int(self.goal.numbers.total):
                break
        self._stands = self._now(elapsed)
        return device._replace(lanes=self._stands)

    def _played(self, state: State, elapsed: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of steps of every lane, and how long their episodes then are."""
        goal, stepper, steps = self.goal, self.stepper, []
        for t in range(goal.problem.block):
            action = np.asarray(program.act(goal.problem, goal.fixed, state.adam.x, state.inputs, stepper.observation,
                                            stepper.mask, goal.numbers, state.blocks, np.int32(t)))  # fmt: skip
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
