"""Two samples: stacked scores and nearest neighbours for measurements, counts for categories, both for mixed tables.

The rule comes first, then what it says of the columns, and last the comparison of two tables, jointly and column by
column.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, replace
from typing import Any

import jax
import numpy as np

from kullback.errors import InputError
from kullback.estimate.columns import Weights, counted, informative, matched_columns, side_by_side, spread_ties
from kullback.estimate.cross_entropy import less_offset
from kullback.estimate.dependence import in_order
from kullback.estimate.rows import Rows
from kullback.estimate.rows_compared import Compared, by_neighbours, compared, compared_both_ways
from kullback.estimate.sample_guarantee import remarks_on_rows, some_rows
from kullback.known import Known, Samples
from kullback.known.columns import is_table, remark_on
from kullback.known.record import Column, Sample
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

DRAWS_PER_ROW = 8
Alone = Mapping[str, tuple[float, float]]  # the value and the standard error of each column by itself
MOST_ABOVE = 3.0  # standard errors by which a column may exceed all together


@dataclass(frozen=True)
class TwoSamples(Rule):
    """KL(P‖Q) from a finite sample of each: E_P[g] for an estimate g of log P/Q.

    Measured columns: g is a stack of cross-fitted classifiers (`density_ratio`), and in one and two dimensions its
    mean with that of counts within balls, by inverse variance. A column is a table of frequencies or measurements by
    its values (`kullback.known.columns`); measurements are divided by their pooled interquartile range, which changes
    no divergence. For tables it is Σ (nᵢ/n) (ψ(nᵢ) − ψ(mᵢ + 1)) − ψ(n) + ψ(m + 1), whose bias falls exponentially with
    the counts; a category of P that Q's sample lacks counts as about half a row of Q, since its absence does not prove
    that Q gives it no probability (`diagnostics` and the reason say how many there are). Tables with both follow the
    chain rule. A sampler on one side draws eight times as many rows as the other has.

    The interval has two sides only where Q's rows carry the ratio and the value does not rise with the number of rows;
    else the answer is a lower bound. The value can be negative: it is not clipped.

    neighbours  k, the rows of each sample that a ball holds at least
    scores      whether measured columns are scored; without it neighbours alone answer, sooner, and well in one and two
                dimensions only

    Source: Sugiyama, Suzuki and Kanamori (2012), Density Ratio Estimation in Machine Learning, chapter 4, for
    classifiers; Wang, Kulkarni and Verdú (2009), IEEE Transactions on Information Theory 55(5), eq. 29, with the
    correction that `log_ratios` derives; Grassberger (2003) for the counts.
    """

    neighbours: int = 5
    scores: bool = True
    repeats: InitVar[int | None] = None

    name = "two samples"
    question = "estimate"
    identity = "KL(P‖Q) = E_P[log P/Q], log P/Q by classifiers, and by counts in the same balls"
    needs_p = "a sample (or a sampler, if Q has a sample)"
    needs_q = "a sample (or a sampler, if P has a sample)"
    guarantee = Guarantee.CONSISTENT
    cost = 5.0
    source = "Sugiyama, Suzuki and Kanamori (2012), chapter 4; Wang, Kulkarni and Verdú (2009), eq. 29, corrected"
    aliases = ("density ratio", "nearest neighbours", "k-nearest neighbours", "kNN", "Wang–Kulkarni–Verdú")

    def __post_init__(self, repeats: int | None) -> None:
        super().__post_init__()
        if repeats is not None:
            warnings.warn(
                "repeats: standard errors need no subsamples any more; leave it out", DeprecationWarning, stacklevel=3
            )
        if self.neighbours < 1:
            raise InputError("TwoSamples: neighbours must be at least 1")

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
        return between(*_samples_of(p, q, request), request, self)


def between(p: Sample, q: Sample, request: Request, rule: TwoSamples) -> Estimate:
    """The estimate from all columns of two samples together."""
    return between_columns(
        *matched_columns(p, q), request, rule, (p.weights, q.weights), named=True, blocks=(p.block, q.block)
    )


def between_columns(
    ps: tuple[Column, ...],
    qs: tuple[Column, ...],
    request: Request,
    rule: TwoSamples,
    weights: Weights = (None, None),
    named: bool = False,
    blocks: tuple[int | None, int | None] = (None, None),
) -> Estimate:
    """The estimate from the given columns, which correspond, without those whose every row has a label of its own.

    named   whether the remarks on how columns are read name them, where there are several
    blocks  how many rows one after another depend on each other, in either sample; None to look for it
    """
    prepared = _Prepared.of(ps, qs, request, weights, blocks)
    found = compared(prepared.p, prepared.q, rule.neighbours, rule.scores, request.host_rng(3))
    return prepared.estimate(found, request, rule, named)


def both_ways(
    ps: tuple[Column, ...],
    qs: tuple[Column, ...],
    request: Request,
    rule: TwoSamples,
    named: bool = False,
    alone: tuple[Alone, Alone] | None = None,
) -> tuple[Estimate, Estimate]:
    """KL(P‖Q) and KL(Q‖P) as `between_columns` estimates them, from one fit of the scores.

    alone  estimates of columns by themselves that are known already, either way
    """
    prepared = _Prepared.of(ps, qs, request, (None, None), (None, None))
    found = compared_both_ways(prepared.p, prepared.q, rule.neighbours, rule.scores, request.host_rng(3))
    known = alone or (None, None)
    return (
        prepared.estimate(found[0], request, rule, named, known[0]),
        prepared.flipped().estimate(found[1], request, rule, named, known[1]),
    )


@dataclass(frozen=True)
class _Prepared:
    """Two samples side by side: `p` and `q` are their rows, ties spread, and `tied` the rows as they came."""

    pairs: list[tuple[Column, Column]]
    left_out: list[str]
    tied: tuple[Rows, Rows]
    p: Rows
    q: Rows
    spread: bool
    weights: Weights

    @classmethod
    def of(
        cls,
        ps: tuple[Column, ...],
        qs: tuple[Column, ...],
        request: Request,
        weights: Weights,
        blocks: tuple[int | None, int | None],
    ) -> _Prepared:
        (ps, of_p), (qs, of_q) = counted(ps, weights[0]), counted(qs, weights[1])
        kept, left_out = informative(ps, qs)
        pairs = [(ps[at], qs[at]) for at in kept]
        tied = side_by_side([p for p, _ in pairs], [q for _, q in pairs], (of_p, of_q))
        tied = _in_order(*tied, pairs, (of_p, of_q), blocks)
        p, q, spread = spread_ties(*tied, request.host_rng(4))
        return cls(pairs=pairs, left_out=left_out, tied=tied, p=p, q=q, spread=spread, weights=(of_p, of_q))

    def flipped(self) -> _Prepared:
        return replace(
            self,
            pairs=[(q, p) for p, q in self.pairs],
            tied=self.tied[::-1],
            p=self.q,
            q=self.p,
            weights=self.weights[::-1],
        )

    def estimate(
        self, found: Compared, request: Request, rule: TwoSamples, named: bool, alone: Alone | None = None
    ) -> Estimate:
        notes, diagnostics = remarks_on_rows(*self.tied, self.spread)
        if self.left_out:
            names = ", ".join(map(repr, self.left_out))
            verbs = ("identifies", "carries") if len(self.left_out) == 1 else ("identify", "carry")
            notes.append(f"left out: {names}, which {verbs[0]} every row and {verbs[1]} no information on the law")
        if len(self.pairs) > 1 and self.p.block == self.q.block == 1:
            alone = alone or _columns_alone(self.pairs, request, rule, self.weights)
            notes += _below_a_column(found, alone)
        notes += _on_reading(self.pairs, named and len(self.pairs) > 1)
        if self.spread:
            notes.append("rounded measurements are spread evenly over the step of the rounding")
        return Estimate(
            value=found.value,
            standard_error=found.error,
            guarantee=found.guarantee,
            reason="; ".join([*found.notes, *notes]),
            diagnostics=found.diagnostics | diagnostics,
        )


def _in_order(
    p: Rows, q: Rows, pairs: list[tuple[Column, Column]], weights: Weights, blocks: tuple[int | None, int | None]
) -> tuple[Rows, Rows]:
    """Both samples with what their order says; times say when a row was measured, not on what it depends."""
    others = [pair for pair in pairs if pair[0].unit != "time"]
    among = (p, q)
    if len(others) < len(pairs) and others:
        among = side_by_side([a for a, _ in others], [b for _, b in others], weights)
    return in_order(p, blocks[0], among[0]), in_order(q, blocks[1], among[1])


def _on_reading(pairs: list[tuple[Column, Column]], named: bool) -> list[str]:
    """Each remark on how columns are read once, with the names of the columns."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if remark := remark_on(*pair):
            found.setdefault(remark, []).append(repr(pair[0].name))
    return [f"{', '.join(names)}: {remark}" if named else remark for remark, names in found.items()]


