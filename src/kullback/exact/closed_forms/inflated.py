"""Laws with a probability at 0 of their own: zero-inflated and hurdle distributions, and their plain base.

Each is drawn in two steps: whether x = 0, then x given that it is not. Divergences and entropies add over the steps. A
gate g forces a 0: for a zero-inflated law it is one more way to be 0, for a hurdle the only one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import discrete
from scipy.special import bernoulli, factorial

from kullback.exact.closed_forms import counts, gamma, interval, location_scale
from kullback.exact.closed_forms.categorical import safe_log
from kullback.exact.closed_forms.counts import (
    BERNOULLI,
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    CountLaw,
    GeometricLaw,
    NegativeBinomialLaw,
    TrialsLaw,
    chance_step,
    negative_pair,
    shape_and_odds,
    trials_and_chance,
)
from kullback.exact.type_keys import Form, unexpanded
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.quadrature import gauss_legendre
from kullback.numerics.ratios import gap, psi

InflatedLaw = discrete.ZeroInflatedProbs | discrete.ZeroInflatedLogits  # ZeroInflatedPoisson is a ZeroInflatedProbs
HurdleLaw = discrete.HurdleProbs | discrete.HurdleLogits  # the other hurdles are HurdleProbs
GatedByLogits = discrete.ZeroInflatedLogits | discrete.HurdleLogits
DensityForm = Callable[..., Array]

INFLATED = (discrete.ZeroInflatedProbs, discrete.ZeroInflatedLogits, dist.ZeroInflatedPoisson)
HURDLE = (discrete.HurdleProbs, discrete.HurdleLogits, dist.HurdlePoisson, dist.HurdleGamma, dist.HurdleLogNormal)
_NEGATIVE, _TRIALS = (*NEGATIVE_BINOMIAL, *GEOMETRIC), (*BINOMIAL, *BERNOULLI)
_COUNTS = (dist.Poisson, *_NEGATIVE, *_TRIALS)

_DENSITIES = {**gamma.KL, **location_scale.KL, **interval.KL, **location_scale.KL}
_DENSITY_ENTROPIES = {**gamma.ENTROPY, **location_scale.ENTROPY, **interval.ENTROPY, **location_scale.ENTROPY}
_COUNT_ENTROPIES = {**counts.ENTROPY, **dict.fromkeys(BERNOULLI, counts.binomial_entropy)}


class Split(NamedTuple):
    """The two steps of a law: whether x = 0, and x given that it is not, which is the base given the same.

    zero, positive            P(x = 0) and P(x ≠ 0)
    log_zero                  log P(x = 0), also where that underflows
    gate, open                the probability that the gate forces a 0, and its complement
    base_zero, base_positive  P(x = 0) and P(x ≠ 0) under the base
    """

    base: CountLaw
    zero: Float[Array, "*batch"]
    positive: Float[Array, "*batch"]
    log_zero: Float[Array, "*batch"]
    gate: Float[Array, "*batch"]
    open: Float[Array, "*batch"]
    base_zero: Float[Array, "*batch"]
    base_positive: Float[Array, "*batch"]


def gated_kl(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """KL = KL(Bernoulli(P(0)) ‖ Bernoulli(Q(0))) + P(x ≠ 0) KL(P given x ≠ 0 ‖ Q given x ≠ 0).

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, for whether x = 0 and x.
    """
    p, q = _portable(p), _portable(q)
    base_p, base_q = _base(p), _base(q)
    if type(base_p) in _COUNTS and type(base_q) in _COUNTS:
        return partial(_counts_kl, p, q) if _one_family(base_p, base_q) else None
    pair = (type(base_p), type(base_q))
    both = isinstance(p, HurdleLaw) and isinstance(q, HurdleLaw)
    return partial(_densities_kl, p, q, _DENSITIES[pair]) if both and pair in _DENSITIES else None


@jax.jit
@in_double
def _counts_kl(p: dist.Distribution, q: dist.Distribution) -> Array:
    a, b = _split(p), _split(q)
    base_step = _base_step(a, b)
    step = b.positive - a.positive
    if isinstance(p, HurdleLaw) and isinstance(q, HurdleLaw):
        step = -_difference(p, q, a.gate, a.open, b.gate)
    elif not (isinstance(p, HurdleLaw) or isinstance(q, HurdleLaw)):
        step = b.open * base_step - _difference(p, q, a.gate, a.open, b.gate) * a.base_positive
    first = gap(a.positive, b.positive, step) + _zero_gap(a, b, -step)
    rest = _positive_kl(a, b, base_step)
    return first + jnp.where(a.positive > 0, a.positive * jnp.where(a.positive > 0, rest, 0.0), 0.0)


def _zero_gap(a: Split, b: Split, step: Array) -> Array:
    """p log(p/q) − p + q of the probabilities of 0, from log q where q underflows, as e^(−rate) of a Poisson may."""
    lost = (a.zero > 0) & (b.zero < jnp.finfo(b.zero.dtype).tiny) & jnp.isfinite(b.log_zero)
    p, log_q = jnp.where(lost, a.zero, 1.0), jnp.where(lost, b.log_zero, 0.0)
    rest = gap(a.zero, jnp.where(lost, a.zero, b.zero), jnp.where(lost, 0.0, step))
    return jnp.where(lost, p * (jnp.log(p) - log_q) - p, rest)


@partial(jax.jit, static_argnums=2)
def _densities_kl(p: dist.Distribution, q: dist.Distribution, form: DensityForm) -> Array:
    (gate_p, open_p), (gate_q, open_q) = _gates(p), _gates(q)
    step = _difference(p, q, gate_p, open_p, gate_q)
    rest = form(_base(p), _base(q))
    first = gap(gate_p, gate_q, step) + gap(open_p, open_q, -step)
    return first + jnp.where(open_p > 0, open_p * jnp.where(open_p > 0, rest, 0.0), 0.0)


def gated_entropy(p: dist.Distribution) -> Form | None:
    """H = H(Bernoulli(P(0))) + P(x ≠ 0) H(P given x ≠ 0); for a density, of the measure with a unit of mass at 0 added.

    Source: Cover and Thomas (2006), theorem 2.2.1, the chain rule, for whether x = 0 and x.
    """
    p = _portable(p)
    base = type(_base(p))
    if base in _COUNTS:
        return partial(_counts_entropy, p)
    return partial(_density_entropy, p, _DENSITY_ENTROPIES[base]) if base in _DENSITY_ENTROPIES else None


@jax.jit
@in_double
def _counts_entropy(p: dist.Distribution) -> Array:
    a = _split(p)
    rest = _COUNT_ENTROPIES[type(a.base)](a.base) - _binary_entropy(a.base_zero, a.base_positive)
    live = (a.positive > 0) & (a.base_positive > 0)
    share = jnp.where(live, a.positive / jnp.where(live, a.base_positive, 1.0), 0.0)
    return _binary_entropy(a.zero, a.positive) + jnp.where(live, share * jnp.where(live, rest, 0.0), 0.0)


@partial(jax.jit, static_argnums=1)
def _density_entropy(p: dist.Distribution, form: DensityForm) -> Array:
    gate, open_ = _gates(p)
    return _binary_entropy(gate, open_) + jnp.where(open_ > 0, open_ * form(_base(p)), 0.0)


def _binary_entropy(x: Array, y: Array) -> Array:
    """−x log x − y log y."""
    x_log, y_log = (jnp.where(v > 0, v * jnp.log(jnp.where(v > 0, v, 1.0)), 0.0) for v in (x, y))
    return -x_log - y_log


def _base(d: dist.Distribution) -> dist.Distribution:
    return unexpanded(d.base_dist) if isinstance(d, InflatedLaw | HurdleLaw) else d


def _portable(d: dist.Distribution) -> dist.Distribution:
    """The same law with a base that can enter a compiled program: NumPyro's negative binomial for hurdles cannot."""
    base = _base(d)
    if not (isinstance(base, dist.NegativeBinomial2) and type(base) is not dist.NegativeBinomial2):
        return d
    base = dist.GammaPoisson(base.concentration, base.rate, validate_args=False)
    if isinstance(d, discrete.HurdleLogits):
        return type(d)(base, d.gate_logits, validate_args=False)
    assert isinstance(d, discrete.HurdleProbs | discrete.ZeroInflatedProbs)
    return type(d)(base, d.gate, validate_args=False)


