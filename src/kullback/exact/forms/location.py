"""Other families of location and scale, and what they become after a change of variable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.special import EULER_GAMMA, floats, gamma_gap, gap, log_ratio, psi, scale_gap


def cauchy_kl(p: Any, q: Any) -> Array:
    """KL = log(1 + ((γp − γq)² + (μp − μq)²)/(4 γp γq)). Source: Chyzak and Nielsen (2019), theorem 1."""
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    distance = jnp.square(mean_p - mean_q) / (4.0 * scale_p * scale_q)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q) + distance)


def half_cauchy_kl(p: Any, q: Any) -> Array:
    """As for two Cauchy distributions about 0."""
    scale_p, scale_q = floats(p.scale, q.scale)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q))


def gumbel_kl(p: Any, q: Any) -> Array:
    """KL = ψ(w) + G, with u = (βp − βq)/βq, G the Bregman difference of log Γ from 1 to 1 + u, and
    w = (μq − μp)/βq + log Γ(2 + u).
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _extreme_kl(scale_p, scale_q, (mean_q - mean_p) / scale_q)


def weibull_kl(p: Any, q: Any) -> Array:
    """As for the Gumbel variables −log x, of location −log λ and scale 1/k."""
    scale_p, power_p, scale_q, power_q = floats(p.scale, p.concentration, q.scale, q.concentration)
    return _extreme_kl(power_q, power_p, power_q * log_ratio(scale_q, scale_p, scale_p - scale_q))


def _extreme_kl(scale_p: Array, scale_q: Array, shift: Array) -> Array:
    u, ratio = (scale_p - scale_q) / scale_q, scale_p / scale_q
    one = jnp.ones_like(u)
    convex = gap(ratio, one, -u) + gamma_gap(one, ratio, u)
    w = shift + log_ratio(scale_q, scale_p, scale_p - scale_q) - EULER_GAMMA * u + convex
    return psi(w) + convex


def pareto_kl(p: Any, q: Any) -> Array:
    """KL = φ((αq − αp)/αp) + αq log(mp/mq), and ∞ where mp < mq."""
    low_p, power_p, low_q, power_q = floats(p.scale, p.alpha, q.scale, q.alpha)
    inside = low_p >= low_q
    excess = log_ratio(low_q, jnp.where(inside, low_p, low_q), jnp.where(inside, low_p - low_q, 0.0))
    return jnp.where(inside, scale_gap(power_q, power_p) + power_q * excess, jnp.inf)


def uniform_kl(p: Any, q: Any) -> Array:
    """KL = log(1 + u), with u the part of Q's length outside P over P's; ∞ unless P lies within Q."""
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = jnp.where(inside, (low_p - low_q) + (high_q - high_p), 0.0)
    return jnp.where(inside, jnp.log1p(outside / (high_p - low_p)), jnp.inf)


def cauchy_entropy(p: Any) -> Array:
    """H = log 4πγ."""
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(4.0 * jnp.pi * scale) + jnp.zeros_like(loc)


def half_cauchy_entropy(p: Any) -> Array:
    """H = log 2πγ."""
    return jnp.log(2.0 * jnp.pi * floats(p.scale)[0])


def gumbel_entropy(p: Any) -> Array:
    """H = 1 + γ + log β, with γ Euler's constant."""
    loc, scale = floats(p.loc, p.scale)
    return 1.0 + EULER_GAMMA + jnp.log(scale) + jnp.zeros_like(loc)


def weibull_entropy(p: Any) -> Array:
    """H = 1 + γ (1 − 1/k) + log(λ/k), with γ Euler's constant."""
    scale, power = floats(p.scale, p.concentration)
    return 1.0 + EULER_GAMMA * (1.0 - 1.0 / power) + jnp.log(scale / power)


def pareto_entropy(p: Any) -> Array:
    """H = 1 + 1/α + log(m/α)."""
    low, power = floats(p.scale, p.alpha)
    return 1.0 + 1.0 / power + jnp.log(low / power)


def uniform_entropy(p: Any) -> Array:
    """H = log of the length."""
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
