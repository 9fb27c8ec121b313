"""Off-policy learning under the driver: rounds on the device, or steps on the host and updates on the device.

A round is a few steps of each lane, and updates from the replay buffer. A state is one pytree of arrays. Numbers that
are no sizes are arguments, so that another rate compiles nothing. What a round draws is determined by the seed and its
number.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kullback.control.envs.simulator import Stepper, Transition, fresh_lanes, moved_lanes, start_lanes
from kullback.control.learning.policy import Choosing, Fixed, InBox
from kullback.control.learning.running_moments import Running, at_start, is_label, merged
from kullback.control.learning.temperature import adapt, log_temperature
from kullback.control.learning.training import COLUMNS, CURVE, Goal, Playing, is_due, nothing_played
from kullback.control.off_policy.noise import gumbel
from kullback.control.off_policy.replay import Replay, capacity_for, drawn, empty, grown, inserted, latest
from kullback.control.off_policy.update import (
    RECENT,
    Learner,
    Numbers,
    Problem,
    State,
    counted,
    line_of,
    nothing_seen,
    totals_after,
    units_of,
    updated,
)
from kullback.distributions import TanhNormal
from kullback.runtime.export_cache import Effort, program
from kullback.runtime.random import key_of, shared_out
from kullback.training.optimiser import begin

LATELY, PAST = 64, 1_000  # transitions looked back at for the KL, of so many of the latest in each lane
ADAPTED, MOST_ADAPTED = 0.005, 0.1  # the dual's step on log α for each environment step, and in one round at most


class Keys(NamedTuple):
    """The keys of a round: of noise and action at each step [t, 2]; of batches; of both parts of each update [u, 2]; of
    looking back [2]; of going astray; of every lane's environment at each step, and of a fresh episode there [2, t, n],
    none where it only steps."""

    steps: Any
    batches: Any
    updates: Any
    back: Any
    astray: Any
    lanes: Any


def keys_of(problem: Problem, numbers: Numbers, rounds: Any) -> Keys:
    """From the two words of a seed and the number of the round."""
    key = jax.random.fold_in(key_of(numbers.seed), rounds)
    lanes = problem.lanes if problem.simulator is not None else 0
    shapes = (problem.block, 2), (), (problem.updates, 2), (2,), (), (2, problem.block, lanes)
    return Keys(*shared_out(key, *shapes))


def noise_shape(problem: Problem) -> tuple[int, ...]:
    """Of the noise of a step: a number for each coordinate of an action in a box, or for each choice."""
    actions = problem.acting.actions
    return (problem.lanes, *actions.shape, *((actions.categories,) if actions.is_discrete else ()))


def scaled(fixed: Fixed, inputs: Running) -> Fixed:
    """The policy's arrays with inputs scaled as they have been seen."""
    return fixed._replace(policy={**fixed.policy, "x_mean": inputs.mean, "x_scale": inputs.scale})


@program
def start_playing(problem: Problem, parameters: Any, seed: Any) -> Any:
    """Fresh episodes in every lane of a compiled simulator (None for one that steps), and noise."""
    key, noise_key = jax.random.split(key_of(seed))
    noise = problem.noise.start(noise_key, noise_shape(problem))
    if problem.simulator is None:
        return None, noise
    return start_lanes(problem.simulator, parameters, key, problem.lanes), noise


@partial(jax.jit, static_argnums=0)
def act(problem: Problem, fixed: Fixed, x: Any, inputs: Running, noise: Any, warm: Any, observation: Any, mask: Any,
        numbers: Numbers, rounds: Any, t: Any) -> Any:  # fmt: skip
    """What every lane does at step t of a round [n, *shape], and the noise after it, for simulators that step."""
    keys = keys_of(problem, numbers, rounds)
    warm = warm | is_astray(problem, keys.astray)
    return acted(problem, scaled(fixed, inputs), x, observation, mask, noise, warm, keys.steps[t])