def _columns_alone(pairs: list[tuple[Column, Column]], request: Request, rule: TwoSamples, weights: Weights) -> Alone:
    alone = {}
    for p, q in pairs:
        first, second = side_by_side((p,), (q,), weights)
        first, second, _ = spread_ties(some_rows(first), some_rows(second), request.host_rng(4))
        alone[p.name] = by_neighbours(first, second, rule.neighbours)
    return alone


def _below_a_column(joint: Compared, alone: Alone) -> list[str]:
    """That the joint value is below a column's, though no marginal divergence exceeds the joint one (data processing).

    The column is the one whose value exceeds its own error most, and it is said where it does so by three of both.
    """
    joint_error = joint.error if np.isfinite(joint.error) else 0.0
    above = {
        name: (value - joint.value) / max(float(np.hypot(error, joint_error)), 1e-300)
        for name, (value, error) in alone.items()
    }
    most = max(above, key=lambda name: above[name])
    if above[most] < MOST_ABOVE:
        return []
    return [
        f"too low: column {most!r} alone gives {alone[most][0]:.4g}, and no column's divergence exceeds the joint one"
    ]


def _samples_of(p: Known, q: Known, request: Request) -> tuple[Sample, Sample]:
    """A sample of each side: that of a law is drawn, eight times as large as the other."""
    if p.sample is not None and q.sample is not None:
        return p.sample, q.sample
    if p.sample is not None:
        sample, law = less_offset("p", p.sample, q)
        return sample, _drawn(law, sample, request)
    assert q.sample is not None
    sample, law = less_offset("q", q.sample, p)
    return _drawn(law, sample, request), sample


