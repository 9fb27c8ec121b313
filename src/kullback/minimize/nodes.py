"""Laws on a line as weighted points: nodes of Gauss–Legendre panels for a density, counts for a countable support."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss

from kullback.errors import FitError
from kullback.estimate.hints import hints_of
from kullback.estimate.lines import Line
from kullback.estimate.logs import LogDensity, log_densities
from kullback.estimate.modes import Mass, locate
from kullback.estimate.quadrature import box_of
from kullback.exact.rule_helpers import double_precision, log_probs
from kullback.known import Known
from kullback.rule import Request

ORDER = 20
GRADE = 8.0
NEGLIGIBLE = 1e-17
MOST_COUNTS = 2**20


@dataclass(frozen=True)
class Nodes:
    """Nodes x [n], probabilities that sum to 1, Σ w log p, and the error of that in nats."""

    x: np.ndarray
    weights: np.ndarray
    negentropy: float
    numerical_error: float


def line_nodes(p: Known) -> Nodes:
    """Nodes for a density on an interval, normalised; the error is what halving every panel changes."""
    log_p, _ = log_densities(p, p)
    lower, upper = (float(end[0]) for end in box_of(p, log_p))
    hints = hints_of(p, log_p, Request(), draw=p.sampler is not None)[:, 0]
    mass = locate("p", lambda x: log_p(x[:, None]), lower, upper, hints)
    cuts = _graded(mass.line.cuts(mass.inside), mass.line)
    coarse = _on_panels(mass, log_p, _halved(cuts))
    fine = _on_panels(mass, log_p, _halved(_halved(cuts)))
    return Nodes(fine.x, fine.weights, fine.negentropy, abs(fine.negentropy - coarse.negentropy) + 1e-12)


def count_nodes(p: Known) -> Nodes:
    """The counts from the least on, until the rest is negligible. Raises `FitError` where that takes too many."""
    assert p.support is not None
    least, size = int(np.asarray(p.support.lower)), 64
    while size <= MOST_COUNTS:
        counts = np.arange(least, least + size)
        with double_precision(p, p):
            log_p = np.asarray(log_probs(p, p, counts)[0], np.float64)
        weights = np.exp(log_p)
        if 1 - weights.sum() < 1e-12 * size:
            keep = weights > 0
            negentropy = float(np.sum(weights[keep] * log_p[keep]))
            return Nodes(counts[keep].astype(np.int32), weights[keep] / weights.sum(), negentropy, 1e-12 * size)
        size *= 4
    raise FitError(
        f"p: the tail of {p.name} is too heavy to be summed over {MOST_COUNTS:,} counts; use rule='streaming draws'"
    )


def _graded(cuts: np.ndarray, line: Line) -> np.ndarray:
    """More cuts towards a finite end, so that no panel spans more than `GRADE` in the distance from it: a density that
    is singular there holds mass at every scale."""
    more = [cuts]
    for end in (line.lower, line.upper):
        away = np.sort(np.abs(cuts[(cuts >= line.low) & (cuts <= line.high)] - end))
        away = away[away > 0]
        if not np.isfinite(end) or not len(away):
            continue
        count = int(np.ceil(np.log(away[-1] / away[0]) / np.log(GRADE))) + 1
        between = end + (1.0 if end == line.lower else -1.0) * np.geomspace(away[0], away[-1], count)
        more.append(between[(between > line.low) & (between < line.high)])
    return np.unique(np.concatenate(more))


def _halved(cuts: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([cuts, 0.5 * (cuts[1:] + cuts[:-1])]))


def _on_panels(mass: Mass, log_p: LogDensity, cuts: np.ndarray) -> Nodes:
    node, weight = leggauss(ORDER)
    half = 0.5 * np.diff(cuts)[:, None]
    u = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + half * node).ravel()
    x, log_slope = mass.line.point(u)
    value = log_p(x[:, None])
    with np.errstate(over="ignore"):
        w = (half * weight).ravel() * np.exp(value + log_slope - mass.peak)
    w = np.where(np.isfinite(w), w, 0.0)
    total = w.sum()
    log_z = np.log(total) + mass.peak
    keep = w > NEGLIGIBLE * total
    x, w, value = x[keep], w[keep] / w[keep].sum(), value[keep] - log_z
    return Nodes(x, w, float(np.sum(w * value)), 0.0)
