"""Forms of matrices in double precision whose derivatives are in double precision too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Flat = Callable[..., Array]


def batched_in_double(form: Flat, event_axes: Sequence[int]) -> Flat:
    """`form` of arrays [*batch, *event] evaluated in double precision, and rounded to that of its arguments.

    form        from arrays, each of the same batch, to one number for each element of the batch
    event_axes  how many axes of each array are not the batch

    `in_double` is enough for elementwise functions. JAX differentiates others, such as a Cholesky factor, by operations
    whose constants it makes when it differentiates, outside the double precision; here the gradient is a function of
    its own, worked out within.
    """

    @jax.custom_jvp
    def value(*xs: Array) -> Array:
        return _rounded(form, xs)

    @jax.custom_jvp
    def slopes(*xs: Array) -> tuple[Array, ...]:
        return _rounded(partial(_gradient, form), xs)

    @value.defjvp
    def _(xs: Any, dxs: Any) -> tuple[Array, Array]:
        parts = [_inner(g, dx, axes) for g, dx, axes in zip(slopes(*xs), dxs, event_axes, strict=True)]
        return value(*xs), sum(parts[1:], start=parts[0])

    @slopes.defjvp
    def _(xs: Any, dxs: Any) -> Any:
        return _rounded(lambda *both: jax.jvp(partial(_gradient, form), both[: len(xs)], both[len(xs) :]), (*xs, *dxs))

    def run(*xs: Array) -> Array:
        return form(*xs) if xs[0].dtype == jnp.float64 else value(*xs)

    return run


def _rounded(function: Callable[..., Any], xs: Sequence[Array]) -> Any:
    with jax.enable_x64(True):
        wide = function(*(x.astype(jnp.float64) for x in xs))
        return jax.tree.map(lambda x: x.astype(xs[0].dtype), wide)


def _gradient(form: Flat, *xs: Array) -> Any:
    found, pull = jax.vjp(form, *xs)
    return pull(jnp.ones_like(found))


def _inner(g: Array, dx: Array, axes: int) -> Array:
    return (g * dx).sum(tuple(range(g.ndim - axes, g.ndim)))
