"""Pairs of unlike families, from two short tables.

`STATISTICS`: for each Q, its log-density as a sum of statistics of x: log q(x) = constant + Σ coefficient ·
statistic(x). `EXPECTATIONS`: for each P, the expectations of statistics. Where P gives all that Q asks for, the cross
entropy follows, and with P's entropy the divergence.

Accuracy: both are computed in double precision, also for single-precision parameters, and the error of their difference
is about 1e-15 of the larger of their terms. That is enough, since members of unlike families are never near each other.
Families that have members in common (gamma and Weibull the exponential, beta and uniform) have forms of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import constraints

from kullback.exact.closed_forms.circular import log_bessel
from kullback.exact.closed_forms.gamma import shape_and_rate
from kullback.exact.closed_forms.interval import PowerLaw, log_power_integral, power_law
from kullback.exact.closed_forms.location_scale import LaplaceLaw, two_sided
from kullback.exact.closed_forms.truncated import TRUNCATED_NORMALS, NormalOnInterval, gaussian, log_normaliser
from kullback.exact.cross_family.expectations import EXPECTATIONS
from kullback.exact.type_keys import type_key
from kullback.known.constraints import constraint_of, ends_of, slack_of
from kullback.numerics.double_precision import floats, in_double, non_negative
from kullback.numerics.log_gamma import HALF_LOG_2PI, log_beta

Term = tuple[Array, str, tuple[Any, ...]]  # coefficient, statistic, its parameters
Terms = tuple[Array, list[Term]]


def _normal(q: dist.Normal) -> Terms:
    loc, scale = floats(q.loc, q.scale)
    return -jnp.log(scale) - HALF_LOG_2PI, [(-0.5 / jnp.square(scale), "(x−m)²", (loc,))]


def _half_normal(q: dist.HalfNormal) -> Terms:
    (scale,) = floats(q.scale)
    square = (-0.5 / jnp.square(scale), "(x−m)²", (jnp.zeros_like(scale),))
    return jnp.log(2.0) - jnp.log(scale) - HALF_LOG_2PI, [square]


def _truncated_normal(q: NormalOnInterval) -> Terms:
    g = gaussian(q)
    return -log_normaliser(g), [(-0.5 / jnp.square(g.scale), "(x−m)²", (g.loc,))]


def _log_normal(q: dist.LogNormal) -> Terms:
    loc, scale = floats(q.loc, q.scale)
    terms: list[Term] = [(-jnp.ones_like(scale), "log x", ()), (-0.5 / jnp.square(scale), "(log x−m)²", (loc,))]
    return -jnp.log(scale) - HALF_LOG_2PI, terms


def _laplace(q: dist.Laplace) -> Terms:
    loc, scale = floats(q.loc, q.scale)
    return -jnp.log(2.0 * scale), [(-1.0 / scale, "|x−m|", (loc,))]


def _asymmetric_laplace(q: LaplaceLaw) -> Terms:
    loc, left, right = two_sided(q)
    return -jnp.log(left + right), [(-1.0 / left, "(m−x)₊", (loc,)), (-1.0 / right, "(x−m)₊", (loc,))]


def _gumbel(q: dist.Gumbel) -> Terms:
    loc, scale = floats(q.loc, q.scale)
    terms: list[Term] = [(-1.0 / scale, "x", ()), (-jnp.ones_like(scale), "e^t(x−m)", (-1.0 / scale, loc))]
    return loc / scale - jnp.log(scale), terms


def _gompertz(q: dist.Gompertz) -> Terms:
    c, rate = floats(q.concentration, q.rate)
    return jnp.log(c * rate) + c, [(rate, "x", ()), (-c, "e^t(x−m)", (rate, jnp.zeros_like(rate)))]


def _exponential(q: dist.Exponential) -> Terms:
    (rate,) = floats(q.rate)
    return jnp.log(rate), [(-rate, "x", ())]


def _gamma(q: dist.Gamma) -> Terms:
    a, b = shape_and_rate(q)
    return a * jnp.log(b) - jax.lax.lgamma(a), [(a - 1.0, "log x", ()), (-b, "x", ())]


def _inverse_gamma(q: dist.InverseGamma) -> Terms:
    a, b = shape_and_rate(q)
    return a * jnp.log(b) - jax.lax.lgamma(a), [(-a - 1.0, "log x", ()), (-b, "1/x", ())]


def _weibull(q: dist.Weibull) -> Terms:
    scale, k = floats(q.scale, q.concentration)
    return jnp.log(k) - k * jnp.log(scale), [(k - 1.0, "log x", ()), (-jnp.ones_like(k), "(x/s)ᵏ", (k, scale))]


def _beta(q: dist.Beta) -> Terms:
    a, b = floats(q.concentration1, q.concentration0)
    return -log_beta(a, b), [(a - 1.0, "log x", ()), (b - 1.0, "log(1−x)", ())]


def _uniform(q: dist.Uniform) -> Terms:
    low, high = floats(q.low, q.high)
    return -jnp.log(high - low), []


def _power_law(q: PowerLaw) -> Terms:
    d = power_law(q)
    return -log_power_integral(d, jnp.zeros_like(d.power)), [(d.power, "log x", ())]


def _cauchy(q: dist.Cauchy) -> Terms:
    loc, scale = floats(q.loc, q.scale)
    return -jnp.log(jnp.pi * scale), [(-jnp.ones_like(scale), "log(1+(x−m)²/s²)", (loc, scale))]


def _half_cauchy(q: dist.HalfCauchy) -> Terms:
    (scale,) = floats(q.scale)
    tail = (-jnp.ones_like(scale), "log(1+(x−m)²/s²)", (jnp.zeros_like(scale), scale))
    return jnp.log(2.0) - jnp.log(jnp.pi * scale), [tail]


def _student(q: dist.StudentT) -> Terms:
    df, loc, scale = floats(q.df, q.loc, q.scale)
    wide = scale * jnp.sqrt(df)
    tail = (-0.5 * (df + 1.0), "log(1+(x−m)²/s²)", (loc, wide))
    return -jnp.log(wide) - log_beta(0.5 * df, jnp.full_like(df, 0.5)), [tail]


def _von_mises(q: dist.VonMises) -> Terms:
    loc, kappa = floats(q.loc, q.concentration)
    return -jnp.log(2.0 * jnp.pi) - log_bessel(kappa) - kappa, [(kappa, "cos(x−m)", (loc,))]


STATISTICS: dict[Any, tuple[tuple[str, ...], Callable[[Any], Terms]]] = {
    dist.Normal: (("(x−m)²",), _normal),
    dist.HalfNormal: (("(x−m)²",), _half_normal),
    **dict.fromkeys(TRUNCATED_NORMALS, (("(x−m)²",), _truncated_normal)),
    dist.LogNormal: (("log x", "(log x−m)²"), _log_normal),
    dist.Laplace: (("|x−m|",), _laplace),
    dist.AsymmetricLaplace: (("(m−x)₊", "(x−m)₊"), _asymmetric_laplace),
    dist.AsymmetricLaplaceQuantile: (("(m−x)₊", "(x−m)₊"), _asymmetric_laplace),
    dist.Gumbel: (("x", "e^t(x−m)"), _gumbel),
    dist.Gompertz: (("x", "e^t(x−m)"), _gompertz),
    dist.Exponential: (("x",), _exponential),
    dist.Gamma: (("log x", "x"), _gamma),
    dist.Chi2: (("log x", "x"), _gamma),
    dist.InverseGamma: (("log x", "1/x"), _inverse_gamma),
    dist.Weibull: (("log x", "(x/s)ᵏ"), _weibull),
    dist.Beta: (("log x", "log(1−x)"), _beta),
    dist.BetaProportion: (("log x", "log(1−x)"), _beta),
    dist.Uniform: ((), _uniform),
    dist.LogUniform: (("log x",), _power_law),
    dist.Pareto: (("log x",), _power_law),
    dist.LowerTruncatedPowerLaw: (("log x",), _power_law),
    dist.DoublyTruncatedPowerLaw: (("log x",), _power_law),
    dist.Cauchy: (("log(1+(x−m)²/s²)",), _cauchy),
    dist.HalfCauchy: (("log(1+(x−m)²/s²)",), _half_cauchy),
    dist.StudentT: (("log(1+(x−m)²/s²)",), _student),
    dist.VonMises: (("cos(x−m)",), _von_mises),
}


def has_cross_entropy(p: dist.Distribution, q: dist.Distribution) -> bool:
    """Whether P gives the expectations of all the statistics that Q's log-density needs."""
    key_p, key_q = type_key(p), type_key(q)
    if key_p not in EXPECTATIONS or key_q not in STATISTICS:
        return False
    return all(name in EXPECTATIONS[key_p] for name in STATISTICS[key_q][0])


