"""Distributions made of others: a divergence between two wholes reduced to one between parts.

These reductions hold for any measure of how two distributions differ that adds over independent parts.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Independent, MaskedDistribution
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.exact.composite import bijections
from kullback.exact.composite.masks import guarded
from kullback.exact.reduction import Parts

__all__ = ["Parts", "reduce_one", "reduce_pair"]


def reduce_pair(p: Any, q: Any) -> Parts | None:
    """One step from wholes to parts: expanded and masked batches, independent coordinates, shared bijections."""
    if type(p) is MaskedDistribution or type(q) is MaskedDistribution:
        return _masked(p, q)
    if type(p) is ExpandedDistribution or type(q) is ExpandedDistribution:
        return _expanded(p, q)
    if type(p) is Independent and type(q) is Independent:
        return _independent(p, q)
    return bijections.transformed_pair(p, q)


def reduce_one(p: Any) -> Parts | None:
    """The same for an entropy; both entries of a pair are the part of P."""
    if bijections.is_transformed(p):
        return bijections.transformed_one(p)
    parts = reduce_pair(p, p)
    return None if parts is None or parts.divergence_only else parts


def _masked(p: Any, q: Any) -> Parts:
    """A masked element counts 0, in value and gradient, whatever its parameters are."""
    (inner_p, mask_p), (inner_q, mask_q) = _unmask(p), _unmask(q)
    mask, shape = mask_p & mask_q, jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    if isinstance(mask, bool):
        return Parts(((inner_p, inner_q),), lambda x: x) if mask else Parts((), lambda: jnp.zeros(shape))
    mask = jnp.broadcast_to(mask, shape)
    return Parts(((guarded(inner_p, mask), guarded(inner_q, mask)),), lambda value: jnp.where(mask, value, 0.0))


def _unmask(d: Any) -> tuple[Any, Any]:
    return (d.base_dist, d._mask) if type(d) is MaskedDistribution else (d, True)


def _expanded(p: Any, q: Any) -> Parts:
    """The value of the base, broadcast."""
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    inner_p, inner_q = (d.base_dist if type(d) is ExpandedDistribution else d for d in (p, q))
    return Parts(((inner_p, inner_q),), lambda value: jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, shape)))


def _independent(p: Any, q: Any) -> Parts:
    """The divergences of independent coordinates add."""
    shared = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    event = tuple(p.event_shape[:shared])
    inner_p, inner_q = _outer(p, shared), _outer(q, shared)

    def finish(value: Array) -> Array:
        value = jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, event))
        return value.sum(tuple(range(value.ndim - shared, value.ndim)))

    return Parts(((inner_p, inner_q),), finish)


def _outer(d: Any, shared: int) -> Any:
    left = d.reinterpreted_batch_ndims - shared
    return Independent(d.base_dist, left, validate_args=False) if left else d.base_dist
