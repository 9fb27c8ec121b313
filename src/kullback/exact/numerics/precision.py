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
    is used only where there is no form that keeps its digits. The global setting is untouched. The derivative is
    a form in double precision too, and so on to any order: JAX would form it only after this has returned. Only
    the transposition that makes a gradient of it is left to JAX, which fails for indexing and matrix products.
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
            return form(*jax.tree.unflatten(structure, filled))

        @jax.custom_jvp
        def widened(moving_leaves: list[Array], held_leaves: list[Array]) -> Any:
            with jax.enable_x64(True):
                result = value([jnp.asarray(leaf, jnp.float64) for leaf in moving_leaves], held_leaves)
            return jax.tree.map(lambda x: x.astype(dtype), result)

        @widened.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            # By itself, so that the value does not depend on the tangents: JAX linearises a rule by what does.
            def slope(at: list[Array], along: list[Array], fixed: list[Array]) -> Any:
                return jax.jvp(lambda x: value(x, fixed), (at,), (along,))[1]

            return widened(*primals), in_double(slope)(primals[0], tangents[0], primals[1])

        return widened([leaves[i] for i in moving], [leaves[i] for i in held])

    return run


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
