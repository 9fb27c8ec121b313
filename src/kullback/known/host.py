"""Log-probabilities and draws that are computed outside JAX, in double precision, by a call back to the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from kullback.known.static import Static


def host_log_prob(evaluate: Callable[[np.ndarray], Any], event_ndim: int = 0, batch: tuple[int, ...] = ()) -> Partial:
    """A log-probability x [..., *batch, *event] -> [..., *batch] for programs of JAX, of a function of NumPy arrays.

    evaluate    x [..., *batch, *event], doubles or integers -> log-probabilities [..., *batch]
    event_ndim  the rank of an outcome
    batch       the batch shape, with which the outcomes are broadcast
    """
    _thread()  # from here, whose settings it inherits
    return Partial(_evaluated, Static((evaluate, event_ndim, batch)))


def host_sampler(
    draw: Callable[[np.random.Generator, int], Any], shape: tuple[int, ...], whole: bool = False
) -> Callable[[jax.Array, int], Any]:
    """A sampler (key, n) -> draws [n, *shape], also within programs of JAX, of a function of NumPy's generator.

    draw   (generator, n) -> draws [n, *shape]
    shape  that of one draw, a batch of laws included
    whole  whether draws are integers
    """
    _thread()
    return partial(_drawn, draw, shape, whole)


def on_host(log_prob: Any) -> bool:
    """Whether a log-probability is one of these."""
    return isinstance(log_prob, Partial) and log_prob.func is _evaluated


def _evaluated(static: Static, x: Any) -> jax.Array:
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


def _drawn(draw: Any, shape: tuple[int, ...], whole: bool, key: jax.Array, n: int) -> Any:
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
    host: Any, x: jax.Array, shape: tuple[int, ...], wanted: np.dtype, mapped: str = "expand_dims"
) -> jax.Array:
    """host(x), of a shape and a type, from within a program; `mapped` says what becomes of it under `vmap`.

    JAX rounds what a callback is given and what it returns to single precision where double precision is not enabled on
    the thread that it runs on, so that a number of 64 bits goes to and fro as two words of 32. And the threads of XLA
    put 0 for what is below 2e-308, which SciPy takes logarithms of, so that `host` runs on a thread of ours.
    """
    given, double = np.dtype(x.dtype), wanted.itemsize == 8

    def in_words(words: Any) -> np.ndarray:
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
