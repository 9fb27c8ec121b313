"""The one optimiser: an Optax transformation of gradients, by default Adam on gradients that are clipped adaptively.

A rule that descends takes `optimiser=`, any `optax.GradientTransformation`. Its updates are added to the parameters, as
is usual in Optax, times a factor of the rule's own: the step size of the default optimiser, which falls where progress
stops. With an optimiser of the user's, whose updates have their step size already, that factor starts at 1.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from kullback.errors import InputError
from kullback.training.ravel import on_host

MEAN, SQUARES = 0.9, 0.999  # memory of gradients and of their squares
LONGEST, FIRST_STEPS = 4.0, 10  # times the usual length of a gradient, once that is known


class UsualLength(NamedTuple):
    """The mean square of the length of clipped gradients, as an exponential average from 0, and how many there were."""

    square: Float[Array, ""]
    seen: Int[Array, ""]


def adaptive_clipping(longest: float = LONGEST, first: int = FIRST_STEPS) -> optax.GradientTransformation:
    """Gradients no longer than `longest` times their usual length, which the `first` steps only measure.

    One row far from all others would otherwise make the step size small for the thousand steps over which Adam
    remembers squares.
    """

    def init(params: Any) -> UsualLength:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return UsualLength(jnp.zeros((), dtype), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, UsualLength]:
        square = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(updates))
        length = jnp.sqrt(square)
        usual = jnp.sqrt(state.square / (1.0 - SQUARES ** jnp.maximum(state.seen, 1)))
        far = (state.seen >= first) & (usual > 0) & (length > longest * usual)
        factor = jnp.where(far, longest * usual / length, 1.0)
        square = SQUARES * state.square + (1.0 - SQUARES) * jnp.where(far, jnp.square(longest * usual), square)
        return jax.tree.map(lambda leaf: factor * leaf, updates), UsualLength(square, state.seen + 1)

    return optax.GradientTransformation(init, update)


# Adam (Kingma and Ba 2015, algorithm 1) on clipped gradients: a step is of length about 1 in each parameter.
DEFAULT = optax.chain(adaptive_clipping(), optax.scale_by_adam(b1=MEAN, b2=SQUARES), optax.scale(-1.0))


class Descent(NamedTuple):
    """Parameters on their way down (any tree of arrays), what the optimiser remembers of gradients, and steps done."""

    x: Any
    memory: Any
    steps: Int[Array, ""]


def begin(x: Any, optimiser: optax.GradientTransformation = DEFAULT) -> Descent:
    """Before the first step, on the host."""
    if optimiser is DEFAULT:  # its memory starts at 0, and nothing need be compiled to know that
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(optimiser.init, x))
    else:
        empty = jax.tree.map(np.asarray, optimiser.init(jax.tree.map(jnp.asarray, x)))
    return on_host(Descent, x=x, memory=empty, steps=np.zeros((), np.int32))


def descend(descent: Descent, gradient: Any, rate: Any, optimiser: optax.GradientTransformation = DEFAULT) -> Descent:
    """After one step along a gradient."""
    updates, memory = optimiser.update(gradient, descent.memory, descent.x)
    x = jax.tree.map(lambda x, step: (x + rate * step).astype(x.dtype), descent.x, updates)
    return Descent(x, memory, descent.steps + 1)


def restarted(descent: Descent, x: Any, where: Any, optimiser: optax.GradientTransformation = DEFAULT) -> Descent:
    """`descent`, but where `where` is true at x, with nothing remembered."""
    pick = lambda new, old: jnp.where(where, new, old)  # noqa: E731
    memory = jax.tree.map(pick, optimiser.init(x), descent.memory)
    return Descent(jax.tree.map(pick, x, descent.x), memory, descent.steps)


def checked(optimiser: Any) -> optax.GradientTransformation:
    """What the user passed as `optimiser=`, or the default where that is None."""
    if optimiser is None:
        return DEFAULT
    if isinstance(optimiser, optax.GradientTransformation):
        return optimiser
    called = " (call it)" if callable(optimiser) else ""
    raise InputError(
        f"optimiser: {optimiser!r:.60} is no Optax gradient transformation{called}; optax.adam(1e-3) makes one"
    )


def settings_in_words(rule: Any) -> str:
    """The settings of a rule that takes `optimiser=`, which two processes write alike."""
    return repr(rule) if rule.optimiser is None else f"{rule!r} {in_words(rule.optimiser)}"


def in_words(optimiser: Any) -> str:
    """An Optax transformation by the functions that it is made of and the values that they close over.

    Two processes that make the same one say the same; addresses are left out.
    """
    if isinstance(optimiser, partial):
        return f"partial({in_words((optimiser.func, optimiser.args, tuple(sorted(optimiser.keywords.items()))))})"
    if isinstance(optimiser, tuple | list):
        return f"({', '.join(map(in_words, optimiser))})"
    if isinstance(optimiser, dict):
        return in_words(tuple(sorted(optimiser.items())))
    if isinstance(optimiser, np.ndarray | np.generic | jax.Array):
        return repr(np.asarray(optimiser).tolist())
    if not callable(optimiser):
        simple = optimiser is None or isinstance(optimiser, str | int | float | bool | complex)
        return repr(optimiser) if simple else type(optimiser).__name__
    cells = getattr(inspect.unwrap(optimiser), "__closure__", None) or ()
    name = getattr(optimiser, "__qualname__", type(optimiser).__name__)
    return f"{getattr(optimiser, '__module__', '')}.{name}({', '.join(in_words(cell.cell_contents) for cell in cells)})"
