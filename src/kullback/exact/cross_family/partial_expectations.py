"""The mean shortfall E (m − x)₊ = ∫ P(x < y) dy over y < m, from which follow E (x − m)₊ and E |x − m|."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr

from kullback.exact.closed_forms.gamma import shape_and_rate
from kullback.exact.closed_forms.laplace import two_sided
from kullback.exact.closed_forms.power_law import length, log_integral
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.incomplete import exponential_integral, lower_gamma
from kullback.exact.numerics.log_gamma import EULER_GAMMA, HALF_LOG_2PI


def normal(p: Any, at: Array) -> Array:
    """σ (z Φ(z) + φ(z)), with z = (m − μ)/σ."""
    loc, scale, at = floats(p.loc, p.scale, at)
    z = (at - loc) / scale
    return scale * (z * ndtr(z) + jnp.exp(-0.5 * z * z - HALF_LOG_2PI))


def half_normal(p: Any, at: Array) -> Array:
    """m erf z − σ √(2/π) (1 − e^−z²), with z = m/(σ√2)."""
    scale, at = floats(p.scale, at)
    at = jnp.maximum(at, 0.0)
    z = at / (scale * jnp.sqrt(2.0))
    return at * jax.lax.erf(z) + scale * jnp.sqrt(2.0 / jnp.pi) * jnp.expm1(-z * z)


def log_normal(p: Any, at: Array) -> Array:
    """m Φ(d) − e^(μ + ½σ²) Φ(d − σ), with d = (log m − μ)/σ."""
    loc, scale, at = floats(p.loc, p.scale, at)
    inside = at > 0
    safe = jnp.where(inside, at, 1.0)
    d = (jnp.log(safe) - loc) / scale
    value = safe * ndtr(d) - jnp.exp(loc + 0.5 * jnp.square(scale)) * ndtr(d - scale)
    return jnp.where(inside, value, 0.0)


def laplace(p: Any, at: Array) -> Array:
    """l²/(l + r) e^−d/l for m a distance d below the location; above, the distance and what the mirror image says."""
    loc, left, right = two_sided(p)
    step = at - loc
    below, above = jnp.minimum(step, 0.0), jnp.maximum(step, 0.0)
    size = left + right
    low = jnp.square(left) / size * jnp.exp(below / left)
    high = above + left - right + jnp.square(right) / size * jnp.exp(-above / right)
    return jnp.where(step < 0, low, high)


def logistic(p: Any, at: Array) -> Array:
    """s log(1 + e^z), with z = (m − μ)/s."""
    loc, scale, at = floats(p.loc, p.scale, at)
    return scale * jax.nn.softplus((at - loc) / scale)


def gumbel(p: Any, at: Array) -> Array:
    """β E₁(e^−z), with z = (m − μ)/β, which is z − γ and next to nothing for large z."""
    loc, scale, at = floats(p.loc, p.scale, at)
    z = (at - loc) / scale
    large, small = z > 40.0, z < -6.5
    inner = exponential_integral(jnp.exp(-jnp.where(large | small, 0.0, z)))
    return scale * jnp.where(large, z - EULER_GAMMA, jnp.where(small, 0.0, inner))


def uniform(p: Any, at: Array) -> Array:
    low, high, at = floats(p.low, p.high, at)
    inside = jnp.clip(at, low, high) - low
    return 0.5 * jnp.square(inside) / (high - low) + jnp.maximum(at - high, 0.0)


def gamma(p: Any, at: Array) -> Array:
    """m P(a, bm) − (a/b) P(a + 1, bm), for P the regularised incomplete gamma function."""
    a, b = shape_and_rate(p)
    a, x = jnp.broadcast_arrays(a, b * jnp.maximum(at, 0.0))
    return (x * lower_gamma(a, x) - a * lower_gamma(a + 1.0, x)) / b


def inverse_gamma(p: Any, at: Array) -> Array:
    """m Q(a, b/m) − b/(a − 1) Q(a − 1, b/m), for Q = 1 − P. Where the mean is ∞ it is not needed, and 0 is given."""
    a, b = shape_and_rate(p)
    exists = (at > 0) & (a > 1)
    a, x = jnp.broadcast_arrays(jnp.where(exists, a, 2.0), b / jnp.where(exists, at, 1.0))
    value = b * ((1.0 - lower_gamma(a, x)) / x - (1.0 - lower_gamma(a - 1.0, x)) / (a - 1.0))
    return jnp.where(exists, value, 0.0)


def weibull(p: Any, at: Array) -> Array:
    """m (1 − e^−y) − λ Γ(1 + 1/k) P(1 + 1/k, y), with y = (m/λ)ᵏ."""
    scale, k, at = floats(p.scale, p.concentration, at)
    inside = at > 0
    safe = jnp.where(inside, at, 1.0)
    shape, y = jnp.broadcast_arrays(1.0 + 1.0 / k, jnp.exp(k * jnp.log(safe / scale)))
    value = -safe * jnp.expm1(-y) - scale * jnp.exp(jax.lax.lgamma(shape)) * lower_gamma(shape, y)
    return jnp.where(inside, value, 0.0)


def pareto(p: Any, at: Array) -> Array:
    """m − l − ∫ (l/x)ᵅ dx over (l, m)."""
    low, alpha, at = floats(p.scale, p.alpha, at)
    at = jnp.maximum(at, low)
    slope, size = jnp.broadcast_arrays(1.0 - alpha, length(low, at))
    return (at - low) - low * jnp.exp(log_integral(slope, size))


def half_cauchy(p: Any, at: Array) -> Array:
    """(2/π) (m arctan(m/γ) − ½γ log(1 + (m/γ)²))."""
    scale, at = floats(p.scale, at)
    z = jnp.maximum(at, 0.0) / scale
    return 2.0 / jnp.pi * scale * (z * jnp.arctan(z) - 0.5 * jnp.log1p(z * z))
