"""What weights add to a log-density: the log of their mean over neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from kullback.estimate.rows import Rows, by_cell

NEIGHBOURS = 16


def log_weights(at: Rows, of: Rows, own: bool) -> Float[np.ndarray, " n"]:
    """log E[w∣x] − log E[w] for the weights w of the sample `of`, at each row x of the sample `at`.

    own  whether the two are one sample: a row is then left out of the mean at its own place

    E[w∣x] is the mean over the 16 nearest rows in x's cell, or over the cell where there are no measurements. The log
    of a mean of K weights is low by s²/(2K w̄²), which is added; the product of a cell's mean, which counts there as P's
    frequency, with its log is high by as much, which is taken off. A cell without rows has weight 1.
    """
    terms = np.zeros(len(at))
    if of.weight is None:
        return terms
    w = of.weight / of.weight.mean()
    for rows, inside in by_cell(at, of):
        if len(inside) == 0:
            continue
        if at.point.shape[1] == 0 or len(inside) == 1:
            terms[rows] = _log_mean(w[inside][None], sign=-1.0 if own else 1.0)
        else:
            terms[rows] = _log_mean(w[inside][_nearest(at.point[rows], of.point[inside], own)], sign=1.0)
    return terms


def _log_mean(w: np.ndarray, sign: float) -> np.ndarray:
    """log of the mean over the last axis, corrected by ± its relative variance over 2."""
    count, mean = w.shape[-1], w.mean(-1)
    variance = w.var(-1, ddof=1) / count if count > 1 else 0.0
    return np.log(mean) + sign * variance / (2.0 * mean**2)


def _nearest(x: np.ndarray, y: np.ndarray, own: bool) -> np.ndarray:
    """The rows of y nearest to each of x [n, K]; where they are one sample, without the row itself."""
    count = min(NEIGHBOURS + own, len(y))
    _, found = cKDTree(y).query(x, k=count, p=np.inf)
    found = found.reshape(len(x), count)
    if not own:
        return found
    itself = found == np.arange(len(x))[:, None]
    itself[~itself.any(1), -1] = True
    return found[~itself].reshape(len(x), count - 1)
