"""A sample as rows of a cell and a point, with weights.

A cell is a label, or the combination of several; within a cell rows are compared by the distance of their points.
Weights enter an estimate of log P/Q by the log of their mean over neighbours (`log_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

FEWEST_COPIES, LACKING = 10, 0.1  # of a value, to be an atom; and the share of P's rate below which Q lacks it


@dataclass(frozen=True)
class Rows:
    """A sample as two parts of each row: `cell` [n] labels its discrete columns, `point` [n, d] holds the others.

    `weight` [n] says how much each row counts, above 0; None for equally. `log_density` [n] is that of a known law.
    `block` rows one after another depend on each other, and `time` of them count as one; 1 for independent rows.
    """

    cell: Int[np.ndarray, " n"]
    point: Float[np.ndarray, "n d"]
    weight: Float[np.ndarray, " n"] | None = None
    log_density: Float[np.ndarray, " n"] | None = None
    block: int = 1
    time: float = 1.0

    def __len__(self) -> int:
        return len(self.cell)

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> Rows:
        weight, log_density = (None if x is None else x[rows] for x in (self.weight, self.log_density))
        return replace(self, cell=self.cell[rows], point=self.point[rows], weight=weight, log_density=log_density)

    @property
    def effective_size(self) -> float:
        """Kish's (Σw)² / Σw², over τ: the independent rows of equal weight that would estimate a mean as well."""
        kish = len(self) if self.weight is None else self.weight.sum() ** 2 / (self.weight**2).sum()
        return float(kish / self.time)

    def mean(self, terms: Float[np.ndarray, " n"]) -> float:
        """The weighted mean of a term for each row."""
        return float(terms.mean() if self.weight is None else self.weight @ terms / self.weight.sum())


def by_cell(p: Rows, q: Rows) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]]:
    """The rows of P and those of Q in each cell of P."""
    order_p, order_q = np.argsort(p.cell, kind="stable"), np.argsort(q.cell, kind="stable")
    cells, starts = np.unique(p.cell[order_p], return_index=True)
    low, high = (np.searchsorted(q.cell[order_q], cells, side) for side in ("left", "right"))
    for rows, first, last in zip(np.split(order_p, starts[1:]), low, high, strict=True):
        yield rows, order_q[first:last]


def shared_rows(p: Rows, q: Rows) -> int:
    """How many rows of P's sample occur, to the last bit, in Q's."""
    return int(np.isin(keys_of(p), keys_of(q)).sum())


def repeated_rows(rows: Rows) -> int:
    """How many rows of a sample repeat an earlier one."""
    return len(rows) - len(np.unique(keys_of(rows)))


def distinct_rows(rows: Rows) -> tuple[Rows, int]:
    """Each measured row once, with the weight of all its copies, and how many were copies. Rows in cells stay."""
    table = np.concatenate([_table(rows), np.where(rows.cell > 0, np.arange(len(rows)), -1.0)[:, None]], axis=1)
    _, first, label = np.unique(table, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, 0
    weight = np.bincount(label.ravel(), rows.weight)
    kept = replace(rows.take(first), weight=weight if np.ptp(weight) > 0 else None)
    return kept, len(rows) - len(first)


def atom_share(p: Rows, q: Rows) -> float:
    """The share of P in measurements that its sample repeats often and Q's hardly has: atoms that Q may lack."""
    if p.point.shape[1] == 0:
        return 0.0
    _, labels = np.unique(np.concatenate([keys_of(p), keys_of(q)]), return_inverse=True)
    copies, others = (np.bincount(part, minlength=labels.max() + 1) for part in np.split(labels, [len(p)]))
    lacking = (copies >= FEWEST_COPIES) & (others / len(q) < LACKING * copies / len(p))
    return p.mean(lacking[labels[: len(p)]].astype(float))


def keys_of(rows: Rows) -> Shaped[np.ndarray, " n"]:
    """A number of 64 bits for each row, the same for equal rows; of N rows two others share one with N²/2⁶⁵.

    The multipliers and shifts are those of Steele, Lea and Flood (2014), OOPSLA, SplitMix64.
    """
    keys = rows.cell.astype(np.uint64)
    for column in rows.point.T + 0.0:  # −0 is 0
        mixed = (keys + np.uint64(0x9E3779B97F4A7C15)) ^ np.ascontiguousarray(column, np.float64).view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = mixed ^ (mixed >> np.uint64(31))
    return keys


def _table(rows: Rows) -> np.ndarray:
    return np.concatenate([rows.cell[:, None].astype(np.float64), rows.point], axis=1)


# What weights add to a log-density

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
