"""Forms of matrices in double precision whose derivatives are in double precision too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_batching import custom_vmap

Flat = Callable[..., Any]


def batched_in_double(form: Flat, event_axes: Sequence[int]) -> Flat:
    """`form` of arrays [*batch, *event] evaluated in double precision, and rounded to that of its arguments.

    form        from arrays, each of the same batch, to one number for each element of the batch
    event_axes  how many axes of each array are not the batch

    `in_double` is enough for elementwise functions. JAX differentiates and maps others, such as a Cholesky factor, by
    operations whose constants it makes when it does so, outside the double precision. Here the gradient and the second
    derivative, and all of them over one more axis, are functions of their own, worked out within.
    """
    within, slopes_within = _rounded(form), _rounded(partial(_gradient, form))
    curvature_within = _rounded(partial(_curvature, form, event_axes))

    @jax.custom_jvp
    def value(*xs: Array) -> Array:
        return within(*xs)

    @jax.custom_jvp
    def slopes(*xs: Array) -> tuple[Array, ...]:
        return slopes_within(*xs)

    @value.defjvp
    def _(xs: Any, dxs: Any) -> tuple[Array, Array]:
        return value(*xs), (_flat(slopes(*xs), event_axes) * _flat(dxs, event_axes)).sum(-1)

    @slopes.defjvp
    def _(xs: Any, dxs: Any) -> Any:
        change = (curvature_within(*xs) * _flat(dxs, event_axes)[..., None, :]).sum(-1)
        return slopes(*xs), _shaped(change, xs, event_axes)

    def run(*xs: Array) -> Array:
        return form(*xs) if xs[0].dtype == jnp.float64 else value(*xs)

    return run


def _rounded(function: Flat) -> Flat:
    """The function in double precision, whose arrays may have one more batch axis in front."""

    @custom_vmap
    def run(*xs: Array) -> Any:
        with jax.enable_x64(True):
            wide = function(*(x.astype(jnp.float64) for x in xs))
            return jax.tree.map(lambda x: x.astype(xs[0].dtype), wide)

    @run.def_vmap
    def _(size: int, mapped: Sequence[bool], *xs: Array) -> Any:
        every = [x if own else jnp.broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]
        out = run(*every)
        return out, jax.tree.map(lambda _: True, out)

    return run


def _gradient(form: Flat, *xs: Array) -> Any:
    found, pull = jax.vjp(form, *xs)
    return pull(jnp.ones_like(found))


def _curvature(form: Flat, event_axes: Sequence[int], *xs: Array) -> Array:
    """The second derivative [*batch, n, n] in all n coordinates of the events."""

    def flat_gradient(x: Array) -> Array:
        return _flat(_gradient(form, *_shaped(x, xs, event_axes)), event_axes)

    x = _flat(xs, event_axes)
    columns = jax.vmap(lambda v: jax.jvp(flat_gradient, (x,), (jnp.broadcast_to(v, x.shape),))[1])
    return jnp.moveaxis(columns(jnp.eye(x.shape[-1], dtype=x.dtype)), 0, -1)


def _flat(xs: Sequence[Array], event_axes: Sequence[int]) -> Array:
    """The coordinates of all events, [*batch, n]."""
    flat = [x.reshape(*x.shape[: x.ndim - axes], -1) for x, axes in zip(xs, event_axes, strict=True)]
    return jnp.concatenate(flat, -1)


def _shaped(x: Array, like: Sequence[Array], event_axes: Sequence[int]) -> tuple[Array, ...]:
    """The events whose coordinates are x [*batch, n], in the shapes of `like`."""
    events = [y.shape[y.ndim - axes :] for y, axes in zip(like, event_axes, strict=True)]
    ends = np.cumsum([math.prod(event) for event in events])
    parts = jnp.split(x, ends[:-1], -1)
    return tuple(part.reshape(*x.shape[:-1], *event) for part, event in zip(parts, events, strict=True))
