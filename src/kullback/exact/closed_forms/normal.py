"""The normal distribution of one dimension, the log-normal and the half normal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import HALF_LOG_2PI
from kullback.numerics.ratios import in_own_precision, is_normal, rule_in_own_precision, scale_terms, unequal


def normal_kl(p: dist.Normal | dist.LogNormal, q: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """KL = φ(u) + ½u² + ½((μp − μq)/σq)² with u = (σp − σq)/σq.

    Source: Kullback (1959), chapter 9, section 1, for one dimension, written as a sum of non-negative terms.
    """
    loc_p, scale_p, loc_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _kl(loc_p - loc_q, scale_p, scale_q)


def half_normal_kl(p: dist.HalfNormal, q: dist.HalfNormal) -> Float[Array, "*batch"]:
    """KL = φ(u) + ½u² with u = (σp − σq)/σq: the sign of a normal x carries no information about the scale.

    Source: as for two normals of mean 0.
    """
    scale_p, scale_q = floats(p.scale, q.scale)
    return _kl(jnp.zeros_like(scale_q), scale_p, scale_q)


@jax.custom_jvp
@in_own_precision
def _kl(distance: Array, scale_p: Array, scale_q: Array) -> Array:
    gap, u, inverse = scale_terms(scale_p, scale_q)
    value = gap + 0.5 * (jnp.square(u) + jnp.square(distance * inverse))
    # At scale 0 both are points, which are equal (0) or not (∞).
    edge = unequal(scale_p, scale_q) + unequal(distance, jnp.zeros_like(distance))
    return jnp.where(is_normal(scale_p) & is_normal(scale_q), value, edge)


@_kl.defjvp
@rule_in_own_precision
def _(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    distance, scale_p, scale_q = primals
    inverse = jnp.where(is_normal(scale_p) & is_normal(scale_q), 1.0 / scale_q, 0.0)
    u, z = (scale_p - scale_q) * inverse, distance * inverse
    both = u * (2.0 + u)
    along_p = both / jnp.where(inverse > 0, scale_p, 1.0)
    along_q = -inverse * (both + z * z)
    return _kl(*primals), z * inverse * tangents[0] + along_p * tangents[1] + along_q * tangents[2]


def normal_entropy(p: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """H = log σ + ½ log 2πe.

    Source: Shannon (1948), section 20.
    """
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 + jnp.zeros_like(loc)


def log_normal_entropy(p: dist.LogNormal) -> Float[Array, "*batch"]:
    """H = μ + log σ + ½ log 2πe: that of the normal log x, and its mean.

    Source: Cover and Thomas (2006), table 17.1.
    """
    return normal_entropy(p) + floats(p.loc)[0]


def half_normal_entropy(p: dist.HalfNormal) -> Float[Array, "*batch"]:
    """H = log σ + ½ log 2πe − log 2, since the sign of a normal x of mean 0 has the entropy log 2.

    Source: as for a normal of mean 0.
    """
    (scale,) = floats(p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 - jnp.log(2.0)


KL = {
    (dist.Normal, dist.Normal): normal_kl,
    (dist.LogNormal, dist.LogNormal): normal_kl,
    (dist.HalfNormal, dist.HalfNormal): half_normal_kl,
}

ENTROPY = {
    dist.Normal: normal_entropy,
    dist.LogNormal: log_normal_entropy,
    dist.HalfNormal: half_normal_entropy,
}
