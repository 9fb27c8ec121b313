"""The rule that sums over a countable support until what is left is bounded, or its limit known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions.discrete import ZeroInflatedLogits, ZeroInflatedPoisson, ZeroInflatedProbs

from kullback.errors import EstimateError, InputError
from kullback.estimate.batch import batch_shape
from kullback.exact.composite.mixtures import Mixture
from kullback.exact.rule_helpers import (
    averaged,
    both_discrete,
    double_precision,
    log_probs,
    unequal_inputs,
    why_infinite,
)
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.numerics.power_tail import power_tail
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

ZERO_INFLATED = (ZeroInflatedProbs, ZeroInflatedLogits, ZeroInflatedPoisson)


# The components of a law over counts, each of which has a sum of its own.


class Component(NamedTuple):
    """One component Pᵢ of P = Σᵢ wᵢ Pᵢ.

    weight          wᵢ
    law, place      the component is number `place` of the batch of laws; None where all of its mass is at 0
    mean, variance  of the component
    """

    weight: float
    law: Known | None
    place: int
    mean: float
    variance: float

    def log_pmf(self, counts: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """log Pᵢ at counts. Call it within `double_precision`."""
        if self.law is None:
            return np.where(counts == 0, 0.0, -np.inf)
        log_p, _ = log_probs(self.law, self.law, counts)
        return np.asarray(log_p, np.float64).reshape(-1, len(counts))[self.place]


def components_of(d: object) -> list[Component]:
    """The components of one mixture or zero-inflated law; empty for another law, and for a batch."""
    if not isinstance(d, dist.Distribution) or d.batch_shape or d.event_shape:
        return []
    with jax.enable_x64(True):
        found = list(_components(d, 1.0))
    return found if len(found) > 1 else []


def _components(d: dist.Distribution, weight: float) -> Iterator[Component]:
    if type(d) is dist.MixtureSameFamily:
        yield from _batch(d.component_distribution, weight * _shares(d))
    elif type(d) is dist.MixtureGeneral:
        for share, each in zip(_shares(d), d.component_distributions, strict=True):
            yield from _components(each, weight * float(share))
    elif isinstance(d, ZERO_INFLATED):
        gate = float(np.asarray(d.gate, np.float64))
        yield Component(weight=weight * gate, law=None, place=0, mean=0.0, variance=0.0)
        yield from _components(d.base_dist, weight * (1.0 - gate))
    else:
        yield from _batch(d, np.full(1, weight))


def _batch(d: dist.Distribution, weights: np.ndarray) -> Iterator[Component]:
    law = numpyro_distributions.known(d)
    means, variances = (np.ravel(np.asarray(x, np.float64)) for x in (d.mean, d.variance))
    for place, weight in enumerate(weights):
        if weight > 0:
            mean, variance = float(means[place]), float(variances[place])
            yield Component(weight=float(weight), law=law, place=place, mean=mean, variance=variance)


def _shares(d: Mixture) -> np.ndarray:
    return np.asarray(jnp.asarray(d.mixing_distribution.probs, float), np.float64)


# The rule, and the sums.

# A tail is bounded by a geometric series if the ratio of its terms, after n terms, is below 1 − MIN_DECAY/n. For a
# power law that ratio is 1 − g/n with g near its exponent.
MIN_DECAY = 8.0
# A sum whose error exceeds this, in nats and relative to its value, is no answer.
MAX_ERROR = 1e-4


class PartialSum(NamedTuple):
    """A sum over some of the counts.

    value     the sum
    tail      a bound on what the other counts add
    rounding  a bound on the error of rounding
    mass      the probability of these counts under P
    escapes   whether Q gives probability 0 to a count of P among them
    """

    value: Float[np.ndarray, "*batch"]
    tail: Float[np.ndarray, "*batch"]
    rounding: Float[np.ndarray, "*batch"]
    mass: Float[np.ndarray, "*batch"]
    escapes: bool


class Window(NamedTuple):
    """Where a sum begins, with how many terms, and which component of P, of which weight, it is over; None for all."""

    weight: float
    centre: float
    terms: int
    component: Component | None


@dataclass(frozen=True)
class CountableSum(Rule):
    """KL(P‖Q) as the sum over the counts of P, from the mean outward to both sides, until the rest is bounded.

    With bₖ = P(k) (|log P(k) − log Q(k)| + 1), which bounds the k-th term, the rest after n terms is at most
    bₙ r/(1 − r) wherever no later ratio bₖ₊₁/bₖ exceeds r. The r taken is half-way to 1 from the largest ratio in the
    last quarter of the terms: enough for Poisson, negative binomial and geometric P and their like, whose ratios
    differ from their limit by O(1/n). Where the ratios approach 1 themselves, as those of a power of k do, the limit is
    extrapolated (`numerics/power_tail.py`), and its error is that of the extrapolation, or that which the same
    extrapolation is seen to make on the mass of P, which is 1. A sum of a power's terms that diverges is ∞.

    A mixture whose components are too far apart for one sum has one about each: Σᵢ wᵢ Σₖ Pᵢ(k) (log P(k) − log Q(k)).

    `diagnostics["numerical_error"]` has these bounds, that of the rounding, and the mass of P that was not found.

    tolerance  nats; the sum goes on until the rest is below it
    max_terms  the most terms; a sum that is not within 1e-4 nats by then raises `EstimateError`
    Source: Knopp (1951), Theory and Application of Infinite Series, sections 34 and 64.
    """

    name = "countable sum"
    question = "estimate"
    identity = "KL(P‖Q) = Σₖ P(k) (log P(k) − log Q(k)), over the counts k of P"
    needs_p = "counts without a greatest or a least one, and a normalised log-probability"
    needs_q = "a normalised log-probability"
    guarantee = Guarantee.EXACT
    cost = 3.0
    source = "Knopp (1951), Theory and Application of Infinite Series, sections 34 and 64"
    aliases = ("series", "infinite sum")

    tolerance: float = 1e-13
    max_terms: int = 2**20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0 or self.max_terms < 64:
            raise InputError("CountableSum: tolerance must be positive, and max_terms at least 64")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if _support_ends(p) is None:
            return Missing("P is not over counts without a greatest or a least one")
        if p.log_prob is None:
            return Missing("the normalised log-probability of P is not known", "P's normalised log-probability")
        if q.log_prob is None:
            return Missing("the normalised log-probability of Q is not known", "Q's normalised log-probability")
        if not both_discrete(p, q):
            return Missing("P is discrete and Q continuous, whose density is no probability")
        return unequal_inputs(p, q) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        ends, tolerance = _support_ends(p), request.tolerance or self.tolerance
        assert ends is not None
        most = self.max_terms // max(int(np.prod(batch_shape(p, q))), 1)
        windows = _windows(p, ends, most)
        with double_precision(p, q):
            sums = [_converged(p, q, ends, window, most, tolerance) for window in windows]
        terms, escapes = sum(n for _, n in sums), any(summed.escapes for summed, _ in sums)
        value, error, missing = (
            _mixed(parts, windows) for parts in zip(*(_value_and_error(s) for s, _ in sums), strict=True)
        )
        size = np.maximum(1.0, np.abs(value))
        if not np.all(error <= np.maximum(MAX_ERROR, tolerance) * size):
            raise EstimateError(_not_converged(tolerance, terms, float(np.max(missing))))
        value = averaged(value, p, q)
        reason = why_infinite(value, p, q)
        if reason and not escapes:
            reason = "Q falls off so much faster than P, whose tail is that of a power, that E_P[log Q] diverges"
        diagnostics = {"numerical_error": float(np.max(error, initial=0.0)), "terms": terms}
        return Estimate(value, reason=reason, diagnostics=diagnostics)


def _mixed(parts: tuple[np.ndarray, ...], windows: list[Window]) -> np.ndarray:
    """Σᵢ wᵢ xᵢ, for the values xᵢ of the components."""
    return np.asarray(sum(window.weight * part for window, part in zip(windows, parts, strict=True)))


def _value_and_error(summed: PartialSum) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The value, its error, and the missing mass, [*batch] each."""
    missing = _missing(summed)
    with np.errstate(invalid="ignore"):
        error = summed.tail + summed.rounding + missing * np.maximum(1.0, np.abs(summed.value))
    return summed.value, np.where(np.isinf(summed.value), 0.0, error), missing


