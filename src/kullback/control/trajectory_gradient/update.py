"""One on-policy update: targets of a block, descent on them, and its statistics; `learned` is the whole.

A block of transitions gives soft rewards, advantages and value targets; epochs of minibatches then descend a clipped
surrogate of the KL between trajectories, and the critic's squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt32

from kullback.control.envs.simulator import Compiled, is_sound
from kullback.control.learning.critics import Critic, advantages, in_units, less_others
from kullback.control.learning.policy import (
    Acting,
    Fixed,
    Here,
    RunningMoments,
    divergence,
    merged,
    merged_inputs,
    scaled,
)
from kullback.control.learning.temperature import adapt, log_temperature
from kullback.control.learning.training import (
    LEAST,
    Counters,
    EpisodeStatistics,
    Recording,
    Stopping,
    is_due,
    line,
    with_ended,
)
from kullback.runtime.random import key_of, shared_out
from kullback.training.optimiser import DEFAULT, Descent, descend
from kullback.training.ravel import Layout

MEMORY = 0.95  # of the mean over finished episodes, for each that finishes
PAST_BLOCKS = 8.0  # that the scales of value targets and of advantages remember
FARTHEST = 20.0  # log-ratios of policies beyond it are taken as it: single precision stays finite
BACK = 0.7  # what a step is shortened by until it lies in the trust region
STRIDES = np.array([p for p in range(37, 1009) if all(p % d for d in range(2, 32))], np.uint32)  # primes
Distance = Callable[[Float[Array, " p"]], Float[Array, ""]]
DUAL_RATE = 0.05  # of the temperature's steps, one a block


class Sizes(NamedTuple):
    """How much is played and learned at a time.

    lanes   environments side by side; `block`: steps of each between updates
    epochs  how often an update goes through a block; `minibatches`: in how many parts
    """

    lanes: int
    block: int
    epochs: int
    minibatches: int


class Options(NamedTuple):
    """Choices that change what is compiled.

    discounted  whether a state counts γᵗ; `cut_ends`: whether a time limit ends an episode
    adapted     whether the temperature is found; `trusting`: whether there is a trust region
    """

    discounted: bool = False
    cut_ends: bool = False
    adapted: bool = False
    trusting: bool = False


@dataclass(frozen=True)
class OnPolicyConfig:
    """What is fixed of the compiled programs. Hashable.

    layout     of the learned vector: the policy's parameters first, `policy_size` of them, then the critic's
    simulator  where the environment is compiled; `optimiser`: an Optax transformation, or None for the usual one
    """

    acting: Acting
    critic: Critic
    layout: Layout
    policy_size: int
    sizes: Sizes
    options: Options
    simulator: Compiled | None = None
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT


class OnPolicyHyperparameters(NamedTuple):
    """What a compiled program is told at each call: the settings that are no sizes; `TrajectoryGradient` explains them.

    rate, last_rate  the step size at the start and at the end
    temperature      log first, log last, nats, log lowest, log highest: see `Temperature.numbers`
    seed             two words
    """

    rate: Float[Array, ""]
    last_rate: Float[Array, ""]
    clip: Float[Array, ""]
    lam: Float[Array, ""]
    value_weight: Float[Array, ""]
    trust: Float[Array, ""]
    discount: Float[Array, ""]
    temperature: Float[Array, " 5"]
    stopping: Stopping
    seed: UInt32[Array, " 2"]


class OnPolicyState(NamedTuple):
    """Everything that changes: the learner, its scales, log α, counters, episodes, the lanes, and what was recorded.

    inputs, values  running moments of observations and of value targets; `power`: the mean square of advantages
    """

    descent: Descent
    inputs: RunningMoments
    values: RunningMoments
    power: Float[Array, ""]
    log_alpha: Float[Array, ""]
    counters: Counters
    statistics: EpisodeStatistics
    lanes: Any
    recording: Recording


class Block(NamedTuple):
    """T steps of n lanes [T, n, ...]; `elapsed` are the steps of the episode before each."""

    observation: Shaped[Array, "t n ..."]
    mask: Bool[Array, "t n k"] | None
    action: Shaped[Array, "t n ..."]
    reward: Float[Array, "t n"]
    terminated: Bool[Array, "t n"]
    truncated: Bool[Array, "t n"]
    following: Shaped[Array, "t n ..."]
    valid: Bool[Array, "t n"]
    elapsed: Int[Array, "t n"]


class Keys(NamedTuple):
    """The keys of a block: of the actions at each step [T]; of the KL; of the updates and each epoch [1 + epochs]; of
    every lane's environment at each step, and of a fresh episode there [2, T, n], none where it only steps."""

    actions: Key[Array, " t"]
    kl: Key[Array, ""]
    epochs: Key[Array, " e"]
    lanes: Key[Array, "2 t n"]


