"""log P − log Q at the rows of P from counts within balls that adapt to both samples, or within cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import digamma

from kullback.estimate.rows import Rows, by_cell, log_weights

CHEBYSHEV = np.inf


def divergence(p: Rows, q: Rows, neighbours: int) -> float:
    """KL(P‖Q) in nats from samples of n and m rows: the mean of `log_ratios` − ψ(n) + ψ(m + 1).

    Weighted rows are draws of a law P₀ whose density is that of P over w: log P = log P₀ + log w, with the weights
    averaged over neighbours.
    """
    return p.mean(weighted_log_ratios(p, q, neighbours))


def weighted_log_ratios(p: Rows, q: Rows, neighbours: int) -> Float[np.ndarray, " n"]:
    """log P − log Q at each row of P, whose mean is the divergence."""
    terms = log_ratios(p, q, neighbours) - digamma(len(p)) + digamma(len(q) + 1)
    if p.weight is not None or q.weight is not None:
        terms = terms + log_weights(p, p, own=True) - log_weights(p, q, own=False)
    return terms


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


def divergence_of_cells(p: Rows, q: Rows) -> float:
    """KL(P‖Q) of the cells alone, by their counts."""
    if len(np.unique(np.concatenate([p.cell, q.cell]))) == 1:
        return 0.0
    return divergence(*(replace(side, point=np.zeros((len(side), 0))) for side in (p, q)), neighbours=1)
