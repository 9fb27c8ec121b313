"""Laws with a mass at 0 of their own: zero-inflated and hurdle distributions, against one another and their plain base.

All are told apart in two steps, whether x = 0 and then by x given that it is not, and divergences and entropies add
over the steps. A gate g forces a 0: it is one more way to be 0 for a zero-inflated law, and the only one for a hurdle.

The Poisson distribution given that it is not 0.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import discrete
from scipy.special import bernoulli, factorial

from kullback.exact.closed_forms import beta, counts, gamma, location, normal
from kullback.exact.closed_forms.count_parameters import (
    BERNOULLI,
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    chance_step,
    negative_pair,
    shape_and_odds,
    trials_and_chance,
)
from kullback.exact.numerics.double_precision import floats, in_double
from kullback.exact.numerics.quadrature import gauss_legendre
from kullback.exact.numerics.ratios import gap, psi
from kullback.exact.type_keys import Form, unexpanded

INFLATED = (discrete.ZeroInflatedProbs, discrete.ZeroInflatedLogits, dist.ZeroInflatedPoisson)
HURDLE = (discrete.HurdleProbs, discrete.HurdleLogits, dist.HurdlePoisson, dist.HurdleGamma, dist.HurdleLogNormal)
_NEGATIVE, _TRIALS = (*NEGATIVE_BINOMIAL, *GEOMETRIC), (*BINOMIAL, *BERNOULLI)
_COUNTS = (dist.Poisson, *_NEGATIVE, *_TRIALS)

_DENSITIES = {**gamma.KL, **normal.KL, **beta.KL, **location.KL}
_DENSITY_ENTROPIES = {**gamma.ENTROPY, **normal.ENTROPY, **beta.ENTROPY, **location.ENTROPY}
_COUNT_ENTROPIES = {**counts.ENTROPY, **dict.fromkeys(BERNOULLI, counts.binomial_entropy)}


class Split(NamedTuple):
    """The base, and the chances of 0 and of more [...]; `gate` and its complement, and those of 0 under the base.

    `log_none` is the logarithm of `none`, also where that underflows.
    """

    base: Any
    none: Array
    more: Array
    gate: Array
    open: Array
    base_none: Array
    base_more: Array
    log_none: Array


def gated_kl(p: Any, q: Any) -> Form | None:
    """KL = KL(Bernoulli(P(0)) ‖ Bernoulli(Q(0))) + P(x ≠ 0) KL(P given x ≠ 0 ‖ Q given x ≠ 0).

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, for whether x = 0 and x.
    """
    p, q = _portable(p), _portable(q)
    base_p, base_q = _base(p), _base(q)
    if type(base_p) in _COUNTS and type(base_q) in _COUNTS:
        return partial(_counts_kl, p, q) if _one_family(base_p, base_q) else None
    pair = (type(base_p), type(base_q))
    both = type(p) in HURDLE and type(q) in HURDLE
    return partial(_densities_kl, p, q, _DENSITIES[pair]) if both and pair in _DENSITIES else None


@jax.jit
@in_double
def _counts_kl(p: Any, q: Any) -> Array:
    a, b = _split(p), _split(q)
    base_step = _base_step(a, b)
    step = b.more - a.more
    if type(p) in HURDLE and type(q) in HURDLE:
        step = -_gate_step(p, q, a, b)
    elif type(p) not in HURDLE and type(q) not in HURDLE:
        step = b.open * base_step - _gate_step(p, q, a, b) * a.base_more
    first = gap(a.more, b.more, step) + _zero_gap(a, b, -step)
    rest = _positive_kl(a, b, base_step)
    return first + jnp.where(a.more > 0, a.more * jnp.where(a.more > 0, rest, 0.0), 0.0)


def _zero_gap(a: Split, b: Split, step: Array) -> Array:
    """p log(p/q) − p + q of the chances of 0, by log q where q underflows: a Poisson has e^(−rate) there."""
    lost = (a.none > 0) & (b.none < jnp.finfo(b.none.dtype).tiny) & jnp.isfinite(b.log_none)
    p, log_q = jnp.where(lost, a.none, 1.0), jnp.where(lost, b.log_none, 0.0)
    rest = gap(a.none, jnp.where(lost, a.none, b.none), jnp.where(lost, 0.0, step))
    return jnp.where(lost, p * (jnp.log(p) - log_q) - p, rest)


@partial(jax.jit, static_argnums=2)
def _densities_kl(p: Any, q: Any, form: Any) -> Array:
    (gate_p, open_p), (gate_q, open_q) = _gates(p), _gates(q)
    step = _difference(p, q, gate_p, open_p, gate_q)
    rest = form(_base(p), _base(q))
    first = gap(gate_p, gate_q, step) + gap(open_p, open_q, -step)
    return first + jnp.where(open_p > 0, open_p * jnp.where(open_p > 0, rest, 0.0), 0.0)


def gated_entropy(p: Any) -> Form | None:
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
def _counts_entropy(p: Any) -> Array:
    a = _split(p)
    rest = _COUNT_ENTROPIES[type(a.base)](a.base) - _binary_entropy(a.base_none, a.base_more)
    live = (a.more > 0) & (a.base_more > 0)
    share = jnp.where(live, a.more / jnp.where(live, a.base_more, 1.0), 0.0)
    return _binary_entropy(a.none, a.more) + jnp.where(live, share * jnp.where(live, rest, 0.0), 0.0)


@partial(jax.jit, static_argnums=1)
def _density_entropy(p: Any, form: Any) -> Array:
    gate, open_ = _gates(p)
    return _binary_entropy(gate, open_) + jnp.where(open_ > 0, open_ * form(_base(p)), 0.0)


def _binary_entropy(x: Array, y: Array) -> Array:
    """−x log x − y log y."""
    x_log, y_log = (jnp.where(v > 0, v * jnp.log(jnp.where(v > 0, v, 1.0)), 0.0) for v in (x, y))
    return -x_log - y_log


def _base(d: Any) -> Any:
    return unexpanded(d.base_dist) if type(d) in (*INFLATED, *HURDLE) else d


def _portable(d: Any) -> Any:
    """The same law, of a base that can enter a compiled program: NumPyro's negative binomial for hurdles cannot."""
    base = _base(d)
    if not (isinstance(base, dist.NegativeBinomial2) and type(base) is not dist.NegativeBinomial2):
        return d
    base = dist.GammaPoisson(base.concentration, base.rate, validate_args=False)
    gate = d.gate_logits if type(d) is discrete.HurdleLogits else d.gate
    return type(d)(base, gate, validate_args=False)


