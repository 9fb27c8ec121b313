"""Distributions over counts: Poisson, geometric, negative binomial, binomial, uniform; and their common parameters.

Those of one family have forms of their own. Those of different families are compared through the Poisson and the
geometric distribution of the same mean m: log q(k) differs from that of the Poisson by log Γ(k + c) and terms linear in
k, so a divergence is a part that compares the means and the `shortfall` of the mean of log Γ. A cross entropy less an
entropy would lose digits where P is near Q.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Float
from numpyro.distributions import discrete

from kullback.exact.closed_forms.categorical import BernoulliLaw, TrialLaw, bernoulli_entropy, bernoulli_kl
from kullback.exact.type_keys import Form, by_probs, every_pair, known_equal
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_factorial import (
    Counts,
    binomial_excess,
    log_step,
    shortfall,
    shortfall_step,
    stirling_rest,
)
from kullback.numerics.ratios import gap

GeometricLaw = discrete.GeometricProbs | discrete.GeometricLogits
NegativeBinomialLaw = dist.GammaPoisson | GeometricLaw  # NumPyro's negative binomials are each a GammaPoisson
BinomialLaw = discrete.BinomialProbs | discrete.BinomialLogits
TrialsLaw = BinomialLaw | BernoulliLaw
CountLaw = dist.Poisson | NegativeBinomialLaw | TrialsLaw

_BY_CHANCE = dist.NegativeBinomialProbs | dist.NegativeBinomialLogits

GEOMETRIC = (discrete.GeometricProbs, discrete.GeometricLogits)
NEGATIVE_BINOMIAL = (
    dist.GammaPoisson,
    dist.NegativeBinomialProbs,
    dist.NegativeBinomialLogits,
    dist.NegativeBinomial2,
)
BINOMIAL = (discrete.BinomialProbs, discrete.BinomialLogits)
BERNOULLI = (discrete.BernoulliProbs, discrete.BernoulliLogits)


def success(d: TrialLaw) -> Float[Array, "*batch"]:
    """The chance of success of a trial."""
    return floats(d.probs)[0] if by_probs(d) else jax.nn.sigmoid(floats(d.logits)[0])


def shape(d: NegativeBinomialLaw) -> Any:
    """The shape a of a negative binomial."""
    if isinstance(d, GeometricLaw):
        return 1.0
    return d.total_count if isinstance(d, _BY_CHANCE) else d.concentration


def trials_and_chance(d: TrialsLaw) -> tuple[Array, Array, Array]:
    """n, p and 1 − p of a binomial; a Bernoulli is one of one trial."""
    n = 1.0 if isinstance(d, BernoulliLaw) else d.total_count
    if by_probs(d):
        n, p = floats(n, d.probs)
        return n, p, 1.0 - p
    n, logit = floats(n, d.logits)
    return n, jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)


def chance_step(p: TrialsLaw, q: TrialsLaw) -> Float[Array, "*batch"]:
    """πq − πp of two binomials, to the last digit of the parameters' difference."""
    (_, x, not_x), (_, y, _) = trials_and_chance(p), trials_and_chance(q)
    if by_probs(p) or by_probs(q):
        return y - x
    logit_p, logit_q = floats(p.logits, q.logits)
    near, step = _near(logit_p, logit_q, 1.0)
    return jnp.where(near, y * not_x * -jnp.expm1(-step), y - x)


class NegativePair(NamedTuple):
    """Two negative binomials, each of a shape and odds r, whose product is the mean.

    odds_step  the odds of Q less those of P
    shift      the mean of Q less that of P
    finite     whether both means are finite; elsewhere the numbers above have no meaning
    ends       the divergence where they are not
    """

    shape_p: Float[Array, "*batch"]
    shape_q: Float[Array, "*batch"]
    odds_p: Float[Array, "*batch"]
    odds_q: Float[Array, "*batch"]
    odds_step: Float[Array, "*batch"]
    shift: Float[Array, "*batch"]
    ends: Float[Array, "*batch"]
    finite: Bool[Array, "*batch"]

    @property
    def mean(self) -> Array:
        return self.shape_p * self.odds_p

    def limit(self, value: Array) -> Array:
        return jnp.where(self.finite, value, self.ends)


