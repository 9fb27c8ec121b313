"""Distributions made of others: a divergence between two wholes reduced to one between parts.

The reductions to independent parts hold for any measure of how two distributions differ that adds over them. Where
parts depend on each other, joint laws are reduced by the chain rule; a Gaussian copula with the same marginals on both
sides differs by the copula alone.
"""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float
from numpyro.distributions import Independent, MaskedDistribution, constraints
from numpyro.distributions.copula import GaussianCopula, GaussianCopulaBeta
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.distributions import Joint, Product
from kullback.exact.closed_forms import categorical, delta
from kullback.exact.closed_forms.multivariate import NORMAL_ENTROPY
from kullback.exact.composite import Parts, bijections
from kullback.exact.composite.mixtures import is_discrete, unsqueezed
from kullback.exact.type_keys import equal_parameters, known_equal, unexpanded
from kullback.known.adaptors.numpyro_distributions import log_prob


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


CopulaLaw = GaussianCopula | GaussianCopulaBeta

_LAWS = (Joint, Product)


# One step of the reduction.


def dependent_pair(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """One step from a divergence of wholes to divergences of parts that are not independent."""
    if (parts := delta.point_pair(p, q)) is not None:
        return parts
    if type(p) in _LAWS or type(q) in _LAWS:
        return _laws(p, q)
    return copula_pair(p, q) if _is_copula(p) and _is_copula(q) else None


def dependent_one(p: dist.Distribution) -> Parts | None:
    """The same for an entropy."""
    if type(p) in _LAWS:
        return _laws(p, p)
    return copula_one(p) if _is_copula(p) else None


def _laws(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    if type(p) is Product and type(q) is Product:
        return _products(p, q)
    if type(p) is Joint and type(q) is Joint:
        return _joints(p, q.first, q.then) if p.labels == q.labels else None
    if type(p) is Joint and type(q) is Product:
        return _joint_and_product(p, q, swapped=False)
    if type(p) is Product and type(q) is Joint:
        return _joint_and_product(q, p, swapped=True)
    return _law_and_density(p, q) or _law_and_density(q, p)


def _law_and_density(law: dist.Distribution, other: dist.Distribution) -> Parts | None:
    """∞ in both directions, where a coordinate is a label under one side and all have a density under the other."""
    labels = isinstance(law, Joint | Product) and any(part.support.is_discrete for part in law.parts)
    if not labels or type(other) in _LAWS or other.support is None or other.support.is_discrete:
        return None
    shape = jnp.broadcast_shapes(law.batch_shape, other.batch_shape)
    return Parts((), lambda: jnp.full(shape, jnp.inf))


# Joint laws.


def _products(p: Product, q: Product) -> Parts | None:
    """KL = Σ KL(pᵢ ‖ qᵢ), of products over the same blocks. Source: Kullback and Leibler (1951), theorem 3.1."""
    if [part.event_shape for part in p.parts] != [part.event_shape for part in q.parts]:
        return None
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)

    def finish(*values: Array) -> Array:
        return jnp.broadcast_to(sum(values, start=jnp.zeros(())), shape)

    return Parts(tuple(zip(p.parts, q.parts, strict=True)), finish)


def _joints(p: Joint, first: dist.Distribution, then: dist.Distribution) -> Parts | None:
    """KL = KL(x) + Σ p(x) KL(y∣x), where 0 · ∞ = 0. Source: Cover and Thomas (2006), theorem 2.5.3."""
    probs = label_probs(p.first, p.labels)
    return _conditional(probs, ((p.first, first), (p.then, then)))


def _conditional(probs: Array | None, pairs: tuple[tuple[Any, Any], ...]) -> Parts | None:
    if probs is None:
        return None
    return Parts(pairs, lambda label, given: label + categorical.weighted_sum(probs, given))


def _joint_and_product(joint: Joint, product: Product, swapped: bool) -> Parts | None:
    """The same, where under one side the second variable does not depend on the first."""
    if (
        len(product.parts) != 2
        or product.parts[0].event_shape
        or product.parts[1].event_shape != joint.then.event_shape
    ):
        return None
    first, second = product.parts[0], _with_labels(product.parts[1])
    if second is None:
        return None
    sides = ((joint.first, first), (joint.then, second))
    pairs = tuple((b, a) if swapped else (a, b) for a, b in sides)
    return _conditional(label_probs(first if swapped else joint.first, joint.labels), pairs)


def _with_labels(d: dist.Distribution) -> dist.Distribution | None:
    """The distribution with a last batch axis of length 1, for the labels."""
    return d if not d.batch_shape else unsqueezed(d, 0)


def label_probs(d: dist.Distribution, labels: int) -> Float[Array, "*batch k"] | None:
    """The probabilities [..., K] of the labels 0, ..., K − 1; None where the distribution may have others."""
    if (probs := categorical.label_probs(unexpanded(d))) is not None:
        return probs if probs.shape[-1] == labels else None
    support = d.support
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if not isinstance(support, constraints.integer_interval) or not _are(low, 0) or not _are(high, labels - 1):
        return None
    return jnp.moveaxis(jnp.exp(log_prob(d, jnp.arange(labels).reshape(-1, *(1,) * len(d.batch_shape)))), 0, -1)


def _are(bound: object, number: int) -> bool:
    return bool(np.all(np.asarray(bound) == number))


# Copulas.


def _is_copula(d: dist.Distribution) -> TypeGuard[CopulaLaw]:
    return type(d) is GaussianCopula or type(d) is GaussianCopulaBeta


def copula_pair(p: CopulaLaw, q: CopulaLaw) -> Parts | None:
    """KL = KL(N(0, Rp) ‖ N(0, Rq)): equal continuous marginals are one bijection, coordinate by coordinate.

    Source: Sklar (1959), with the invariance of the divergence (Kullback and Leibler 1951, theorem 4.1).
    """
    if is_discrete(p.marginal_dist) or not _same_marginals(p, q):
        return None
    return Parts(((p.base_dist, q.base_dist),), lambda value: value, divergence_only=True)


def _same_marginals(p: CopulaLaw, q: CopulaLaw) -> bool:
    if isinstance(p, GaussianCopulaBeta) and isinstance(q, GaussianCopulaBeta):
        return known_equal(p.concentration1, q.concentration1) and known_equal(p.concentration0, q.concentration0)
    return equal_parameters(p.marginal_dist, q.marginal_dist)


def copula_one(p: CopulaLaw) -> Parts | None:
    """H = Σ H(marginal) + H(N(0, R)) − (d/2) log 2πe. Source: as for the divergence (Sklar 1959)."""
    if is_discrete(p.marginal_dist):
        return None
    size = p.event_shape[-1]

    def finish(marginal: Array, normal: Array) -> Array:
        total = marginal.sum(-1) if marginal.ndim and marginal.shape[-1] == size else size * _single(marginal)
        return total + normal - size * NORMAL_ENTROPY

    return Parts(((p.marginal_dist, p.marginal_dist), (p.base_dist, p.base_dist)), finish)


def _single(marginal: Array) -> Array:
    return marginal[..., 0] if marginal.ndim else marginal
