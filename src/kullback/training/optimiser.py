"""Adam on one vector, and gradients that are taken as no longer than a few times their usual length."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

MEAN, SQUARES, EPSILON = 0.9, 0.999, 1e-7  # memory of gradients and of their squares, and what is divided by
LONGEST, FIRST_STEPS = 4.0, 10  # times the usual length of a gradient, once that is known


class Adam(NamedTuple):
    """A learned vector [n], means of its gradients and of their squares, and steps done."""

    x: Any
    mean: Any
    squares: Any
    count: Any


def adam_at(x: np.ndarray) -> Adam:
    """Before the first step, on the host."""
    return Adam(x, np.zeros_like(x), np.zeros_like(x), np.zeros((), np.int32))


def moved(adam: Adam, gradient: Any, rate: Any) -> Adam:
    """After one step along a gradient. Source: Kingma and Ba (2015), algorithm 1, as rewritten in section 2."""
    gradient = shortened(gradient, adam.squares, adam.count)
    count = adam.count + 1
    mean = MEAN * adam.mean + (1.0 - MEAN) * gradient
    squares = SQUARES * adam.squares + (1.0 - SQUARES) * jnp.square(gradient)
    size = rate * jnp.sqrt(1.0 - SQUARES**count) / (1.0 - MEAN**count)
    return Adam(adam.x - size * mean / (jnp.sqrt(squares) + EPSILON), mean, squares, count)


def shortened(gradient: Any, squares: Any, count: Any) -> Any:
    """The gradient, no longer than a few times its usual length: one row far from all others would otherwise make the
    step size small for the thousand steps over which Adam remembers squares."""
    length = jnp.sqrt(jnp.vdot(gradient, gradient))
    usual = jnp.sqrt(jnp.sum(squares) / (1.0 - SQUARES ** jnp.maximum(count, 1)))
    far = (count >= FIRST_STEPS) & (usual > 0) & (length > LONGEST * usual)
    return jnp.where(far, LONGEST * usual / length, 1.0) * gradient
