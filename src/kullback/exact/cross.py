"""Pairs of unlike families, from two short tables.

`STATISTICS`: for each Q, its log-density as a sum of statistics of x with coefficients. `EXPECTATIONS`: for each P,
the expectations of statistics. Where P gives all that Q asks for, the cross entropy follows, and with P's entropy
the divergence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from kullback.exact.expectations import EXPECTATIONS
from kullback.exact.forms.gamma import shape_and_rate
from kullback.exact.kinds import kind
from kullback.exact.special import HALF_LOG_2PI, floats, log_beta

Term = tuple[Array, str, tuple[Any, ...]]  # coefficient, statistic, its parameters


# What a log-density consists of: (constant, terms), log q(x) = constant + Σ coefficient · statistic(x).


def _normal(q: Any) -> tuple[Array, list[Term]]:
    loc, scale = floats(q.loc, q.scale)
    return -jnp.log(scale) - HALF_LOG_2PI, [(-0.5 / jnp.square(scale), "(x−m)²", (loc,))]


def _half_normal(q: Any) -> tuple[Array, list[Term]]:
    (scale,) = floats(q.scale)
    return jnp.log(2.0) - jnp.log(scale) - HALF_LOG_2PI, [
        (-0.5 / jnp.square(scale), "(x−m)²", (jnp.zeros_like(scale),))
    ]


def _log_normal(q: Any) -> tuple[Array, list[Term]]:
    loc, scale = floats(q.loc, q.scale)
    terms = [(-jnp.ones_like(scale), "log x", ()), (-0.5 / jnp.square(scale), "(log x−m)²", (loc,))]
    return -jnp.log(scale) - HALF_LOG_2PI, terms


def _laplace(q: Any) -> tuple[Array, list[Term]]:
    loc, scale = floats(q.loc, q.scale)
    return -jnp.log(2.0 * scale), [(-1.0 / scale, "|x−m|", (loc,))]


def _exponential(q: Any) -> tuple[Array, list[Term]]:
    (rate,) = floats(q.rate)
    return jnp.log(rate), [(-rate, "x", ())]


def _gamma(q: Any) -> tuple[Array, list[Term]]:
    a, b = shape_and_rate(q)
    return a * jnp.log(b) - jax.lax.lgamma(a), [(a - 1.0, "log x", ()), (-b, "x", ())]


def _inverse_gamma(q: Any) -> tuple[Array, list[Term]]:
    a, b = shape_and_rate(q)
    return a * jnp.log(b) - jax.lax.lgamma(a), [(-a - 1.0, "log x", ()), (-b, "1/x", ())]


def _weibull(q: Any) -> tuple[Array, list[Term]]:
    scale, k = floats(q.scale, q.concentration)
    return jnp.log(k) - k * jnp.log(scale), [(k - 1.0, "log x", ()), (-(scale**-k), "xᵏ", (k,))]


def _beta(q: Any) -> tuple[Array, list[Term]]:
    a, b = floats(q.concentration1, q.concentration0)
    return -log_beta(a, b), [(a - 1.0, "log x", ()), (b - 1.0, "log(1−x)", ())]


def _uniform(q: Any) -> tuple[Array, list[Term]]:
    low, high = floats(q.low, q.high)
    return -jnp.log(high - low), []


STATISTICS: dict[Any, tuple[tuple[str, ...], Callable[[Any], tuple[Array, list[Term]]]]] = {
    dist.Normal: (("(x−m)²",), _normal),
    dist.HalfNormal: (("(x−m)²",), _half_normal),
    dist.LogNormal: (("log x", "(log x−m)²"), _log_normal),
    dist.Laplace: (("|x−m|",), _laplace),
    dist.Exponential: (("x",), _exponential),
    dist.Gamma: (("log x", "x"), _gamma),
    dist.Chi2: (("log x", "x"), _gamma),
    dist.InverseGamma: (("log x", "1/x"), _inverse_gamma),
    dist.Weibull: (("log x", "xᵏ"), _weibull),
    dist.Beta: (("log x", "log(1−x)"), _beta),
    dist.BetaProportion: (("log x", "log(1−x)"), _beta),
    dist.Uniform: ((), _uniform),
}


def has_cross_entropy(p: Any, q: Any) -> bool:
    """Whether P gives the expectations of all the statistics that Q's log-density needs; not within discrete kinds."""
    key_p, key_q = kind(p), kind(q)
    if key_p not in EXPECTATIONS or key_q not in STATISTICS:
        return False
    return all(name in EXPECTATIONS[key_p] for name in STATISTICS[key_q][0])


def cross_entropy(p: Any, q: Any) -> Array:
    """H(p, q) = −constant − Σ coefficient · E_P statistic; ∞ where the support of P is not inside that of Q."""
    constant, terms = STATISTICS[kind(q)][1](q)
    given = EXPECTATIONS[kind(p)]
    value = -constant
    for coefficient, name, parameters in terms:
        expectation = given[name](p, *parameters)
        # A coefficient of 0 leaves the term out, even where the expectation is infinite.
        kept = coefficient != 0
        value = value - jnp.where(kept, coefficient * jnp.where(kept, expectation, 0.0), 0.0)
    outside = escapes(p, q)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    value = value if terms else jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, shape))
    return jnp.where(outside, jnp.inf, value)


def always_escapes(p: Any, q: Any) -> bool:
    """Whether the kinds alone, or fixed bounds, say that P has mass where Q has none, for every element."""
    if p.support is None or q.support is None:
        return False
    discrete_p, discrete_q = p.support.is_discrete, q.support.is_discrete
    if discrete_p != discrete_q:
        return type(p) is not dist.Delta and type(q) is not dist.Delta
    outside = escapes(p, q)
    return isinstance(outside, bool) and outside


def escapes(p: Any, q: Any) -> Any:
    """Whether the bounds of P's support reach beyond those of Q: a Python bool where they are fixed numbers."""
    (low_p, high_p), (low_q, high_q) = bounds(p.support), bounds(q.support)
    if any(bound is None for bound in (low_p, high_p, low_q, high_q)):
        return False
    if all(isinstance(bound, int | float) for bound in (low_p, high_p, low_q, high_q)):
        return bool(low_p < low_q or high_p > high_q)
    return (jnp.asarray(low_p) < low_q) | (jnp.asarray(high_p) > high_q)


def bounds(support: Any) -> tuple[Any, Any]:
    """The least and the greatest point of a support that is an interval; (None, None) for any other."""
    if support is constraints.real:
        return -np.inf, np.inf
    if isinstance(support, constraints.interval | constraints.integer_interval):
        return support.lower_bound, support.upper_bound
    if isinstance(support, constraints.greater_than | constraints.integer_greater_than):
        return support.lower_bound, np.inf
    return None, None