def negative_pair(p: NegativeBinomialLaw, q: NegativeBinomialLaw) -> NegativePair:
    """Geometrics among them, as those of shape 1."""
    a, c, x, y = floats(shape(p), shape(q), _odds_parameter(p), _odds_parameter(q))
    finite = _is_finite(p, x) & _is_finite(q, y)
    ends = jnp.where(_is_finite(p, x) | _is_finite(q, y) | (a != c), jnp.inf, 0.0)
    x, y = jnp.where(finite, x, 0.5), jnp.where(finite, y, 0.5)
    odds_p, odds_q = _odds(p, x), _odds(q, y)
    step = _odds_step(p, q, x, y)
    # Of two ways to write c r_q − a r_p, the one whose terms have the size of the smaller shape.
    shift = jnp.where(a > c, (c - a) * odds_p + c * step, (c - a) * odds_q + a * step)
    return NegativePair(
        shape_p=a,
        shape_q=c,
        odds_p=odds_p,
        odds_q=odds_q,
        odds_step=step,
        shift=shift,
        ends=ends,
        finite=finite,
    )


def shape_and_odds(d: NegativeBinomialLaw) -> tuple[Array, Array, Array]:
    """a and r, and whether the mean a r is finite; where it is not, r has no meaning."""
    a, x = floats(shape(d), _odds_parameter(d))
    finite = _is_finite(d, x)
    return a, _odds(d, jnp.where(finite, x, 0.5)), finite


def counts_of(d: CountLaw) -> tuple[Counts, Array]:
    """Mean and ratio of a Poisson, binomial or negative binomial, and whether the mean is finite; 1 if not."""
    if isinstance(d, dist.Poisson):
        (rate,) = floats(d.rate)
        finite = jnp.isfinite(rate)
        return Counts(jnp.where(finite, rate, 1.0), jnp.zeros_like(rate), jnp.ones_like(rate)), finite
    if isinstance(d, TrialsLaw):
        n, p, rest = trials_and_chance(d)
        return Counts(n * p, -p, rest), jnp.ones_like(n, bool)
    a, odds, finite = shape_and_odds(d)
    return Counts(a * odds, odds, 1.0 + odds), finite


def _odds_parameter(d: NegativeBinomialLaw) -> Any:
    """The parameter of the odds: a probability, a logit, or the rate 1/r."""
    if isinstance(d, dist.NegativeBinomialProbs):
        return d.probs
    if isinstance(d, dist.NegativeBinomialLogits):
        return d.logits
    if isinstance(d, GeometricLaw):
        return d.probs if by_probs(d) else d.logits
    return d.rate


def _sign(d: NegativeBinomialLaw) -> int:
    """+1 if the parameter is the probability (or logit) of one more count, −1 if of the end; 0 for a rate."""
    if isinstance(d, GeometricLaw):
        return -1
    return 1 if isinstance(d, _BY_CHANCE) else 0


def _is_finite(d: NegativeBinomialLaw, x: Array) -> Array:
    if _sign(d) == 0:
        return x > 0
    if by_probs(d):
        return x < 1 if _sign(d) > 0 else x > 0
    return _sign(d) * x < jnp.log(jnp.finfo(x.dtype).max)


def _odds(d: NegativeBinomialLaw, x: Array) -> Array:
    if _sign(d) == 0:
        return 1.0 / x
    if by_probs(d):
        return x / (1.0 - x) if _sign(d) > 0 else (1.0 - x) / x
    return jnp.exp(_sign(d) * x)


def _odds_step(p: NegativeBinomialLaw, q: NegativeBinomialLaw, x: Array, y: Array) -> Array:
    """rq − rp."""
    odds_p, odds_q, sign = _odds(p, x), _odds(q, y), _sign(p)
    if sign != _sign(q) or (sign and by_probs(p) != by_probs(q)):
        return odds_q - odds_p
    by_logits = sign != 0 and not by_probs(p)
    near, step = _near(x, y, 1.0 if by_logits else jnp.inf)
    if sign == 0:
        close = -step * odds_p * odds_q
    elif by_probs(p):
        close = step / ((1.0 - x) * (1.0 - y)) if sign > 0 else -step / (x * y)
    else:
        close = odds_p * jnp.expm1(sign * step)
    return jnp.where(near, close, odds_q - odds_p)


