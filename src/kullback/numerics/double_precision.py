"""Which precision a form is evaluated in: one floating type for all of its arguments, or double precision inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

# Elementwise functions.


def floats(*xs: Any) -> tuple[Array, ...]:
    """The arguments as JAX arrays of one floating type."""
    arrays = [jnp.asarray(x) for x in xs]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return tuple(a.astype(dtype) for a in arrays)


def in_double(form: Callable[..., Any]) -> Callable[..., Any]:
    """The form evaluated in double precision and rounded to that of its arguments, also inside compiled programs.

    For differences of special functions, which single precision loses. Double precision is slower, so this is used only
    where no form keeps its digits in single precision. The global setting is unchanged. What JAX does after this has
    returned, as differentiation, it does outside the double precision; `_differentiable` leaves little of that. Mapping
    is done outside too, and fails for indexing and matrix products.
    """

    @wraps(form)
    def run(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        dtype = floats(*leaves)[0].dtype
        moving = [i for i, leaf in enumerate(leaves) if _is_floating(leaf)]
        held = [i for i, leaf in enumerate(leaves) if i not in moving and isinstance(leaf, jax.Array)]

        def value(moving_leaves: list[Array], held_leaves: list[Array]) -> Any:
            filled = list(leaves)
            for i, leaf in zip(moving + held, [*moving_leaves, *held_leaves], strict=True):
                filled[i] = leaf
            return jax.tree.map(lambda x: x.astype(dtype), form(*jax.tree.unflatten(structure, filled)))

        return _differentiable(value)([leaves[i] for i in moving], [leaves[i] for i in held])

    return run


def _differentiable(value: Callable[[list[Array], list[Array]], Any]) -> Callable[[list[Array], list[Array]], Any]:
    """A function of doubles and of arguments that are held, evaluated and linearised in double precision, to any order.

    Its derivative is a linear map whose coefficients are such a function too. What JAX then does outside the double
    precision is to transpose products with those coefficients and to differentiate them, which needs no constants. The
    derivative cannot be one opaque function, since JAX linearises a rule by what depends on the tangents.
    """

    @jax.custom_jvp
    def widened(moving: list[Array], held: list[Array]) -> Any:
        with jax.enable_x64(True):
            return value([jnp.asarray(leaf, jnp.float64) for leaf in moving], held)

    @widened.defjvp
    def _(primals: tuple[list[Array], list[Array]], tangents: tuple[list[Array], list[Array]]) -> Any:
        structures = []

        def coefficients(moving: list[Array], held: list[Array]) -> list[Array]:
            _, linear = jax.linearize(lambda x: value(x, held), moving)
            leaves, structure = jax.tree.flatten(linear)
            structures.append(structure)
            return leaves

        found = _differentiable(coefficients)(*primals)
        with jax.enable_x64(True):
            linear = jax.tree.unflatten(structures[-1], found)
            return widened(*primals), linear([jnp.asarray(along, jnp.float64) for along in tangents[0]])

    return widened


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


# Functions of matrices, whose derivatives are in double precision too.


Flat = Callable[..., Any]


def batched_in_double(form: Flat, event_axes: Sequence[int]) -> Flat:
    """`form` of arrays [*batch, *event] evaluated in double precision, and rounded to that of its arguments.

    form        from arrays, each of the same batch, to one number for each element of the batch
    event_axes  how many axes of each array are not the batch

    `in_double` is enough for elementwise functions. JAX differentiates and maps others, such as a Cholesky factor, by
    operations whose constants it creates at that time, outside the double precision. Here the gradient and the second
    derivative, and all of them over one more axis, are functions of their own, evaluated in double precision.
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
    def _(xs: tuple[Array, ...], dxs: tuple[Array, ...]) -> tuple[Array, Array]:
        return value(*xs), (_flat(slopes(*xs), event_axes) * _flat(dxs, event_axes)).sum(-1)

    @slopes.defjvp
    def _(xs: tuple[Array, ...], dxs: tuple[Array, ...]) -> Any:
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


# Differences.


def non_negative(value: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The value, or 0 where rounding left it below 0; the derivative is unchanged.

    For a divergence computed as a difference of larger terms: it is non-negative, so this only reduces the error.
    """
    return value + jax.lax.stop_gradient(jnp.maximum(-value, 0.0))
