"""Proximal updates: what is descended on a block of transitions, and epochs of Adam over minibatches of it.

Generalised advantage estimates over soft rewards: how much better what happened was than what was expected.

What changes while learning on-policy, as one pytree, and what a block adds to the sums over episodes.

What a block of transitions teaches: soft rewards, advantages and value targets, as rows to learn from.
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
from jaxtyping import Array, Bool, Float

from kullback.control.envs.simulator import Compiled
from kullback.control.learning.critics import Critic
from kullback.control.learning.policy import Acting, Choosing, Fixed, Here, InBox
from kullback.control.learning.running_moments import Running, is_label, merged
from kullback.control.learning.training import LEAST, Totals, line, with_ended
from kullback.training.optimiser import DEFAULT, Descent, descend
from kullback.training.ravel import Layout


def advantages(
    reward: Float[Array, "t n"],
    value: Float[Array, "t n"],
    following: Float[Array, "t n"],
    terminated: Bool[Array, "t n"],
    over: Bool[Array, "t n"],
    valid: Bool[Array, "t n"],
    discount: Any,
    lam: Any,
) -> Float[Array, "t n"]:
    """A_t = Σ_k (γλ)ᵏ δ_{t+k} with δ_t = r_t − α KL_t + γ V(s_{t+1}) − V(s_t), up to the end of episode or block.

    reward      soft rewards r_t − α KL(π(·∣s_t)‖π₀(·∣s_t))
    value       V(s_t), the soft value, in which the KL of the step itself is counted
    following   V of the observation after the step and before any reset; not used where the episode terminated
    terminated  nothing is to come; `over`: the episode ended there, by itself or by a time limit
    valid       False for transitions that are not to be learned from; their advantage is 0

    V(s) = E_a[r − α KL + γ V(s′)], so that E_a[δ_t] = 0 at the true value. With λ = 1 the advantage is the soft return
    that followed, less a number that does not depend on the action: the KL of later steps is in it, and that of the
    step itself is a part of the baseline. Where a block ends inside an episode it is bootstrapped by `following`.
    Source: Schulman, Moritz, Levine, Jordan and Abbeel (2016), arXiv:1506.02438, equation 16.
    """
    ahead = jnp.where(terminated, 0.0, following)
    surprise = jnp.where(valid, reward + discount * ahead - value, 0.0)
    carried = jnp.where(over | ~valid, 0.0, discount * lam)

    def back(later: Any, now: Any) -> Any:
        delta, factor = now
        here = delta + factor * later
        return here, here

    return jax.lax.scan(back, jnp.zeros_like(value[0]), (surprise, carried), reverse=True)[1]


MEMORY = 0.95  # of the mean over finished episodes, for each that finishes


class State(NamedTuple):
    """Everything that changes: the learner, its scales, log α, counts, episodes, the lanes, and what was recorded.

    inputs, values  running moments of observations and of value targets; `power`: the mean square of advantages
    steps   environment steps learned from; `blocks` blocks
    check   the steps from which on greedy episodes may be played (again), and `look`: whether they should be now
    greedy  the mean return of those that were played last
    failed  the block whose update was not finite, and was not made, negative if already rewards or observations were
            not; or 0
    """

    descent: Descent
    inputs: Running
    values: Running
    power: Any
    log_alpha: Any
    steps: Any
    blocks: Any
    check: Any
    look: Any
    greedy: Any
    failed: Any
    totals: Totals
    lanes: Any
    curve: Any
    recorded: Any


class Block(NamedTuple):
    """T steps of n lanes [T, n, ...]; `elapsed` are the steps of the episode before each."""

    observation: Any
    mask: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    following: Any
    valid: Any
    elapsed: Any


def totals_after(totals: Totals, block: Block, soft: Any, discount: Any) -> Totals:
    """The sums over episodes after a block."""
    over = block.valid & (block.terminated | block.truncated)
    weight = (discount**block.elapsed).astype(soft.dtype)
    gains = jnp.where(block.valid[:, None], jnp.stack([block.reward.astype(soft.dtype), weight * soft], 1), 0.0)

    def step(playing: Any, now: Any) -> Any:
        gain, ended = now
        playing = playing + gain
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, totals.playing, (gains, over))
    ends = jnp.concatenate([so_far, (block.elapsed + 1).astype(soft.dtype)[:, None]], 1)
    return with_ended(totals, playing, over, ends, MEMORY)


def line_of(state: State, kl: Any, alpha: Any) -> Any:
    """A line of history; before an episode has finished, of those that are being played."""
    playing = jnp.append(jnp.mean(state.totals.playing, 1), 0.0)
    return line(state.totals, state.steps, playing, kl, alpha)


FARTHEST = 20.0  # log-ratios of policies beyond it are taken as it: single precision stays finite
BACK = 0.7  # what a step is shortened by until it lies in the trust region
STRIDES = np.array([p for p in range(37, 1009) if all(p % d for d in range(2, 32))], np.uint32)  # primes


@dataclass(frozen=True)
class Problem:
    """What is fixed of the compiled programs.

    layout     of the learned vector: the policy's parameters first, `policy_size` of them, then the critic's
    lanes      environments side by side; `block`: steps of each between updates
    discounted whether a state counts γᵗ; `cut_ends`: whether a time limit ends an episode
    adapted    whether the temperature is found; `trusting`: whether there is a trust region
    """

    acting: Acting
    critic: Critic
    layout: Layout
    policy_size: int
    lanes: int
    block: int
    epochs: int
    minibatches: int
    discounted: bool = False
    cut_ends: bool = False
    adapted: bool = False
    trusting: bool = False
    simulator: Compiled | None = None
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT


class Numbers(NamedTuple):
    """What a compiled program is told at each call: the settings that are no sizes.

    total    environment steps of the whole training; `budget`: blocks of this call
    until    the greedy return asked for; `hopeful`: the share of the way to it at which greedy episodes are played
    seed     two words
    """

    rate: Any
    last_rate: Any
    clip: Any
    lam: Any
    value_weight: Any
    trust: Any
    discount: Any
    temperature: Any
    total: Any
    until: Any
    hopeful: Any
    budget: Any
    seed: Any


class Rows(NamedTuple):
    """Transitions to learn from [b, ...]: what was seen and done, log π(a∣s) then, advantage, value target, weights."""

    observation: Any
    mask: Any
    action: Any
    log_prob: Any
    advantage: Any
    target: Any
    weight: Any
    value_weight: Any


def objective(problem: Problem, fixed: Fixed, alpha: Any, scale: Any, clip: Any, value_weight: Any, x: Any,
              rows: Rows, key: jax.Array) -> Any:  # fmt: skip
    """−(clipped surrogate of E[A] − α E[KL(π‖π₀)]) / scale + the critic's squared error: what a minibatch descends.

    At the policy that played, unclipped, its gradient in the policy's parameters is −∇J / scale for the mean over rows
    of J = E Σ (r − α KL): the score of each action times its advantage, which holds the KL of later steps, and the
    gradient of the own step's KL, in closed form where there is one. Dividing both by one scale leaves α what it is.
    """
    free, critic = problem.layout.tree(x)
    here = problem.acting.at(free, fixed, rows.observation, rows.mask)
    ratio = jnp.exp(jnp.clip(here.log_prob(rows.action) - rows.log_prob, -FARTHEST, FARTHEST))
    near = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    gain = jnp.minimum(ratio * rows.advantage, near * rows.advantage) - alpha * here.kl(key)
    value = problem.critic(critic, fixed.policy, rows.observation)[:, 0]
    miss = 0.5 * jnp.square(value - rows.target)
    return jnp.mean(value_weight * rows.value_weight * miss - rows.weight * gain / scale)


def epochs(problem: Problem, fixed: Fixed, alpha: Any, scale: Any, numbers: Numbers, rate: Any, descent: Descent,
           rows: Rows, keys: jax.Array) -> Descent:  # fmt: skip
    """Adam over the minibatches of a block, `problem.epochs` times in orders of their own; a key, and one for each.

    With a trust region, epochs end as soon as the policy has left it, and the policy goes back along the way that it
    came until it is inside: mean KL(π_old‖π) ≤ trust.
    """
    size = rows.weight.shape[0]
    batch = size // problem.minibatches
    kl_key, words = keys[0], jax.random.key_data(keys[1:])

    def step(i: Any, descent: Descent) -> Descent:
        some = rows
        if problem.minibatches > 1:
            epoch, part = jnp.divmod(i, problem.minibatches)
            at = ordered(words[epoch], size, part * batch + jnp.arange(batch))
            some = jax.tree.map(lambda leaf: leaf[at], rows)
        one = jax.random.fold_in(kl_key, i)
        gradient = jax.grad(objective, 6)(
            problem, fixed, alpha, scale, numbers.clip, numbers.value_weight, descent.x, some, one
        )
        return descend(descent, gradient, rate, problem.descent)

    steps = problem.epochs * problem.minibatches
    if not problem.trusting:
        return lax.fori_loop(0, steps, step, descent)
    distance = _distance(problem, fixed, descent.x, rows, kl_key)

    def epoch(carry: Any) -> Any:
        i, descent, _ = carry
        descent = lax.fori_loop(i, i + problem.minibatches, step, descent)
        return i + problem.minibatches, descent, distance(descent.x)

    near = lambda carry: (carry[0] < steps) & (carry[2] <= numbers.trust)  # noqa: E731
    zero = jnp.zeros((), descent.x.dtype)
    _, after, far = lax.while_loop(near, epoch, (jnp.int32(0), descent, zero))
    return after._replace(x=_inside(problem, distance, numbers.trust, descent.x, after.x, far))


def ordered(words: Any, size: int, positions: Any) -> Any:
    """The rows at `positions` of an order of 0 … size − 1: in strides of a prime at random, from a row at random.

    Each minibatch then has rows from all lanes and times alike, in an order that takes a few operations.
    """
    strides = STRIDES[size % STRIDES != 0]
    stride = jnp.asarray(strides)[words[0] % len(strides)]
    return ((positions.astype(jnp.uint32) * stride + words[1] % size) % size).astype(jnp.int32)


def _inside(problem: Problem, distance: Callable[[Any], Any], trust: Any, old: Any, new: Any, far: Any) -> Any:
    """`new`, or the policy between it and `old` that is in the trust region; the critic stays."""
    way = jnp.where(jnp.arange(old.shape[0]) < problem.policy_size, new - old, 0.0)
    outside = lambda carry: carry[1] > trust  # noqa: E731

    def back(carry: Any) -> Any:
        share = BACK * carry[0]
        return share, distance(new - (1.0 - share) * way)

    share, _ = lax.while_loop(outside, back, (jnp.ones((), old.dtype), far))
    return new - (1.0 - share) * way


def _distance(problem: Problem, fixed: Fixed, old: Any, rows: Rows, key: jax.Array) -> Callable[[Any], Any]:
    """x -> the mean of KL(π_old‖π_x) over the rows."""

    def at(x: Any) -> Here:
        return problem.acting.at(problem.layout.tree(x)[0], fixed, rows.observation, rows.mask)

    before = at(old)
    weight = rows.value_weight / jnp.sum(rows.value_weight)
    return lambda x: jnp.sum(weight * divergence(before, at(x)).kl(key))


def divergence(p: Here, q: Here) -> Here:
    """Two policies at the same observations, the second in the place of the prior."""
    if isinstance(p, Choosing) and isinstance(q, Choosing):
        return Choosing(p.log_policy, q.log_policy)
    assert isinstance(p, InBox)
    assert isinstance(q, InBox)
    return InBox(p.policy, q.policy, p.actions)


PAST_BLOCKS = 8.0  # that the scales of value targets and of advantages remember


class Lesson(NamedTuple):
    """What a block says: rows to learn from, the arrays to read them by, and what was found on the way.

    x       the learned vector, with the critic's outputs in the units of the `values` found
    alpha   reward per nat
    inputs, values, power  those of the state after the block
    soft    r − α KL(π(·∣s)‖π₀(·∣s)) [T, n]; `kl`: its mean KL
    """

    rows: Rows
    fixed: Fixed
    x: Any
    alpha: Any
    inputs: Running
    values: Running
    power: Any
    soft: Any
    kl: Any


def scaled(fixed: Fixed, inputs: Running) -> Fixed:
    """The policy's arrays with inputs scaled as they have been seen."""
    return fixed._replace(policy={**fixed.policy, "x_mean": inputs.mean, "x_scale": inputs.scale})