def _near(x: Array, y: Array, reach: float) -> tuple[Array, Array]:
    """Whether |y − x| < reach; and y − x where it is, else 0."""
    both = jnp.isfinite(x) & jnp.isfinite(y)
    step = jnp.where(both, y, 0.0) - jnp.where(both, x, 0.0)
    near = both & (jnp.abs(step) < reach)
    return near, jnp.where(near, step, 0.0)


# Of one family.


def poisson_kl(p: dist.Poisson, q: dist.Poisson) -> Float[Array, "*batch"]:
    """KL = λp φ((λq − λp)/λp). Source: Kullback and Leibler (1951), eq. 2.4, with E k = λp."""
    rate_p, rate_q = floats(p.rate, q.rate)
    return gap(rate_p, rate_q, rate_q - rate_p)


def geometric_kl(p: GeometricLaw, q: GeometricLaw) -> Float[Array, "*batch"]:
    """KL = KL(Bernoulli(πp) ‖ Bernoulli(πq))/πp: one for each trial, of which there are 1/πp on average.

    Source: Wald (1945), the equation of the mean of a sum that is stopped.
    """
    probs = success(p)
    trial = bernoulli_kl(p, q)
    # Where π = 0, 1/π is infinite, and the divergence is 0 or ∞.
    return jnp.where(trial == 0, 0.0, trial / jnp.where(trial == 0, 1.0, probs))


def geometric_entropy(p: GeometricLaw) -> Float[Array, "*batch"]:
    """H = H(Bernoulli(π))/π. Source: Cover and Thomas (2006), problem 2.1."""
    return bernoulli_entropy(p) / success(p)


def negative_binomial_kl(p: NegativeBinomialLaw, q: NegativeBinomialLaw) -> Form | None:
    """The plain form where the shapes are known to be equal, and otherwise that of any two shapes."""
    equal = known_equal(shape(p), shape(q))
    return partial(_equal_shape_kl if equal else _any_shape_kl, p, q)


@jax.jit
@in_double
def _equal_shape_kl(p: NegativeBinomialLaw, q: NegativeBinomialLaw) -> Array:
    """KL = (a + m) KL(Bernoulli(m/(a + m)) ‖ Bernoulli(θ)): a geometric for each unit of the shape a.

    m is the mean of P, and θ = mq/(a + mq) the chance of one more count under Q. Source: the mass, linear in k.
    """
    pair = negative_pair(p, q)
    return pair.limit(mean_part(pair.mean, pair.shape_q, pair.odds_q, pair.shift))


@in_double
def any_shape_kl(p: NegativeBinomialLaw, q: NegativeBinomialLaw) -> Float[Array, "*batch"]:
    """KL = (c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(θ)) + T(c) − T(a), for the shapes a of P and c of Q.

    The first is from the law of Q's shape and P's mean m, and T is the shortfall of the mean of log Γ, T′(a) = 0.
    Source: log Γ(k + c)/Γ(c) averaged as in Cheraghchi (2019); T′(a) is the mean of P's own score.
    """
    pair = negative_pair(p, q)
    counts = Counts(pair.mean, pair.odds_p, 1.0 + pair.odds_p)
    shapes = shortfall_step(counts, pair.shape_p, pair.shape_q, pair.shape_q - pair.shape_p)
    return pair.limit(mean_part(pair.mean, pair.shape_q, pair.odds_q, pair.shift) + shapes)


_any_shape_kl = jax.jit(any_shape_kl)