def _one_family(p: dist.Distribution, q: dist.Distribution) -> bool:
    return any(type(p) in family and type(q) in family for family in ((dist.Poisson,), _NEGATIVE, _TRIALS))


def _gates(d: dist.Distribution) -> tuple[Array, Array]:
    """The probability that the gate forces a 0, and its complement."""
    if isinstance(d, GatedByLogits):
        (logit,) = floats(d.gate_logits)
        return jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    if isinstance(d, InflatedLaw | HurdleLaw):
        (gate,) = floats(d.gate)
        return gate, 1.0 - gate
    return jnp.zeros(()), jnp.ones(())


def _difference(p: dist.Distribution, q: dist.Distribution, gate_p: Array, open_p: Array, gate_q: Array) -> Array:
    """The difference of the gates, to the last digit of that of their parameters."""
    if not (isinstance(p, GatedByLogits) and isinstance(q, GatedByLogits)):
        return gate_q - gate_p
    x, y = floats(p.gate_logits, q.gate_logits)
    both = jnp.isfinite(x) & jnp.isfinite(y)
    step = jnp.where(both, y, 0.0) - jnp.where(both, x, 0.0)
    near = both & (jnp.abs(step) < 1.0)
    return jnp.where(near, -gate_q * open_p * jnp.expm1(-jnp.where(near, step, 0.0)), gate_q - gate_p)


