"""Distributions made of others: a divergence between two wholes reduced to one between parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Independent, MaskedDistribution, TransformedDistribution
from numpyro.distributions.distribution import ExpandedDistribution


class Parts(NamedTuple):
    """Pairs of parts, and how the divergence of the wholes follows from theirs."""

    pairs: tuple[tuple[Any, Any], ...]
    finish: Callable[..., Array]


def reduce_pair(p: Any, q: Any) -> Parts | None:
    """One step from wholes to parts: expanded and masked batches, independent coordinates, shared bijections."""
    if type(p) is MaskedDistribution or type(q) is MaskedDistribution:
        return _masked(p, q)
    if type(p) is ExpandedDistribution or type(q) is ExpandedDistribution:
        return _expanded(p, q)
    if type(p) is Independent and type(q) is Independent:
        return _independent(p, q)
    if type(p) is TransformedDistribution and type(q) is TransformedDistribution:
        return _transformed(p, q)
    return None


def reduce_one(p: Any) -> Parts | None:
    """The same for an entropy; both entries of a pair are the part of P."""
    if type(p) is TransformedDistribution:
        return None  # an entropy changes under a bijection, unlike a divergence
    return reduce_pair(p, p)


def _masked(p: Any, q: Any) -> Parts:
    """A masked element counts 0."""
    (inner_p, mask_p), (inner_q, mask_q) = _unmask(p), _unmask(q)
    mask = mask_p & mask_q
    return Parts(((inner_p, inner_q),), lambda value: jnp.where(mask, value, 0.0))


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


def _transformed(p: Any, q: Any) -> Parts | None:
    """Nothing is lost or gained by a bijection that both share."""
    if len(p.transforms) != len(q.transforms):
        return None
    if not all(_one_bijection(a, b) for a, b in zip(p.transforms, q.transforms, strict=True)):
        return None
    return Parts(((p.base_dist, q.base_dist),), lambda value: value)


_BIJECTIONS = (
    dist.transforms.AffineTransform,
    dist.transforms.ExpTransform,
    dist.transforms.IdentityTransform,
    dist.transforms.LowerCholeskyAffine,
    dist.transforms.SigmoidTransform,
    dist.transforms.SoftplusTransform,
    dist.transforms.StickBreakingTransform,
)


def _one_bijection(a: Any, b: Any) -> bool:
    if not isinstance(a, _BIJECTIONS):
        return False
    if a is b:
        return True
    try:
        return bool(a == b)
    except Exception:  # the parameters are traced, so equality is not known
        return False