def keys_of(config: OnPolicyConfig, hyper: OnPolicyHyperparameters, updates: Int[Array, ""] | int) -> Keys:
    """From the two words of a seed and the number of the block."""
    key, sizes = jax.random.fold_in(key_of(hyper.seed), updates), config.sizes
    lanes = sizes.lanes if config.simulator is not None else 0
    return Keys(*shared_out(key, (sizes.block,), (), (1 + sizes.epochs,), (2, sizes.block, lanes)))


class Rows(NamedTuple):
    """Transitions to learn from [b, ...]: what was seen and done, log π(a∣s) then, advantage, value target, weights."""

    observation: Shaped[Array, "b ..."]
    mask: Bool[Array, "b k"] | None
    action: Shaped[Array, "b ..."]
    log_prob: Float[Array, " b"]
    advantage: Float[Array, " b"]
    target: Float[Array, " b"]
    weight: Float[Array, " b"]
    value_weight: Float[Array, " b"]


class Targets(NamedTuple):
    """What a block says: rows to learn from, the arrays to read them by, and what was found on the way.

    x       the learned vector, with the critic's outputs in the units of the `values` found
    inputs, values, power  those of the state after the block
    soft    r − α KL(π(·∣s)‖π₀(·∣s)) [T, n]; `kl`: its mean KL
    """

    rows: Rows
    fixed: Fixed
    x: Float[Array, " p"]
    inputs: RunningMoments
    values: RunningMoments
    power: Float[Array, ""]
    soft: Float[Array, "t n"]
    kl: Float[Array, ""]