def mean_part(
    mean: Float[Array, "*s"], shape_q: Float[Array, "*s"], odds_q: Float[Array, "*s"], shift: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """(c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(r/(1 + r))), from `shift` = c r − m."""
    total, step = mean + shape_q, shift / (1.0 + odds_q)
    return gap(mean, total * odds_q / (1.0 + odds_q), step) + gap(shape_q, total / (1.0 + odds_q), -step)


def binomial_kl(p: BinomialLaw, q: BinomialLaw) -> Form | None:
    """The plain form where the numbers of trials are known to be equal, and otherwise that of any two."""
    equal = known_equal(p.total_count, q.total_count)
    return partial(_equal_trials_kl if equal else _any_trials_kl, p, q)


@jax.jit
def _equal_trials_kl(p: BinomialLaw, q: BinomialLaw) -> Array:
    """KL = n KL(Bernoulli(πp) ‖ Bernoulli(πq)) for an equal number n of trials.

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, over trials that are independent.
    """
    trial = bernoulli_kl(p, q)
    (trials,) = floats(p.total_count)
    return jnp.where(trials == 0, 0.0, trials * jnp.where(trials == 0, 0.0, trial))


@in_double
def any_trials_kl(p: TrialsLaw, q: TrialsLaw) -> Float[Array, "*batch"]:
    """KL = N KL(Bernoulli(m/N) ‖ Bernoulli(π)) + KL(P ‖ Binomial(N, m/N)), for the mean m = np of P and n ≤ N.

    The second is an integral, as for a Poisson Q; for n > N, KL = ∞ unless P is concentrated at 0. Source: the
    logarithms of n!/(n − k)! averaged as in Cheraghchi (2019).
    """
    (n, p_one, p_none), (size, _, _) = trials_and_chance(p), trials_and_chance(q)
    inside = n <= size
    more = jnp.where(inside, size - n, 0.0)
    value = trials_mean_part(n, size, p, q) + binomial_excess(n, p_one, p_none, more)
    return jnp.where(inside | (n * p_one == 0), value, jnp.inf)


_any_trials_kl = jax.jit(any_trials_kl)


def trials_mean_part(n: Float[Array, "*s"], size: Float[Array, "*s"], p: TrialsLaw, q: TrialsLaw) -> Array:
    """N KL(Bernoulli(np/N) ‖ Bernoulli(π)); for np = 0 also where n exceeds N."""
    (_, p_one, _), (_, q_one, q_none) = trials_and_chance(p), trials_and_chance(q)
    mean = jnp.where(n <= size, n * p_one, 0.0)
    step = size * chance_step(p, q) + (size - n) * p_one
    step = jnp.where(n <= size, step, size * q_one)
    return gap(mean, size * q_one, step) + gap(size - mean, size * q_none, -step)


def uniform_kl(p: dist.DiscreteUniform, q: dist.DiscreteUniform) -> Float[Array, "*batch"]:
    """KL = log(1 + u), with u the number of Q's counts outside P over the number of P's; ∞ unless P lies within Q.

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = jnp.where(inside, (low_p - low_q) + (high_q - high_p), 0.0)
    return jnp.where(inside, jnp.log1p(outside / (high_p - low_p + 1.0)), jnp.inf)


def uniform_entropy(p: dist.DiscreteUniform) -> Float[Array, "*batch"]:
    """H = log of the number of counts. Source: Hartley (1928)."""
    low, high = floats(p.low, p.high)
    return jnp.log(high - low + 1.0)


# Of different families, and the entropies.


_NEGATIVE = (*NEGATIVE_BINOMIAL, *GEOMETRIC)
_BINOMIAL = (*BINOMIAL, *BERNOULLI)


@in_double
def to_poisson_kl(p: CountLaw, q: dist.Poisson) -> Float[Array, "*batch"]:
    """KL = m φ((λ − m)/m) + KL(P ‖ Poisson(m)), for the mean m of P.

    Source: the logarithm of Q's mass, which is linear in k but for log k!; so Poissons differ by a linear function.
    """
    (counts, finite), (rate,) = counts_of(p), floats(q.rate)
    value = gap(counts.mean, rate, rate - counts.mean) + _from_poisson(p, counts)
    return jnp.where(finite, value, jnp.inf)


@in_double
def to_negative_kl(p: CountLaw, q: NegativeBinomialLaw) -> Float[Array, "*batch"]:
    """KL = (c + m) KL(Bernoulli(m/(c + m)) ‖ Bernoulli(θ)) + KL(P ‖ Poisson(m)) + T(c), for the shape c of Q, its
    chance θ of one more count, the mean m of P, and T the shortfall of the mean of log Γ under P.

    Source: log Γ(k + c)/Γ(c) averaged as in Cheraghchi (2019); the first part is from the law of shape c and mean m.
    """
    (counts, finite), (c, odds, q_finite) = counts_of(p), shape_and_odds(q)
    means = mean_part(counts.mean, c, odds, c * odds - counts.mean)
    value = means + _from_poisson(p, counts) + shortfall(counts, c)
    return jnp.where(finite & q_finite, value, jnp.inf)


@in_double
def escaping_kl(p: CountLaw, q: TrialsLaw) -> Float[Array, "*batch"]:
    """KL = ∞, for P over all counts and Q a binomial, unless P is concentrated at 0.

    Source: Kullback and Leibler (1951), section 2: P is not absolutely continuous with respect to Q.
    """
    (counts, finite), (n, one, none) = counts_of(p), trials_and_chance(q)
    return jnp.where(finite & (counts.mean == 0), n * one + gap(n, n * none, -n * one), jnp.inf)


def _from_poisson(p: CountLaw, counts: Counts) -> Array:
    """KL(P ‖ Poisson(m))."""
    if isinstance(p, TrialsLaw):
        n, one, none = trials_and_chance(p)
        return binomial_excess(n, one, none, jnp.full_like(one, jnp.inf))
    return (
        -shortfall(counts, shape_and_odds(p)[0]) if isinstance(p, NegativeBinomialLaw) else jnp.zeros_like(counts.mean)
    )


@in_double
def poisson_entropy(p: dist.Poisson) -> Float[Array, "*batch"]:
    """H = (m + 1) log(m + 1) − m log m − T(1): that of the geometric of equal mean, less the distance from it.

    Source: Knessl (1998) and Cheraghchi (2019), with the large terms taken out of the integral.
    """
    counts, _ = counts_of(p)
    return log_step(counts.mean) - shortfall(counts, jnp.ones_like(counts.mean))


@in_double
def negative_binomial_entropy(p: NegativeBinomialLaw) -> Float[Array, "*batch"]:
    """H = (m + 1) log(m + 1) − m log m + T(a) − T(1): that of the geometric of equal mean, less the distance from it.

    Source: Cheraghchi (2019), with the large terms taken out of the integral.
    """
    (counts, finite), a = counts_of(p), shape_and_odds(p)[0]
    value = log_step(counts.mean) - shortfall_step(counts, a, jnp.ones_like(a), 1.0 - a)
    return jnp.where(finite, value, jnp.inf)


@in_double
def binomial_entropy(p: TrialsLaw) -> Float[Array, "*batch"]:
    """H = E log k! + E log (n − k)! − log n! + n H(Bernoulli(π)), as of a multinomial with two labels.

    Source: Knessl (1998) and Cheraghchi (2019), with the large terms taken out of the integral.
    """
    n, one, none = trials_and_chance(p)
    return trials_entropy(n, jnp.stack([one, none], -1), jnp.stack([none, one], -1))


def trials_entropy(
    n: Float[Array, "*s"], chances: Float[Array, "*s k"], rest: Float[Array, "*s k"]
) -> Float[Array, "*s"]:
    """H = Σ E log kᵢ! − log n! − n Σ pᵢ log pᵢ for n trials over labels of `chances` pᵢ [..., K]; `rest` is 1 − pᵢ."""
    counts = Counts(*jnp.broadcast_arrays(n[..., None] * chances, -chances, rest))
    parts = log_step(counts.mean) - shortfall(counts, jnp.ones_like(counts.mean))
    return parts.sum(-1) - stirling_rest(n)


KL = {
    (dist.Poisson, dist.Poisson): poisson_kl,
    **every_pair(geometric_kl, *GEOMETRIC),
    (dist.DiscreteUniform, dist.DiscreteUniform): uniform_kl,
    **dict.fromkeys(product((*_NEGATIVE, *_BINOMIAL), (dist.Poisson,)), to_poisson_kl),
    **dict.fromkeys(product((dist.Poisson, *_BINOMIAL), _NEGATIVE), to_negative_kl),
    **dict.fromkeys(product((dist.Poisson, *_NEGATIVE), _BINOMIAL), escaping_kl),
    **dict.fromkeys(product(BERNOULLI, BINOMIAL), any_trials_kl),
    **dict.fromkeys(product(BINOMIAL, BERNOULLI), any_trials_kl),
}
BUILD_KL = {
    **every_pair(negative_binomial_kl, *NEGATIVE_BINOMIAL, *GEOMETRIC),
    **every_pair(binomial_kl, *BINOMIAL),
}
ENTROPY = {
    discrete.GeometricProbs: geometric_entropy,
    discrete.GeometricLogits: geometric_entropy,
    dist.DiscreteUniform: uniform_entropy,
    dist.Poisson: poisson_entropy,
    **dict.fromkeys(NEGATIVE_BINOMIAL, negative_binomial_entropy),
    **dict.fromkeys(BINOMIAL, binomial_entropy),
}
