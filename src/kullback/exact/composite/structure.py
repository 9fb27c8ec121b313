"""Distributions made of others: a divergence between two wholes reduced to one between parts.

These reductions hold for any measure of how two distributions differ that adds over independent parts.
"""

from __future__ import annotations

import copy
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool
from numpyro.distributions import Independent, MaskedDistribution, constraints
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.exact.composite import Parts, bijections


def reduce_pair(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """One step from wholes to parts: masked and expanded batches, independent coordinates, shared bijections."""
    if type(p) is MaskedDistribution or type(q) is MaskedDistribution:
        return _masked(p, q)
    if type(p) is ExpandedDistribution or type(q) is ExpandedDistribution:
        return _expanded(p, q)
    if type(p) is Independent and type(q) is Independent:
        return _independent(p, q)
    return bijections.transformed_pair(p, q)


def reduce_one(p: dist.Distribution) -> Parts | None:
    """The same for an entropy; both entries of a pair are the part of P."""
    if bijections.is_transformed(p):
        return bijections.transformed_one(p)
    parts = reduce_pair(p, p)
    return None if parts is None or parts.divergence_only else parts


def _masked(p: dist.Distribution, q: dist.Distribution) -> Parts:
    """A masked element counts 0, in value and gradient, whatever its parameters are."""
    (inner_p, mask_p), (inner_q, mask_q) = _unmask(p), _unmask(q)
    mask, shape = mask_p & mask_q, jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    if isinstance(mask, bool):
        return Parts(((inner_p, inner_q),), lambda x: x) if mask else Parts((), lambda: jnp.zeros(shape))
    mask = jnp.broadcast_to(mask, shape)
    return Parts(((guarded(inner_p, mask), guarded(inner_q, mask)),), lambda value: jnp.where(mask, value, 0.0))


def _unmask(d: dist.Distribution) -> tuple[dist.Distribution, Any]:
    return (d.base_dist, d._mask) if type(d) is MaskedDistribution else (d, True)


def _expanded(p: dist.Distribution, q: dist.Distribution) -> Parts:
    """The value of the base, broadcast."""
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    inner_p, inner_q = (d.base_dist if type(d) is ExpandedDistribution else d for d in (p, q))
    return Parts(((inner_p, inner_q),), lambda value: jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, shape)))


def _independent(p: Independent, q: Independent) -> Parts:
    """The divergences of independent coordinates add."""
    shared = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    event = tuple(p.event_shape[:shared])
    inner_p, inner_q = _outer(p, shared), _outer(q, shared)

    def finish(value: Array) -> Array:
        value = jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, event))
        return value.sum(tuple(range(value.ndim - shared, value.ndim)))

    return Parts(((inner_p, inner_q),), finish)


def _outer(d: Independent, shared: int) -> dist.Distribution:
    left = d.reinterpreted_batch_ndims - shared
    return Independent(d.base_dist, left, validate_args=False) if left else d.base_dist


# Bounds depend on each other, so NumPyro's constraints offer no value for them.
_BOUNDS = {"low": 0.0, "high": 1.0}


def guarded(d: dist.Distribution, mask: Bool[Array, "*batch"]) -> dist.Distribution:
    """The distribution with harmless parameters where `mask` [*batch] is false; what is masked may be NaN.

    A `where` on the values alone would pass 0 · NaN to the gradient.
    """
    if type(d) is ExpandedDistribution:
        return guarded(d.base_dist, mask)
    changed = copy.copy(d)
    for name, value in list(d.__dict__.items()):
        if isinstance(value, dist.Distribution):
            own = len(value.batch_shape) - len(d.batch_shape)
            if own < 0:
                continue
            inner = jnp.broadcast_to(
                _widened(mask, own), mask.shape + value.batch_shape[len(value.batch_shape) - own :]
            )
            setattr(changed, name, guarded(value, inner))
        elif name in d.arg_constraints and value is not None:
            setattr(changed, name, _chosen(value, d.arg_constraints[name], name, mask))
    changed._batch_shape = mask.shape
    return changed


def _chosen(value: ArrayLike, constraint: constraints.Constraint, name: str, mask: Array) -> ArrayLike:
    if name in _BOUNDS:
        return jnp.where(mask, value, _BOUNDS[name])
    if constraints.is_dependent(constraint) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        return value
    harmless = constraint.feasible_like(jnp.asarray(value))
    return jnp.where(_widened(mask, constraint.event_dim), value, harmless)


def _widened(mask: Array, axes: int) -> Array:
    return mask.reshape(mask.shape + (1,) * axes)