def _drawn(law: Known, other: Sample, request: Request) -> Sample:
    assert law.sampler is not None
    with jax.enable_x64(True):
        draws = np.asarray(law.sampler(request.key, DRAWS_PER_ROW * other.size))
    if law.support is not None and law.support.discrete:
        draws = draws.astype(np.int64)
    return Sample(draws, block=1)


# Two tables, jointly and column by column


@dataclass(frozen=True)
class Comparison:
    """An estimate for one column, or for all together where `column` is None; `kind` says how they were read."""

    column: str | None
    kind: str
    estimate: Estimate


def compare(p: Any, q: Any, seed: int = 0, rule: TwoSamples | None = None) -> list[Comparison]:
    """KL(P‖Q) in nats between two data frames, or `Samples` of them, with the same columns: together, then each.

    seed  an integer, for the subsamples of the standard errors
    rule  `TwoSamples` with its settings

    A column alone is compared by counts or neighbours, which is quick and in one dimension as good as scores.

    Raises `InputError` for different columns, missing values, or text against numbers.
    """
    rule, request = rule or TwoSamples(), Request(seed=seed)
    samples = [_sample(side) for side in (p, q)]
    ps, qs = matched_columns(*samples)
    weights = samples[0].weights, samples[1].weights
    blocks = samples[0].block, samples[1].block
    kinds = ["discrete" if is_table(a, b) else "continuous" for a, b in zip(ps, qs, strict=True)]
    joint = kinds[0] if len(set(kinds)) == 1 else "mixed"
    rows = [Comparison(None, joint, between_columns(ps, qs, request, rule, weights, blocks=blocks))]
    alone = replace(rule, scores=False)
    for a, b, kind in zip(ps, qs, kinds, strict=True):
        rows.append(Comparison(a.name, kind, between_columns((a,), (b,), request, alone, weights, blocks=blocks)))
    return rows


def _sample(side: Any) -> Sample:
    sample = (side if isinstance(side, Samples) else Samples(side)).known().sample
    assert sample is not None
    return sample