def _one_family(p: Any, q: Any) -> bool:
    return any(type(p) in family and type(q) in family for family in ((dist.Poisson,), _NEGATIVE, _TRIALS))


def _gates(d: Any) -> tuple[Array, Array]:
    """The chances that a 0 is forced, and not."""
    if type(d) in (discrete.ZeroInflatedLogits, discrete.HurdleLogits):
        (logit,) = floats(d.gate_logits)
        return jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    if type(d) in (*INFLATED, *HURDLE):
        (gate,) = floats(d.gate)
        return gate, 1.0 - gate
    return jnp.zeros(()), jnp.ones(())


def _difference(p: Any, q: Any, gate_p: Array, open_p: Array, gate_q: Array) -> Array:
    """The difference of the gates, to the last digit of that of their parameters."""
    if not (hasattr(p, "gate_logits") and hasattr(q, "gate_logits")):
        return gate_q - gate_p
    x, y = floats(p.gate_logits, q.gate_logits)
    both = jnp.isfinite(x) & jnp.isfinite(y)
    step = jnp.where(both, y, 0.0) - jnp.where(both, x, 0.0)
    near = both & (jnp.abs(step) < 1.0)
    return jnp.where(near, -gate_q * open_p * jnp.expm1(-jnp.where(near, step, 0.0)), gate_q - gate_p)


def _gate_step(p: Any, q: Any, a: Split, b: Split) -> Array:
    return _difference(p, q, a.gate, a.open, b.gate)


def _split(d: Any) -> Split:
    base, (gate, open_) = _base(d), _gates(d)
    log = _log_zero(base)
    base_none, base_more = jnp.exp(log), -jnp.expm1(log)
    if type(d) in HURDLE:
        return Split(base, gate, open_, gate, open_, base_none, base_more, _log(gate))
    none, log_none = gate + open_ * base_none, jnp.logaddexp(_log(gate), _log(open_) + log)
    return Split(base, none, open_ * base_more, gate, open_, base_none, base_more, log_none)


