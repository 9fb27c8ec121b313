"""Other families of location and scale, and what they become after a change of variable."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import EULER_GAMMA, gamma_gap
from kullback.numerics.ratios import gap, log_ratio, psi, scale_gap


def cauchy_kl(p: dist.Cauchy, q: dist.Cauchy) -> Float[Array, "*batch"]:
    """KL = log(1 + ((γp − γq)² + (μp − μq)²)/(4 γp γq)).

    Source: Chyzak and Nielsen (2019), theorem 1.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    distance = jnp.square(mean_p - mean_q) / (4.0 * scale_p * scale_q)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q) + distance)


def half_cauchy_kl(p: dist.HalfCauchy, q: dist.HalfCauchy) -> Float[Array, "*batch"]:
    """KL = log(1 + (γp − γq)²/(4 γp γq)).

    Source: as for two Cauchy distributions about 0, since the sign of x carries no information about the scale.
    """
    scale_p, scale_q = floats(p.scale, q.scale)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q))


def gumbel_kl(p: dist.Gumbel, q: dist.Gumbel) -> Float[Array, "*batch"]:
    """KL = ψ(w) + G, with u = (βp − βq)/βq, G the Bregman difference of log Γ from 1 to 1 + u, and
    w = (μq − μp)/βq + log Γ(2 + u).

    Source: Gil, Alajaji and Linder (2013), Gumbel, written as a sum of non-negative terms.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _extreme_kl(scale_p, scale_q, (mean_q - mean_p) / scale_q)


def weibull_kl(p: dist.Weibull, q: dist.Weibull) -> Float[Array, "*batch"]:
    """As for the Gumbel variables −log x, of location −log λ and scale 1/k.

    Source: Bauckhage (2013), Computing the Kullback–Leibler divergence between two Weibull distributions, eq. 13.
    """
    scale_p, power_p, scale_q, power_q = floats(p.scale, p.concentration, q.scale, q.concentration)
    return _extreme_kl(power_q, power_p, power_q * log_ratio(scale_q, scale_p, scale_p - scale_q))


def _extreme_kl(scale_p: Array, scale_q: Array, shift: Array) -> Array:
    u, ratio = (scale_p - scale_q) / scale_q, scale_p / scale_q
    one = jnp.ones_like(u)
    convex = gap(ratio, one, -u) + gamma_gap(one, ratio, u)
    w = shift + log_ratio(scale_q, scale_p, scale_p - scale_q) - EULER_GAMMA * u + convex
    # Beyond the range of the type, where the derivative is ∞ times 0 for some parameter.
    beyond = w > np.log(np.finfo(w.dtype).max)
    return jnp.where(beyond, jnp.inf, psi(jnp.where(beyond, 0.0, w)) + convex)


def pareto_kl(p: dist.Pareto, q: dist.Pareto) -> Float[Array, "*batch"]:
    """KL = φ((αq − αp)/αp) + αq log(mp/mq), and ∞ where mp < mq.

    Source: Gil, Alajaji and Linder (2013), Pareto; log(x/m) is exponential of rate α.
    """
    low_p, power_p, low_q, power_q = floats(p.scale, p.alpha, q.scale, q.alpha)
    inside = low_p >= low_q
    excess = log_ratio(low_q, jnp.where(inside, low_p, low_q), jnp.where(inside, low_p - low_q, 0.0))
    return jnp.where(inside, scale_gap(power_q, power_p) + power_q * excess, jnp.inf)


def uniform_kl(p: dist.Uniform, q: dist.Uniform) -> Float[Array, "*batch"]:
    """KL = log(1 + u), with u the part of Q's length outside P over P's; ∞ unless P lies within Q.

    Source: Gil, Alajaji and Linder (2013), uniform: the logarithm of the ratio of the lengths.
    """
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = jnp.where(inside, (low_p - low_q) + (high_q - high_p), 0.0)
    return jnp.where(inside, jnp.log1p(outside / (high_p - low_p)), jnp.inf)


def cauchy_entropy(p: dist.Cauchy) -> Float[Array, "*batch"]:
    """H = log 4πγ. Source: Cover and Thomas (2006), table 17.1."""
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(4.0 * jnp.pi * scale) + jnp.zeros_like(loc)


def half_cauchy_entropy(p: dist.HalfCauchy) -> Float[Array, "*batch"]:
    """H = log 2πγ. Source: H(|x|) = H(x) − log 2 for x symmetric about 0."""
    return jnp.log(2.0 * jnp.pi * floats(p.scale)[0])


def gumbel_entropy(p: dist.Gumbel) -> Float[Array, "*batch"]:
    """H = 1 + γ + log β, with γ Euler's constant. Source: as for −log of a Weibull variable."""
    loc, scale = floats(p.loc, p.scale)
    return 1.0 + EULER_GAMMA + jnp.log(scale) + jnp.zeros_like(loc)


def weibull_entropy(p: dist.Weibull) -> Float[Array, "*batch"]:
    """H = 1 + γ (1 − 1/k) + log(λ/k), with γ Euler's constant. Source: Cover and Thomas (2006), table 17.1."""
    scale, power = floats(p.scale, p.concentration)
    return 1.0 + EULER_GAMMA * (1.0 - 1.0 / power) + jnp.log(scale / power)


def pareto_entropy(p: dist.Pareto) -> Float[Array, "*batch"]:
    """H = 1 + 1/α + log(m/α). Source: Cover and Thomas (2006), table 17.1."""
    low, power = floats(p.scale, p.alpha)
    return 1.0 + 1.0 / power + jnp.log(low / power)


def uniform_entropy(p: dist.Uniform) -> Float[Array, "*batch"]:
    """H = log of the length. Source: Cover and Thomas (2006), table 17.1."""
    low, high = floats(p.low, p.high)
    return jnp.log(high - low)


KL = {
    (dist.Cauchy, dist.Cauchy): cauchy_kl,
    (dist.HalfCauchy, dist.HalfCauchy): half_cauchy_kl,
    (dist.Gumbel, dist.Gumbel): gumbel_kl,
    (dist.Weibull, dist.Weibull): weibull_kl,
    (dist.Pareto, dist.Pareto): pareto_kl,
    (dist.Uniform, dist.Uniform): uniform_kl,
}

ENTROPY = {
    dist.Cauchy: cauchy_entropy,
    dist.HalfCauchy: half_cauchy_entropy,
    dist.Gumbel: gumbel_entropy,
    dist.Weibull: weibull_entropy,
    dist.Pareto: pareto_entropy,
    dist.Uniform: uniform_entropy,
}
