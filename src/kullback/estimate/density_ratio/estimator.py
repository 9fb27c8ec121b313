"""KL(P‖Q) from stacked scores: the value, its standard error, and what it needs to be worth them.

With discrete columns the chain rule parts the divergence: that of the cells, by counts, and that of the measured
columns within cells. For the second the rows of Q are weighted so that each cell counts as in P; the scores then
estimate log p(x∣c)/q(x∣c), with indicators of the cells among the features, and cells with few rows borrow from others.

The standard error is that of the efficient influence function, log P/Q − KL on the rows of P and 1 − P/Q on those of Q,
with 4 (1/n + 1/m), which is about what the scores cost. A value that rises from half of the rows to all of them has a
bias of about as much.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from kullback.estimate.density_ratio.bounds import clipped_mean, lower_bound
from kullback.estimate.density_ratio.cross_fit import FOLDS, Labelled, stacked
from kullback.estimate.density_ratio.overlap import Overlap
from kullback.estimate.density_ratio.scores import SCORES
from kullback.estimate.neighbours import divergence_of_cells
from kullback.estimate.rows import Rows

FEWEST_ROWS = 20  # of either half
MOST_IN_HALF = 2_500
MOST_ALONE = 50_000  # rows that one thread works at


@dataclass(frozen=True)
class ScoredDivergence:
    """What stacked scores say of KL(P‖Q), nats.

    value    the estimate
    error    its standard error, without the bias
    cost     the part of the error that the scores have
    rise     by how much the value rises from halves of the samples to all of them
    bound    KL(P‖Q) is at least this, with probability 0.975; None for weighted samples and dependent rows
    clipped  a Donsker–Varadhan bound and its standard error
    """

    value: float
    error: float
    cost: float
    rise: float
    bound: float | None
    clipped: tuple[float, float]
    overlap: Overlap


def scored(p: Rows, q: Rows, rng: np.random.Generator) -> ScoredDivergence:
    """The estimate from two samples of some tens of rows each, with measured columns."""
    return scored_both(p, q, rng)[0]


def scored_both(p: Rows, q: Rows, rng: np.random.Generator) -> tuple[ScoredDivergence, ScoredDivergence]:
    """KL(P‖Q) and KL(Q‖P) from one fit: scores of log Q/P are those of log P/Q, negated."""
    with _fitting(p, q):
        rows, within = _within_cells(p, q, rng)
        rises = _rises(p, q, rows, within, rng)
    order = np.roll(np.arange(len(rows)), len(q))  # the rows of Q first
    return (
        _from_scores(p, q, rows, within, rises[0]),
        _from_scores(q, p, rows.flipped(order), -within[order], rises[1]),
    )


def log_ratios(p: Rows, q: Rows, label: Float[np.ndarray, "n l"], rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """log P/Q at the rows of P and then of Q, each by models of other rows; 0 with few rows.

    label  further features of the rows, indicators of what is not measured
    """
    if not p.point.shape[1]:
        p, q = (replace(side, point=np.zeros((len(side), 1))) for side in (p, q))
    rows = Labelled.of(p, q, rng)
    rows = replace(
        rows,
        features=replace(rows.features, label=label),
        weight=np.ones(len(rows)) if label.shape[1] else None,  # without the score that sees no labels
    )
    if min(len(p), len(q)) < FEWEST_ROWS or len(np.unique(rows.fold)) < FOLDS:
        return np.zeros(len(rows))
    with _fitting(p, q):
        return stacked(rows, [score(rows) for score in SCORES])


@contextmanager
def _fitting(p: Rows, q: Rows) -> Iterator[None]:
    # Several threads for such small matrices wait for each other, the more so beside other processes.
    with threadpool_limits(1 if len(p) + len(q) <= MOST_ALONE else None), warnings.catch_warnings():
        # Held-out rows judge a score, whether or not its fit went to the end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _from_scores(p: Rows, q: Rows, rows: Labelled, within: Float[np.ndarray, " n"], rise: float) -> ScoredDivergence:
    ratio = within + _of_cells(rows, p, q)
    of_p, of_q = ratio[: len(p)], ratio[len(p) :]
    return ScoredDivergence(
        value=_value(p, q, within),
        error=standard_error(p, q, of_p, of_q),
        cost=cost_of_scores(p, q),
        rise=rise,
        bound=lower_bound(rows, ratio) if _are_independent(p) and _are_independent(q) else None,
        clipped=clipped_mean(p, q, of_p, of_q),
        overlap=Overlap.of(p, q, of_p, of_q),
    )


def _are_independent(rows: Rows) -> bool:
    """Whether the rows are independent draws of their law, for which a bound by their number holds."""
    return rows.weight is None and rows.block == 1


def standard_error(p: Rows, q: Rows, of_p: Float[np.ndarray, " n"], of_q: Float[np.ndarray, " m"]) -> float:
    """By the influence function of KL(P‖Q) at log P/Q of the rows of P and of Q, and the cost of the scores."""
    ratio = np.exp(of_q - of_q.max())
    mean = q.mean(ratio)
    by_p = p.mean((of_p - p.mean(of_p)) ** 2) / p.effective_size
    by_q = q.mean((ratio - mean) ** 2) / (q.effective_size * mean**2)
    return float(np.sqrt(by_p + by_q + cost_of_scores(p, q) ** 2))


def cost_of_scores(p: Rows, q: Rows) -> float:
    return 4.0 * (1.0 / p.effective_size + 1.0 / q.effective_size)


def _value(p: Rows, q: Rows, within: Float[np.ndarray, " n"]) -> float:
    return divergence_of_cells(p, q) + p.mean(within[: len(p)])


def _within_cells(p: Rows, q: Rows, rng: np.random.Generator) -> tuple[Labelled, Float[np.ndarray, " n"]]:
    """log p(x∣c)/q(x∣c) at the rows of both samples; 0 in cells that the other sample lacks, or has too few rows of."""
    rows = Labelled.of(p, q, rng)
    shared = np.ones(len(rows), bool) if rows.weight is None else rows.weight > 0
    if min(shared[: len(p)].sum(), shared[len(p) :].sum()) < FEWEST_ROWS or len(np.unique(rows.fold[shared])) < FOLDS:
        return rows, np.zeros(len(rows))
    found = stacked(rows, [score(rows) for score in SCORES])
    return rows, found if rows.weight is None else np.where(rows.weight > 0, found, 0.0)


def _of_cells(rows: Labelled, p: Rows, q: Rows) -> Float[np.ndarray, " n"]:
    """log P(c)/Q(c) of each row's cell c, by the other folds, half a row added to each cell."""
    cells, place = np.unique(np.concatenate([p.cell, q.cell]), return_inverse=True)
    found = np.zeros(len(rows))
    if len(cells) == 1:
        return found
    weight = np.concatenate([np.ones(len(side)) if side.weight is None else side.weight for side in (p, q)])
    for fold in range(FOLDS):
        inside = rows.fold == fold
        shares = []
        for label in (rows.of_p, ~rows.of_p):
            others = ~inside & label
            total = np.bincount(place[others], weight[others] / weight[others].mean(), len(cells)) + 0.5
            shares.append(np.log(total / total.sum()))
        found[inside] = (shares[0] - shares[1])[place[inside]]
    return found


