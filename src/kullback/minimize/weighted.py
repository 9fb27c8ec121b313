"""A forward KL needs expectations under P; here P becomes weighted outcomes: its rows, its atoms, or nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kullback.known import Known, Sample
from kullback.minimize.nodes import count_nodes, line_nodes
from kullback.rule import Missing
from kullback.training.batches import bucket

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
