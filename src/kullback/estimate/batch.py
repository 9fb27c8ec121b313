"""Helpers of all rules that estimate: the batch, the mean over the inputs of a conditional, draws that broadcast."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float

from kullback.errors import InputError
from kullback.known import Known

A = TypeVar("A", jax.Array, np.ndarray)
F = TypeVar("F")


def batch_shape(p: Known, q: Known) -> tuple[int, ...]:
    """The batch shape of both sides together. Raises `InputError` where they do not broadcast."""
    try:
        return np.broadcast_shapes(p.batch_shape, q.batch_shape)
    except ValueError as error:
        raise InputError(
            f"p and q: batch shapes {p.batch_shape} and {q.batch_shape} do not broadcast; give both the same batch"
        ) from error


def mean_over_inputs(p: Known, q: Known) -> Float[np.ndarray, " n"] | None:
    """Weights [n] that sum to 1 over the inputs at which a conditional side stands; None where neither is one."""
    side = p if p.inputs is not None else q
    if side.inputs is None:
        return None
    weights = side.input_weights
    if weights is None:
        return np.full(len(side.inputs), 1.0 / len(side.inputs))
    return np.asarray(weights, np.float64) / np.sum(weights)


def spread(x: A, own: int, batch: int, event: int) -> A:
    """x [n, *own batch, *event] with axes of length 1 put in, so that it broadcasts with `batch` batch axes."""
    shape = x.shape
    return x.reshape(shape[0], *(1,) * (batch - own), *shape[1 : 1 + own], *shape[x.ndim - event :])


def doubled(function: F) -> F:
    """A `Partial` with its single-precision parameters made double, since JAX computes constants in their precision."""
    return jax.tree.map(_double, function)


def _double(leaf: Any) -> Any:
    single = isinstance(leaf, jax.Array | np.ndarray) and np.issubdtype(leaf.dtype, np.floating) and leaf.itemsize < 8
    return np.asarray(leaf, np.float64) if single else leaf