def _rises(
    p: Rows, q: Rows, rows: Labelled, within: Float[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[float, float]:
    """The values of the fitted rows, of KL(P‖Q) and KL(Q‖P), less the means of those of their two halves.

    0 where halves are too small. Halves of many rows are of `MOST_IN_HALF`; what the value rises from there is divided
    as a bias of n^(−1/2) would.
    """
    fitted = rows.fitted[: len(p)], rows.fitted[len(p) :]
    halves = [_halves(np.flatnonzero(each), rng, side.block > 1) for each, side in zip(fitted, (p, q), strict=True)]
    if min(len(half) for side in halves for half in side) < FEWEST_ROWS:
        return 0.0, 0.0
    values = []
    for at_p, at_q in zip(*halves, strict=True):
        half_p, half_q = p.take(at_p), q.take(at_q)
        values.append(_values(half_p, half_q, _within_cells(half_p, half_q, rng)[1]))
    whole = _values(p.take(fitted[0]), q.take(fitted[1]), within[rows.fitted])
    times = min(each.sum() / len(half[0]) for each, half in zip(fitted, halves, strict=True))
    rise = (np.array(whole) - np.mean(values, axis=0)) * (np.sqrt(2.0) - 1.0) / (np.sqrt(max(times, 2.0)) - 1.0)
    return float(rise[0]), float(rise[1])


def _values(p: Rows, q: Rows, within: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """KL(P‖Q) and KL(Q‖P) of rows whose log ratios within cells are given, those of P first."""
    return _value(p, q, within), _value(q, p, -within[len(p) :])


def _halves(rows: Int[np.ndarray, " n"], rng: np.random.Generator, ordered: bool) -> list[Int[np.ndarray, " h"]]:
    """Two halves at random, or, of rows that depend on those before them, the earlier and the later."""
    return [half[:MOST_IN_HALF] for half in np.array_split(rows if ordered else rng.permutation(rows), 2)]
