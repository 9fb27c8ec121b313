"""How far P lies beyond the reach of Q's sample, which cannot tell how small Q is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from kullback.estimate.rows import Rows, by_cell

SPACING = 10
# The tenth spacing from the end of a sample with an exponential tail of rate λ is H₁₀/λ in the mean.
HARMONIC = float((1.0 / np.arange(1, SPACING + 1)).sum())


@dataclass(frozen=True)
class Reach:
    """`share` of P lies beyond the reach of Q's sample; `missing` nats or more are then missing from an estimate."""

    share: float
    missing: float


def reach_of(p: Rows, q: Rows) -> Reach:
    """How much of P is beyond the rows of Q, and what that may hide.

    For each row of P, g is the distance to the nearest row of Q and s the distance from there to its tenth neighbour in
    Q. Within Q's sample g is a small part of s. Outside, the balls that count rows grow with g, so that the estimate of
    −log Q grows with log g, where an exponential tail falls by g H₁₀/s nats. What that exceeds 1 is called missing, up
    to log m, less the same for rows of Q against the others, which shares the tails and the dimension, and less the
    standard error of that difference. A row of P in a cell without rows of Q, whose log Q is set by half a row, misses
    1 nat. Over normal, gamma, uniform and Student samples of 200 to 5,000 rows in one to ten dimensions it was of the
    order of the bias.
    """
    gaps, unseen = _gaps(p, q), ~np.isin(p.cell, q.cell)
    found, own = np.where(unseen, 0.0, _nats(gaps, len(q))), _nats(_gaps(q, q), len(q))
    noise = np.sqrt(_variance(p, found) + _variance(q, own))
    continuous = max(0.0, p.mean(found) - q.mean(own) - noise)
    return Reach(p.mean((unseen | (gaps > 1.0)).astype(float)), p.mean(unseen.astype(float)) + continuous)


def _variance(rows: Rows, terms: np.ndarray) -> float:
    """The variance of the weighted mean of the terms."""
    return rows.mean((terms - rows.mean(terms)) ** 2) / rows.effective_size


def _nats(gaps: np.ndarray, size: int) -> np.ndarray:
    return np.clip(HARMONIC * gaps - 1.0, 0.0, np.log(size))


def _gaps(p: Rows, q: Rows) -> Float[np.ndarray, " n"]:
    """g/s for each row of P; 0 in cells where Q has ten rows or fewer, and without measurements."""
    gaps, own = np.zeros(len(p)), int(p is q)
    if p.point.shape[1] == 0:
        return gaps
    for rows, inside in by_cell(p, q):
        if len(inside) > SPACING + 1:
            tree = cKDTree(q.point[inside])
            distance, nearest = tree.query(p.point[rows], k=[1 + own], p=np.inf)
            spacing = tree.query(q.point[inside], k=[SPACING + 1 + own], p=np.inf)[0][:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                gaps[rows] = np.nan_to_num(distance[:, 0] / spacing[nearest[:, 0]], nan=0.0, posinf=np.inf)
    return gaps
