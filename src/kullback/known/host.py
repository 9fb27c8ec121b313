"""Functions that JAX cannot trace, called back on the host, in double precision.

They are log-probabilities and draws of other libraries, and functions of the user's own. Whether JAX can trace such a
function is found by trying; one that it can trace is not called back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array
from numpyro.distributions.constraints import Constraint

from kullback.errors import InputError
from kullback.known.static import Static


def host_log_prob(evaluate: Callable[[np.ndarray], Any], event_ndim: int = 0, batch: tuple[int, ...] = ()) -> Partial:
    """A log-probability x [..., *batch, *event] -> [..., *batch] for programs of JAX, of a function of NumPy arrays.

    evaluate    x [..., *batch, *event], doubles or integers -> log-probabilities [..., *batch]
    event_ndim  the rank of an outcome
    batch       the batch shape, with which the outcomes are broadcast
    """
    _thread()  # started here, so that it inherits the settings of this thread
    return Partial(_evaluated, Static((evaluate, event_ndim, batch)))


def host_sampler(
    draw: Callable[[np.random.Generator, int], Any], shape: tuple[int, ...], whole: bool = False
) -> Callable[[jax.Array, int], jax.Array | np.ndarray]:
    """A sampler (key, n) -> draws [n, *shape], also within programs of JAX, of a function of NumPy's generator.

    draw   (generator, n) -> draws [n, *shape]
    shape  that of one draw, a batch of laws included
    whole  whether draws are integers
    """
    _thread()
    return partial(_drawn, draw, shape, whole)


def on_host(log_prob: object) -> bool:
    """Whether a log-probability is one of these."""
    return isinstance(log_prob, Partial) and log_prob.func is _evaluated


def _evaluated(static: Static, x: ArrayLike) -> jax.Array:
    evaluate, event_ndim, batch = static.value
    x = jnp.asarray(x)
    lead, event = x.shape[: x.ndim - event_ndim], x.shape[x.ndim - event_ndim :]
    shape = np.broadcast_shapes(lead, batch)
    given, wanted = np.dtype(x.dtype), np.dtype(jnp.result_type(float))

    def host(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64) if given.kind == "f" else values
        with np.errstate(all="ignore"):
            found = np.asarray(evaluate(values))
        return np.broadcast_to(found, values.shape[: values.ndim - event_ndim]).astype(wanted)

    if not isinstance(x, Tracer):
        return jnp.asarray(host(np.broadcast_to(np.asarray(x), (*shape, *event))))
    return _called_back(host, jnp.broadcast_to(x, (*shape, *event)), shape, wanted)


def _drawn(
    draw: Callable[[np.random.Generator, int], Any], shape: tuple[int, ...], whole: bool, key: jax.Array, n: int
) -> jax.Array | np.ndarray:
    words, wanted = jax.random.key_data(key), np.dtype(jnp.result_type(int if whole else float))

    def host(words: np.ndarray) -> np.ndarray:
        found = np.asarray(draw(np.random.default_rng(words.ravel()), n))
        if whole:
            found = np.clip(found, np.iinfo(wanted).min, np.iinfo(wanted).max)
        return found.astype(wanted)

    if not isinstance(words, Tracer):
        return np.asarray(draw(np.random.default_rng(np.asarray(words).ravel()), n))
    return _called_back(host, words, (n, *shape), wanted, "sequential")


def _called_back(
    host: Callable[[np.ndarray], np.ndarray],
    x: jax.Array,
    shape: tuple[int, ...],
    wanted: np.dtype,
    mapped: str = "expand_dims",
) -> jax.Array:
    """host(x), of a shape and a type, from within a program; `mapped` says what becomes of it under `vmap`.

    JAX rounds the arguments and results of a callback to single precision unless double precision is enabled on the
    thread that it runs on, so a number of 64 bits is passed as two words of 32. XLA's threads flush numbers below
    2e-308 to 0, of which SciPy takes logarithms, so `host` runs on a thread of ours.
    """
    given, double = np.dtype(x.dtype), wanted.itemsize == 8

    def in_words(words: ArrayLike) -> np.ndarray:
        words = np.ascontiguousarray(words)
        values = words.view(given)[..., 0] if given.itemsize == 8 else words
        found = _thread().submit(host, values).result()
        return np.ascontiguousarray(found)[..., None].view(np.uint32) if double else found

    words = jax.lax.bitcast_convert_type(x, jnp.uint32) if given.itemsize == 8 else x
    result = jax.ShapeDtypeStruct((*shape, 2) if double else shape, np.uint32 if double else wanted)
    found = jax.pure_callback(in_words, result, words, vmap_method=mapped)
    return jax.lax.bitcast_convert_type(found, wanted) if double else found


_threads: dict[int, ThreadPoolExecutor] = {}


def _thread() -> ThreadPoolExecutor:
    """One thread, started at the first call; a process that was forked has its own."""
    pid = os.getpid()
    if pid not in _threads:
        _threads.clear()
        _threads[pid] = ThreadPoolExecutor(1, "kullback-host")
        _threads[pid].submit(int).result()
    return _threads[pid]


# Functions of the user's own, of one outcome.

# What JAX raises where a function needs the value of a traced number: `float(x)`, `np.log(x)`, `if x > 0`.
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


def evaluated(
    function: Callable[..., Any], event_shape: tuple[int, ...], support: Constraint | None, argument: str
) -> Evaluated:
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


def _not_text(found: object, argument: str) -> Any:
    if isinstance(found, str | bytes):
        raise InputError(f"{argument}: it returns {type(found).__name__}, and must return one number")
    return found


def _one_number(found: object, argument: str) -> None:
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape is None or dtype is None:
        raise InputError(f"{argument}: it returns {type(found).__name__}, and must return one number")
    if int(np.prod(shape)) != 1:
        raise InputError(f"{argument}: it returns an array of shape {shape}, and must return one number")
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise InputError(f"{argument}: it returns {dtype}, and must return one real number")


def pointwise(static: Static, x: ArrayLike) -> Array:
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


def number(function: Callable[..., Any], *arguments: np.ndarray) -> float:
    """The one number that a function gives."""
    return float(np.reshape(np.asarray(function(*arguments)), ()))


def _outcome(support: Constraint | None, one: jax.ShapeDtypeStruct) -> np.ndarray:
    """Some outcome in the support, as the callback would give it."""
    zeros = np.zeros(one.shape, np.int64 if jnp.issubdtype(one.dtype, jnp.integer) else np.float64)
    try:
        feasible = np.asarray(cast("Constraint", support).feasible_like(jnp.asarray(zeros)))
        found = np.broadcast_to(feasible, one.shape).astype(zeros.dtype)
    except Exception:
        # Constraints of the user's own need not say where a point of them lies.
        found = zeros
    return found[()]


def _try(function: Callable[..., Any], outcome: np.ndarray, argument: str, traced: Exception) -> None:
    try:
        number(function, outcome)
    except Exception as error:
        shown = np.array2string(np.asarray(outcome), precision=4, threshold=6)
        raise InputError(
            f"{argument}: it is no JAX function ({type(traced).__name__}), and with a NumPy array it fails as well, at "
            f"{shown} ({type(error).__name__}: {error}); write it with jax.numpy and without branches on numbers, or "
            "so that it gives one number for a NumPy array of one outcome"
        ) from error
