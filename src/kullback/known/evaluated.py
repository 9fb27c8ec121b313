"""Functions of the user's own, of one outcome: traced by JAX where they can be, else called on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from kullback.errors import InputError
from kullback.known.host import host_log_prob
from kullback.known.static import Static

# What a function raises that asks for the number behind a traced value: `float(x)`, `np.log(x)`, `if x > 0`.
UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


class Evaluated(NamedTuple):
    """A function of outcomes [..., *event], and whether JAX can see into it, and so differentiate it."""

    function: Partial
    traced: bool


def evaluated(function: Callable[..., Any], event_shape: tuple[int, ...], support: Any, argument: str) -> Evaluated:
    """`function` of one outcome as one of many.

    One that uses NumPy or SciPy, or branches on numbers, cannot be traced; it is called with NumPy arrays, outcome by
    outcome, by a callback. Raises `InputError` where it can be evaluated neither way.

    support   a NumPyro constraint, in which a first outcome is tried
    argument  what an error calls the function
    """
    about = Static((function, len(event_shape)))
    discrete = bool(getattr(support, "is_discrete", False))
    one = jax.ShapeDtypeStruct(event_shape, jnp.result_type(int if discrete else float))
    try:
        _one_number(jax.eval_shape(lambda x: _not_text(function(x), argument), one), argument)
    except InputError:
        raise
    except UNTRACEABLE as error:
        _try(function, _outcome(support, one), argument, error)
        return Evaluated(host_log_prob(_Rows(function, len(event_shape)), len(event_shape)), traced=False)
    except Exception:
        # A fault of the function's own, which evaluating it will show in its own words.
        return Evaluated(Partial(pointwise, about), traced=True)
    return Evaluated(Partial(pointwise, about), traced=True)


def _not_text(found: Any, argument: str) -> Any:
    if isinstance(found, str | bytes):
        raise InputError(f"{argument}: it returns {type(found).__name__}, and must return one number")
    return found


def _one_number(found: Any, argument: str) -> None:
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape is None or dtype is None:
        raise InputError(f"{argument}: it returns {type(found).__name__}, and must return one number")
    if int(np.prod(shape)) != 1:
        raise InputError(f"{argument}: it returns an array of shape {shape}, and must return one number")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise InputError(f"{argument}: it returns {dtype}, and must return one real number")


def pointwise(static: Static, x: Any) -> Array:
    """Apply (a function of one outcome, its event rank) to every outcome of x [..., *event]."""
    function, event_ndim = static.value
    x = jnp.asarray(x)
    shape = x.shape[: x.ndim - event_ndim]
    flat = x.reshape(-1, *x.shape[x.ndim - event_ndim :])
    return jax.vmap(lambda one: jnp.reshape(function(one), ()))(flat).reshape(shape)


@dataclass(frozen=True)
class _Rows:
    """A function of one outcome, of every outcome of an array of NumPy's [..., *event]."""

    function: Callable[..., Any]
    event_ndim: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        batch = values.shape[: values.ndim - self.event_ndim]
        flat = values.reshape(-1, *values.shape[values.ndim - self.event_ndim :])
        return np.reshape([number(self.function, one) for one in flat], batch)


def number(function: Callable[..., Any], *arguments: Any) -> float:
    """The one number that a function gives."""
    return float(np.reshape(np.asarray(function(*arguments)), ()))


def _outcome(support: Any, one: jax.ShapeDtypeStruct) -> np.ndarray:
    """Some outcome in the support, as the callback would give it."""
    zeros = np.zeros(one.shape, np.int64 if jnp.issubdtype(one.dtype, jnp.integer) else np.float64)
    try:
        found = np.broadcast_to(np.asarray(support.feasible_like(jnp.asarray(zeros))), one.shape).astype(zeros.dtype)
    except Exception:
        # Constraints of the user's own need not say where a point of them lies.
        found = zeros
    return found[()]


def _try(function: Callable[..., Any], outcome: Any, argument: str, traced: Exception) -> None:
    try:
        number(function, outcome)
    except Exception as error:
        shown = np.array2string(np.asarray(outcome), precision=4, threshold=6)
        raise InputError(
            f"{argument}: it is no JAX function ({type(traced).__name__}), and with a NumPy array it fails as well, at "
            f"{shown} ({type(error).__name__}: {error}); write it with jax.numpy and without branches on numbers, or "
            "so that it gives one number for a NumPy array of one outcome"
        ) from error
