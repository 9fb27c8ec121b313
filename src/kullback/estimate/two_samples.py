"""Two samples: nearest neighbours for measurements, counts for categories, both for mixed tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from kullback.errors import InputError
from kullback.estimate.columns import Weights, counted, informative, matched_columns, side_by_side, spread_ties
from kullback.estimate.neighbours import divergence
from kullback.estimate.subsampling import subsampled
from kullback.estimate.worth import judged, remarks_on_rows
from kullback.known import Known
from kullback.known.columns import remark_on
from kullback.known.record import Column, Sample
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


@dataclass(frozen=True)
class TwoSamples(Rule):
    """KL(P‖Q) from a finite sample of each: counts within balls, or within cells of equal discrete columns.

    A column is a table of frequencies or measurements by its values (`kullback.known.columns`). Measurements are
    divided by their pooled interquartile range, which changes no divergence. For tables it is
    Σ (nᵢ/n) (ψ(nᵢ) − ψ(mᵢ + 1)) − ψ(n) + ψ(m + 1), whose bias falls exponentially with the counts; a category of P that
    Q's sample lacks counts as about half a row of Q, since its absence does not prove that Q gives it no probability
    (`diagnostics` and the reason say how many there are). A sampler on one side draws as many rows as the other has.
    Where too much of P lies beyond the reach of Q's sample the answer is a lower bound. The value can be negative: it
    is not clipped.

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
        super().__post_init__()
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
        return Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        return between(_sample_of(p, q, request), _sample_of(q, p, request), request, self)


def between(p: Sample, q: Sample, request: Request, rule: TwoSamples) -> Estimate:
    """The estimate from all columns of two samples together."""
    return between_columns(*matched_columns(p, q), request, rule, (p.weights, q.weights), named=True)


def between_columns(
    ps: tuple[Column, ...],
    qs: tuple[Column, ...],
    request: Request,
    rule: TwoSamples,
    weights: Weights = (None, None),
    named: bool = False,
) -> Estimate:
    """The estimate from the given columns, which correspond, without those whose every row has a label of its own.

    named  whether the remarks on how columns are read name them, where there are several
    """
    (ps, of_p), (qs, of_q) = counted(ps, weights[0]), counted(qs, weights[1])
    weights = of_p, of_q
    kept, left_out = informative(ps, qs)
    pairs = [(ps[at], qs[at]) for at in kept]
    first, second = side_by_side([p for p, _ in pairs], [q for _, q in pairs], weights)
    p, q, spread = spread_ties(first, second, request.host_rng(4))
    statistic = partial(divergence, neighbours=rule.neighbours)
    value = statistic(p, q)
    varied = subsampled(statistic, (p, q), value, rule.repeats, request.host_rng(3))
    notes, diagnostics = remarks_on_rows(first, second, spread)
    if left_out:
        names = ", ".join(map(repr, left_out))
        verbs = ("tells", "says") if len(left_out) == 1 else ("tell", "say")
        notes.append(f"left out: {names}, which {verbs[0]} the rows apart and {verbs[1]} nothing of their law")
    if len(pairs) > 1:
        notes += _below_a_column(value, pairs, request, rule, weights)
    notes += _on_reading(pairs, named and len(pairs) > 1)
    if spread:
        notes.append("rounded measurements are spread evenly over the step of the rounding")
    return judged(value, varied, p, q, notes, diagnostics)


def _on_reading(pairs: list[tuple[Column, Column]], named: bool) -> list[str]:
    """Each remark on how columns are read once, with the names of the columns."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if remark := remark_on(*pair):
            found.setdefault(remark, []).append(repr(pair[0].name))
    return [f"{', '.join(names)}: {remark}" if named else remark for remark, names in found.items()]


def _below_a_column(
    joint: float, pairs: list[tuple[Column, Column]], request: Request, rule: TwoSamples, weights: Weights
) -> list[str]:
    """That the joint value is below a column's, though no marginal divergence exceeds the joint (data processing)."""
    alone = {}
    for p, q in pairs:
        first, second, _ = spread_ties(*side_by_side((p,), (q,), weights), request.host_rng(4))
        alone[p.name] = divergence(first, second, rule.neighbours)
    most = max(alone, key=lambda name: alone[name])
    if joint >= alone[most]:
        return []
    return [f"too low: column {most!r} alone gives {alone[most]:.4g}, and no column's divergence exceeds the joint one"]


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
