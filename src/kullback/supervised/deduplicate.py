"""A sample is a distribution: the order of its rows and the rows without weight are nothing, and equal rows are one.

Put into one order, with equal rows merged and their weights added, a sample with integer weights and the same sample
with its rows repeated are the same arrays, so that they give the same fit to the last bit.
"""

from __future__ import annotations

import numpy as np

from kullback.minimize.minibatch import FEWEST

MERGED = 4096  # rows, up to which merging costs less than a millisecond a thousand


def empirical(x: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The pairs that count: rows of weight 0 left out and, for a small sample, equal ones merged, in one order."""
    if w is not None and not w.all():
        x, y, w = x[w > 0], y[w > 0], w[w > 0]
    if len(x) > MERGED:
        return x, y, w
    table = np.column_stack([x, y.reshape(len(y), -1)])
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    weights = np.bincount(group.ravel(), w)
    return x[first], y[first], weights


def enough(x: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The same distribution as at least `FEWEST` rows: each repeated, with its weight divided."""
    times = -(-FEWEST // len(x))
    if times == 1:
        return x, y, w
    weights = np.repeat((np.ones(len(x)) if w is None else w) / times, times)
    return np.repeat(x, times, 0), np.repeat(y, times, 0), weights
