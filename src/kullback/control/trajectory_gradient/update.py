"""Proximal updates: what is descended on a block of transitions, and epochs of Adam over minibatches of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from kullback.control.envs.simulator import Compiled
from kullback.control.learning.critics import Critic
from kullback.control.learning.policy import Acting, Choosing, Fixed, Here, InBox
from kullback.training.optimiser import DEFAULT, Descent, descend
from kullback.training.ravel import Layout

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