def _split(d: dist.Distribution) -> Split:
    base, (gate, open_) = _base(d), _gates(d)
    assert isinstance(base, CountLaw)
    log = _log_zero(base)
    base_zero, base_positive = jnp.exp(log), -jnp.expm1(log)
    if isinstance(d, HurdleLaw):
        zero, log_zero, positive = gate, safe_log(gate), open_
    else:
        zero, log_zero = gate + open_ * base_zero, jnp.logaddexp(safe_log(gate), safe_log(open_) + log)
        positive = open_ * base_positive
    return Split(
        base=base,
        zero=zero,
        positive=positive,
        log_zero=log_zero,
        gate=gate,
        open=open_,
        base_zero=base_zero,
        base_positive=base_positive,
    )


def _log_zero(d: CountLaw) -> Array:
    """log P(0) of a plain base."""
    if isinstance(d, dist.Poisson):
        return -floats(d.rate)[0]
    if isinstance(d, NegativeBinomialLaw):
        a, odds, finite = shape_and_odds(d)
        return jnp.where(finite, -a * jnp.log1p(odds), -jnp.inf)
    n, _, rest = trials_and_chance(d)
    return jnp.where(n > 0, n * jnp.log(jnp.where(n > 0, rest, 1.0)), 0.0)


def _log_zero_step(p: CountLaw, q: CountLaw) -> Array:
    """The difference of log P(0), to the last digit of that of the parameters."""
    if isinstance(p, dist.Poisson) and isinstance(q, dist.Poisson):
        rate_p, rate_q = floats(p.rate, q.rate)
        return rate_p - rate_q
    if isinstance(p, NegativeBinomialLaw) and isinstance(q, NegativeBinomialLaw):
        pair = negative_pair(p, q)
        grown = (pair.shape_q - pair.shape_p) * jnp.log1p(pair.odds_q)
        return -grown - pair.shape_p * jnp.log1p(pair.odds_step / (1.0 + pair.odds_p))
    assert isinstance(p, TrialsLaw)
    assert isinstance(q, TrialsLaw)
    (n, _, rest), (m, _, rest_q) = trials_and_chance(p), trials_and_chance(q)
    live = (rest > 0) & (rest_q > 0)
    rest, rest_q = jnp.where(live, rest, 1.0), jnp.where(live, rest_q, 1.0)
    step = jnp.where(live, chance_step(p, q), 0.0)
    return jnp.where(live, (m - n) * jnp.log(rest_q) + n * jnp.log1p(-step / rest), jnp.inf)


def _base_step(a: Split, b: Split) -> Array:
    """The difference of P(x ≠ 0) of the bases."""
    step = _log_zero_step(a.base, b.base)
    near = jnp.abs(step) < 1.0
    return jnp.where(near, -a.base_zero * jnp.expm1(jnp.where(near, step, 0.0)), b.base_positive - a.base_positive)


