"""Parameters that distributions over counts have in common, from each parametrisation without loss of digits."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Float
from numpyro.distributions import discrete

from kullback.exact.closed_forms.categorical import BernoulliLaw, TrialLaw
from kullback.exact.type_keys import by_probs
from kullback.numerics.double_precision import floats
from kullback.numerics.log_factorial import Counts

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
