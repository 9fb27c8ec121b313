"""Unlike families of which powers are gamma: gamma, chi-squared and exponential, Weibull, half normal.

(x/s)ᵖ ~ Gamma(α, 1) makes Weibull of α = 1, the half normal of α = ½ and p = 2, and the gamma of p = 1. Near
a common member of two families, as the exponential, the divergence is of second order, and is computed so.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.closed_forms.gamma import GammaLaw, shape_and_rate
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_gamma import gamma_gap
from kullback.numerics.ratios import gap, phi, psi

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


KL = {
    (p, q): generalized_gamma_kl for p in _KINDS for q in _KINDS if p is not q and not (p in _GAMMAS and q in _GAMMAS)
}