def _missing(summed: PartialSum) -> np.ndarray:
    return np.where(np.isinf(summed.value), 0.0, np.abs(summed.mass - 1.0))


def _converged(
    p: Known, q: Known, ends: tuple[float, float], window: Window, most: int, tolerance: float
) -> tuple[PartialSum, int]:
    """The sum about one centre, with terms added until the rest is within the tolerance; and the number of terms."""
    terms, before = window.terms, np.inf
    while True:
        terms = min(terms, most)
        summed = _sum(p, q, ends, window, terms)
        if np.isnan(summed.value).any():
            raise EstimateError("p and q: a log-probability of a count is NaN; check the parameters")
        missing = _missing(summed)
        found = np.all(summed.tail <= np.maximum(tolerance * np.maximum(1.0, np.abs(summed.value)), summed.rounding))
        # Missing mass that more terms do not reduce is an error of the log-probabilities themselves.
        theirs = (missing > 0.5 * before) & (missing < 1e-5)
        if (found and np.all(theirs | (missing <= 1e-9 + 16.0 * summed.rounding))) or terms == most:
            return (summed if window.component is None else _normalized(summed)), terms
        terms, before = 4 * terms, missing


def _normalized(summed: PartialSum) -> PartialSum:
    """The sum over a component divided by its mass, which rounding at large counts leaves off 1; the error stays."""
    return summed._replace(value=summed.value / np.where(np.abs(summed.mass - 1.0) < MAX_ERROR, summed.mass, 1.0))