@program(effort=Effort.FULL)
def improve(problem: Problem, fixed: Fixed, parameters: Any, state: State, numbers: Numbers) -> State:
    """As many rounds as `numbers.budget` says; fewer where the total is reached, the buffer is to grow, updates fail,
    or a look is due."""
    stop = state.rounds + numbers.budget

    def going(s: State) -> Any:
        more = (s.rounds < stop) & (s.recorded < CURVE) & (s.steps < numbers.total)
        grows = (s.replay.count >= s.replay.rows.shape[0]) & (s.replay.rows.shape[0] < numbers.capacity)
        return more & (s.failed == 0) & ~s.look & ~grows

    def one(s: State) -> State:
        keys = keys_of(problem, numbers, s.rounds)
        lanes, noise, block = collected(problem, fixed, parameters, s, numbers, keys)
        return learned(problem, fixed, s._replace(lanes=lanes, noise=noise), block, numbers, keys)

    return lax.while_loop(going, one, state)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def learn(problem: Problem, fixed: Fixed, replay: Replay, state: State, block: Transition, numbers: Numbers) -> State:
    """The state after a round that was played on the host; the buffer given is used up."""
    keys = keys_of(problem, numbers, state.rounds)
    return learned(problem, fixed, state._replace(replay=replay), block, numbers, keys)


def collected(problem: Problem, fixed: Fixed, parameters: Any, state: State, numbers: Numbers, keys: Keys) -> Any:
    """The lanes and the noise after a round of steps, and its transitions [t, n, ...]."""
    assert problem.simulator is not None
    simulator, now, x = problem.simulator, scaled(fixed, state.inputs), state.learner.policy.x
    warm = (state.replay.count < numbers.warmup) | is_astray(problem, keys.astray)

    def step(carry: Any, given: Any) -> Any:
        (lanes, noise), (key, keys, instead) = carry, given
        action, noise = acted(problem, now, x, lanes.observation, lanes.mask, noise, warm, key)
        lanes, seen = moved_lanes(simulator, parameters, lanes, action, keys, instead)
        return (lanes, noise), seen

    fresh = jax.vmap(partial(fresh_lanes, simulator, parameters))(keys.lanes[1])
    (lanes, noise), block = lax.scan(step, (state.lanes, state.noise), (keys.steps, keys.lanes[0], fresh))
    return lanes, noise, block


def acted(problem: Problem, fixed: Fixed, x: Any, observation: Any, mask: Any, noise: Any, warm: Any,
          key: Any) -> tuple[Any, Any]:  # fmt: skip
    """Actions [n, *shape], by the prior in lanes that are `warm` [n], and the noise after them."""
    here = problem.at(x, fixed, observation, mask)
    noise, z = problem.noise.next(noise, key[0])
    if isinstance(here, Choosing):
        log_probs = jnp.where(warm.reshape(-1, *(1,) * (here.log_prior.ndim - 1)), here.log_prior, here.log_policy)
        return jnp.argmax(log_probs + gumbel(z), -1), noise
    assert isinstance(here, InBox)
    policy, prior = along(here.policy, z, key[1]), along_prior(here, z, key[1])
    return jnp.where(warm.reshape(-1, *(1,) * (policy.ndim - 1)), prior, policy), noise


def along(law: Any, z: Any, key: Any) -> Any:
    """A draw of a law by standard normal noise [n, *shape]; of one that is no tanh-normal, by the key."""
    base = getattr(law, "base_dist", law)
    if isinstance(base, TanhNormal):
        return base.squash(base.loc + base.scale * z)
    return law.sample(key)


def along_prior(here: InBox, z: Any, key: Any) -> Any:
    """A draw of the prior by standard normal noise."""
    if here.prior is not None:
        return along(here.prior, z, key)
    low, high = here.actions.bounds
    return low + (high - low) * jax.scipy.stats.norm.cdf(z)


def is_astray(problem: Problem, key: Any) -> Any:
    """Which lanes follow the prior for a round [n]: those that wander do in every other, at random."""
    wanders = np.arange(problem.lanes) < problem.wandering
    return wanders & jax.random.bernoulli(key, 0.5, (problem.lanes,)) if problem.wandering else wanders