def _log(x: Array) -> Array:
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def _log_zero(d: Any) -> Array:
    """log P(0) of a plain base."""
    if type(d) is dist.Poisson:
        return -floats(d.rate)[0]
    if type(d) in _NEGATIVE:
        a, odds, finite = shape_and_odds(d)
        return jnp.where(finite, -a * jnp.log1p(odds), -jnp.inf)
    n, _, rest = trials_and_chance(d)
    return jnp.where(n > 0, n * jnp.log(jnp.where(n > 0, rest, 1.0)), 0.0)


def _log_zero_step(p: Any, q: Any) -> Array:
    """The difference of log P(0), to the last digit of that of the parameters."""
    if type(p) is dist.Poisson:
        rate_p, rate_q = floats(p.rate, q.rate)
        return rate_p - rate_q
    if type(p) in _NEGATIVE:
        pair = negative_pair(p, q)
        grown = (pair.shape_q - pair.shape_p) * jnp.log1p(pair.odds_q)
        return -grown - pair.shape_p * jnp.log1p(pair.odds_step / (1.0 + pair.odds_p))
    (n, _, rest), (m, _, rest_q) = trials_and_chance(p), trials_and_chance(q)
    live = (rest > 0) & (rest_q > 0)
    rest, rest_q = jnp.where(live, rest, 1.0), jnp.where(live, rest_q, 1.0)
    step = jnp.where(live, chance_step(p, q), 0.0)
    return jnp.where(live, (m - n) * jnp.log(rest_q) + n * jnp.log1p(-step / rest), jnp.inf)


def _base_step(a: Split, b: Split) -> Array:
    """The difference of P(x ≠ 0) of the bases."""
    step = _log_zero_step(a.base, b.base)
    near = jnp.abs(step) < 1.0
    return jnp.where(near, -a.base_none * jnp.expm1(jnp.where(near, step, 0.0)), b.base_more - a.base_more)


def _positive_kl(a: Split, b: Split, base_step: Array) -> Array:
    """KL given x ≠ 0: for a Poisson by its own form, and a geometric then is one that starts at 1. For others what the
    bases' divergence leaves when that of x = 0 is taken off, which loses digits where P(x ≠ 0) is small.
    """
    p, q = a.base, b.base
    if type(p) is dist.Poisson:
        return zero_truncated_poisson_kl(*jnp.broadcast_arrays(*floats(p.rate, q.rate)))
    if type(p) in GEOMETRIC and type(q) in GEOMETRIC:
        return counts.geometric_kl(p, q)
    whole = counts.any_shape_kl(p, q) if type(p) in _NEGATIVE else counts.any_trials_kl(p, q)
    live = jnp.isfinite(whole) & (a.base_more > 0)
    zero = gap(a.base_more, b.base_more, base_step) + gap(a.base_none, b.base_none, -base_step)
    rest = (jnp.where(live, whole, 0.0) - jnp.where(live, zero, 0.0)) / jnp.where(live, a.base_more, 1.0)
    value = jnp.where(live, rest, jnp.where(a.base_more > 0, jnp.inf, 0.0))
    return value if type(p) in _NEGATIVE else jnp.where(_one_trial(p) & _one_trial(q), 0.0, value)


def _one_trial(d: Any) -> Array:
    return trials_and_chance(d)[0] == 1


_GATED = (*INFLATED, *HURDLE)

BUILD_KL = dict.fromkeys((*product(_GATED, (*_GATED, *_COUNTS)), *product(_COUNTS, _GATED)), gated_kl)

BUILD_ENTROPY = dict.fromkeys(_GATED, gated_entropy)


# f(λ) = log((e^λ − 1)/λ) has f″(λ) = Σ B₂ₖ (2k − 1)/(2k)! λ²ᵏ⁻², for B₂ₖ the Bernoulli numbers and λ < 2π.
_SERIES = (bernoulli(22) * (np.arange(23) - 1) / factorial(np.arange(23)))[2::2]
_NODES = 12


def zero_truncated_poisson_kl(p: Array, q: Array) -> Array:
    """KL = ν φ((μ − λ)/λ) + f(μ) − f(λ) − (μ − λ) f′(λ), for rates λ of P and μ of Q, given that the counts are not 0.

    ν is the mean of P less 1, and f(λ) = log((e^λ − 1)/λ), which is convex. Where λ is 0, P is all at 1.
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