def block_targets(
    config: OnPolicyConfig,
    fixed: Fixed,
    state: OnPolicyState,
    block: Block,
    hyper: OnPolicyHyperparameters,
    alpha: Float[Array, ""],
    key: Key[Array, ""],
) -> Targets:
    """Soft rewards, advantages and value targets of a block, by the policy and the critic that a state holds."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
    dtype, shape = state.descent.x.dtype, block.reward.shape
    weight = flat.valid.astype(dtype)
    free, critic = config.layout.tree(state.descent.x)
    here = config.acting.at(free, scaled(fixed, state.inputs), flat.observation, flat.mask)
    kl, log_prob = here.kl(key), here.log_prob(flat.action)
    soft = (block.reward - alpha * kl.reshape(shape)).astype(dtype)

    inputs = merged_inputs(state.inputs, flat.observation, weight)
    # The first block also scales itself: a policy that has learned nothing hardly depends on its inputs.
    used = jax.tree.map(lambda new, old: jnp.where(state.inputs.count > 0, old, new), inputs, state.inputs)
    fixed, units = scaled(fixed, used), state.values
    both = jnp.concatenate([flat.observation, flat.following])
    # A critic that has seen nothing says 0 whatever the unit of reward: what it says by chance may be far larger.
    spread = jnp.where(units.count > 0, units.scale, 0.0)
    value, following = (units.mean + spread * config.critic(critic, fixed.policy, both)[:, 0]).reshape(2, *shape)
    over = block.terminated | block.truncated
    ended = over if config.options.cut_ends else block.terminated
    advantage = advantages(soft, value, following, ended, over, block.valid, hyper.discount, hyper.lam)
    target = (value + advantage).reshape(-1)
    values = merged(units, target, weight, PAST_BLOCKS * weight.size)
    critic = in_units(critic, units, values)
    share = weight / jnp.maximum(jnp.mean(weight), LEAST)
    states = share * hyper.discount**flat.elapsed if config.options.discounted else share
    centred = less_others(advantage, block.valid).reshape(-1).astype(dtype)
    rows = Rows(
        observation=flat.observation,
        mask=flat.mask,
        action=flat.action,
        log_prob=log_prob,
        advantage=centred,
        target=(target - values.mean) / values.scale,
        weight=states.astype(dtype),
        value_weight=share,
    )
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves((free, critic))])
    mean = lambda each: jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1.0)  # noqa: E731
    new = 1.0 / jnp.minimum(state.counters.updates + 1.0, PAST_BLOCKS)
    power = state.power + new * (mean(jnp.square(centred)) - state.power)
    return Targets(
        rows=rows,
        fixed=fixed,
        x=x,
        inputs=inputs,
        values=values,
        power=power.astype(dtype),
        soft=soft,
        kl=mean(kl),
    )


def objective(
    config: OnPolicyConfig,
    fixed: Fixed,
    alpha: Float[Array, ""],
    scale: Float[Array, ""],
    clip: Float[Array, ""],
    value_weight: Float[Array, ""],
    x: Float[Array, " p"],
    rows: Rows,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """−(clipped surrogate of E[A] − α E[KL(π‖π₀)]) / scale + the critic's squared error: what a minibatch descends.

    At the policy that played, unclipped, its gradient in the policy's parameters is −∇J / scale for the mean over rows
    of J = E Σ (r − α KL): the score of each action times its advantage, which holds the KL of later steps, and the
    gradient of the own step's KL, in closed form where there is one. Dividing both by one scale leaves α what it is.
    """
    free, critic = config.layout.tree(x)
    here = config.acting.at(free, fixed, rows.observation, rows.mask)
    ratio = jnp.exp(jnp.clip(here.log_prob(rows.action) - rows.log_prob, -FARTHEST, FARTHEST))
    near = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    gain = jnp.minimum(ratio * rows.advantage, near * rows.advantage) - alpha * here.kl(key)
    value = config.critic(critic, fixed.policy, rows.observation)[:, 0]
    miss = 0.5 * jnp.square(value - rows.target)
    return jnp.mean(value_weight * rows.value_weight * miss - rows.weight * gain / scale)


def epochs(
    config: OnPolicyConfig,
    fixed: Fixed,
    alpha: Float[Array, ""],
    scale: Float[Array, ""],
    hyper: OnPolicyHyperparameters,
    rate: Float[Array, ""],
    descent: Descent,
    rows: Rows,
    keys: Key[Array, " e"],
) -> Descent:
    """Adam over the minibatches of a block, in each of the epochs in another order; a key, and one for each epoch.

    With a trust region, epochs end as soon as the policy has left it, and the policy goes back along the way that it
    came until it is inside: mean KL(π_old‖π) ≤ trust.
    """
    size, parts = rows.weight.shape[0], config.sizes.minibatches
    batch = size // parts
    kl_key, words = keys[0], jax.random.key_data(keys[1:])

    def step(i: Int[Array, ""], descent: Descent) -> Descent:
        some = rows
        if parts > 1:
            epoch, part = jnp.divmod(i, parts)
            at = ordered(words[epoch], size, part * batch + jnp.arange(batch))
            some = jax.tree.map(lambda leaf: leaf[at], rows)
        one = jax.random.fold_in(kl_key, i)
        gradient = jax.grad(objective, 6)(
            config, fixed, alpha, scale, hyper.clip, hyper.value_weight, descent.x, some, one
        )
        return descend(descent, gradient, rate, config.descent)

    steps = config.sizes.epochs * parts
    if not config.options.trusting:
        return lax.fori_loop(0, steps, step, descent)
    distance = _distance(config, fixed, descent.x, rows, kl_key)

    def epoch(carry: tuple[Int[Array, ""], Descent, Float[Array, ""]]) -> tuple[Any, Descent, Float[Array, ""]]:
        i, descent, _ = carry
        descent = lax.fori_loop(i, i + parts, step, descent)
        return i + parts, descent, distance(descent.x)

    near = lambda carry: (carry[0] < steps) & (carry[2] <= hyper.trust)  # noqa: E731
    zero = jnp.zeros((), descent.x.dtype)
    _, after, far = lax.while_loop(near, epoch, (jnp.int32(0), descent, zero))
    return after._replace(x=_inside(config, distance, hyper.trust, descent.x, after.x, far))


def ordered(words: UInt32[Array, " 2"], size: int, positions: Int[Array, " b"]) -> Int[Array, " b"]:
    """The rows at `positions` of an order of 0 … size − 1: in strides of a prime at random, from a row at random.

    Each minibatch then has rows from all lanes and times alike, in an order that takes a few operations.
    """
    strides = STRIDES[size % STRIDES != 0]
    stride = jnp.asarray(strides)[words[0] % len(strides)]
    return ((positions.astype(jnp.uint32) * stride + words[1] % size) % size).astype(jnp.int32)


def _inside(
    config: OnPolicyConfig,
    distance: Distance,
    trust: Float[Array, ""],
    old: Float[Array, " p"],
    new: Float[Array, " p"],
    far: Float[Array, ""],
) -> Float[Array, " p"]:
    """`new`, or the policy between it and `old` that is in the trust region; the critic stays."""
    way = jnp.where(jnp.arange(old.shape[0]) < config.policy_size, new - old, 0.0)
    outside = lambda carry: carry[1] > trust  # noqa: E731

    def back(carry: tuple[Float[Array, ""], Float[Array, ""]]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        share = BACK * carry[0]
        return share, distance(new - (1.0 - share) * way)

    share, _ = lax.while_loop(outside, back, (jnp.ones((), old.dtype), far))
    return new - (1.0 - share) * way


def _distance(
    config: OnPolicyConfig, fixed: Fixed, old: Float[Array, " p"], rows: Rows, key: Key[Array, ""]
) -> Distance:
    """x -> the mean of KL(π_old‖π_x) over the rows."""

    def at(x: Float[Array, " p"]) -> Here:
        return config.acting.at(config.layout.tree(x)[0], fixed, rows.observation, rows.mask)

    before = at(old)
    weight = rows.value_weight / jnp.sum(rows.value_weight)
    return lambda x: jnp.sum(weight * divergence(before, at(x)).kl(key))


def learned(
    config: OnPolicyConfig,
    fixed: Fixed,
    state: OnPolicyState,
    block: Block,
    hyper: OnPolicyHyperparameters,
    keys: Keys,
) -> OnPolicyState:
    """The state after learning from a block."""
    dtype, counters, stopping = state.log_alpha.dtype, state.counters, hyper.stopping
    fraction = (counters.steps / stopping.total).astype(dtype)
    # A schedule ends with the last block, which begins that much before the end.
    before_last = jnp.maximum(stopping.total - config.sizes.lanes * config.sizes.block, 1)
    annealed = jnp.minimum(counters.steps / before_last, 1.0).astype(dtype)
    log_alpha = log_temperature(hyper.temperature, state.log_alpha, annealed, config.options.adapted)
    alpha = jnp.exp(log_alpha)
    targets = block_targets(config, fixed, state, block, hyper, alpha, keys.kl)
    rate = hyper.rate + fraction * (hyper.last_rate - hyper.rate)
    before = state.descent._replace(x=targets.x)
    # One scale for blocks that tell much and blocks that tell little.
    scale = jnp.where(targets.power > 0, jnp.sqrt(targets.power), 1.0)
    descent = epochs(config, targets.fixed, alpha, scale, hyper, rate, before, targets.rows, keys.epochs)
    if config.options.adapted:
        log_alpha = adapt(hyper.temperature, log_alpha, targets.kl, DUAL_RATE)
    usable = jnp.all(jnp.isfinite(descent.x))
    kept = lambda new, old: jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, old)  # noqa: E731
    statistics = statistics_after(state.statistics, block, targets.soft, hyper.discount)
    steps, updates = counters.steps + jnp.sum(block.valid).astype(counters.steps.dtype), counters.updates + 1
    counters = counters._replace(
        steps=steps,
        updates=updates,
        evaluate=is_due(statistics, steps, counters.evaluate_from, stopping),
        failed=jnp.where(usable, 0, jnp.where(is_sound(block), updates, -updates)).astype(counters.failed.dtype),
    )
    # Before an episode has finished, a line is of those that are being played.
    playing = jnp.append(jnp.mean(statistics.playing, 1), 0.0)
    return state._replace(
        descent=kept(descent, state.descent),
        inputs=kept(targets.inputs, state.inputs),
        values=targets.values,
        power=targets.power,
        log_alpha=log_alpha.astype(dtype),
        counters=counters,
        statistics=statistics,
        recording=state.recording.with_line(line(statistics, steps, playing, targets.kl, alpha)),
    )


def statistics_after(
    statistics: EpisodeStatistics, block: Block, soft: Float[Array, "t n"], discount: Float[Array, ""]
) -> EpisodeStatistics:
    """The sums over episodes after a block."""
    over = block.valid & (block.terminated | block.truncated)
    weight = (discount**block.elapsed).astype(soft.dtype)
    gains = jnp.where(block.valid[:, None], jnp.stack([block.reward.astype(soft.dtype), weight * soft], 1), 0.0)

    def step(playing: Float[Array, "k n"], now: tuple[Float[Array, "k n"], Bool[Array, " n"]]) -> Any:
        gain, ended = now
        playing = playing + gain
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, statistics.playing, (gains, over))
    ends = jnp.concatenate([so_far, (block.elapsed + 1).astype(soft.dtype)[:, None]], 1)
    return with_ended(statistics, playing, over, ends, MEMORY)
