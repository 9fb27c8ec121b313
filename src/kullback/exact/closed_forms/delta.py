"""Points: the divergence from or to a distribution with one outcome."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.exact.composite import Parts
from kullback.known.adaptors.numpyro_distributions import log_prob
from kullback.numerics.double_precision import in_double


def point(d: dist.Distribution) -> Float[Array, "*batch_and_event"] | None:
    """The one outcome [*batch, *event] of a distribution that is a point; None for any other."""
    if type(d) is dist.Delta:
        return jnp.asarray(d.v)
    if type(d) is dist.Independent or type(d) is ExpandedDistribution:
        inner = point(d.base_dist)
        return None if inner is None else jnp.broadcast_to(inner, d.batch_shape + d.event_shape)
    return None


def point_pair(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """The divergence where one side is a point v, all of whose probability is there: None where neither is.

    KL(δᵥ ‖ δᵥ) = 0 and KL(δᵥ ‖ δᵤ) = ∞; against a density ∞ in both directions; for P and Q of counts or labels
    KL(δᵥ ‖ Q) = −log Q(v), and KL(P ‖ δᵥ) is 0 where P(v) = 1 and ∞ elsewhere. NumPyro's `log_density` of a point is a
    factor of a model and no part of the law.

    NumPyro and TensorFlow Probability give `log_density − log q(v)` for a density q as well, which is a term of an
    evidence lower bound at a point, not a divergence: it may be negative, and changes with the unit of x.
    Source: Kullback and Leibler (1951), section 2.
    """
    v, u = point(p), point(q)
    if v is None and u is None:
        return None
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    axes = tuple(range(-len(p.event_shape), 0))
    if v is not None and u is not None:
        return Parts((), lambda: jnp.where((v == u).all(axes), jnp.zeros(shape), jnp.inf))
    other = q if u is None else p
    if other.support is None:
        return None
    if not other.support.is_discrete:
        return Parts((), lambda: jnp.full(shape, jnp.inf))
    if u is None:
        assert v is not None
        return Parts((), lambda: jnp.broadcast_to(-_log_mass(q, v), shape))
    return Parts((), lambda own: jnp.where((own == 0) & (_log_mass(p, u) > -0.5), jnp.zeros(shape), jnp.inf), (p,))


def _log_mass(d: dist.Distribution, v: Array) -> Array:
    return in_double(log_prob)(d, v)


def point_entropy(p: dist.Delta) -> Float[Array, "*batch"]:
    """H = 0, for a certain outcome.

    A point has a mass and no density, so that the entropy is that of a discrete law, in ℝ too; the differential entropy
    of normals that shrink to a point goes to −∞ instead. Source: Shannon (1948), section 6, property 1.
    """
    return jnp.zeros(p.batch_shape)


ENTROPY = {dist.Delta: point_entropy}