def _not_converged(tolerance: float, terms: int, missing: float) -> str:
    if missing > MAX_ERROR:
        return (
            f"P: {terms:,} of its counts have a probability of {1.0 - missing:.6g} together, not 1; if its "
            "log-probability is right, the rest is too far off to be summed, and rule='monte carlo' would do"
        )
    return (
        f"P: the sum over its counts is not within {tolerance:.1g} nats after {terms:,} terms; its "
        "tail is too heavy to be summed: pass a larger tolerance=, or rule='monte carlo'"
    )


def _support_ends(p: Known) -> tuple[float, float] | None:
    """The least and the greatest count of P, one or both of them infinite, if its outcomes are the counts between."""
    support = p.support
    if support is None or not support.discrete or not support.bounded or p.event_shape != () or p.atoms is not None:
        return None
    if p.sample is not None:
        return None
    low, high = float(np.min(support.lower)), float(np.max(support.upper))
    return (low, high) if np.isinf(low) or np.isinf(high) else None


def _windows(p: Known, ends: tuple[float, float], most: int) -> list[Window]:
    """Where the sums begin: one sum for all of P, unless its components are too far apart; then one for each."""
    centre, terms = _start(p, ends)
    whole = Window(weight=1.0, centre=centre, terms=terms, component=None)
    if whole.terms <= most:
        return [whole]
    return [_component_window(part, ends) for part in components_of(p.distribution)] or [whole]


def _component_window(part: Component, ends: tuple[float, float]) -> Window:
    centre, terms = _window_about(np.asarray(part.mean), np.asarray(part.variance), ends)
    return Window(weight=part.weight, centre=centre, terms=terms, component=part)


def _start(p: Known, ends: tuple[float, float]) -> tuple[float, int]:
    """Where the sum begins, and a number of terms that is enough for a light tail."""
    nearest = next((end for end in ends if np.isfinite(end)), 0.0)
    try:
        moments = p.moments() if p.moments is not None else None
    except (NotImplementedError, ValueError):
        moments = None
    if moments is None or not np.isfinite(moments.mean).all():
        return nearest, 256
    return _window_about(np.asarray(moments.mean), np.asarray(moments.covariance)[..., 0, 0], ends)


def _window_about(mean: np.ndarray, variance: np.ndarray, ends: tuple[float, float]) -> tuple[float, int]:
    """The middle of the means, and 12 standard deviations about it, as a power of two."""
    centre = float(np.clip(np.round(0.5 * (mean.min() + mean.max())), *ends))
    reach = np.max(np.abs(mean - centre) + 12.0 * np.sqrt(np.where(np.isfinite(variance), variance, 0.0)))
    return centre, 2 ** int(np.clip(np.ceil(np.log2(2.0 * reach + 128.0)), 8, 30))