def learned(problem: Problem, fixed: Fixed, state: State, block: Transition, numbers: Numbers, keys: Keys) -> State:
    """The state after a round: its transitions are kept, and the updates made that go with it."""
    dtype = state.totals.playing.dtype
    block = block._replace(reward=jnp.where(block.valid, block.reward, 0.0).astype(dtype))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
    weight = flat.valid.astype(dtype)
    ended = (flat.terminated | flat.truncated if problem.cut_ends else flat.terminated).astype(dtype)
    inputs = state.inputs
    if not is_label(flat.observation):
        inputs = merged(inputs, flat.observation.astype(dtype), weight)
    now = scaled(fixed, inputs)
    replay = inserted(state.replay, problem.columns.written(flat, ended))
    moments = counted(state.learner.moments, flat.reward, ended, weight, numbers.capacity)
    steps = state.steps + jnp.sum(flat.valid).astype(state.steps.dtype)
    fraction = jnp.minimum(steps / numbers.total, 1.0).astype(dtype)

    def more(learner: Learner) -> Learner:
        return trained(problem, now, replay, numbers, fraction, learner, keys)

    ready = replay.count >= numbers.warmup
    learner = lax.cond(ready, more, lambda same: same, state.learner._replace(moments=moments))
    sound = is_sound(flat)
    usable = sound & jnp.isfinite(learner.policy.x).all() & jnp.isfinite(learner.critics.x).all()
    learner = jax.tree.map(lambda new, old: jnp.where(usable, new, old), learner, state.learner)

    spent, kl = kl_spent(problem, now, learner, replay, flat, keys.back)
    log_alpha = log_temperature(numbers.temperature, learner.log_alpha, fraction, problem.adapted)
    if problem.adapted:
        found = adapt(numbers.temperature, log_alpha, kl, min(ADAPTED * weight.size, MOST_ADAPTED))
        log_alpha = jnp.where(ready, found, log_alpha)
    alpha = jnp.exp(log_alpha).astype(dtype)
    # The prior spends nothing on itself.
    spent = jnp.where(ready, alpha * spent, 0.0).reshape(block.reward.shape)
    totals = totals_after(state.totals, block, spent, numbers.discount, problem.wandering)
    rounds = state.rounds + 1
    state = state._replace(
        learner=learner._replace(log_alpha=log_alpha.astype(dtype)),
        replay=replay,
        inputs=inputs,
        steps=steps,
        rounds=rounds,
        kl=jnp.where(state.rounds > 0, state.kl + RECENT * (kl - state.kl), kl).astype(dtype),
        look=ready & is_due(totals, steps, state.check, numbers.until, numbers.hopeful),
        failed=jnp.where(usable, 0, jnp.where(sound, rounds, -rounds)),
        totals=totals,
    )
    writes = (rounds % problem.every == 0) | state.look | (steps >= numbers.total)
    line = jnp.where(writes, line_of(state, alpha, problem.wandering), state.curve[state.recorded])
    curve = state.curve.at[state.recorded].set(line)
    return state._replace(curve=curve, recorded=state.recorded + writes.astype(state.recorded.dtype))


def trained(problem: Problem, fixed: Fixed, replay: Replay, numbers: Numbers, fraction: Any, learner: Learner,
            keys: Keys) -> Learner:  # fmt: skip
    """The learner after the updates of a round."""
    log_alpha = log_temperature(numbers.temperature, learner.log_alpha, fraction, problem.adapted)
    units = units_of(learner.moments, jnp.exp(log_alpha), numbers.discount, problem.centred)
    learner = learner._replace(units=jax.tree.map(lambda x: x.astype(fraction.dtype), units))
    words = jax.random.bits(keys.batches, (problem.updates, problem.batch), jnp.uint32)

    def one(learner: Learner, given: Any) -> Any:
        words, keys = given
        return updated(problem, fixed, numbers, fraction, learner, drawn(replay, words), keys), None

    return lax.scan(one, learner, (words, keys.updates))[0]


def kl_spent(problem: Problem, fixed: Fixed, learner: Learner, replay: Replay, flat: Transition, keys: Any) -> Any:
    """KL(π‖π₀) where the round acted [t · n], and its mean where the policy has been of late; exact or from a draw."""
    words = jax.random.bits(keys[0], (2, LATELY), jnp.uint32)
    lately = problem.columns.read(latest(replay, words, problem.lanes, problem.wandering, PAST))
    join = lambda a, b: None if a is None else jnp.concatenate([a.astype(b.dtype), b])  # noqa: E731
    here = problem.at(learner.policy.x, fixed, join(flat.observation, lately.observation), join(flat.mask, lately.mask))
    kl = here.kl() if isinstance(here, Choosing) else here.draw(keys[1])[1]
    spent, rest = kl[:-LATELY], kl[-LATELY:]
    return spent, jnp.sum(lately.weight * rest) / jnp.maximum(jnp.sum(lately.weight), 1.0)


def is_sound(flat: Transition) -> Any:
    """Whether rewards and observations are finite."""
    return jnp.isfinite(flat.reward).all() & jnp.isfinite(flat.observation).all() & jnp.isfinite(flat.following).all()


