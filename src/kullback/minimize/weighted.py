"""A forward KL needs expectations under P; here P becomes weighted outcomes: its rows, its atoms, or nodes.

Nodes are those of Gauss–Legendre panels for a density on a line, and the counts of a countable support.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.legendre import leggauss

from kullback.errors import FitError
from kullback.estimate.log_density import LogDensity, box_of, log_densities
from kullback.estimate.quadrature.mass import Line, Mass, locate, points_with_mass
from kullback.exact.rule_helpers import double_precision, log_probs
from kullback.known import Known, Sample
from kullback.rule import Missing, Request
from kullback.training.batches import bucket

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
    hints = points_with_mass(p, log_p, Request(), draw=p.sampler is not None)[:, 0]
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


NODES, COUNTS = "quadrature nodes", "the counts"


@dataclass(frozen=True)
class Weighted:
    """Outcomes y [n, *event] with weights [n] that sum to 1, and inputs x [n, ...] for pairs.

    source          "the sample", "the atoms", `COUNTS` or `NODES`
    total           the weight of a sample before it was made to sum to 1: its rows, or the sum of the weights given
    negentropy      Σ w log p at them where P's log-probability is known: then H(P) is not dropped
    numerical_error of replacing P by them, nats
    """

    y: np.ndarray
    weights: np.ndarray
    x: np.ndarray | None
    source: str
    negentropy: float | None = None
    numerical_error: float = 0.0
    total: float = 1.0

    @property
    def size(self) -> int:
        return len(self.y)

    def counted(self) -> Weighted:
        """The outcomes that count: without those of weight 0, which may lie outside every support."""
        keep = self.weights > 0
        if keep.all():
            return self
        x = None if self.x is None else self.x[keep]
        return replace(self, y=self.y[keep], weights=self.weights[keep], x=x)


def can_be_weighted(p: Known) -> str | Missing:
    """How P would become weighted outcomes, or why not; cheap."""
    if p.batch_shape:
        return Missing("P is a batch of distributions; fit each by itself")
    if p.sample is not None:
        if p.sample.values is None:
            return Missing("some columns of the sample are not numbers")
        return "the sample"
    if p.atoms is not None and p.log_prob is not None:
        return "the atoms with their probabilities"
    if is_line_density(p):
        return "quadrature nodes of the one-dimensional density"
    if is_countable(p):
        return "the counts, until what is left out is negligible"
    return Missing("P is neither a sample, nor over counts, nor a one-dimensional density", "a sample of P")


def is_countable(p: Known) -> bool:
    support = p.support
    if p.event_shape != () or p.log_prob is None or support is None or not (support.discrete and support.bounded):
        return False
    return bool(np.isfinite(np.asarray(support.lower)).all())


def is_line_density(p: Known) -> bool:
    return (
        p.event_shape == ()
        and p.log_density is not None
        and p.support is not None
        and not p.support.discrete
        and p.support.bounded
    )


def weighted(p: Known) -> Weighted:
    """P as weighted outcomes. Call only where `can_be_weighted` did not say `Missing`."""
    if p.sample is not None:
        values = p.sample.values
        assert values is not None
        total = float(p.sample.size if p.sample.weights is None else p.sample.weights.sum())
        return Weighted(values, _normalized(p.sample), p.sample.inputs, "the sample", total=total)
    if p.atoms is not None:
        assert p.log_prob is not None
        log_p = np.asarray(p.log_prob(p.atoms), np.float64)
        weights = np.exp(log_p)
        present = weights > 0
        negentropy = float(np.sum(weights[present] * log_p[present]))
        return Weighted(p.atoms, weights / weights.sum(), None, "the atoms", negentropy)
    nodes, source = (count_nodes(p), COUNTS) if is_countable(p) else (line_nodes(p), NODES)
    return Weighted(nodes.x, nodes.weights, None, source, nodes.negentropy, nodes.numerical_error)


def _normalized(sample: Sample) -> np.ndarray:
    """Weights that sum to 1, also where their sum would overflow."""
    if sample.weights is None:
        return sample.normalized_weights()
    relative = sample.weights / sample.weights.max()
    return relative / relative.sum()


def padded(data: Weighted) -> Weighted:
    """The same weighted outcomes with rows of weight 0 added, so that few sizes are ever compiled."""
    size = bucket(data.size)
    extra = size - data.size
    if extra == 0:
        return data
    # The most probable row is repeated: it lies inside every support, so its log-probability is finite.
    row = int(np.argmax(data.weights))
    grow = lambda a: np.concatenate([a, np.repeat(a[row : row + 1], extra, 0)])  # noqa: E731
    weights = np.concatenate([data.weights, np.zeros(extra)])
    x = None if data.x is None else grow(data.x)
    return replace(data, y=grow(data.y), weights=weights, x=x)
