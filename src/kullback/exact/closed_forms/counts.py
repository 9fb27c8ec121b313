"""Distributions over counts against their own kind: Poisson, geometric, negative binomial, binomial, uniform."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import discrete

from kullback.exact.closed_forms.categorical import bernoulli_entropy, bernoulli_kl
from kullback.exact.closed_forms.count_parameters import (
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    chance_step,
    negative_pair,
    shape,
    success,
    trials_and_chance,
)
from kullback.exact.numerics.binomial_excess import binomial_excess
from kullback.exact.numerics.double_precision import floats, in_double
from kullback.exact.numerics.log_factorial import Counts, shortfall_step
from kullback.exact.numerics.ratios import gap
from kullback.exact.type_keys import Form, every_pair, known_equal


def poisson_kl(p: Any, q: Any) -> Array:
    """KL = λp φ((λq − λp)/λp). Source: Kullback and Leibler (1951), eq. 2.4, with E k = λp."""
    rate_p, rate_q = floats(p.rate, q.rate)
    return gap(rate_p, rate_q, rate_q - rate_p)


def geometric_kl(p: Any, q: Any) -> Array:
    """KL = KL(Bernoulli(πp) ‖ Bernoulli(πq))/πp: one for each trial, of which there are 1/πp on average.

    Source: Wald (1945), the equation of the mean of a sum that is stopped.
    """
    probs = success(p)
    trial = bernoulli_kl(p, q)
    # 1/π is infinite where π = 0, and then the two agree or are told apart for certain.
    return jnp.where(trial == 0, 0.0, trial / jnp.where(trial == 0, 1.0, probs))


def geometric_entropy(p: Any) -> Array:
    """H = H(Bernoulli(π))/π. Source: Cover and Thomas (2006), problem 2.1."""
    return bernoulli_entropy(p) / success(p)


def negative_binomial_kl(p: Any, q: Any) -> Form | None:
    """The plain form where the shapes are known to be equal, and otherwise that of any two shapes."""
    equal = known_equal(shape(p), shape(q))
    return partial(_equal_shape_kl if equal else _any_shape_kl, p, q)


@jax.jit
@in_double
def _equal_shape_kl(p: Any, q: Any) -> Array:
    """KL = (a + m) KL(Bernoulli(m/(a + m)) ‖ Bernoulli(θ)): a geometric for each unit of the shape a.

    m is the mean of P, and θ = mq/(a + mq) the chance of one more count under Q. Source: the mass, linear in k.
    """
    pair = negative_pair(p, q)
    return pair.limit(mean_part(pair.mean, pair.shape_q, pair.odds_q, pair.shift))


@in_double
def any_shape_kl(p: Any, q: Any) -> Array:
    """KL = (c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(θ)) + T(c) − T(a), for the shapes a of P and c of Q.

    The first is from the law of Q's shape and P's mean m, and T is the shortfall of the mean of log Γ, T′(a) = 0.
    Source: log Γ(k + c)/Γ(c) averaged as in Cheraghchi (2019); T′(a) is the mean of P's own score.
    """
    pair = negative_pair(p, q)
    counts = Counts(pair.mean, pair.odds_p, 1.0 + pair.odds_p)
    shapes = shortfall_step(counts, pair.shape_p, pair.shape_q, pair.shape_q - pair.shape_p)
    return pair.limit(mean_part(pair.mean, pair.shape_q, pair.odds_q, pair.shift) + shapes)


_any_shape_kl = jax.jit(any_shape_kl)


def mean_part(mean: Array, shape_q: Array, odds_q: Array, shift: Array) -> Array:
    """(c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(r/(1 + r))), from `shift` = c r − m."""
    total, step = mean + shape_q, shift / (1.0 + odds_q)
    return gap(mean, total * odds_q / (1.0 + odds_q), step) + gap(shape_q, total / (1.0 + odds_q), -step)


def binomial_kl(p: Any, q: Any) -> Form | None:
    """The plain form where the numbers of trials are known to be equal, and otherwise that of any two."""
    equal = known_equal(p.total_count, q.total_count)
    return partial(_equal_trials_kl if equal else _any_trials_kl, p, q)


@jax.jit
def _equal_trials_kl(p: Any, q: Any) -> Array:
    """KL = n KL(Bernoulli(πp) ‖ Bernoulli(πq)) for an equal number n of trials.

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, over trials that are independent.
    """
    trial = bernoulli_kl(p, q)
    (trials,) = floats(p.total_count)
    return jnp.where(trials == 0, 0.0, trials * jnp.where(trials == 0, 0.0, trial))


@in_double
def any_trials_kl(p: Any, q: Any) -> Array:
    """KL = N KL(Bernoulli(m/N) ‖ Bernoulli(π)) + KL(P ‖ Binomial(N, m/N)), for the mean m = np of P and n ≤ N.

    The second is an integral, as for a Poisson Q; for n > N, KL = ∞ unless P is all at 0. Source: the logarithms of
    n!/(n − k)! averaged as in Cheraghchi (2019).
    """
    (n, p_one, p_none), (size, _, _) = trials_and_chance(p), trials_and_chance(q)
    inside = n <= size
    more = jnp.where(inside, size - n, 0.0)
    value = trials_mean_part(n, size, p, q) + binomial_excess(n, p_one, p_none, more)
    return jnp.where(inside | (n * p_one == 0), value, jnp.inf)


_any_trials_kl = jax.jit(any_trials_kl)


def trials_mean_part(n: Array, size: Array, p: Any, q: Any) -> Array:
    """N KL(Bernoulli(np/N) ‖ Bernoulli(π)); for np = 0 also where n exceeds N."""
    (_, p_one, _), (_, q_one, q_none) = trials_and_chance(p), trials_and_chance(q)
    mean = jnp.where(n <= size, n * p_one, 0.0)
    step = size * chance_step(p, q) + (size - n) * p_one
    step = jnp.where(n <= size, step, size * q_one)
    return gap(mean, size * q_one, step) + gap(size - mean, size * q_none, -step)


def uniform_kl(p: Any, q: Any) -> Array:
    """KL = log(1 + u), with u the number of Q's counts outside P over the number of P's; ∞ unless P lies within Q.

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = jnp.where(inside, (low_p - low_q) + (high_q - high_p), 0.0)
    return jnp.where(inside, jnp.log1p(outside / (high_p - low_p + 1.0)), jnp.inf)


def uniform_entropy(p: Any) -> Array:
    """H = log of the number of counts. Source: Hartley (1928)."""
    low, high = floats(p.low, p.high)
    return jnp.log(high - low + 1.0)


KL = {
    (dist.Poisson, dist.Poisson): poisson_kl,
    **every_pair(geometric_kl, *GEOMETRIC),
    (dist.DiscreteUniform, dist.DiscreteUniform): uniform_kl,
}

BUILD_KL = {**every_pair(negative_binomial_kl, *NEGATIVE_BINOMIAL, *GEOMETRIC), **every_pair(binomial_kl, *BINOMIAL)}

ENTROPY = {
    discrete.GeometricProbs: geometric_entropy,
    discrete.GeometricLogits: geometric_entropy,
    dist.DiscreteUniform: uniform_entropy,
}
