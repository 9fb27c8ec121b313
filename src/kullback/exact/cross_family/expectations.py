"""For each P, what it gives to `cross.py`: the expectations of statistics, keyed by the statistic's name.

They follow from a few functions of a distribution: the mean and variance of x and of log x, log E xᵏ, log E eᵗˣ, and
the mean shortfall E (m − x)₊. What does not exist is ∞. All are evaluated in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.truncated import TRUNCATED_NORMALS
from kullback.exact.cross_family import moments as m
from kullback.exact.cross_family import partial_expectations as s
from kullback.exact.numerics.bessel import mean_cosine
from kullback.exact.numerics.double_precision import floats

Given = dict[str, Callable[..., Array]]
Pair = Callable[[Any], tuple[Array, Array]]


def _given(
    moments: Pair | None = None,
    logs: Pair | None = None,
    power: Callable[[Any, Array], Array] | None = None,
    exponential: Callable[[Any, Array], Array] | None = None,
    shortfall: Callable[[Any, Array], Array] | None = None,
) -> Given:
    """The statistics that follow from what is known of a family."""
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
    if shortfall is not None and moments is not None:
        found |= {
            "(m−x)₊": shortfall,
            "(x−m)₊": lambda p, at: (moments(p)[0] - at) + shortfall(p, at),
            "|x−m|": lambda p, at: (moments(p)[0] - at) + 2.0 * shortfall(p, at),
        }
    return found


def _square(mean: Array, variance: Array, at: Array) -> Array:
    """E (x − m)² = variance + (mean − m)²."""
    return variance + jnp.square(jnp.where(jnp.isfinite(variance), mean, 0.0) - at)


def _exp(log: Array, shift: Array) -> Array:
    """e^(log − shift), where log may be ∞."""
    finite = log < jnp.inf
    return jnp.where(finite, jnp.exp(jnp.where(finite, log, 0.0) - shift), jnp.inf)


def _uniform_log_complement(p: Any) -> Array:
    """E log(1 − x), as E log x of the mirrored interval."""
    low, high = floats(p.low, p.high)
    return m.power_law_logs(dist.Uniform(1.0 - high, 1.0 - low, validate_args=False))[0]


def _uniform_cosine(p: Any, at: Array) -> Array:
    low, high, at = floats(p.low, p.high, at)
    half = 0.5 * (high - low)
    return jnp.cos(0.5 * (low + high) - at) * jnp.sin(half) / half


def _uniform_tail(p: Any, at: Array, scale: Array) -> Array:
    """E log(1 + z²) for z = (x − m)/s, whose integral is z log(1 + z²) − 2z + 2 arctan z."""
    low, high, at, scale = floats(p.low, p.high, at, scale)
    y, z = (low - at) / scale, (high - at) / scale
    rise = z * jnp.log1p(z * z) - y * jnp.log1p(y * y) + 2.0 * (jnp.arctan(z) - jnp.arctan(y))
    return rise / (z - y) - 2.0


def _cauchy_tail(p: Any, at: Array, scale: Array) -> Array:
    """E log(1 + ((x − m)/s)²) = log(((γ + s)² + (μ − m)²)/s²)."""
    loc, own, at, scale = floats(p.loc, p.scale, at, scale)
    return jnp.log1p((jnp.square(own) + 2.0 * own * scale + jnp.square(loc - at)) / jnp.square(scale))


def _von_mises_cosine(p: Any, at: Array) -> Array:
    loc, kappa, at = floats(p.loc, p.concentration, at)
    return mean_cosine(kappa) * jnp.cos(loc - at)


def _infinite(p: Any, *at: Array) -> Array:
    return jnp.full(jnp.broadcast_shapes(p.batch_shape, *(jnp.shape(x) for x in at)), jnp.inf)


_GAMMA = _given(m.gamma, m.power_logs, m.power, m.gamma_exponential, s.gamma)
_LAPLACE = _given(m.laplace, exponential=m.laplace_exponential, shortfall=s.laplace)
_POWER_LAW = _given(m.power_law, m.power_law_logs, m.power_law_power)
_BETA = {
    **_given(m.beta, m.beta_logs, m.beta_power),
    "log(1−x)": lambda p: m.beta_logs(p, mirrored=True)[0],
}

EXPECTATIONS: dict[Any, Given] = {
    dist.Normal: _given(m.normal, exponential=m.normal_exponential, shortfall=s.normal),
    **dict.fromkeys(TRUNCATED_NORMALS, _given(m.truncated_normal, exponential=m.truncated_normal_exponential)),
    dist.HalfNormal: _given(m.by_powers, m.power_logs, m.power, m.half_normal_exponential, s.half_normal),
    dist.LogNormal: _given(m.log_normal, m.log_normal_logs, m.log_normal_power, shortfall=s.log_normal),
    dist.Laplace: _LAPLACE,
    dist.AsymmetricLaplace: _LAPLACE,
    dist.AsymmetricLaplaceQuantile: _LAPLACE,
    dist.Logistic: _given(m.logistic, exponential=m.logistic_exponential, shortfall=s.logistic),
    dist.SoftLaplace: _given(m.soft_laplace, exponential=m.soft_laplace_exponential),
    dist.Gumbel: _given(m.gumbel, exponential=m.gumbel_exponential, shortfall=s.gumbel),
    dist.Uniform: {
        **_given(m.uniform, m.power_law_logs, m.power_law_power, m.uniform_exponential, s.uniform),
        "log(1−x)": _uniform_log_complement,
        "cos(x−m)": _uniform_cosine,
        "log(1+(x−m)²/s²)": _uniform_tail,
    },
    dist.Exponential: _GAMMA,
    dist.Gamma: _GAMMA,
    dist.Chi2: _GAMMA,
    dist.InverseGamma: _given(m.inverse_gamma, m.power_logs, m.power, shortfall=s.inverse_gamma),
    dist.Weibull: _given(m.by_powers, m.power_logs, m.power, shortfall=s.weibull),
    dist.Pareto: {**_POWER_LAW, **_given(m.power_law, shortfall=s.pareto)},
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
    dist.HalfCauchy: _given(m.half_cauchy, m.half_cauchy_logs, m.half_cauchy_power, shortfall=s.half_cauchy),
    dist.VonMises: {"cos(x−m)": _von_mises_cosine},
}