def _positive_kl(a: Split, b: Split, base_step: Array) -> Array:
    """KL given x ≠ 0. A Poisson has a form of its own, and a geometric then is one that starts at 1. For others it is
    the divergence of the bases less that of whether x = 0, which loses digits where P(x ≠ 0) is small.
    """
    p, q = a.base, b.base
    if isinstance(p, dist.Poisson) and isinstance(q, dist.Poisson):
        return zero_truncated_poisson_kl(*jnp.broadcast_arrays(*floats(p.rate, q.rate)))
    if isinstance(p, GeometricLaw) and isinstance(q, GeometricLaw):
        return counts.geometric_kl(p, q)
    if isinstance(p, NegativeBinomialLaw) and isinstance(q, NegativeBinomialLaw):
        return _left_by_zero(counts.any_shape_kl(p, q), a, b, base_step)
    assert isinstance(p, TrialsLaw)
    assert isinstance(q, TrialsLaw)
    value = _left_by_zero(counts.any_trials_kl(p, q), a, b, base_step)
    return jnp.where(_one_trial(p) & _one_trial(q), 0.0, value)


def _left_by_zero(whole: Array, a: Split, b: Split, base_step: Array) -> Array:
    """KL given x ≠ 0, from the divergence of the bases less that of whether x = 0."""
    live = jnp.isfinite(whole) & (a.base_positive > 0)
    zero = gap(a.base_positive, b.base_positive, base_step) + gap(a.base_zero, b.base_zero, -base_step)
    rest = (jnp.where(live, whole, 0.0) - jnp.where(live, zero, 0.0)) / jnp.where(live, a.base_positive, 1.0)
    return jnp.where(live, rest, jnp.where(a.base_positive > 0, jnp.inf, 0.0))


def _one_trial(d: TrialsLaw) -> Array:
    return trials_and_chance(d)[0] == 1


_GATED = (*INFLATED, *HURDLE)

BUILD_KL = dict.fromkeys((*product(_GATED, (*_GATED, *_COUNTS)), *product(_COUNTS, _GATED)), gated_kl)

BUILD_ENTROPY = dict.fromkeys(_GATED, gated_entropy)


# The Poisson distribution given that the count is not 0.

# f(λ) = log((e^λ − 1)/λ) has f″(λ) = Σ B₂ₖ (2k − 1)/(2k)! λ²ᵏ⁻², for B₂ₖ the Bernoulli numbers and λ < 2π.
_SERIES = (bernoulli(22) * (np.arange(23) - 1) / factorial(np.arange(23)))[2::2]
_NODES = 12


def zero_truncated_poisson_kl(p: Array, q: Array) -> Array:
    """KL = ν φ((μ − λ)/λ) + f(μ) − f(λ) − (μ − λ) f′(λ), for rates λ of P and μ of Q, given that the counts are not 0.

    ν is the mean of P less 1, and f(λ) = log((e^λ − 1)/λ), which is convex. Where λ = 0, P is concentrated at 1.
    Source: the log-partition of the family, log(e^λ − 1), whose Bregman difference in log λ is taken in two parts.
    """
    live, lost = p > 0, (p > 0) & (q <= 0)
    rate, q = jnp.where(live, p, 1.0), jnp.where(lost, 1.0, q)
    excess = psi(-rate) / -jnp.expm1(-rate)
    part = jnp.where(live, excess * gap(rate, q, q - rate) / rate, 0.5 * q)
    return jnp.where(lost, jnp.inf, part + _bregman(p, q))


def _bregman(p: Array, q: Array) -> Array:
    step = q - p
    far = jnp.abs(step) > jnp.maximum(2.0, 0.5 * p)
    near_step = jnp.where(far, 0.0, step)
    nodes, weights = gauss_legendre(_NODES, p.dtype)
    curvature = _curvature(p[..., None] + near_step[..., None] * nodes)
    near = jnp.square(near_step) * (weights * (1.0 - nodes) * curvature).sum(-1)
    end = jnp.where(far, q, p)
    return jnp.where(far, _log_mean(end) - _log_mean(p) - (end - p) * _slope(p), near)


def _log_mean(x: Array) -> Array:
    """f."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, safe + jnp.log(-jnp.expm1(-safe) / safe), 0.0)


def _slope(x: Array) -> Array:
    """f′."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, psi(-safe) / (-jnp.expm1(-safe) * safe), 0.5)


def _curvature(x: Array) -> Array:
    """f″."""
    small = x < 1.0
    square, series = jnp.square(jnp.where(small, x, 0.0)), jnp.zeros_like(x)
    for c in reversed(_SERIES):
        series = series * square + float(c)
    large = jnp.where(small, 1.0, x)
    return jnp.where(small, series, 1.0 / jnp.square(large) - jnp.exp(-large) / jnp.square(jnp.expm1(-large)))
