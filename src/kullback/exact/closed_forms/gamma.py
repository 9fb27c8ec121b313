"""The gamma distribution, exponential, chi-squared and inverse gamma; families of which powers are gamma; Gompertz.

(x/s)ᵖ ~ Gamma(α, 1) makes Weibull of α = 1, the half normal of α = ½ and p = 2, and the gamma of p = 1. Near
a common member of two families, as the exponential, the divergence is of second order, and is computed so.

The Gompertz variable is log(1 + E/η)/b for an exponential variable E of rate 1. Means of functions of E are taken by
the trapezoidal rule in log E, where the integrands are analytic for |Im| < π/2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.incomplete_gamma import lower_gamma
from kullback.numerics.log_gamma import gamma_entropy, gamma_gap
from kullback.numerics.quadrature import trapezoidal
from kullback.numerics.ratios import gap, phi, psi, scale_gap

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


def gamma_law_entropy(p: GammaLaw) -> Float[Array, "*batch"]:
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


GeneralizedGamma = GammaLaw | dist.Weibull | dist.HalfNormal

_GAMMAS = (dist.Gamma, dist.Chi2, dist.Exponential)
_KINDS = (*_GAMMAS, dist.Weibull, dist.HalfNormal)


class PowerOfGamma(NamedTuple):
    """The shape α and power p, and the logarithm of the scale s."""

    shape: Float[Array, "*s"]
    power: Float[Array, "*s"]
    log_scale: Float[Array, "*s"]


def as_power_of_gamma(d: GeneralizedGamma) -> PowerOfGamma:
    """The parameters of a distribution of this kind, or of an inverse gamma, for which p = −1."""
    if isinstance(d, dist.Weibull):
        scale, power = floats(d.scale, d.concentration)
        return PowerOfGamma(jnp.ones_like(scale), power, jnp.log(scale))
    if isinstance(d, dist.HalfNormal):
        (scale,) = floats(d.scale)
        return PowerOfGamma(jnp.full_like(scale, 0.5), jnp.full_like(scale, 2.0), jnp.log(scale) + 0.5 * jnp.log(2.0))
    shape, rate = shape_and_rate(d)
    sign = -1.0 if isinstance(d, dist.InverseGamma) else 1.0
    return PowerOfGamma(shape, jnp.full_like(shape, sign), -sign * jnp.log(rate))


@in_double
def generalized_gamma_kl(p: GeneralizedGamma, q: GeneralizedGamma) -> Float[Array, "*batch"]:
    """KL = β ψ(w) + g(α, β) + φ(ε) + β G + ε (β − α)/α, with κ = p_q/p_p = 1 + ε.

    α and β are the shapes of P and Q, G the Bregman difference of log Γ from α + 1 to α + κ, g that of
    log Γ(t) − t log t + t, and w = log(E_P (x/s_q)^p_q / β) = ε digamma(α + 1) + G + log(α/β) + p_q log(s_p/s_q).
    Source: Bauckhage (2014), Computing the Kullback–Leibler divergence between two generalized gamma distributions,
    eq. 14, split into terms of second order.
    """
    one, two = as_power_of_gamma(p), as_power_of_gamma(q)
    alpha, beta, kappa = jnp.broadcast_arrays(one.shape, two.shape, two.power / one.power)
    excess, step = kappa - 1.0, beta - alpha
    curved = gap(alpha + kappa, alpha + 1.0, -excess) + gamma_gap(alpha + 1.0, alpha + kappa, excess)
    level = excess * jax.lax.digamma(alpha + 1.0) + curved + jnp.log(alpha / beta)
    w = level + two.power * (one.log_scale - two.log_scale)
    shapes = gamma_gap(alpha, beta, step) + phi(excess) + beta * curved
    return beta * psi(w) + shapes + excess * step / alpha


class ExponentialNodes(NamedTuple):
    """L = log(1 + E/η) and e^L at points, and their probabilities."""

    log: Float[Array, "*s n"]
    value: Float[Array, "*s n"]
    weight: Float[Array, "*s n"]


def exponential_nodes(eta: Float[Array, "*s"], reach: Float[Array, "*s"]) -> ExponentialNodes:
    """The points, up to where e^(reach·L) times the density is negligible."""
    low = jnp.full_like(eta, -20.0)
    high = jax.lax.stop_gradient(jnp.log(60.0 + 14.0 * jnp.sqrt(jnp.maximum(reach, 1.0))))
    at, spacing = trapezoidal(low, high, 256)
    ratio = jnp.exp(at) / eta[..., None]
    return ExponentialNodes(jnp.log1p(ratio), 1.0 + ratio, spacing * jnp.exp(at - jnp.exp(at)))


@in_double
def gompertz_kl(p: dist.Gompertz, q: dist.Gompertz) -> Float[Array, "*batch"]:
    """KL = φ(ρ − 1) + φ(δ) + (ρ − 1) δ (1 + E L) + η' E[e^L ψ(δL)], with ρ = η'/η, b'/b = 1 + δ and L = bx.

    Source: the density; E e^L = 1 + 1/η and η E[L e^L] = 1 + E L by parts, which leaves terms of second order. Far
    apart E e^((1+δ)L) is an incomplete gamma function: Lenart (2014), The moments of the Gompertz distribution, eq. 5.
    """
    eta, rate, eta_q, rate_q = jnp.broadcast_arrays(*floats(p.concentration, p.rate, q.concentration, q.rate))
    delta, excess = (rate_q - rate) / rate, (eta_q - eta) / eta
    kappa = 1.0 + delta
    # A sharp peak within the range of E.
    far = (kappa > 8.0) & (kappa > eta)
    step = jnp.where(far, 0.0, delta)
    points = exponential_nodes(eta, jnp.where(far, 1.0, kappa))
    mean = (points.weight * points.log).sum(-1)
    close = (points.weight * points.value * psi(step[..., None] * points.log)).sum(-1)
    at, shape = jnp.where(far, eta, 1.0), jnp.where(far, kappa, 8.0)
    upper = jnp.log1p(-lower_gamma(shape + 1.0, at))
    power = jnp.exp(at - shape * jnp.log(at) + jax.lax.lgamma(shape + 1.0) + upper)
    apart = power - (1.0 + 1.0 / eta) - delta * (1.0 + mean) / eta
    return phi(excess) + phi(delta) + excess * delta * (1.0 + mean) + eta_q * jnp.where(far, apart, close)


@in_double
def gompertz_entropy(p: dist.Gompertz) -> Float[Array, "*batch"]:
    """H = 1 − log ηb − E L, with L = bx. Source: the density, whose exponent η(e^L − 1) has mean 1."""
    eta, rate = jnp.broadcast_arrays(*floats(p.concentration, p.rate))
    points = exponential_nodes(eta, jnp.ones_like(eta))
    return 1.0 - jnp.log(eta * rate) - (points.weight * points.log).sum(-1)


KL = {
    **every_pair(gamma_kl, dist.Gamma, dist.Chi2, dist.Exponential),
    (dist.Exponential, dist.Exponential): exponential_kl,
    (dist.InverseGamma, dist.InverseGamma): gamma_kl,
    **{
        (p, q): generalized_gamma_kl
        for p in _KINDS
        for q in _KINDS
        if p is not q and not (p in _GAMMAS and q in _GAMMAS)
    },
    (dist.Gompertz, dist.Gompertz): gompertz_kl,
}
ENTROPY = {
    dist.Gamma: gamma_law_entropy,
    dist.Chi2: gamma_law_entropy,
    dist.Exponential: exponential_entropy,
    dist.InverseGamma: inverse_gamma_entropy,
    dist.Gompertz: gompertz_entropy,
}
