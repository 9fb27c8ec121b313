"""A forward KL needs expectations under P; here P becomes weighted outcomes: its rows, its atoms, or nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpyro.distributions as dist

from kullback.errors import InputError
from kullback.families.form import LOWER_ENDS, UPPER_ENDS
from kullback.known import Known, Sample
from kullback.minimize.nodes import count_nodes, line_nodes
from kullback.rule import Missing

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


def require_support(data: Weighted, support: Any, q_name: str, event_ndim: int) -> None:
    """Raise `InputError` where an outcome that counts lies outside the support of every member of Q."""
    if support is None or support.constraint is None:
        return
    inside = np.asarray(support.constraint(data.y))
    inside = inside.reshape(len(inside), -1).all(-1) | (data.weights == 0)
    if not inside.all():
        row = int(np.argmin(inside))
        shown = np.array2string(np.asarray(data.y[row]), precision=4, threshold=6)
        raise InputError(
            f"p: row {row} of {data.source}, {shown}, lies outside the support {support.name} of {q_name}; "
            "KL(P‖Q) would be infinite, so choose a family whose support contains the data"
        )


# Laws on a closed set whose density at its edge is 0 or ∞, unless a parameter has one value.
_OPEN = (dist.Beta, dist.BetaProportion, dist.Kumaraswamy, dist.Dirichlet)


def require_interior(data: Weighted, cls: type, q_name: str) -> None:
    """Raise `InputError` where an outcome lies at an end at which the density of a family is 0 or ∞."""
    if cls not in _OPEN or not isinstance(data.y, np.ndarray):
        return
    edge = (data.y <= 0.0) | ((data.y >= 1.0) & (cls is not dist.Dirichlet))
    edge = edge.reshape(len(edge), -1).any(-1)
    if edge.any():
        row = int(np.argmax(edge))
        shown = np.array2string(np.asarray(data.y[row]), precision=4, threshold=6)
        raise InputError(
            f"p: row {row} of {data.source}, {shown}, lies at an end of the support of {q_name}, where the density is "
            "0 or ∞ and the likelihood has no maximum; move such rows inside, for example to (x (n − 1) + 1/2)/n of n "
            "rows, or model the ends apart"
        )


_OF_TRIALS = (dist.BinomialLogits, dist.BinomialProbs, dist.BetaBinomial)


def require_within(data: Weighted, cls: type, fixed: Any, q_name: str) -> None:
    """Raise `InputError` where an outcome lies beyond an end of the support that is held fixed."""
    if "total_count" in fixed and cls in _OF_TRIALS:
        count = np.asarray(fixed["total_count"])
        outside = ((data.y < 0) | (data.y > count) | (data.y != np.round(data.y))).reshape(len(data.y), -1).any(-1)
        if outside.any():
            row = int(np.argmax(outside))
            raise InputError(
                f"p: row {row} of {data.source}, {np.asarray(data.y[row])}, is no count from 0 to total_count={count}, "
                f"where every member of {q_name} has its mass; drop such rows, or pass a total_count that is at "
                "least the largest count"
            )
    for ends, beyond in ((LOWER_ENDS, np.less), (UPPER_ENDS, np.greater)):
        for name, value in fixed.items():
            if (cls.__name__, name) not in ends:
                continue
            outside = beyond(data.y, value).reshape(len(data.y), -1).any(-1)
            if outside.any():
                row = int(np.argmax(outside))
                raise InputError(
                    f"p: row {row} of {data.source}, {np.asarray(data.y[row])}, lies beyond the end {name}={value} of "
                    f"{q_name}; KL(P‖Q) would be infinite, so leave {name} free or move it"
                )


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


def bucket(size: int) -> int:
    """The next of 64, 96, 128, 192, 256, 384, ...: at most half as much again."""
    power = 64
    while power < size:
        if power * 3 // 2 >= size:
            return power * 3 // 2
        power *= 2
    return power
