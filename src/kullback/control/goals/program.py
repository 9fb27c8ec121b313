"""Supervised learning from trajectories relabelled on the fly, many steps in one compiled program.

A memory is a `Block` with an axis before the others: [blocks, T, lanes, ...].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from kullback.control.goals.episodes import Block
from kullback.control.goals.goals import GoalInputs
from kullback.training.optimiser import DEFAULT, Descent, begin, descend


class Learner(NamedTuple):
    """A policy in training: its parameters on their way, and their average over the last steps."""

    descent: Descent
    average: Any


@dataclass(frozen=True)
class Program:
    """What is fixed of the compiled programs. Hashable.

    discount  an example that took h steps counts discountʰ
    updates   steps in one call, of `batch` examples each
    memory    steps that the average of parameters goes back over, about
    """

    structure: Any
    inputs: GoalInputs
    discount: float
    updates: int
    batch: int
    span: float
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT


def at_start(free: Any, optimiser: optax.GradientTransformation = DEFAULT) -> Learner:
    """A learner before its first step, on the host."""
    dtype = jnp.result_type(float)
    free = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), free)
    return Learner(begin(free, optimiser), free)


@partial(jax.jit, static_argnums=0)
def learn(
    program: Program, fixed: Any, memory: Block, filled: Any, learner: Learner, rate: Any, key: jax.Array
) -> tuple[Learner, Float[Array, ""]]:
    """The learner after some steps along E_P[∇ log q], and the mean loss of these steps in nats.

    filled  how many blocks of the memory hold trajectories
    """
    usual = _usual_weight(program.discount, memory, filled)

    def body(i: Any, carry: tuple[Learner, Any]) -> tuple[Learner, Any]:
        learner, total = carry
        index = _rows(jax.random.fold_in(key, 2 * i), program.batch, memory, filled)

        def objective(free: Any) -> Any:
            losses, weights = _losses(program, fixed, free, memory, index, jax.random.fold_in(key, 2 * i + 1))
            return jnp.mean(losses * weights) / usual

        loss, gradient = jax.value_and_grad(objective)(learner.descent.x)
        descent = descend(learner.descent, gradient, rate, program.descent)
        average = jax.tree.map(lambda old, new: old + (new - old) / program.span, learner.average, descent.x)
        return Learner(descent, average), total + loss

    learner, total = jax.lax.fori_loop(0, program.updates, body, (learner, jnp.zeros((), usual.dtype)))
    return learner, total / program.updates


@partial(jax.jit, static_argnums=0)
def relabelled_losses(
    program: Program, fixed: Any, free: Any, block: Block, key: jax.Array
) -> tuple[Float[Array, " lanes"], Float[Array, " lanes"]]:
    """Of each lane of one block: the weighted sum of losses of its steps, each relabelled once, and that of weights."""
    _, steps, lanes = block.left.shape
    index: Any = tuple(jnp.ravel(i) for i in jnp.indices((1, steps, lanes)))
    losses, weights = _losses(program, fixed, free, block, index, key)
    return jnp.sum((losses * weights).reshape(steps, lanes), 0), jnp.sum(weights.reshape(steps, lanes), 0)


def _rows(key: jax.Array, n: int, memory: Block, filled: Any) -> tuple[Any, Any, Any]:
    """The places of n steps in the memory."""
    keys = jax.random.split(key, 3)
    bounds = (filled, *memory.left.shape[1:])
    return tuple(jax.random.randint(k, (n,), 0, bound) for k, bound in zip(keys, bounds, strict=True))  # type: ignore[return-value]


def _losses(
    program: Program, fixed: Any, free: Any, memory: Block, index: tuple[Any, Any, Any], key: jax.Array
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """−log q(a∣s, g) of steps, each with a goal that its trajectory achieved later, and the weight of the steps.

    The pair of a step and the goal h steps on has the weight γʰ. h is drawn in proportion to it from 1 … left, and what
    that leaves for the step is the sum of these, Σ γʰ.
    """
    block, t, lane = index
    left = memory.left[index]
    ahead = _ahead(jax.random.uniform(key, left.shape), left, program.discount)
    goal = memory.achieved[block, jnp.minimum(t + ahead - 1, memory.left.shape[1] - 1), lane]
    x = program.inputs.join(memory.observation[index], goal, ahead, jnp)
    weights = _weight(left, program.discount)
    losses = -program.structure.distribution(free, fixed, x).log_prob(memory.action[index])
    return jnp.where(left > 0, losses, 0.0), weights


def _ahead(u: Any, left: Any, discount: float) -> Any:
    """h from 1 … left in proportion to γʰ, by the inverse of its distribution function at u in [0, 1)."""
    if discount == 1.0:
        h = 1 + jnp.floor(u * left)
    else:
        rate = np.log(discount)
        h = jnp.ceil(jnp.log1p(u * jnp.expm1(rate * left)) / rate)
    return jnp.clip(h, 1, jnp.maximum(left, 1)).astype(jnp.int32)


def _weight(left: Any, discount: float) -> Any:
    """Σ_{h = 1 … left} γʰ."""
    if discount == 1.0:
        return left.astype(jnp.result_type(float))
    return discount * jnp.expm1(np.log(discount) * left) / (discount - 1.0)


def _usual_weight(discount: float, memory: Block, filled: Any) -> Any:
    """The mean weight of the steps in the memory."""
    there = jnp.arange(memory.left.shape[0]) < filled
    weights = _weight(memory.left, discount) * there[:, None, None]
    return jnp.sum(weights) / (filled * np.prod(memory.left.shape[1:]))
