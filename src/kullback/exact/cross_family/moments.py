"""Means, variances, powers and exponentials: E x and Var x, the same of log x, log E xᵏ, and log E eᵗˣ.

∞ is given where none exists.

Source: Johnson, Kotz and Balakrishnan (1994, 1995), Continuous Univariate Distributions, the chapter of each family.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from kullback.exact.closed_forms.gamma import GammaLaw, GeneralizedGamma, as_power_of_gamma, shape_and_rate
from kullback.exact.closed_forms.interval import (
    Interval,
    PowerLaw,
    log_integral,
    log_mean_and_variance,
    log_power_integral,
)
from kullback.exact.closed_forms.interval import power_law as interval
from kullback.exact.closed_forms.location_scale import LaplaceLaw, two_sided
from kullback.exact.closed_forms.truncated import NormalOnInterval, gaussian, log_normaliser, mean_and_variance
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import EULER_GAMMA, binet_curvature, log_beta

Two = tuple[Array, Array]


def trigamma(a: Array) -> Array:
    return binet_curvature(a) + 1.0 / a + 0.5 / jnp.square(a)


def _where(exists: Array, value: Array) -> Array:
    return jnp.where(exists, value, jnp.inf)


# Locations and scales.


def normal(p: dist.Normal) -> Two:
    loc, scale = floats(p.loc, p.scale)
    return loc, jnp.square(scale)


def normal_exponential(p: dist.Normal, t: Array) -> Float[Array, "*batch"]:
    loc, scale, t = floats(p.loc, p.scale, t)
    return t * loc + 0.5 * jnp.square(t * scale)


def truncated_normal(p: NormalOnInterval) -> Two:
    return mean_and_variance(gaussian(p))


def truncated_normal_exponential(p: NormalOnInterval, t: Array) -> Float[Array, "*batch"]:
    """As for the normal, with the mean moved by t σ²; the difference is that of the masses of the interval."""
    g = gaussian(p)
    moved = g._replace(loc=g.loc + t * jnp.square(g.scale))
    moved = type(g)(*jnp.broadcast_arrays(*moved))
    return t * g.loc + 0.5 * jnp.square(t * g.scale) + log_normaliser(moved) - log_normaliser(g)


def half_normal_exponential(p: dist.HalfNormal, t: Array) -> Float[Array, "*batch"]:
    scale, t = floats(p.scale, t)
    return jnp.log(2.0) + 0.5 * jnp.square(t * scale) + log_ndtr(t * scale)


def laplace(p: LaplaceLaw) -> Two:
    loc, left, right = two_sided(p)
    return loc + right - left, jnp.square(left) + jnp.square(right)


def laplace_exponential(p: LaplaceLaw, t: Array) -> Float[Array, "*batch"]:
    loc, left, right = two_sided(p)
    exists = (right * t < 1) & (left * t > -1)
    t = jnp.where(exists, t, 0.0)
    return _where(exists, t * loc - jnp.log1p(-right * t) - jnp.log1p(left * t))


def logistic(p: dist.Logistic) -> Two:
    loc, scale = floats(p.loc, p.scale)
    return loc, jnp.square(jnp.pi * scale) / 3.0


def logistic_exponential(p: dist.Logistic, t: Array) -> Float[Array, "*batch"]:
    """E e^t(x−μ) = Γ(1 + st) Γ(1 − st)."""
    loc, scale, t = floats(p.loc, p.scale, t)
    exists = jnp.abs(scale * t) < 1
    t = jnp.where(exists, t, 0.0)
    return _where(exists, t * loc + jax.lax.lgamma(1.0 + scale * t) + jax.lax.lgamma(1.0 - scale * t))


def soft_laplace(p: dist.SoftLaplace) -> Two:
    loc, scale = floats(p.loc, p.scale)
    return loc, jnp.square(0.5 * jnp.pi * scale)


def soft_laplace_exponential(p: dist.SoftLaplace, t: Array) -> Float[Array, "*batch"]:
    loc, scale, t = floats(p.loc, p.scale, t)
    exists = jnp.abs(scale * t) < 1
    t = jnp.where(exists, t, 0.0)
    return _where(exists, t * loc - jnp.log(jnp.cos(0.5 * jnp.pi * scale * t)))


def gumbel(p: dist.Gumbel) -> Two:
    loc, scale = floats(p.loc, p.scale)
    return loc + EULER_GAMMA * scale, jnp.square(jnp.pi * scale) / 6.0


def gumbel_exponential(p: dist.Gumbel, t: Array) -> Float[Array, "*batch"]:
    loc, scale, t = floats(p.loc, p.scale, t)
    exists = scale * t < 1
    t = jnp.where(exists, t, 0.0)
    return _where(exists, t * loc + jax.lax.lgamma(1.0 - scale * t))


def student(p: dist.StudentT) -> Two:
    df, loc, scale = floats(p.df, p.loc, p.scale)
    safe = jnp.where(df > 2, df, 4.0)
    return loc, _where(df > 2, jnp.square(scale) * safe / (safe - 2.0))


def uniform(p: dist.Uniform) -> Two:
    low, high = floats(p.low, p.high)
    return 0.5 * (low + high), jnp.square(high - low) / 12.0


def uniform_exponential(p: dist.Uniform, t: Array) -> Float[Array, "*batch"]:
    low, high, t = floats(p.low, p.high, t)
    t, size = jnp.broadcast_arrays(t, high - low)
    return t * low + log_integral(t, size) - jnp.log(size)


# Powers of gamma variables.


def gamma(p: GammaLaw) -> Two:
    a, b = shape_and_rate(p)
    return a / b, a / jnp.square(b)


def gamma_exponential(p: GammaLaw, t: Array) -> Float[Array, "*batch"]:
    a, b = shape_and_rate(p)
    return _where(t < b, -a * jnp.log1p(-jnp.where(t < b, t, 0.0) / b))


def power_logs(p: GeneralizedGamma) -> Two:
    """log x = log s + (log g)/p for g ~ Gamma(α, 1)."""
    shape, power, log_scale = as_power_of_gamma(p)
    return log_scale + jax.lax.digamma(shape) / power, trigamma(shape) / jnp.square(power)


def power(p: GeneralizedGamma, k: Array) -> Float[Array, "*batch"]:
    """E xᵏ = sᵏ Γ(α + k/p)/Γ(α)."""
    shape, own, log_scale = as_power_of_gamma(p)
    moved = shape + k / own
    exists = moved > 0
    return _where(exists, k * log_scale + jax.lax.lgamma(jnp.where(exists, moved, 1.0)) - jax.lax.lgamma(shape))


def by_powers(p: GeneralizedGamma) -> Two:
    mean = jnp.exp(power(p, jnp.ones(())))
    return mean, jnp.exp(power(p, 2.0 * jnp.ones(()))) - jnp.square(mean)


def inverse_gamma(p: dist.InverseGamma) -> Two:
    a, b = shape_and_rate(p)
    first, second = jnp.where(a > 1, a, 3.0), jnp.where(a > 2, a, 3.0)
    variance = jnp.square(b / (second - 1.0)) / (second - 2.0)
    return _where(a > 1, b / (first - 1.0)), _where(a > 2, variance)


# On the positive half line.


def log_normal(p: dist.LogNormal) -> Two:
    loc, scale = floats(p.loc, p.scale)
    square = jnp.square(scale)
    return jnp.exp(loc + 0.5 * square), jnp.expm1(square) * jnp.exp(2.0 * loc + square)


def log_normal_logs(p: dist.LogNormal) -> Two:
    loc, scale = floats(p.loc, p.scale)
    return loc, jnp.square(scale)


def log_normal_power(p: dist.LogNormal, k: Array) -> Float[Array, "*batch"]:
    loc, scale, k = floats(p.loc, p.scale, k)
    return k * loc + 0.5 * jnp.square(k * scale)


def half_cauchy(p: dist.HalfCauchy) -> Two:
    infinite = jnp.full(p.batch_shape, jnp.inf)
    return infinite, infinite


def half_cauchy_logs(p: dist.HalfCauchy) -> Two:
    (scale,) = floats(p.scale)
    return jnp.log(scale), jnp.full_like(scale, 0.25 * jnp.pi**2)


def half_cauchy_power(p: dist.HalfCauchy, k: Array) -> Float[Array, "*batch"]:
    """E xᵏ = γᵏ/cos(½πk) for |k| < 1."""
    scale, k = floats(p.scale, k)
    exists = jnp.abs(k) < 1
    k = jnp.where(exists, k, 0.0)
    return _where(exists, k * jnp.log(scale) - jnp.log(jnp.cos(0.5 * jnp.pi * k)))


def dagum(p: dist.Dagum) -> Two:
    first, second = dagum_power(p, jnp.ones(())), dagum_power(p, 2.0 * jnp.ones(()))
    return _moments_of(first, second)


def _moments_of(first: Array, second: Array) -> Two:
    """From log E x and log E x², either of which may be ∞."""
    one, two = first < jnp.inf, second < jnp.inf
    mean = jnp.exp(jnp.where(one, first, 0.0))
    return _where(one, mean), _where(two, jnp.exp(jnp.where(two, second, 0.0)) - jnp.square(mean))


def dagum_logs(p: dist.Dagum) -> Two:
    """log(x/b) = (1/a) logit y for y ~ Beta(κ, 1)."""
    shape, sharpness, scale = floats(p.concentration, p.sharpness, p.scale)
    mean = jnp.log(scale) + (jax.lax.digamma(shape) + EULER_GAMMA) / sharpness
    return mean, (trigamma(shape) + jnp.pi**2 / 6.0) / jnp.square(sharpness)


def dagum_power(p: dist.Dagum, k: Array) -> Float[Array, "*batch"]:
    shape, sharpness, scale, k = floats(p.concentration, p.sharpness, p.scale, k)
    step = k / sharpness
    exists = (step < 1) & (step > -shape)
    step = jnp.where(exists, step, 0.0)
    rest = jax.lax.lgamma(shape + step) - jax.lax.lgamma(shape) + jax.lax.lgamma(1.0 - step)
    return _where(exists, k * jnp.log(scale) + rest)


def power_law_logs(p: PowerLaw) -> Two:
    return log_mean_and_variance(_positive(p))


def power_law_power(p: PowerLaw, k: Array) -> Float[Array, "*batch"]:
    d = _positive(p)
    k = jnp.broadcast_to(k, jnp.broadcast_shapes(jnp.shape(k), d.power.shape))
    d = type(d)(*(jnp.broadcast_to(x, k.shape) for x in d))
    return log_power_integral(d, k) - log_power_integral(d, jnp.zeros_like(k))


def power_law(p: PowerLaw) -> Two:
    one = jnp.ones(())
    return _moments_of(power_law_power(p, one), power_law_power(p, 2.0 * one))


def _positive(p: PowerLaw) -> Interval:
    """The interval; an arbitrary one where it is not of positive numbers, and log x is not needed."""
    d = interval(p)
    inside = d.low >= 0
    return d._replace(low=jnp.where(inside, d.low, 1.0), high=jnp.where(inside, d.high, 2.0))


# On (0, 1).


def beta(p: dist.Beta) -> Two:
    a, b = floats(p.concentration1, p.concentration0)
    total = a + b
    return a / total, a * b / (jnp.square(total) * (total + 1.0))


def beta_logs(p: dist.Beta, mirrored: bool = False) -> Two:
    a, b = floats(p.concentration1, p.concentration0)
    a, b = (b, a) if mirrored else (a, b)
    return jax.lax.digamma(a) - jax.lax.digamma(a + b), trigamma(a) - trigamma(a + b)


def beta_power(p: dist.Beta, k: Array) -> Float[Array, "*batch"]:
    a, b = floats(p.concentration1, p.concentration0)
    exists = a + k > 0
    return _where(exists, log_beta(jnp.where(exists, a + k, 1.0), b) - log_beta(a, b))


def kumaraswamy(p: dist.Kumaraswamy) -> Two:
    one = jnp.ones(())
    return _moments_of(kumaraswamy_power(p, one), kumaraswamy_power(p, 2.0 * one))


def kumaraswamy_logs(p: dist.Kumaraswamy) -> Two:
    """xᵃ is Beta(1, b)."""
    a, b = floats(p.concentration1, p.concentration0)
    mean, variance = beta_logs(dist.Beta(1.0, b, validate_args=False))
    return mean / a, variance / jnp.square(a)


def kumaraswamy_power(p: dist.Kumaraswamy, k: Array) -> Float[Array, "*batch"]:
    a, b = floats(p.concentration1, p.concentration0)
    return beta_power(dist.Beta(1.0, b, validate_args=False), k / a)
