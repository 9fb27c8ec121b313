"""KL(P‖Q) of two samples as rows: which estimate is taken, its standard error, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kullback.estimate.density_ratio.verdict import verdict_on
from kullback.estimate.dependence import apart, bias_of_cells, on_dependence
from kullback.estimate.neighbours import divergence, weighted_log_ratios
from kullback.estimate.rows import Rows, atom_share
from kullback.estimate.sample_guarantee import (
    LEAST_MISSING,
    Reach,
    error_of_unseen,
    on_atoms,
    on_reach,
    on_weights,
    reach_of,
    unseen_categories,
)
from kullback.result import Guarantee

if TYPE_CHECKING:
    from kullback.estimate.density_ratio.estimator import ScoredDivergence

FEWEST = 8  # rows of either sample, below which nothing is said of the error
FEWEST_SCORED = 40  # rows of either sample, so that each half has folds of a few rows
NEAR_DIMENSIONS = 2  # in which neighbours are as good as any score


@dataclass(frozen=True)
class Compared:
    """An estimate of KL(P‖Q) in nats; `notes` are what it is worth, in words."""

    value: float
    error: float
    guarantee: Guarantee
    notes: list[str]
    diagnostics: dict[str, Any] = field(default_factory=dict)


def compared(p: Rows, q: Rows, neighbours: int, scores: bool, rng: np.random.Generator) -> Compared:
    """The estimate from rows of P and Q: by counts, by neighbours, by scores, or by the last two together."""
    if not (scores and _can_be_scored(p, q)):
        return _with_remarks(p, q, _without_scores(*_apart(p, q), neighbours, rng))
    from kullback.estimate.density_ratio.estimator import scored  # loads scikit-learn's classifiers

    return _with_remarks(p, q, _by_scores(p, q, neighbours, scored(p, q, rng)))


def compared_both_ways(
    p: Rows, q: Rows, neighbours: int, scores: bool, rng: np.random.Generator
) -> tuple[Compared, Compared]:
    """KL(P‖Q) and KL(Q‖P), with one fit of the scores for both."""
    if not (scores and _can_be_scored(p, q)):
        return compared(p, q, neighbours, scores, rng), compared(q, p, neighbours, scores, rng)
    from kullback.estimate.density_ratio.estimator import scored_both

    first, second = scored_both(p, q, rng)
    return (
        _with_remarks(p, q, _by_scores(p, q, neighbours, first)),
        _with_remarks(q, p, _by_scores(q, p, neighbours, second)),
    )


def _can_be_scored(p: Rows, q: Rows) -> bool:
    return p.point.shape[1] > 0 and min(len(p), len(q)) >= FEWEST_SCORED


def _apart(p: Rows, q: Rows) -> tuple[Rows, Rows]:
    """Rows with measurements, thinned: the nearest of dependent rows are those beside a row, whatever the density."""
    return (apart(p), apart(q)) if p.point.shape[1] > 0 else (p, q)


def _with_remarks(p: Rows, q: Rows, found: Compared) -> Compared:
    found.notes.extend([*on_dependence("P", p), *on_dependence("Q", q)])
    if min(len(p), len(q)) < FEWEST:
        found.notes.append(f"fewer than {FEWEST} rows give no standard error")
    found.notes.extend(on_weights(p, q))
    return found


def _by_scores(p: Rows, q: Rows, neighbours: int, found: ScoredDivergence) -> Compared:
    value, error, reach = found.value, found.error, reach_of(p, q)
    diagnostics = _on_support(p, q, reach)
    beyond = diagnostics.get("unseen_share", 0.0) > 0.5 * error
    if p.point.shape[1] <= NEAR_DIMENSIONS and p.block == q.block == 1:
        value, error = _averaged(found, *by_neighbours(p, q, neighbours))
        beyond = beyond or reach.missing > error
    error = float(np.linalg.norm([error, error_of_unseen(p, q), bias_of_cells(p, q)]))
    atoms = atom_share(p, q)
    verdict = verdict_on(found, value, error, beyond or atoms > 0)
    diagnostics |= {
        "estimate": value,
        "rise": found.rise,
        "overlap": found.overlap.effective,
        "largest_share": found.overlap.share,
        "unsupported": found.overlap.unsupported,
    }
    if found.bound is not None:
        diagnostics["at_least"] = max(found.bound, 0.0)
    notes = [*on_reach(reach.share, beyond, diagnostics), *on_atoms(atoms), *[verdict.reason] * bool(verdict.reason)]
    return Compared(verdict.value, verdict.error, verdict.guarantee, notes, diagnostics)


def _without_scores(p: Rows, q: Rows, neighbours: int, rng: np.random.Generator) -> Compared:
    value, error = by_neighbours(p, q, neighbours)
    error = float(np.linalg.norm([error, error_of_unseen(p, q), bias_of_cells(p, q)]))
    reach, atoms, dimensions = reach_of(p, q), atom_share(p, q), p.point.shape[1]
    beyond = reach.missing > (0.5 * error if np.isfinite(error) else LEAST_MISSING)
    diagnostics = _on_support(p, q, reach)
    notes = [*on_reach(reach.share, beyond, diagnostics), *on_atoms(atoms)]
    if dimensions and min(len(p), len(q)) >= 2 * FEWEST:
        rise = diagnostics["rise"] = value - _of_halves(p, q, neighbours, rng)
        error = float(np.hypot(error, max(rise, 0.0)))
        if dimensions > NEAR_DIMENSIONS:
            notes.append(
                f"in {dimensions} dimensions neighbours are biased; the value changed by {rise:.2g} nats from half of "
                "the rows to all"
            )
    guarantee = Guarantee.LOWER_BOUND if beyond or atoms else Guarantee.CONSISTENT
    return Compared(value, error, guarantee, notes, diagnostics)


def by_neighbours(p: Rows, q: Rows, neighbours: int) -> tuple[float, float]:
    """The mean of L = log P/Q over the rows of P, and its standard error √(var L/n + var_Q e^L/m).

    The variance of P/Q under Q is E_P[P/Q] − 1. Cells that Q lacks have an error of their own.
    """
    terms = weighted_log_ratios(p, q, neighbours)
    value = p.mean(terms)
    if min(len(p), len(q)) < FEWEST:
        return value, np.inf
    by_p = p.mean((terms - value) ** 2) / p.effective_size
    ratios = np.where(np.isin(p.cell, q.cell), np.exp(terms), 0.0)
    by_q = max(p.mean(ratios) - 1.0, 0.0) / q.effective_size
    return value, float(np.sqrt(by_p + by_q))


def _averaged(found: ScoredDivergence, value: float, error: float) -> tuple[float, float]:
    """The mean by inverse variance of two estimates from the same rows, whose errors may be the same."""
    if not error:
        return value, error
    share = found.error**-2 / (found.error**-2 + error**-2)
    return share * found.value + (1.0 - share) * value, share * found.error + (1.0 - share) * error


def _of_halves(p: Rows, q: Rows, neighbours: int, rng: np.random.Generator) -> float:
    halves = [np.array_split(rng.permutation(len(side)), 2) for side in (p, q)]
    return float(np.mean([divergence(p.take(a), q.take(b), neighbours) for a, b in zip(*halves, strict=True)]))


def _on_support(p: Rows, q: Rows, reach: Reach) -> dict[str, Any]:
    return {"beyond_reach": reach.share, "missing": reach.missing} | unseen_categories(p, q)