def _sum(p: Known, q: Known, ends: tuple[float, float], window: Window, terms: int) -> PartialSum:
    """The sum over `terms` counts about the centre, within the support.

    For a component Pᵢ of P it is Σₖ Pᵢ(k) (log P(k) − log Q(k)), and the mass is that of Pᵢ.
    """
    centre = window.centre
    low, high = ends
    first = max(low, centre - terms // 2)
    first = min(first, high - terms + 1)
    counts = np.arange(terms) + first
    log_p, log_q = (np.asarray(log, np.float64) for log in log_probs(p, q, counts.astype(_integers())))
    eps = float(np.finfo(jnp.result_type(float)).eps)
    live = log_p > -np.inf
    ratio = np.where(live, log_p, 0.0) - np.where(live, log_q, 0.0)
    if window.component is not None:
        log_p = window.component.log_pmf(counts.astype(_integers()))
    parts = []
    at = int(centre - first)
    for side, ended in ((slice(at, None), first + terms > high), (slice(at - 1, None, -1), first <= low)):
        if at or side.step is None:
            parts.append(_one_sided_sum(log_p[..., side], ratio[..., side], ended))
    value, tail, mass = (np.add.reduce([part[i] for part in parts]) for i in range(3))
    # A log-probability at k is a difference of terms of the order of k log k.
    size = 1.0 + np.abs(counts) * np.log(np.abs(counts) + 2.0)
    rounding = 4.0 * eps * (np.exp(log_p) * size).sum(-1)
    escapes = bool(np.isposinf(ratio).any())
    return PartialSum(value=value, tail=tail, rounding=rounding, mass=mass, escapes=escapes)


def _integers() -> type:
    return np.int64 if jnp.result_type(float) == np.float64 else np.int32


def _one_sided_sum(
    log_p: Float[np.ndarray, "*batch n"], ratio: Float[np.ndarray, "*batch n"], ended: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sum to one side of the centre, a bound on the rest and the mass, [*batch] each.

    ended  whether P has no more counts on this side
    """
    p = np.exp(log_p)
    terms = np.where(np.isposinf(ratio), np.inf, p * np.where(np.isposinf(ratio), 0.0, ratio))
    value, mass = np.asarray(terms.sum(-1)), np.asarray(p.sum(-1))
    tail = np.where(np.isinf(value), 0.0, np.zeros_like(value) if ended else _tail_bound(log_p, ratio))
    for index in np.argwhere(np.isinf(tail)):
        at = tuple(index)
        limits = power_tail(log_p[at], ratio[at])
        if limits is None:
            continue
        of_mass, of_terms = limits
        left = abs(of_terms.value - value[at]) if np.isfinite(of_terms.value) else 0.0
        # Only the mass of the whole is known, which is 1, so that the caller compares the mass that is missing.
        value[at], mass[at], tail[at] = of_terms.value, of_mass.value, of_terms.error + of_mass.error * left
    return value, tail, mass


def _tail_bound(log_p: Float[np.ndarray, "*batch n"], ratio: Float[np.ndarray, "*batch n"]) -> np.ndarray:
    """The bound bₙ r/(1 − r) on the rest [*batch]; ∞ where the terms do not decay fast enough yet."""
    n, live = log_p.shape[-1], log_p > -np.inf
    log_b = np.where(live, log_p + np.log1p(np.abs(np.where(np.isfinite(ratio), ratio, 0.0))), -np.inf)
    last = log_b[..., -max(n // 4, 2) :]
    ended = ~np.isfinite(last[..., -1])
    steps = np.diff(np.where(np.isfinite(last), last, 0.0), axis=-1)
    largest = np.where(np.isfinite(last[..., 1:]), steps, -np.inf).max(-1)
    decay = -np.expm1(np.minimum(largest, 0.0))
    r = 1.0 - 0.5 * decay
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        bound = np.exp(last[..., -1]) * r / (1.0 - r)
    return np.where(ended, 0.0, np.where(decay * n > MIN_DECAY, bound, np.inf))