@in_double
def cross_entropy(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """H(p, q) = −constant − Σ coefficient · E_P statistic; ∞ where the support of P is not inside that of Q."""
    constant, terms = STATISTICS[type_key(q)][1](q)
    given = EXPECTATIONS[type_key(p)]
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    value = jnp.broadcast_to(-constant, jnp.broadcast_shapes(constant.shape, shape))
    for coefficient, name, parameters in terms:
        value = value - _term(coefficient, given[name](p, *parameters))
    return jnp.where(escapes(p, q), jnp.inf, value)


def _term(coefficient: Array, expectation: Array) -> Array:
    """Their product, where 0 · ∞ = 0."""
    finite = jnp.isfinite(expectation)
    infinite = jnp.where(coefficient > 0, jnp.inf, jnp.where(coefficient < 0, -jnp.inf, 0.0))
    sign = jnp.where(expectation > 0, infinite, -infinite)
    return jnp.where(finite, coefficient * jnp.where(finite, expectation, 0.0), sign)


def divergence(entropy: Callable[[Any], Array]) -> Callable[[Any, Any], Array]:
    """KL(p ‖ q) = H(p, q) − H(p), for P of the kind with this entropy."""

    @in_double
    def run(p: dist.Distribution, q: dist.Distribution) -> Array:
        return non_negative(cross_entropy(p, q) - entropy(p))

    return run


def always_escapes(p: dist.Distribution, q: dist.Distribution) -> bool:
    """Whether the kinds alone, or fixed bounds, say that P has mass where Q has none, for every element."""
    own, other = constraint_of(p), constraint_of(q)
    if own is None or other is None:
        return False
    if own.is_discrete != other.is_discrete:
        return type(p) is not dist.Delta and type(q) is not dist.Delta
    low_p, high_p, low_q, high_q = (*bounds(own), *bounds(other))
    fixed = all(isinstance(bound, int | float) for bound in (low_p, high_p, low_q, high_q))
    return fixed and bool(low_p < low_q or high_p > high_q)


def escapes(p: dist.Distribution, q: dist.Distribution) -> Any:
    """Whether the bounds of P's support reach beyond those of Q."""
    own, other = constraint_of(p), constraint_of(q)
    (low_p, high_p), (low_q, high_q) = bounds(own), bounds(other)
    if any(bound is None for bound in (low_p, high_p, low_q, high_q)):
        return False
    low, high = (a + b for a, b in zip(slack_of(own), slack_of(other), strict=True))
    return (jnp.asarray(low_p) < low_q - low) | (jnp.asarray(high_p) > high_q + high)


def bounds(constraint: constraints.Constraint | None) -> tuple[Any, Any]:
    """The least and the greatest point of a support that is an interval; (None, None) for any other."""
    return (None, None) if isinstance(constraint, constraints.independent) else ends_of(constraint) or (None, None)
