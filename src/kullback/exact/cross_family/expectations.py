"""For each P, what it gives to `cross.py`: the expectations of statistics, keyed by the statistic's name.

They follow from a few functions of a distribution: the mean and variance of x and of log x, log E xᵏ, log E eᵗˣ, and
the lower partial expectation E (m − x)₊ = ∫ P(x < y) dy over y < m, which gives E (x − m)₊ and E |x − m| as well. What
does not exist is ∞. All are evaluated in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from kullback.exact.closed_forms.circular import mean_cosine
from kullback.exact.closed_forms.gamma import GammaLaw, shape_and_rate
from kullback.exact.closed_forms.interval import log_integral, log_length
from kullback.exact.closed_forms.location_scale import LaplaceLaw, two_sided
from kullback.exact.closed_forms.truncated import TRUNCATED_NORMALS
from kullback.exact.cross_family import moments as m
from kullback.numerics.double_precision import floats
from kullback.numerics.incomplete_gamma import exponential_integral, lower_gamma
from kullback.numerics.log_gamma import EULER_GAMMA, HALF_LOG_2PI

# Lower partial expectations E (m − x)₊.


def normal_partial(p: dist.Normal, at: Array) -> Float[Array, "*batch"]:
    """σ (z Φ(z) + φ(z)), with z = (m − μ)/σ."""
    loc, scale, at = floats(p.loc, p.scale, at)
    z = (at - loc) / scale
    return scale * (z * ndtr(z) + jnp.exp(-0.5 * z * z - HALF_LOG_2PI))


def half_normal_partial(p: dist.HalfNormal, at: Array) -> Float[Array, "*batch"]:
    """m erf z − σ √(2/π) (1 − e^−z²), with z = m/(σ√2)."""
    scale, at = floats(p.scale, at)
    at = jnp.maximum(at, 0.0)
    z = at / (scale * jnp.sqrt(2.0))
    return at * jax.lax.erf(z) + scale * jnp.sqrt(2.0 / jnp.pi) * jnp.expm1(-z * z)


def log_normal_partial(p: dist.LogNormal, at: Array) -> Float[Array, "*batch"]:
    """m Φ(d) − e^(μ + ½σ²) Φ(d − σ), with d = (log m − μ)/σ."""
    loc, scale, at = floats(p.loc, p.scale, at)
    inside = at > 0
    safe = jnp.where(inside, at, 1.0)
    d = (jnp.log(safe) - loc) / scale
    value = safe * ndtr(d) - jnp.exp(loc + 0.5 * jnp.square(scale)) * ndtr(d - scale)
    return jnp.where(inside, value, 0.0)


def laplace_partial(p: LaplaceLaw, at: Array) -> Float[Array, "*batch"]:
    """l²/(l + r) e^−d/l for m a distance d below the location; above it, d + l − r + r²/(l + r) e^−d/r."""
    loc, left, right = two_sided(p)
    step = at - loc
    below, above = jnp.minimum(step, 0.0), jnp.maximum(step, 0.0)
    size = left + right
    low = jnp.square(left) / size * jnp.exp(below / left)
    high = above + left - right + jnp.square(right) / size * jnp.exp(-above / right)
    return jnp.where(step < 0, low, high)


def logistic_partial(p: dist.Logistic, at: Array) -> Float[Array, "*batch"]:
    """s log(1 + e^z), with z = (m − μ)/s."""
    loc, scale, at = floats(p.loc, p.scale, at)
    return scale * jax.nn.softplus((at - loc) / scale)


def gumbel_partial(p: dist.Gumbel, at: Array) -> Float[Array, "*batch"]:
    """β E₁(e^−z), with z = (m − μ)/β. For large z, E₁(e^−z) is z − γ; for z < −6.5 it is 0 in double precision."""
    loc, scale, at = floats(p.loc, p.scale, at)
    z = (at - loc) / scale
    large, small = z > 40.0, z < -6.5
    inner = exponential_integral(jnp.exp(-jnp.where(large | small, 0.0, z)))
    return scale * jnp.where(large, z - EULER_GAMMA, jnp.where(small, 0.0, inner))


def uniform_partial(p: dist.Uniform, at: Array) -> Float[Array, "*batch"]:
    low, high, at = floats(p.low, p.high, at)
    inside = jnp.clip(at, low, high) - low
    return 0.5 * jnp.square(inside) / (high - low) + jnp.maximum(at - high, 0.0)


def gamma_partial(p: GammaLaw, at: Array) -> Float[Array, "*batch"]:
    """m P(a, bm) − (a/b) P(a + 1, bm), for P the regularised incomplete gamma function."""
    a, b = shape_and_rate(p)
    a, x = jnp.broadcast_arrays(a, b * jnp.maximum(at, 0.0))
    return (x * lower_gamma(a, x) - a * lower_gamma(a + 1.0, x)) / b


def inverse_gamma_partial(p: dist.InverseGamma, at: Array) -> Float[Array, "*batch"]:
    """m Q(a, b/m) − b/(a − 1) Q(a − 1, b/m), for Q = 1 − P. Where the mean is ∞ it is not needed, and 0 is given."""
    a, b = shape_and_rate(p)
    exists = (at > 0) & (a > 1)
    a, x = jnp.broadcast_arrays(jnp.where(exists, a, 2.0), b / jnp.where(exists, at, 1.0))
    value = b * ((1.0 - lower_gamma(a, x)) / x - (1.0 - lower_gamma(a - 1.0, x)) / (a - 1.0))
    return jnp.where(exists, value, 0.0)


def weibull_partial(p: dist.Weibull, at: Array) -> Float[Array, "*batch"]:
    """m (1 − e^−y) − λ Γ(1 + 1/k) P(1 + 1/k, y), with y = (m/λ)ᵏ."""
    scale, k, at = floats(p.scale, p.concentration, at)
    inside = at > 0
    safe = jnp.where(inside, at, 1.0)
    shape, y = jnp.broadcast_arrays(1.0 + 1.0 / k, jnp.exp(k * jnp.log(safe / scale)))
    value = -safe * jnp.expm1(-y) - scale * jnp.exp(jax.lax.lgamma(shape)) * lower_gamma(shape, y)
    return jnp.where(inside, value, 0.0)


def pareto_partial(p: dist.Pareto, at: Array) -> Float[Array, "*batch"]:
    """m − l − ∫ (l/x)ᵅ dx over (l, m)."""
    low, alpha, at = floats(p.scale, p.alpha, at)
    at = jnp.maximum(at, low)
    slope, size = jnp.broadcast_arrays(1.0 - alpha, log_length(low, at))
    return (at - low) - low * jnp.exp(log_integral(slope, size))


def half_cauchy_partial(p: dist.HalfCauchy, at: Array) -> Float[Array, "*batch"]:
    """(2/π) (m arctan(m/γ) − ½γ log(1 + (m/γ)²))."""
    scale, at = floats(p.scale, at)
    z = jnp.maximum(at, 0.0) / scale
    return 2.0 / jnp.pi * scale * (z * jnp.arctan(z) - 0.5 * jnp.log1p(z * z))


Given = dict[str, Callable[..., Array]]
Pair = Callable[[Any], tuple[Array, Array]]


# The table.


def _given(
    moments: Pair | None = None,
    logs: Pair | None = None,
    power: Callable[[Any, Array], Array] | None = None,
    exponential: Callable[[Any, Array], Array] | None = None,
    partial: Callable[[Any, Array], Array] | None = None,
) -> Given:
    """The expectations that follow from these functions of a family."""
    found: Given = {}
    if moments is not None:
        found |= {"x": lambda p: moments(p)[0], "(x−m)²": lambda p, at: _square(*moments(p), at)}
    if logs is not None:
        found |= {"log x": lambda p: logs(p)[0], "(log x−m)²": lambda p, at: _square(*logs(p), at)}
    if power is not None:
        inverse = lambda p: _exp(power(p, -jnp.ones(())), jnp.zeros(()))  # noqa: E731
        found |= {"(x/s)ᵏ": lambda p, k, scale: _exp(power(p, k), k * jnp.log(scale)), "1/x": inverse}
    if exponential is not None:
        found |= {"e^t(x−m)": lambda p, t, at: _exp(exponential(p, t), t * at)}
    if partial is not None and moments is not None:
        found |= {
            "(m−x)₊": partial,
            "(x−m)₊": lambda p, at: (moments(p)[0] - at) + partial(p, at),
            "|x−m|": lambda p, at: (moments(p)[0] - at) + 2.0 * partial(p, at),
        }
    return found


def _square(mean: Array, variance: Array, at: Array) -> Array:
    """E (x − m)² = variance + (mean − m)²."""
    return variance + jnp.square(jnp.where(jnp.isfinite(variance), mean, 0.0) - at)


def _exp(log: Array, shift: Array) -> Array:
    """e^(log − shift), where log may be ∞."""
    finite = log < jnp.inf
    return jnp.where(finite, jnp.exp(jnp.where(finite, log, 0.0) - shift), jnp.inf)


def _uniform_log_complement(p: dist.Uniform) -> Array:
    """E log(1 − x), as E log x of the mirrored interval."""
    low, high = floats(p.low, p.high)
    return m.power_law_logs(dist.Uniform(1.0 - high, 1.0 - low, validate_args=False))[0]


def _uniform_cosine(p: dist.Uniform, at: Array) -> Array:
    low, high, at = floats(p.low, p.high, at)
    half = 0.5 * (high - low)
    return jnp.cos(0.5 * (low + high) - at) * jnp.sin(half) / half


def _uniform_tail(p: dist.Uniform, at: Array, scale: Array) -> Array:
    """E log(1 + z²) for z = (x − m)/s, whose integral is z log(1 + z²) − 2z + 2 arctan z."""
    low, high, at, scale = floats(p.low, p.high, at, scale)
    y, z = (low - at) / scale, (high - at) / scale
    rise = z * jnp.log1p(z * z) - y * jnp.log1p(y * y) + 2.0 * (jnp.arctan(z) - jnp.arctan(y))
    return rise / (z - y) - 2.0


def _cauchy_tail(p: dist.Cauchy, at: Array, scale: Array) -> Array:
    """E log(1 + ((x − m)/s)²) = log(((γ + s)² + (μ − m)²)/s²)."""
    loc, own, at, scale = floats(p.loc, p.scale, at, scale)
    return jnp.log1p((jnp.square(own) + 2.0 * own * scale + jnp.square(loc - at)) / jnp.square(scale))


def _von_mises_cosine(p: dist.VonMises, at: Array) -> Array:
    loc, kappa, at = floats(p.loc, p.concentration, at)
    return mean_cosine(kappa) * jnp.cos(loc - at)


def _infinite(p: dist.Distribution, *at: Array) -> Array:
    return jnp.full(jnp.broadcast_shapes(p.batch_shape, *(jnp.shape(x) for x in at)), jnp.inf)


_GAMMA = _given(m.gamma, m.power_logs, m.power, m.gamma_exponential, gamma_partial)
_LAPLACE = _given(m.laplace, exponential=m.laplace_exponential, partial=laplace_partial)
_POWER_LAW = _given(m.power_law, m.power_law_logs, m.power_law_power)
_BETA = {
    **_given(m.beta, m.beta_logs, m.beta_power),
    "log(1−x)": lambda p: m.beta_logs(p, mirrored=True)[0],
}

EXPECTATIONS: dict[Any, Given] = {
    dist.Normal: _given(m.normal, exponential=m.normal_exponential, partial=normal_partial),
    **dict.fromkeys(TRUNCATED_NORMALS, _given(m.truncated_normal, exponential=m.truncated_normal_exponential)),
    dist.HalfNormal: _given(m.by_powers, m.power_logs, m.power, m.half_normal_exponential, half_normal_partial),
    dist.LogNormal: _given(m.log_normal, m.log_normal_logs, m.log_normal_power, partial=log_normal_partial),
    dist.Laplace: _LAPLACE,
    dist.AsymmetricLaplace: _LAPLACE,
    dist.AsymmetricLaplaceQuantile: _LAPLACE,
    dist.Logistic: _given(m.logistic, exponential=m.logistic_exponential, partial=logistic_partial),
    dist.SoftLaplace: _given(m.soft_laplace, exponential=m.soft_laplace_exponential),
    dist.Gumbel: _given(m.gumbel, exponential=m.gumbel_exponential, partial=gumbel_partial),
    dist.Uniform: {
        **_given(m.uniform, m.power_law_logs, m.power_law_power, m.uniform_exponential, uniform_partial),
        "log(1−x)": _uniform_log_complement,
        "cos(x−m)": _uniform_cosine,
        "log(1+(x−m)²/s²)": _uniform_tail,
    },
    dist.Exponential: _GAMMA,
    dist.Gamma: _GAMMA,
    dist.Chi2: _GAMMA,
    dist.InverseGamma: _given(m.inverse_gamma, m.power_logs, m.power, partial=inverse_gamma_partial),
    dist.Weibull: _given(m.by_powers, m.power_logs, m.power, partial=weibull_partial),
    dist.Pareto: {**_POWER_LAW, **_given(m.power_law, partial=pareto_partial)},
    dist.LowerTruncatedPowerLaw: _POWER_LAW,
    dist.DoublyTruncatedPowerLaw: _POWER_LAW,
    dist.LogUniform: _POWER_LAW,
    dist.Dagum: _given(m.dagum, m.dagum_logs, m.dagum_power),
    dist.Beta: _BETA,
    dist.BetaProportion: _BETA,
    dist.Kumaraswamy: _given(m.kumaraswamy, m.kumaraswamy_logs, m.kumaraswamy_power),
    dist.StudentT: {"(x−m)²": lambda p, at: _square(*m.student(p), at)},
    dist.Cauchy: {
        **dict.fromkeys(("(x−m)²", "|x−m|", "(x−m)₊", "(m−x)₊"), _infinite),
        "log(1+(x−m)²/s²)": _cauchy_tail,
    },
    dist.HalfCauchy: _given(m.half_cauchy, m.half_cauchy_logs, m.half_cauchy_power, partial=half_cauchy_partial),
    dist.VonMises: {"cos(x−m)": _von_mises_cosine},
}
