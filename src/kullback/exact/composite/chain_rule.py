"""Wholes whose parts depend on each other: joint laws by the chain rule, copulas, and points."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import constraints

from kullback.distributions import Joint, Product
from kullback.exact.closed_forms import categorical, copula, delta
from kullback.exact.composite.broadcasting import unsqueezed
from kullback.exact.reduction import Parts
from kullback.exact.type_keys import unexpanded
from kullback.known.adaptors.numpyro_distributions import log_prob

_LAWS = (Joint, Product)


def dependent_pair(p: Any, q: Any) -> Parts | None:
    """One step from a divergence of wholes to those of parts, where the parts are not independent."""
    if (parts := delta.point_pair(p, q)) is not None:
        return parts
    if type(p) in _LAWS or type(q) in _LAWS:
        return _laws(p, q)
    return copula.copula_pair(p, q) if type(p) in copula.KINDS and type(q) in copula.KINDS else None


def dependent_one(p: Any) -> Parts | None:
    """The same for an entropy."""
    if type(p) in _LAWS:
        return _laws(p, p)
    return copula.copula_one(p) if type(p) in copula.KINDS else None


def _laws(p: Any, q: Any) -> Parts | None:
    if type(p) is Product and type(q) is Product:
        return _products(p, q)
    if type(p) is Joint and type(q) is Joint:
        return _joints(p, q.first, q.then) if p.labels == q.labels else None
    if type(p) is Joint and type(q) is Product:
        return _joint_and_product(p, q, swapped=False)
    if type(p) is Product and type(q) is Joint:
        return _joint_and_product(q, p, swapped=True)
    return _law_and_density(p, q) or _law_and_density(q, p)


def _law_and_density(law: Any, other: Any) -> Parts | None:
    """∞, either way, where a coordinate is a label under one side and all have a density under the other."""
    labels = type(law) in _LAWS and any(part.support.is_discrete for part in law.parts)
    if not labels or type(other) in _LAWS or other.support is None or other.support.is_discrete:
        return None
    shape = jnp.broadcast_shapes(law.batch_shape, other.batch_shape)
    return Parts((), lambda: jnp.full(shape, jnp.inf))


def _products(p: Product, q: Product) -> Parts | None:
    """KL = Σ KL(pᵢ ‖ qᵢ), of products over the same blocks. Source: Kullback and Leibler (1951), theorem 3.1."""
    if [part.event_shape for part in p.parts] != [part.event_shape for part in q.parts]:
        return None
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)

    def finish(*values: Array) -> Array:
        return jnp.broadcast_to(sum(values, start=jnp.zeros(())), shape)

    return Parts(tuple(zip(p.parts, q.parts, strict=True)), finish)


def _joints(p: Joint, first: Any, then: Any) -> Parts | None:
    """KL = KL(x) + Σ p(x) KL(y∣x), where 0 · ∞ = 0. Source: Cover and Thomas (2006), theorem 2.5.3."""
    probs = label_probs(p.first, p.labels)
    return _conditional(probs, ((p.first, first), (p.then, then)))


def _conditional(probs: Array | None, pairs: tuple[tuple[Any, Any], ...]) -> Parts | None:
    if probs is None:
        return None
    live = probs > 0

    def finish(label: Array, given: Array) -> Array:
        terms = jnp.where(live, probs * jnp.where(live, given, 0.0), 0.0)
        return label + terms.sum(-1)

    return Parts(pairs, finish)


def _joint_and_product(joint: Joint, product: Product, swapped: bool) -> Parts | None:
    """The same where under one of the sides the second variable does not depend on the first."""
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


def _with_labels(d: Any) -> Any | None:
    """With a last batch axis of length 1, for the labels."""
    return d if not d.batch_shape else unsqueezed(d, 0)


def label_probs(d: Any, labels: int) -> Array | None:
    """The probabilities [..., K] of the labels 0, ..., K − 1; None where the distribution may have others."""
    if (probs := categorical.label_probs(unexpanded(d))) is not None:
        return probs if probs.shape[-1] == labels else None
    support = d.support
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if not isinstance(support, constraints.integer_interval) or not _are(low, 0) or not _are(high, labels - 1):
        return None
    return jnp.moveaxis(jnp.exp(log_prob(d, jnp.arange(labels).reshape(-1, *(1,) * len(d.batch_shape)))), 0, -1)


def _are(bound: Any, number: int) -> bool:
    return bool(np.all(np.asarray(bound) == number))