def prepared(problem: Problem, fixed: Fixed, state: State, block: Block, numbers: Numbers, alpha: Any,
             key: jax.Array) -> Lesson:  # fmt: skip
    """Soft rewards, advantages and value targets of a block, by the policy and the critic that a state holds."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
    dtype, shape = state.descent.x.dtype, block.reward.shape
    weight = flat.valid.astype(dtype)
    free, critic = problem.layout.tree(state.descent.x)
    here = problem.acting.at(free, scaled(fixed, state.inputs), flat.observation, flat.mask)
    kl, log_prob = here.kl(key), here.log_prob(flat.action)
    soft = (block.reward - alpha * kl.reshape(shape)).astype(dtype)

    inputs = _seen(state.inputs, flat, weight)
    # The first block also scales itself: a policy that has learned nothing hardly depends on its inputs.
    used = jax.tree.map(lambda new, old: jnp.where(state.inputs.count > 0, old, new), inputs, state.inputs)
    fixed, units = scaled(fixed, used), state.values
    both = jnp.concatenate([flat.observation, flat.following])
    # A critic that has seen nothing says 0 whatever the unit of reward: what it says by chance may be far larger.
    spread = jnp.where(units.count > 0, units.scale, 0.0)
    value, following = (units.mean + spread * problem.critic(critic, fixed.policy, both)[:, 0]).reshape(2, *shape)
    over = block.terminated | block.truncated
    ended = over if problem.cut_ends else block.terminated
    advantage = advantages(soft, value, following, ended, over, block.valid, numbers.discount, numbers.lam)
    target = (value + advantage).reshape(-1)
    values = merged(units, target, weight, PAST_BLOCKS * weight.size)
    critic = in_units(critic, units, values)
    share = weight / jnp.maximum(jnp.mean(weight), LEAST)
    states = share * numbers.discount**flat.elapsed if problem.discounted else share
    centred = _less_others(advantage, block.valid).reshape(-1).astype(dtype)
    rows = Rows(flat.observation, flat.mask, flat.action, log_prob, centred, (target - values.mean) / values.scale,
                states.astype(dtype), share)  # fmt: skip
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves((free, critic))])
    mean = lambda each: jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1.0)  # noqa: E731
    new = 1.0 / jnp.minimum(state.blocks + 1.0, PAST_BLOCKS)
    power = state.power + new * (mean(jnp.square(centred)) - state.power)
    return Lesson(rows, fixed, x, alpha, inputs, values, power.astype(dtype), soft, mean(kl))


def _seen(inputs: Running, flat: Block, weight: Any) -> Running:
    """The moments of observations; labels have none."""
    if is_label(flat.observation):
        return inputs
    return merged(inputs, flat.observation.astype(weight.dtype), weight)


def in_units(critic: Any, old: Running, new: Running) -> Any:
    """The critic's last layer, such that old.mean + old.scale · output stays what it is in the new units.

    A critic that has seen nothing yet says the mean of the first block.
    Source: van Hasselt, Guez, Hessel, Mnih and Silver (2016), arXiv:1602.07714, proposition 1.
    """
    known = old.count > 0
    ratio = jnp.where(known, old.scale / new.scale, 1.0)
    shift = jnp.where(known, (old.mean - new.mean) / new.scale, 0.0)
    if not isinstance(critic, list):
        return ratio * critic + shift
    last = {**critic[-1], "weight": ratio * critic[-1]["weight"], "bias": ratio * critic[-1]["bias"] + shift}
    return [*critic[:-1], last]


def _less_others(advantage: Any, valid: Any) -> Any:
    """Advantages less their mean in the other lanes, which knows nothing of a lane's own actions: a baseline."""
    each, count = jnp.sum(advantage, 0), jnp.sum(valid, 0)
    others = jnp.sum(count) - count
    mean = (jnp.sum(each) - each) / jnp.maximum(others, 1)
    return jnp.where(valid, advantage - mean, 0.0).astype(advantage.dtype)