class OffPolicy(Playing):
    """The state at the start, the buffer's growth, and the policy in it; the work of a call is rounds.

    The parameters to start from are the policy's [n] and both critics' [2, m].
    """

    most = 2**20
    screened = 20

    @abc.abstractmethod
    def begun(self) -> tuple[Any, Any]:
        """Where the lanes and the noise stand at the start."""

    def init(self) -> State:
        goal, dtype = self.goal, jnp.result_type(float)
        whole, zero, no = np.zeros((), np.int32), np.zeros((), dtype), np.zeros((), bool)
        policy, critics = (x.astype(dtype) for x in goal.start)
        fixed = goal.fixed.policy
        moments, units = nothing_seen(dtype)
        learner = Learner(
            policy=begin(policy, goal.problem.descent),
            critics=begin(critics, goal.problem.descent),
            targets=critics,
            log_alpha=np.asarray(goal.numbers.temperature[0], dtype),
            moments=moments,
            units=units,
            extra=goal.problem.improvement.start(policy),
        )
        lanes, noise = self.begun()
        return State(
            learner, empty(self._capacity(0), goal.problem.columns.width), at_start(fixed["x_mean"], fixed["x_scale"]),
            noise, whole, whole, zero, whole, no, np.full((), -np.inf, dtype), whole,
            nothing_played(3, goal.problem.lanes, dtype), lanes, np.zeros((CURVE, len(COLUMNS)), dtype), whole,
        )  # fmt: skip

    def _capacity(self, count: int) -> int:
        problem = self.goal.problem
        return capacity_for(count, int(self.goal.numbers.capacity), problem.lanes * problem.block)

    @abc.abstractmethod
    def rounds(self, state: State) -> State:
        """The state after as many rounds as the budget says."""

    def played(self, state: State) -> State:
        if self.must_grow(state):
            state = state._replace(replay=grown(state.replay, self._capacity(int(state.replay.count))))
        return self.rounds(state)

    def must_grow(self, state: State) -> bool:
        """Whether the buffer is full, and not yet as large as it is to be."""
        rows = len(state.replay.rows)
        return int(state.replay.count) >= rows and rows < int(self.goal.numbers.capacity)

    def free(self, state: State) -> Any:
        return self.goal.problem.policy.tree(np.asarray(state.learner.policy.x))


class CompiledPlaying(OffPolicy):
    """Everything on the device: several rounds a call."""

    cheap = 200

    def __init__(self, goal: Goal) -> None:
        super().__init__(goal, 16)

    def begun(self) -> tuple[Any, Any]:
        goal = self.goal
        assert goal.task.compiled is not None
        return start_playing(goal.problem, goal.task.compiled.parameters, goal.numbers.seed)

    def rounds(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(OffPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 20

    def __init__(self, goal: Goal, stepper: Stepper) -> None:
        super().__init__(goal, 1)
        self.stepper = stepper
        self.numbers, self.fixed = jax.tree.map(jnp.asarray, (goal.numbers, goal.fixed))
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def begun(self) -> tuple[Any, Any]:
        goal = self.goal
        self.stepper.reset(int(goal.numbers.seed[0]))
        self._stands = self.stepper.state()
        return self._stands, start_playing(goal.problem, None, goal.numbers.seed)[1]

    def rounds(self, state: State) -> State:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes) or self.note
        # The buffer is written in place within a call, and the state that the call was given stays whole.
        device = jax.tree.map(jnp.array, state._replace(lanes=()))
        for _ in range(self.budget):
            block, noise = self._round(device)
            rest = device._replace(replay=None, noise=noise)
            device = learn(self.goal.problem, self.fixed, device.replay, rest, block, self.numbers)
            stops = bool(device.look) or int(device.failed) or int(device.recorded) == CURVE
            if stops or int(device.steps) >= int(self.goal.numbers.total) or self.must_grow(device):
                break
        self._stands = self.stepper.state()
        return device._replace(lanes=self._stands)

    def _round(self, state: State) -> tuple[Transition, Any]:
        """A round of steps of every lane, and the noise after it."""
        stepper, noise, steps = self.stepper, state.noise, []
        warm = np.asarray(int(state.replay.count) < int(self.goal.numbers.warmup))
        for t in range(self.goal.problem.block):
            action, noise = act(
                self.goal.problem, self.fixed, state.learner.policy.x, state.inputs, noise, warm, stepper.observation,
                stepper.mask, self.numbers, state.rounds, np.int32(t),
            )  # fmt: skip
            steps.append(stepper.step(np.asarray(action)))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *steps), noise

    def close(self) -> None:
        self.stepper.close()
