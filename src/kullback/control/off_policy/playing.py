"""Off-policy learning under the driver: rounds on the device, or steps on the host and updates on the device.

A round is a few steps of each lane, and updates from the replay buffer; the seed and its number determine what it
draws. A state is one pytree of arrays. Hyperparameters that are no sizes are arguments, so that another rate compiles
nothing.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped, UInt32

from kullback.control.envs.simulator import Lanes, Stepper, Transition, fresh_lanes, is_sound, moved_lanes, start_lanes
from kullback.control.learning.policy import Choosing, Fixed, InBox, RunningMoments, at_start, merged_inputs, scaled
from kullback.control.learning.temperature import adapt, log_temperature
from kullback.control.learning.training import CURVE, Playing, Training, is_due, line, nothing_counted, nothing_played
from kullback.control.off_policy.noise import along, along_prior, gumbel
from kullback.control.off_policy.replay import Replay, capacity_for, drawn, empty, grown, inserted, latest
from kullback.control.off_policy.update import (
    RECENT,
    Learner,
    OffPolicyConfig,
    OffPolicyHyperparameters,
    OffPolicyState,
    counted,
    nothing_seen,
    statistics_after,
    units_of,
    updated,
)
from kullback.runtime.export_cache import Effort, program
from kullback.runtime.random import key_of, shared_out
from kullback.training.optimiser import begin
from kullback.training.ravel import on_host

LATELY, PAST = 64, 1_000  # transitions looked back at for the KL, of so many of the latest in each lane
ADAPTED, MOST_ADAPTED = 0.005, 0.1  # the dual's step on log α for each environment step, and in one round at most


class Keys(NamedTuple):
    """The keys of a round: of noise and action at each step [t, 2]; of batches; of both parts of each update [u, 2]; of
    looking back [2]; of exploring; of every lane's environment at each step, and of a fresh episode there [2, t, n],
    none where it only steps."""

    steps: Key[Array, "t 2"]
    batches: Key[Array, ""]
    updates: Key[Array, "u 2"]
    back: Key[Array, " 2"]
    exploring: Key[Array, ""]
    lanes: Key[Array, "2 t n"]


def keys_of(config: OffPolicyConfig, hyper: OffPolicyHyperparameters, updates: Int[Array, ""]) -> Keys:
    """From the two words of a seed and the number of the round."""
    key, sizes = jax.random.fold_in(key_of(hyper.seed), updates), config.sizes
    lanes = sizes.lanes if config.simulator is not None else 0
    shapes = (sizes.block, 2), (), (sizes.updates, 2), (2,), (), (2, sizes.block, lanes)
    return Keys(*shared_out(key, *shapes))


def noise_shape(config: OffPolicyConfig) -> tuple[int, ...]:
    """Of the noise of a step: a number for each coordinate of an action in a box, or for each choice."""
    actions = config.acting.actions
    return (config.sizes.lanes, *actions.shape, *((actions.categories,) if actions.is_discrete else ()))


@program
def start_playing(config: OffPolicyConfig, parameters: PyTree, seed: UInt32[Array, " 2"]) -> tuple[Lanes | None, Any]:
    """Fresh episodes in every lane of a compiled simulator (None for one that steps), and noise."""
    key, noise_key = jax.random.split(key_of(seed))
    noise = config.noise.start(noise_key, noise_shape(config))
    if config.simulator is None:
        return None, noise
    return start_lanes(config.simulator, parameters, key, config.sizes.lanes), noise


@partial(jax.jit, static_argnums=0)
def act(
    config: OffPolicyConfig,
    fixed: Fixed,
    x: Float[Array, " p"],
    inputs: RunningMoments,
    noise: Float[Array, "k n ..."],
    warm: Bool[Array, ""],
    observation: Shaped[Array, "n ..."],
    mask: Bool[Array, "n ..."] | None,
    hyper: OffPolicyHyperparameters,
    updates: Int[Array, ""],
    t: Int[Array, ""],
) -> tuple[Shaped[Array, "n ..."], Float[Array, "k n ..."]]:
    """What every lane does at step t of a round [n, *shape], and the noise after it, for simulators that step."""
    keys = keys_of(config, hyper, updates)
    warm = warm | is_exploring(config, keys.exploring)
    return acted(config, scaled(fixed, inputs), x, observation, mask, noise, warm, keys.steps[t])


@program(effort=Effort.FULL)
def improve(
    config: OffPolicyConfig, fixed: Fixed, parameters: PyTree, state: OffPolicyState, hyper: OffPolicyHyperparameters
) -> OffPolicyState:
    """As many rounds as the budget says; fewer where the total is reached, the buffer is to grow, updates fail, or an
    evaluation is due."""
    stop = state.counters.updates + hyper.stopping.budget

    def going(s: OffPolicyState) -> Bool[Array, ""]:
        more = (s.counters.updates < stop) & (s.recording.count < CURVE) & (s.counters.steps < hyper.stopping.total)
        grows = (s.replay.count >= s.replay.rows.shape[0]) & (s.replay.rows.shape[0] < hyper.capacity)
        return more & (s.counters.failed == 0) & ~s.counters.evaluate & ~grows

    def one(s: OffPolicyState) -> OffPolicyState:
        keys = keys_of(config, hyper, s.counters.updates)
        lanes, noise, block = collected(config, fixed, parameters, s, hyper, keys)
        return learned(config, fixed, s._replace(lanes=lanes, noise=noise), block, hyper, keys)

    return lax.while_loop(going, one, state)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def learn(
    config: OffPolicyConfig,
    fixed: Fixed,
    replay: Replay,
    state: OffPolicyState,
    block: Transition,
    hyper: OffPolicyHyperparameters,
) -> OffPolicyState:
    """The state after a round that was played on the host; the buffer given is used up."""
    keys = keys_of(config, hyper, state.counters.updates)
    return learned(config, fixed, state._replace(replay=replay), block, hyper, keys)


def collected(
    config: OffPolicyConfig,
    fixed: Fixed,
    parameters: PyTree,
    state: OffPolicyState,
    hyper: OffPolicyHyperparameters,
    keys: Keys,
) -> tuple[Lanes, Float[Array, "k n ..."], Transition]:
    """The lanes and the noise after a round of steps, and its transitions [t, n, ...]."""
    assert config.simulator is not None
    simulator, now, x = config.simulator, scaled(fixed, state.inputs), state.learner.policy.x
    warm = (state.replay.count < hyper.warmup) | is_exploring(config, keys.exploring)

    def step(carry: PyTree, given: PyTree) -> Any:
        (lanes, noise), (key, keys, instead) = carry, given
        action, noise = acted(config, now, x, lanes.observation, lanes.mask, noise, warm, key)
        lanes, seen = moved_lanes(simulator, parameters, lanes, action, keys, instead)
        return (lanes, noise), seen

    fresh = jax.vmap(partial(fresh_lanes, simulator, parameters))(keys.lanes[1])
    (lanes, noise), block = lax.scan(step, (state.lanes, state.noise), (keys.steps, keys.lanes[0], fresh))
    return lanes, noise, block


def acted(
    config: OffPolicyConfig,
    fixed: Fixed,
    x: Float[Array, " p"],
    observation: Shaped[Array, "n ..."],
    mask: Bool[Array, "n ..."] | None,
    noise: Float[Array, "k n ..."],
    warm: Bool[Array, " n"],
    key: Key[Array, " 2"],
) -> tuple[Shaped[Array, "n ..."], Float[Array, "k n ..."]]:
    """Actions [n, *shape], by the prior in lanes that are `warm` [n], and the noise after them."""
    here = config.at(x, fixed, observation, mask)
    noise, z = config.noise.next(noise, key[0])
    if isinstance(here, Choosing):
        log_probs = jnp.where(warm.reshape(-1, *(1,) * (here.log_prior.ndim - 1)), here.log_prior, here.log_policy)
        return jnp.argmax(log_probs + gumbel(z), -1), noise
    assert isinstance(here, InBox)
    policy, prior = along(here.policy, z, key[1]), along_prior(here, z, key[1])
    return jnp.where(warm.reshape(-1, *(1,) * (policy.ndim - 1)), prior, policy), noise


def is_exploring(config: OffPolicyConfig, key: Key[Array, ""]) -> Bool[Array, " n"]:
    """Which lanes follow the prior for a round: those that explore do in every other, at random."""
    lanes, exploring = config.sizes.lanes, config.sizes.exploring
    explores = jnp.asarray(np.arange(lanes) < exploring)
    return explores & jax.random.bernoulli(key, 0.5, (lanes,)) if exploring else explores


def learned(
    config: OffPolicyConfig,
    fixed: Fixed,
    state: OffPolicyState,
    block: Transition,
    hyper: OffPolicyHyperparameters,
    keys: Keys,
) -> OffPolicyState:
    """The state after a round: its transitions are kept, and the updates made that go with it."""
    dtype = state.statistics.playing.dtype
    block = block._replace(reward=jnp.where(block.valid, block.reward, 0.0).astype(dtype))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
    weight = flat.valid.astype(dtype)
    ended = (flat.terminated | flat.truncated if config.options.cut_ends else flat.terminated).astype(dtype)
    inputs = merged_inputs(state.inputs, flat.observation, weight)
    now = scaled(fixed, inputs)
    replay = inserted(state.replay, config.columns.written(flat, ended))
    moments = counted(state.learner.moments, flat.reward, ended, weight, hyper.capacity)
    counters, sizes = state.counters, config.sizes
    steps = counters.steps + jnp.sum(flat.valid).astype(counters.steps.dtype)
    fraction = jnp.minimum(steps / hyper.stopping.total, 1.0).astype(dtype)

    def more(learner: Learner) -> Learner:
        return trained(config, now, replay, hyper, fraction, learner, keys)

    ready = replay.count >= hyper.warmup
    learner = lax.cond(ready, more, lambda same: same, state.learner._replace(moments=moments))
    sound = is_sound(flat)
    usable = sound & jnp.isfinite(learner.policy.x).all() & jnp.isfinite(learner.critics.x).all()
    learner = jax.tree.map(lambda new, old: jnp.where(usable, new, old), learner, state.learner)

    spent, kl = kl_spent(config, now, learner, replay, flat, keys.back)
    log_alpha = log_temperature(hyper.temperature, learner.log_alpha, fraction, config.options.adapted)
    if config.options.adapted:
        found = adapt(hyper.temperature, log_alpha, kl, min(ADAPTED * weight.size, MOST_ADAPTED))
        log_alpha = jnp.where(ready, found, log_alpha)
    alpha = jnp.exp(log_alpha).astype(dtype)
    # The prior spends nothing on itself.
    spent = jnp.where(ready, alpha * spent, 0.0).reshape(block.reward.shape)
    statistics = statistics_after(state.statistics, block, spent, hyper.discount, sizes.exploring)
    updates = counters.updates + 1
    evaluate = ready & is_due(statistics, steps, counters.evaluate_from, hyper.stopping)
    recent_kl = jnp.where(counters.updates > 0, state.kl + RECENT * (kl - state.kl), kl).astype(dtype)
    # Before an episode has finished, a line is of those that are being played.
    playing = jnp.mean(statistics.playing[:, sizes.exploring :], 1)
    written = (updates % sizes.every == 0) | evaluate | (steps >= hyper.stopping.total)
    return state._replace(
        learner=learner._replace(log_alpha=log_alpha.astype(dtype)),
        replay=replay,
        inputs=inputs,
        counters=counters._replace(
            steps=steps,
            updates=updates,
            evaluate=evaluate,
            failed=jnp.where(usable, 0, jnp.where(sound, updates, -updates)),
        ),
        kl=recent_kl,
        statistics=statistics,
        recording=state.recording.with_line(line(statistics, steps, playing, recent_kl, alpha), written),
    )


def trained(
    config: OffPolicyConfig,
    fixed: Fixed,
    replay: Replay,
    hyper: OffPolicyHyperparameters,
    fraction: Float[Array, ""],
    learner: Learner,
    keys: Keys,
) -> Learner:
    """The learner after the updates of a round."""
    log_alpha = log_temperature(hyper.temperature, learner.log_alpha, fraction, config.options.adapted)
    units = units_of(learner.moments, jnp.exp(log_alpha), hyper.discount, config.options.centred)
    learner = learner._replace(units=jax.tree.map(lambda x: x.astype(fraction.dtype), units))
    words = jax.random.bits(keys.batches, (config.sizes.updates, config.sizes.batch), jnp.uint32)

    def one(learner: Learner, given: PyTree) -> Any:
        words, keys = given
        return updated(config, fixed, hyper, fraction, learner, drawn(replay, words), keys), None

    return lax.scan(one, learner, (words, keys.updates))[0]


def kl_spent(
    config: OffPolicyConfig,
    fixed: Fixed,
    learner: Learner,
    replay: Replay,
    flat: Transition,
    keys: Key[Array, " 2"],
) -> tuple[Float[Array, " b"], Float[Array, ""]]:
    """KL(π‖π₀) where the round acted [t · n], and its mean where the policy has been of late; exact or from a draw."""
    words = jax.random.bits(keys[0], (2, LATELY), jnp.uint32)
    lately = config.columns.read(latest(replay, words, config.sizes.lanes, config.sizes.exploring, PAST))
    join = lambda a, b: jnp.concatenate([a.astype(b.dtype), b])  # noqa: E731
    mask = None if flat.mask is None or lately.mask is None else join(flat.mask, lately.mask)
    here = config.at(learner.policy.x, fixed, join(flat.observation, lately.observation), mask)
    kl = here.kl() if isinstance(here, Choosing) else here.draw(keys[1])[1]
    spent, rest = kl[:-LATELY], kl[-LATELY:]
    return spent, jnp.sum(lately.weight * rest) / jnp.maximum(jnp.sum(lately.weight), 1.0)


class OffPolicy(Playing):
    """The state at the start, the buffer's growth, and the policy in it; the work of a call is rounds.

    The parameters to start from are the policy's [n] and both critics' [2, m].
    """

    most = 2**20
    screened = 20

    @abc.abstractmethod
    def begun(self) -> tuple[Any, Any]:
        """Where the lanes and the noise stand at the start."""

    def init(self) -> OffPolicyState:
        training, config, dtype = self.training, self.training.config, jnp.result_type(float)
        policy, critics = (x.astype(dtype) for x in training.start)
        fixed = training.fixed.policy
        moments, units = nothing_seen(dtype)
        learner = on_host(
            Learner,
            policy=begin(policy, config.descent),
            critics=begin(critics, config.descent),
            targets=critics,
            log_alpha=np.asarray(training.hyper.temperature[0], dtype),
            moments=moments,
            units=units,
            extra=config.improvement.start(policy),
        )
        lanes, noise = self.begun()
        counters, recording = nothing_counted(dtype)
        return on_host(
            OffPolicyState,
            learner=learner,
            replay=empty(self._capacity(0), config.columns.width),
            inputs=at_start(fixed["x_mean"], fixed["x_scale"]),
            noise=noise,
            counters=counters,
            kl=np.zeros((), dtype),
            statistics=nothing_played(3, config.sizes.lanes, dtype),
            lanes=lanes,
            recording=recording,
        )

    def _capacity(self, count: int) -> int:
        sizes = self.training.config.sizes
        return capacity_for(count, int(self.training.hyper.capacity), sizes.lanes * sizes.block)

    @abc.abstractmethod
    def rounds(self, state: OffPolicyState) -> OffPolicyState:
        """The state after as many rounds as the budget says."""

    def played(self, state: OffPolicyState) -> OffPolicyState:
        if self.must_grow(state):
            state = state._replace(replay=grown(state.replay, self._capacity(int(state.replay.count))))
        return self.rounds(state)

    def must_grow(self, state: OffPolicyState) -> bool:
        """Whether the buffer is full, and not yet as large as it is to be."""
        rows = len(state.replay.rows)
        return int(state.replay.count) >= rows and rows < int(self.training.hyper.capacity)

    def free(self, state: OffPolicyState) -> Any:
        return self.training.config.layouts.policy.tree(np.asarray(state.learner.policy.x))

    def ended(self, state: OffPolicyState) -> tuple[Array, Array]:
        return state.learner.log_alpha, state.learner.critics.steps


class CompiledPlaying(OffPolicy):
    """Everything on the device: several rounds a call."""

    cheap = 200

    def __init__(self, training: Training) -> None:
        super().__init__(training, 16)

    def begun(self) -> tuple[Any, Any]:
        training = self.training
        assert training.task.env.compiled is not None
        return start_playing(training.config, training.task.env.compiled.parameters, training.hyper.seed)

    def rounds(self, state: OffPolicyState) -> OffPolicyState:
        training = self.training
        assert training.task.env.compiled is not None
        return improve(
            training.config, training.fixed, training.task.env.compiled.parameters, state, training.within(self.budget)
        )


class SteppedPlaying(OffPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 20

    def __init__(self, training: Training, stepper: Stepper) -> None:
        super().__init__(training, 1, stepper)
        self.stepper = stepper
        self.hyper, self.fixed = jax.tree.map(jnp.asarray, (training.hyper, training.fixed))

    def begun(self) -> tuple[Any, Any]:
        training = self.training
        self.stepper.reset(int(training.hyper.seed[0]))
        return self.standing(self.stepper.state()), start_playing(training.config, None, training.hyper.seed)[1]

    def rounds(self, state: OffPolicyState) -> OffPolicyState:
        self.take_up(state.lanes, state.lanes)
        # The buffer is written in place within a call, and the state that the call was given stays whole.
        device = jax.tree.map(jnp.array, state._replace(lanes=()))
        for _ in range(self.budget):
            block, noise = self._round(device)
            rest = device._replace(replay=None, noise=noise)
            device = learn(self.training.config, self.fixed, device.replay, rest, block, self.hyper)
            counters = device.counters
            stops = bool(counters.evaluate) or int(counters.failed) or int(device.recording.count) == CURVE
            if stops or int(counters.steps) >= self.hyper.stopping.total or self.must_grow(device):
                break
        return device._replace(lanes=self.standing(self.stepper.state()))

    def _round(self, state: OffPolicyState) -> tuple[Transition, Any]:
        """A round of steps of every lane, and the noise after it."""
        stepper, noise, steps = self.stepper, state.noise, []
        warm = np.asarray(int(state.replay.count) < int(self.training.hyper.warmup))
        for t in range(self.training.config.sizes.block):
            action, noise = act(
                self.training.config,
                self.fixed,
                state.learner.policy.x,
                state.inputs,
                noise,
                warm,
                stepper.observation,
                stepper.mask,
                self.hyper,
                state.counters.updates,
                np.int32(t),
            )
            steps.append(stepper.step(np.asarray(action)))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *steps), noise
