"""Tables of what is exact between every component of one side and every one of another, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kullback.estimate.batch import doubled
from kullback.exact.composite.broadcasting import unsqueezed
from kullback.exact.composite.mixtures import components
from kullback.exact.type_keys import Form
from kullback.known import Known

Pairwise = Callable[[Any, Any], Form | None]


class Side(NamedTuple):
    """The logarithms of the weights [*own batch, K], and blocks of components with the sizes that sum to K."""

    log_weights: np.ndarray
    blocks: tuple[Any, ...]
    sizes: tuple[int, ...]
    batch: tuple[int, ...]


def side_of(d: Any) -> Side | None:
    """The components of a distribution; None where they cannot be laid out along an axis."""
    found = components(d)
    if found is None:
        return None
    weights = np.asarray(found.weights, np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(weights / weights.sum(-1, keepdims=True))
    return Side(logs, found.blocks, found.sizes, tuple(d.batch_shape))


def sides(p: Known, q: Known) -> tuple[Side, Side]:
    """The components of both, in double precision."""
    own, other = (side_of(doubled(known.distribution)) for known in (p, q))
    assert own is not None
    assert other is not None
    return own, other


def pairs_of(own: Side, other: Side) -> list[list[tuple[Any, Any]]]:
    """Every block of one side with every block of the other, as rows and columns of a table."""
    rows, columns = [unsqueezed(b) for b in own.blocks], [unsqueezed(b, 1) for b in other.blocks]
    return [[(row, column) for column in columns] for row in rows]


def pairwise_table(pairwise: Pairwise, own: Side, other: Side) -> np.ndarray:
    """The values of every pair of components, [*batch, K, L]; 0 where there is no form."""
    batch = np.broadcast_shapes(own.batch, other.batch)
    parts = []
    for row, size in zip(pairs_of(own, other), own.sizes, strict=True):
        forms = [pairwise(*pair) for pair in row]
        values = [0.0 if form is None else np.asarray(form()) for form in forms]
        shapes = [(*batch, size, width) for width in other.sizes]
        parts.append(np.concatenate([np.broadcast_to(v, s) for v, s in zip(values, shapes, strict=True)], -1))
    return np.concatenate(parts, -2)


def every(pairwise: Pairwise, own: Side, other: Side) -> bool:
    return all(pairwise(*pair) is not None for row in pairs_of(own, other) for pair in row)


def weighted(log_weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Σₖ wₖ xₖ, in which a weight of 0 leaves its value out, be it ∞."""
    live = log_weights > -np.inf
    return np.where(live, np.exp(log_weights) * np.where(live, values, 0.0), 0.0).sum(-1)


def log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """log Σ exp x, in which no term at all gives −∞."""
    top = np.max(x, axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis)) + np.squeeze(top, axis)


def minus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x − y, and −∞ where both are −∞."""
    nothing = x == -np.inf
    return np.where(nothing, -np.inf, x - np.where(nothing, 0.0, y))
