"""Two samples: nearest neighbours for measurements, counts for categories, both for mixed tables.

The rule comes first, then the statistic, log P − log Q from counts within balls that adapt to both samples, and last
the comparison of two tables, jointly and column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import digamma

from kullback.errors import InputError
from kullback.estimate.columns import Weights, counted, informative, matched_columns, side_by_side, spread_ties
from kullback.estimate.rows import Rows, by_cell, log_weights
from kullback.estimate.sample_guarantee import estimate_with_guarantee, remarks_on_rows, subsampled
from kullback.known import Known, Samples
from kullback.known.columns import is_table, remark_on
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
    that `log_ratios` derives; Grassberger (2003) for the counts.
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
    aliases = ("nearest neighbours", "k-nearest neighbours", "kNN", "Wang–Kulkarni–Verdú")

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
        verbs = ("identifies", "carries") if len(left_out) == 1 else ("identify", "carry")
        notes.append(f"left out: {names}, which {verbs[0]} every row and {verbs[1]} no information on the law")
    if len(pairs) > 1:
        notes += _below_a_column(value, pairs, request, rule, weights)
    notes += _on_reading(pairs, named and len(pairs) > 1)
    if spread:
        notes.append("rounded measurements are spread evenly over the step of the rounding")
    return estimate_with_guarantee(value, varied, p, q, notes, diagnostics)


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


# The statistic: log P − log Q at the rows of P, from counts within balls

CHEBYSHEV = np.inf


def divergence(p: Rows, q: Rows, neighbours: int) -> float:
    """KL(P‖Q) in nats from samples of n and m rows: the mean of `log_ratios` − ψ(n) + ψ(m + 1).

    Weighted rows are draws of a law P₀ whose density is that of P over w: log P = log P₀ + log w, with the weights
    averaged over neighbours.
    """
    terms = log_ratios(p, q, neighbours)
    if p.weight is not None or q.weight is not None:
        terms = terms + log_weights(p, p, own=True) - log_weights(p, q, own=False)
    return float(p.mean(terms) - digamma(len(p)) + digamma(len(q) + 1))


def log_ratios(p: Rows, q: Rows, neighbours: int) -> Float[np.ndarray, " n"]:
    """log P − log Q at each row of P, up to −ψ(n) + ψ(m + 1).

    With ε the larger of the distances to the k-th nearest other row of P and the k-th nearest row of Q, and l and c the
    numbers of other rows of P and of rows of Q within ε, it is ψ(l) − ψ(c + 1) where P's row sets the radius and
    ψ(l + 1) − ψ(c) where Q's does. Wang, Kulkarni and Verdú (2009), eq. 29, have ψ(l) − ψ(c) for both, which is biased
    towards 0 even where both densities are constant; raising the count that does not set the radius makes the mean
    exactly log P/Q there, as a sum over the two negative binomial laws shows. With discrete columns the balls stay in
    the row's cell; a cell with too few rows, or a ball of radius 0, is an atom, where neither count sets the radius.
    """
    terms = np.empty(len(p))
    for rows, inside in by_cell(p, q):
        k = min(neighbours, len(rows) - 1, len(inside))
        if p.point.shape[1] == 0 or k == 0:
            terms[rows] = digamma(len(rows)) - digamma(len(inside) + 1)
        else:
            terms[rows] = _in_cell(p.point[rows], q.point[inside], k)
    return terms


def _in_cell(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    tree_x, tree_y = cKDTree(x), cKDTree(y)
    order = tree_x.indices
    ordered = x[order]
    own = _kth(tree_x, ordered, k + 1)
    other = _kth(tree_y, ordered, k)
    radius = np.maximum(own, other)
    count_x = _count(tree_x, ordered, radius) - 1
    count_y = _count(tree_y, ordered, radius)
    atom = radius == 0
    above_x, above_y = (own < radius) | atom, (other < radius) | atom
    terms = np.empty(len(x))
    terms[order] = digamma(count_x + above_x) - digamma(count_y + above_y)
    return terms


def _kth(tree: cKDTree, points: np.ndarray, k: int) -> np.ndarray:
    distance, _ = tree.query(points, k=[k], p=CHEBYSHEV)
    return distance[:, 0]


def _count(tree: cKDTree, points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.asarray(tree.query_ball_point(points, radius, p=CHEBYSHEV, return_length=True))


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

    Raises `InputError` for different columns, missing values, or text against numbers.
    """
    rule, request = rule or TwoSamples(), Request(seed=seed)
    samples = [_sample(side) for side in (p, q)]
    ps, qs = matched_columns(*samples)
    weights = samples[0].weights, samples[1].weights
    kinds = ["discrete" if is_table(a, b) else "continuous" for a, b in zip(ps, qs, strict=True)]
    joint = kinds[0] if len(set(kinds)) == 1 else "mixed"
    rows = [Comparison(None, joint, between_columns(ps, qs, request, rule, weights))]
    for a, b, kind in zip(ps, qs, kinds, strict=True):
        rows.append(Comparison(a.name, kind, between_columns((a,), (b,), request, rule, weights)))
    return rows


def _sample(side: Any) -> Sample:
    sample = (side if isinstance(side, Samples) else Samples(side)).known().sample
    assert sample is not None
    return sample
