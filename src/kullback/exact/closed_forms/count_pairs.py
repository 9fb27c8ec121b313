"""Distributions over counts against one another, and their entropies: Poisson, geometric, negative binomial, binomial.

All go by their distance from the Poisson and the geometric of the same mean m: log q(k) differs from that of the
Poisson by log Γ(k + c) and terms linear in k, so that a divergence is a part that compares the means and the
`shortfall` of the mean of log Γ. For each P its distance from the Poisson is enough, for each Q its two parts. A cross
entropy less an entropy would lose the digits where P is near Q.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.count_parameters import (
    BERNOULLI,
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    counts_of,
    shape_and_odds,
    trials_and_chance,
)
from kullback.exact.closed_forms.counts import any_trials_kl, mean_part
from kullback.exact.numerics.binomial_excess import binomial_excess
from kullback.exact.numerics.double_precision import floats, in_double
from kullback.exact.numerics.log_factorial import Counts, log_step, shortfall, shortfall_step, stirling_rest
from kullback.exact.numerics.ratios import gap

_NEGATIVE = (*NEGATIVE_BINOMIAL, *GEOMETRIC)
_BINOMIAL = (*BINOMIAL, *BERNOULLI)


@in_double
def to_poisson_kl(p: Any, q: Any) -> Array:
    """KL = m φ((λ − m)/m) + KL(P ‖ Poisson(m)), for the mean m of P.

    Source: the logarithm of Q's mass, which is linear in k but for log k!; so Poissons differ by a linear function.
    """
    (counts, finite), (rate,) = counts_of(p), floats(q.rate)
    value = gap(counts.mean, rate, rate - counts.mean) + _from_poisson(p, counts)
    return jnp.where(finite, value, jnp.inf)


@in_double
def to_negative_kl(p: Any, q: Any) -> Array:
    """KL = (c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(θ)) + KL(P ‖ Poisson(m)) + T(c), for the shape c of Q, its
    chance θ of one more count, the mean m of P, and T the shortfall of the mean of log Γ under P.

    Source: log Γ(k + c)/Γ(c) averaged as in Cheraghchi (2019); the first part is from the law of shape c and mean m.
    """
    (counts, finite), (c, odds, q_finite) = counts_of(p), shape_and_odds(q)
    means = mean_part(counts.mean, c, odds, c * odds - counts.mean)
    value = means + _from_poisson(p, counts) + shortfall(counts, c)
    return jnp.where(finite & q_finite, value, jnp.inf)


@in_double
def escaping_kl(p: Any, q: Any) -> Array:
    """KL = ∞, for P over all counts and Q a binomial, unless P is all at 0.

    Source: Kullback and Leibler (1951), section 2: P is not absolutely continuous with respect to Q.
    """
    (counts, finite), (n, one, none) = counts_of(p), trials_and_chance(q)
    return jnp.where(finite & (counts.mean == 0), n * one + gap(n, n * none, -n * one), jnp.inf)


def _from_poisson(p: Any, counts: Counts) -> Array:
    """KL(P ‖ Poisson(m))."""
    if type(p) in _BINOMIAL:
        n, one, none = trials_and_chance(p)
        return binomial_excess(n, one, none, jnp.full_like(one, jnp.inf))
    return -shortfall(counts, shape_and_odds(p)[0]) if type(p) in _NEGATIVE else jnp.zeros_like(counts.mean)


@in_double
def poisson_entropy(p: Any) -> Array:
    """H = (m + 1) log(m + 1) − m log m − T(1): that of the geometric of equal mean, less the distance from it.

    Source: Knessl (1998) and Cheraghchi (2019), with the large terms taken out of the integral.
    """
    counts, _ = counts_of(p)
    return log_step(counts.mean) - shortfall(counts, jnp.ones_like(counts.mean))


@in_double
def negative_binomial_entropy(p: Any) -> Array:
    """H = (m + 1) log(m + 1) − m log m + T(a) − T(1): that of the geometric of equal mean, less the distance from it.

    Source: Cheraghchi (2019), with the large terms taken out of the integral.
    """
    (counts, finite), a = counts_of(p), shape_and_odds(p)[0]
    value = log_step(counts.mean) - shortfall_step(counts, a, jnp.ones_like(a), 1.0 - a)
    return jnp.where(finite, value, jnp.inf)


@in_double
def binomial_entropy(p: Any) -> Array:
    """H = E log k! + E log (n − k)! − log n! + n H(Bernoulli(π)), as of a multinomial with two labels.

    Source: Knessl (1998) and Cheraghchi (2019), with the large terms taken out of the integral.
    """
    n, one, none = trials_and_chance(p)
    return trials_entropy(n, jnp.stack([one, none], -1), jnp.stack([none, one], -1))


def trials_entropy(n: Array, chances: Array, rest: Array) -> Array:
    """H = Σ E log kᵢ! − log n! − n Σ pᵢ log pᵢ for n trials over labels of `chances` pᵢ [..., K]; `rest` is 1 − pᵢ."""
    counts = Counts(*jnp.broadcast_arrays(n[..., None] * chances, -chances, rest))
    parts = log_step(counts.mean) - shortfall(counts, jnp.ones_like(counts.mean))
    return parts.sum(-1) - stirling_rest(n)


def _over(form: Any, ps: Any, qs: Any) -> dict[Any, Any]:
    return dict.fromkeys(product(ps, qs), form)


KL = {
    **_over(to_poisson_kl, (*_NEGATIVE, *_BINOMIAL), (dist.Poisson,)),
    **_over(to_negative_kl, (dist.Poisson, *_BINOMIAL), _NEGATIVE),
    **_over(escaping_kl, (dist.Poisson, *_NEGATIVE), _BINOMIAL),
    **_over(any_trials_kl, BERNOULLI, BINOMIAL),
    **_over(any_trials_kl, BINOMIAL, BERNOULLI),
}

ENTROPY = {
    dist.Poisson: poisson_entropy,
    **dict.fromkeys(NEGATIVE_BINOMIAL, negative_binomial_entropy),
    **dict.fromkeys(BINOMIAL, binomial_entropy),
}
