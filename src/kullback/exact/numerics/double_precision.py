"""Which precision a form is evaluated in: one floating type for all that it is given, or double inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def floats(*xs: Any) -> tuple[Array, ...]:
    """The arguments as JAX arrays of one floating type."""
    arrays = [jnp.asarray(x) for x in xs]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return tuple(a.astype(dtype) for a in arrays)


def in_double(form: Callable[..., Any]) -> Callable[..., Any]:
    """The form evaluated in double precision and rounded to that of its arguments, also inside compiled programs.

    For what single precision cannot give: differences of special functions. It costs the width of the numbers, so it
    is used only where there is no form that keeps its digits. The global setting is untouched. What JAX does after
    this has returned is done outside the double precision, so that little is left to it: see `_differentiable`.
    Mapping is, which fails for indexing and matrix products.
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
    """A function of doubles and of what does not move, evaluated and linearised in double precision, to any order.

    Its derivative is a linear map whose coefficients are such a function too. What JAX adds outside the double
    precision are then transpositions and derivatives of products with those coefficients, which need no constants. A
    derivative that is opaque as a whole will not do: JAX linearises a rule by what depends on the tangents.
    """

    @jax.custom_jvp
    def widened(moving: list[Array], held: list[Array]) -> Any:
        with jax.enable_x64(True):
            return value([jnp.asarray(leaf, jnp.float64) for leaf in moving], held)

    @widened.defjvp
    def _(primals: Any, tangents: Any) -> Any:
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
