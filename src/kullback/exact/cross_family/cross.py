"""Pairs of unlike families, from two short tables.

`STATISTICS`: for each Q, its log-density as a sum of statistics of x with coefficients. `EXPECTATIONS`: for each P,
the expectations of statistics. Where P gives all that Q asks for, the cross entropy follows, and with P's entropy
the divergence.

Accuracy: both are computed in double precision, also for single-precision parameters, and the error of their difference
is about 1e-15 of the larger of their terms. That is enough, since members of unlike families are never near each other.
Families that have members in common (gamma and Weibull the exponential, beta and uniform) have forms of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import constraints

from kullback.exact.cross_family.expectations import EXPECTATIONS
from kullback.exact.cross_family.statistics import STATISTICS
from kullback.exact.type_keys import type_key
from kullback.known.constraints import constraint_of, ends_of, slack_of
from kullback.numerics.double_precision import in_double, non_negative


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
