"""The rule that sums over a countable support until what is left is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from kullback.errors import EstimateError, InputError
from kullback.estimate.batch import batch_shape
from kullback.exact.infinite import both_discrete
from kullback.exact.inputs import averaged, unequal_inputs
from kullback.exact.log_probs import log_probs, plain_sum, precise
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


class Summed(NamedTuple):
    """The sum so far [*batch], and bounds on what the rest and the rounding can add [*batch]."""

    value: np.ndarray
    tail: np.ndarray
    rounding: np.ndarray


@dataclass(frozen=True)
class CountableSum(Rule):
    """KL(P‖Q) as the sum over the counts low, low + 1, ... of P, until the rest is bounded.

    With bₖ = P(k) (|log P(k) − log Q(k)| + 1), which bounds the k-th term, the rest after n terms is at most
    bₙ r/(1 − r) wherever no later ratio bₖ₊₁/bₖ exceeds r. The r taken is half-way to 1 from the largest ratio in the
    last quarter of the terms: enough for Poisson, negative binomial and geometric P and their like, whose ratios
    differ from their limit by O(1/n). `diagnostics["numerical_error"]` has that bound, and that of the rounding.

    tolerance  nats; the sum goes on until the rest is below it
    max_terms  the most terms; a sum that needs more (a tail like a power of k) raises `EstimateError`
    Source: Knopp (1951), Theory and Application of Infinite Series, section 34.
    """

    name = "countable sum"
    question = "estimate"
    identity = "KL(P‖Q) = Σₖ P(k) (log P(k) − log Q(k)), over the counts k of P"
    needs_p = "counts from a least one on, and a normalised log-probability"
    needs_q = "a normalised log-probability"
    guarantee = Guarantee.EXACT
    cost = 3.0
    source = "Knopp (1951), Theory and Application of Infinite Series, section 34"

    tolerance: float = 1e-13
    max_terms: int = 2**20

    def __post_init__(self) -> None:
        if not self.tolerance > 0 or self.max_terms < 64:
            raise InputError("CountableSum: tolerance must be positive, and max_terms at least 64")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if _least(p) is None:
            return Missing("P is not over the counts from a least one on")
        if p.log_prob is None:
            return Missing("the normalised log-probability of P is not known", "P's normalised log-probability")
        if q.log_prob is None:
            return Missing("the normalised log-probability of Q is not known", "Q's normalised log-probability")
        if not both_discrete(p, q):
            return Missing("P is discrete and Q continuous, whose density is no probability")
        return unequal_inputs(p, q) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        least, tolerance = _least(p), request.tolerance or self.tolerance
        assert least is not None
        terms, most = _first_guess(p), self.max_terms // max(int(np.prod(batch_shape(p, q))), 1)
        with precise(p, q):
            while True:
                terms = min(terms, most)
                summed = _sum(p, q, least, terms)
                if np.isnan(summed.value).any():
                    raise EstimateError("p and q: a log-probability of a count is NaN; check the parameters")
                if np.all(summed.tail <= tolerance * np.maximum(1.0, np.abs(summed.value))):
                    break
                if terms == most:
                    raise EstimateError(
                        f"P: the sum over its counts is not within {tolerance:.1g} nats after {terms:,} terms; its "
                        "tail is too heavy to be summed: pass a larger tolerance=, or rule='monte carlo'"
                    )
                terms *= 4
        error = float(np.max(summed.tail + summed.rounding, initial=0.0))
        return Estimate(averaged(summed.value, p, q), diagnostics={"numerical_error": error, "terms": terms})


def _least(p: Known) -> float | None:
    """The least count of P, if its outcomes are the counts from there on without end."""
    support = p.support
    if support is None or not support.discrete or not support.bounded or p.event_shape != () or p.atoms is not None:
        return None
    if p.sample is not None or np.size(support.lower) != 1 or not np.isinf(support.upper).all():
        return None
    least = float(np.reshape(support.lower, ()))
    return least if np.isfinite(least) else None


def _first_guess(p: Known) -> int:
    """Enough terms for a light tail: 12 standard deviations above the mean, as a power of two."""
    try:
        moments = p.moments() if p.moments is not None else None
    except (NotImplementedError, ValueError):
        moments = None
    if moments is None:
        return 256
    reach = np.max(moments.mean + 12.0 * np.sqrt(moments.covariance[..., 0, 0]), initial=0.0)
    return 2 ** int(np.ceil(np.log2(reach + 64.0))) if np.isfinite(reach) else 256


def _sum(p: Known, q: Known, least: float, terms: int) -> Summed:
    counts = np.arange(terms) + least
    dtype = np.int64 if jnp.result_type(float) == np.float64 else np.int32
    log_p, log_q = log_probs(p, q, counts.astype(dtype))
    value = np.asarray(plain_sum(log_p, log_q))
    log_p, log_q = np.asarray(log_p), np.asarray(log_q)
    return Summed(value, np.where(np.isinf(value), 0.0, _tail(log_p, log_q)), _rounding(log_p, counts))


def _tail(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """The bound bₙ r/(1 − r) on the rest, ∞ where the terms do not fall yet."""
    live = log_p > -np.inf
    ratio = np.where(live, log_p, 0.0) - np.where(live, np.maximum(log_q, np.finfo(log_q.dtype).min / 4), 0.0)
    log_b = np.where(live, log_p + np.log1p(np.abs(ratio)), -np.inf)
    last = log_b[..., -(log_b.shape[-1] // 4) :]
    ended = ~np.isfinite(last[..., -1])
    steps = np.diff(np.where(np.isfinite(last), last, 0.0), axis=-1)
    largest = np.where(np.isfinite(last[..., 1:]), steps, -np.inf).max(-1)
    r = 0.5 * (1.0 + np.exp(np.minimum(largest, 0.0)))
    with np.errstate(divide="ignore", over="ignore"):
        bound = np.exp(last[..., -1]) * r / (1.0 - r)
    return np.where(ended, 0.0, np.where(largest < 0.0, bound, np.inf))


def _rounding(log_p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A log-probability at k is a difference of terms of the order of k log k."""
    size = 1.0 + np.abs(counts) * np.log(np.abs(counts) + 2.0)
    return 4.0 * np.finfo(log_p.dtype).eps * (np.exp(log_p) * size).sum(-1)
