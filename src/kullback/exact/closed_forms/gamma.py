"""The gamma distribution, the exponential, the chi-squared and the inverse gamma."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import gamma_entropy, gamma_gap
from kullback.numerics.ratios import gap, scale_gap

GammaLaw = dist.Gamma | dist.Exponential | dist.InverseGamma  # Chi2 is a Gamma


def shape_and_rate(d: GammaLaw) -> tuple[Array, Array]:
    """Concentration and rate of a distribution that is a gamma."""
    if isinstance(d, dist.Exponential):
        (rate,) = floats(d.rate)
        return jnp.ones_like(rate), rate
    concentration, rate = floats(d.concentration, d.rate)
    return concentration, rate


def gamma_kl(p: GammaLaw, q: GammaLaw) -> Float[Array, "*batch"]:
    """KL = aq φ((c − aq)/aq) + g(ap, aq), with c = ap bq/bp.

    g is the Bregman difference of log Γ(t) − t log t + t; that of t log t makes one square with the rates.
    Source: Penny (2001), on gamma densities, of which this is a rearrangement.
    """
    (a_p, b_p), (a_q, b_q) = shape_and_rate(p), shape_and_rate(q)
    a_p, b_p, a_q, b_q = floats(a_p, b_p, a_q, b_q)
    step = a_q - a_p
    c, rate_step = a_p * (b_q / b_p), (b_q - b_p) / b_p
    near = (jnp.abs(step) < 0.5 * a_p) & (jnp.abs(rate_step) < 0.5)
    excess = jnp.where(near, a_p * rate_step - step, c - a_q)
    return gap(a_q, c, excess) + gamma_gap(a_p, a_q, step)


def exponential_kl(p: dist.Exponential, q: dist.Exponential) -> Float[Array, "*batch"]:
    """KL = φ((λq − λp)/λp) = log(λp/λq) + λq/λp − 1.

    Source: Gil, Alajaji and Linder (2013), table 2.
    """
    rate_p, rate_q = floats(p.rate, q.rate)
    return scale_gap(rate_q, rate_p)


def entropy(p: GammaLaw) -> Float[Array, "*batch"]:
    """H = a − log b + log Γ(a) + (1 − a) digamma(a).

    Source: Cover and Thomas (2006), table 17.1.
    """
    a, b = shape_and_rate(p)
    return gamma_entropy(a) - jnp.log(b)


def exponential_entropy(p: dist.Exponential) -> Float[Array, "*batch"]:
    """H = 1 − log λ.

    Source: Shannon (1948), section 20.
    """
    (rate,) = floats(p.rate)
    return 1.0 - jnp.log(rate)


def inverse_gamma_entropy(p: dist.InverseGamma) -> Float[Array, "*batch"]:
    """H = log b + a + log Γ(a) − (1 + a) digamma(a), as H(1/x) = H(x) − 2 E log x for x the gamma variable.

    Source: Cover and Thomas (2006), table 17.1, for x; section 8.6 for the change of variable.
    """
    a, b = shape_and_rate(p)
    return gamma_entropy(a) + jnp.log(b) - 2.0 * jax.lax.digamma(a)


KL = {
    **every_pair(gamma_kl, dist.Gamma, dist.Chi2, dist.Exponential),
    (dist.Exponential, dist.Exponential): exponential_kl,
    (dist.InverseGamma, dist.InverseGamma): gamma_kl,
}

ENTROPY = {
    dist.Gamma: entropy,
    dist.Chi2: entropy,
    dist.Exponential: exponential_entropy,
    dist.InverseGamma: inverse_gamma_entropy,
}
