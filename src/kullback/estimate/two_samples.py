"""Two samples: nearest neighbours for measurements, counts for categories, both for mixed tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from kullback.errors import InputError
from kullback.estimate.columns import matched_columns, side_by_side
from kullback.estimate.neighbours import Rows, divergence, repeated_rows, shared_rows
from kullback.estimate.subsampling import standard_error
from kullback.known import Known
from kullback.known.record import Column, Sample
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


@dataclass(frozen=True)
class TwoSamples(Rule):
    """KL(P‖Q) from a finite sample of each: counts within balls, or within cells of equal discrete columns.

    Continuous columns are divided by their pooled interquartile range, which changes no divergence. For discrete
    columns it is Σ (nᵢ/n) (ψ(nᵢ) − ψ(mᵢ + 1)) − ψ(n) + ψ(m + 1), whose bias falls exponentially with the counts; a
    category of P that Q's sample lacks counts as about half a row of Q, since its absence does not prove that Q gives
    it no probability (`diagnostics` and the reason say how many there are). A sampler on one side draws as many rows
    as the other has. The value can be negative: it is not clipped.

    neighbours  k, the rows of each sample that a ball holds at least
    repeats     subsamples for the standard error, which does not include the bias

    Source: Wang, Kulkarni and Verdú (2009), IEEE Transactions on Information Theory 55(5), eq. 29, with the correction
    that `kullback.estimate.neighbours` derives; Grassberger (2003) for the counts.
    """

    neighbours: int = 5
    repeats: int = 40

    name = "two samples"
    question = "estimate"
    identity = "KL(P‖Q) = E_P[log P/Q], P and Q by counts in the same balls"
    needs_p = "a sample (or a sampler, if Q has a sample)"
    needs_q = "a sample (or a sampler, if P has a sample)"
    guarantee = Guarantee.CONSISTENT
    cost = 5.0
    source = "Wang, Kulkarni and Verdú (2009), IEEE TIT 55(5), eq. 29, corrected"

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.repeats < 2:
            raise InputError("TwoSamples: neighbours must be at least 1 and repeats at least 2")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.sample is None and q.sample is None:
            return Missing("neither side is a sample")
        for name, side in (("P", p), ("Q", q)):
            if side.inputs is not None or side.batch_shape:
                return Missing(f"{name} is a conditional, or a batch of distributions")
            if side.sample is None and side.sampler is None:
                return Missing(f"{name} has neither a sample nor a sampler", f"a sample of {name}")
            if side.sample is not None and side.sample.inputs is not None:
                return Missing(f"{name} is a sample of pairs, whose inputs it would have to share")
            if side.sample is not None and side.sample.weights is not None:
                return Missing(f"the sample of {name} has weights", "a sample without weights (resample by them)")
        return Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        return between(_sample_of(p, q, request), _sample_of(q, p, request), request, self)


def between(p: Sample, q: Sample, request: Request, rule: TwoSamples) -> Estimate:
    """The estimate from all columns of two samples together."""
    return between_columns(*matched_columns(p, q), request, rule)


def between_columns(ps: tuple[Column, ...], qs: tuple[Column, ...], request: Request, rule: TwoSamples) -> Estimate:
    """The estimate from the given columns, which correspond."""
    p, q = side_by_side(ps, qs)
    statistic = partial(divergence, neighbours=rule.neighbours)
    value = statistic(p, q)
    error = standard_error(statistic, p, q, rule.repeats, request.host_rng(3))
    notes, diagnostics = _remarks(p, q)
    if np.isinf(error):
        notes.append("fewer than 8 rows give no standard error")
    return Estimate(value, error, Guarantee.CONSISTENT, reason="; ".join(notes), diagnostics=diagnostics)


def _sample_of(side: Known, other: Known, request: Request) -> Sample:
    if side.sample is not None:
        return side.sample
    assert side.sampler is not None
    assert other.sample is not None
    with jax.enable_x64(True):
        draws = np.asarray(side.sampler(request.key, other.sample.size))
    if side.support is not None and side.support.discrete:
        draws = draws.astype(np.int64)
    return Sample(draws)


def _remarks(p: Rows, q: Rows) -> tuple[list[str], dict[str, float]]:
    """What the reader must know of the two samples: unseen categories, repeated rows, rows in both."""
    notes: list[str] = []
    diagnostics: dict[str, float] = {"rows_p": len(p), "rows_q": len(q)}
    unseen = ~np.isin(p.cell, q.cell)
    if len(np.unique(np.concatenate([p.cell, q.cell]))) > 1:
        diagnostics["unseen_categories"] = len(np.unique(p.cell[unseen]))
        diagnostics["unseen_share"] = float(unseen.mean())
    if unseen.any():
        count = len(np.unique(p.cell[unseen]))
        noun = "category" if count == 1 else "categories"
        notes.append(
            f"{count} {noun} of P, {100 * unseen.mean():.2g}% of its rows, {'is' if count == 1 else 'are'} not in Q's "
            "sample, so the value grows with the size of that sample if Q gives them no probability"
        )
    if p.point.shape[1]:
        repeated, shared = repeated_rows(p) + repeated_rows(q), shared_rows(p, q)
        diagnostics |= {"repeated_rows": repeated, "shared_rows": shared}
        if repeated:
            notes.append(f"{repeated:,} rows repeat another of their sample, which measurements do not")
        if shared:
            notes.append(
                f"{shared:,} rows of P's sample are also in Q's: if they are the same rows, the value is too low"
            )
    return notes, diagnostics
