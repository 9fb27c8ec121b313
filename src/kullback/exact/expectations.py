"""For each P, what it gives to `cross.py`: the expectations of statistics, keyed by the statistic's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.forms.gamma import shape_and_rate
from kullback.exact.special import EULER_GAMMA, HALF_LOG_2PI, binet_curvature, floats

Given = dict[str, Callable[..., Array]]


def _trigamma(a: Array) -> Array:
    return binet_curvature(a) + 1.0 / a + 0.5 / jnp.square(a)


def _mean(p: Any) -> Array:
    return floats(p.mean)[0]


def _square(p: Any, m: Array) -> Array:
    """E (x − m)² = variance + (mean − m)²."""
    mean, variance, m = floats(p.mean, p.variance, m)
    return variance + jnp.square(mean - m)


def _normal_distance(p: Any, m: Array) -> Array:
    """E |x − m| = d erf(d/(σ√2)) + σ √(2/π) exp(−d²/2σ²), with d = mean − m."""
    loc, scale, m = floats(p.loc, p.scale, m)
    z = (loc - m) / scale
    return scale * (z * jax.lax.erf(z / jnp.sqrt(2.0)) + 2.0 * jnp.exp(-0.5 * z * z - HALF_LOG_2PI))


def _laplace_distance(p: Any, m: Array) -> Array:
    """E |x − m| = d + b exp(−d/b), with d = |mean − m|."""
    loc, scale, m = floats(p.loc, p.scale, m)
    d = jnp.abs(loc - m)
    return d + scale * jnp.exp(-d / scale)


def _uniform_distance(p: Any, m: Array) -> Array:
    """E |x − m|: half the sum of squares over the length inside, the distance to the middle outside."""
    low, high, m = floats(p.low, p.high, m)
    inside = (low < m) & (m < high)
    within = 0.5 * (jnp.square(m - low) + jnp.square(high - m)) / (high - low)
    return jnp.where(inside, within, jnp.abs(0.5 * (low + high) - m))


def _exponential_distance(p: Any, m: Array) -> Array:
    """E |x − m| = 1/λ − m, and m + (2 exp(−λm) − 1)/λ for m > 0."""
    rate, m = floats(p.rate, m)
    positive = jnp.maximum(m, 0.0)
    return jnp.where(m > 0, m + (2.0 * jnp.exp(-rate * positive) - 1.0) / rate, 1.0 / rate - m)


def _gamma_log(p: Any) -> Array:
    a, b = shape_and_rate(p)
    return jax.lax.digamma(a) - jnp.log(b)


def _gamma_log_square(p: Any, m: Array) -> Array:
    a, _ = shape_and_rate(p)
    return _trigamma(a) + jnp.square(_gamma_log(p) - m)


def _gamma_inverse(p: Any) -> Array:
    """E 1/x = b/(a − 1), and ∞ for a ≤ 1."""
    a, b = shape_and_rate(p)
    return jnp.where(a > 1, b / jnp.where(a > 1, a - 1.0, 1.0), jnp.inf)


def _gamma_power(p: Any, k: Array) -> Array:
    """E xᵏ = Γ(a + k)/Γ(a) b⁻ᵏ."""
    a, b, k = floats(*shape_and_rate(p), k)
    return jnp.exp(jax.lax.lgamma(a + k) - jax.lax.lgamma(a) - k * jnp.log(b))


def _inverse_gamma_log_square(p: Any, m: Array) -> Array:
    a, _ = shape_and_rate(p)
    return _trigamma(a) + jnp.square(_gamma_log(p) + m)


def _inverse_gamma_power(p: Any, k: Array) -> Array:
    """E xᵏ = Γ(a − k)/Γ(a) bᵏ, and ∞ for k ≥ a."""
    a, b, k = floats(*shape_and_rate(p), k)
    exists = k < a
    safe = jnp.where(exists, a - k, 1.0)
    return jnp.where(exists, jnp.exp(jax.lax.lgamma(safe) - jax.lax.lgamma(a) + k * jnp.log(b)), jnp.inf)


def _log_normal_power(p: Any, k: Array) -> Array:
    loc, scale, k = floats(p.loc, p.scale, k)
    return jnp.exp(k * loc + 0.5 * jnp.square(k * scale))


def _weibull_log(p: Any) -> Array:
    scale, power = floats(p.scale, p.concentration)
    return jnp.log(scale) - EULER_GAMMA / power


def _weibull_power(p: Any, k: Array) -> Array:
    scale, power, k = floats(p.scale, p.concentration, k)
    return jnp.exp(k * jnp.log(scale) + jax.lax.lgamma(1.0 + k / power))


def _beta_log(p: Any) -> Array:
    a, b = floats(p.concentration1, p.concentration0)
    return jax.lax.digamma(a) - jax.lax.digamma(a + b)


def _beta_log_complement(p: Any) -> Array:
    a, b = floats(p.concentration1, p.concentration0)
    return jax.lax.digamma(b) - jax.lax.digamma(a + b)


def _uniform_log(p: Any) -> Array:
    """E log x = (h log h − l log l)/(h − l) − 1, for 0 ≤ l < h; 0 where the support of no log x is asked."""
    low, high = floats(p.low, p.high)
    low, high = jnp.where(low < 0, 1.0, low), jnp.where(low < 0, 2.0, high)
    return (jax.scipy.special.xlogy(high, high) - jax.scipy.special.xlogy(low, low)) / (high - low) - 1.0


def _uniform_log_complement(p: Any) -> Array:
    """E log(1 − x), as E log x of the mirrored interval."""
    low, high = floats(p.low, p.high)
    return _uniform_log(dist.Uniform(1.0 - high, 1.0 - low, validate_args=False))


_MOMENTS: Given = {"x": _mean, "(x−m)²": _square}
_GAMMA: Given = {
    **_MOMENTS,
    "log x": _gamma_log,
    "(log x−m)²": _gamma_log_square,
    "1/x": _gamma_inverse,
    "xᵏ": _gamma_power,
}
_BETA: Given = {**_MOMENTS, "log x": _beta_log, "log(1−x)": _beta_log_complement}

EXPECTATIONS: dict[Any, Given] = {
    dist.Normal: {**_MOMENTS, "|x−m|": _normal_distance},
    dist.Laplace: {**_MOMENTS, "|x−m|": _laplace_distance},
    dist.Uniform: {**_MOMENTS, "|x−m|": _uniform_distance, "log x": _uniform_log, "log(1−x)": _uniform_log_complement},
    dist.Gumbel: _MOMENTS,
    dist.HalfNormal: _MOMENTS,
    dist.Exponential: {**_GAMMA, "|x−m|": _exponential_distance},
    dist.Gamma: _GAMMA,
    dist.Chi2: _GAMMA,
    dist.InverseGamma: {
        "x": lambda p: _inverse_gamma_power(p, jnp.ones(())),
        "log x": lambda p: -_gamma_log(p),
        "(log x−m)²": _inverse_gamma_log_square,
        "1/x": lambda p: shape_and_rate(p)[0] / shape_and_rate(p)[1],
        "xᵏ": _inverse_gamma_power,
    },
    dist.LogNormal: {
        **_MOMENTS,
        "log x": lambda p: floats(p.loc)[0],
        "(log x−m)²": lambda p, m: jnp.square(p.scale) + jnp.square(p.loc - m),
        "1/x": lambda p: _log_normal_power(p, -jnp.ones(())),
        "xᵏ": _log_normal_power,
    },
    dist.Weibull: {**_MOMENTS, "log x": _weibull_log, "xᵏ": _weibull_power},
    dist.Beta: _BETA,
    dist.BetaProportion: _BETA,
}
