"""Infinite, decided from the supports before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kullback.estimate.batch import batch_shape, mean_over_inputs
from kullback.estimate.columns import columns_of
from kullback.known import Known
from kullback.known.columns import is_discrete
from kullback.known.samples import sample_escape
from kullback.known.support import Escape, escape
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


@dataclass(frozen=True)
class Support(Rule):
    """KL(P‖Q) = ∞ where P gives positive probability to a set to which Q gives none.

    Applies where the bounds of the supports, or a row of P's sample, decide it for every element of the batch;
    for a conditional, whose divergence is a mean over inputs, one input decides it.
    Source: Kullback and Leibler (1951), section 2.
    """

    name = "support"
    question = "estimate"
    identity = "KL(P‖Q) = ∞ where P(A) > 0 = Q(A)"
    needs_p = "a support, or a sample"
    needs_q = "a support"
    guarantee = Guarantee.EXACT
    cost = 0.0
    source = "Kullback and Leibler (1951), section 2"
    aliases = ("absolute continuity",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if q.sample is not None:
            return Missing("a sample of Q does not say where Q has no mass")
        if q.support is None:
            return Missing("the support of Q is not known", "the support of Q")
        if p.sample is None and p.support is None:
            return Missing("the support of P is not known", "the support of P")
        found = escape_of(p, q)
        if found is None:
            return Missing("the supports do not show P to have mass where Q has none")
        if not found.where.all() and not _averages(p, q):
            return Missing("P has mass where Q has none for some elements of the batch only")
        return Applies(note=found.reason)

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        found = escape_of(p, q)
        assert found is not None
        shape = () if p.sample is not None or _averages(p, q) else batch_shape(p, q)
        return Estimate(np.full(shape, np.inf), reason=found.reason)


def _averages(p: Known, q: Known) -> bool:
    return mean_over_inputs(p, q) is not None


def escape_of(p: Known, q: Known) -> Escape | None:
    """Where P has mass and Q has none, as far as the supports or P's sample decide; None where they do not."""
    if q.sample is not None or q.support is None:
        return None
    event_ndim = len(p.event_shape or q.event_shape or ())
    if p.sample is None:
        found = None if p.support is None else escape(p.support, q.support, event_ndim)
        return found if found is None or _charged(p, q) else None
    if p.sample.discrete and not q.support.discrete and all(map(is_discrete, columns_of(p.sample))):
        reason = (
            "P's sample is of integers, which are read as discrete outcomes, and Q is continuous, so that Q gives them "
            "probability 0; pass the sample as floats, or as kl.Samples(x, measured=True), if it holds measurements"
        )
        return Escape(np.asarray(True), reason)
    return sample_escape(p.sample, q.support, event_ndim)


def _charged(p: Known, q: Known) -> bool:
    """Whether P gives probability to a count that the bounds show outside Q: at a rate of 0, say, it does not.

    The count tried is the nearest one outside. Where P has next to none there, the rules that look at every count
    decide: a log-probability may stop at that of the smallest step from 1.
    """
    if p.support is None or q.support is None or p.log_prob is None or p.event_shape != ():
        return True
    if not (p.support.discrete and q.support.discrete and p.support.bounded and q.support.bounded):
        return True
    bounds = (p.support.lower, p.support.upper, q.support.lower, q.support.upper)
    shape = np.broadcast_shapes(p.batch_shape, *(np.shape(bound) for bound in bounds))
    least, most, low, high = (np.broadcast_to(np.asarray(bound, np.float64), shape) for bound in bounds)
    above = np.where(most > high, np.maximum(high + 1.0, least), np.nan)
    below = np.where(least < low, np.minimum(low - 1.0, most), np.nan)
    return any(_reached(p, count) for count in (above, below))


_LEAST = np.log(1e-6)


def _reached(p: Known, count: np.ndarray) -> bool:
    outside = np.isfinite(count)
    if not outside.any():
        return False
    assert p.log_prob is not None and p.support is not None
    somewhere = np.where(outside, count, np.maximum(p.support.lower, -1e9))
    log_p = np.asarray(p.log_prob(somewhere.astype(np.int32)))
    return bool((outside & (log_p > _LEAST)).any())
