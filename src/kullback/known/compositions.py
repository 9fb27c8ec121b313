"""Lists of vectors of counts with a given sum, and of tables with given margins, where they are not too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

MOST = 100_000


def compositions(total: int, bounds: Sequence[int] | Any) -> Int[np.ndarray, "k d"] | None:
    """Every vector of counts that sum to `total`, each at most its bound, in order; None where there are too many."""
    bounds = [min(int(bound), total) for bound in bounds]
    if _number(total, bounds) > MOST:
        return None
    room = np.append(np.cumsum(bounds[::-1])[::-1][1:], 0)
    found = np.zeros((1, 0), np.int64)
    for bound, later in zip(bounds, room, strict=True):
        left = total - found.sum(-1)
        rows = np.repeat(np.arange(len(found)), bound + 1)
        count = np.tile(np.arange(bound + 1), len(found))
        fits = (count <= left[rows]) & (left[rows] - count <= later)
        found = np.column_stack([found[rows[fits]], count[fits]])
    return found.astype(np.int32)


def _number(total: int, bounds: Sequence[int]) -> float:
    """How many there are: a coefficient of the product of the polynomials 1 + t + ... + t^bound."""
    ways = np.ones(1)
    for bound in bounds:
        ways = np.convolve(ways, np.ones(bound + 1))[: total + 1]
    return float(ways[total]) if total < len(ways) else 0.0


def tables(row: Any, column: Any) -> Int[np.ndarray, "k r c"] | None:
    """Every table of counts with these sums of rows and columns; None where there are too many."""
    found = np.zeros((1, 0, len(column)), np.int64)
    for total in np.asarray(row):
        grown: list[np.ndarray] = []
        for table in found:
            rows = compositions(int(total), np.asarray(column) - table.sum(0))
            if rows is None or (len(grown) + 1) * len(rows) > MOST:
                return None
            head = np.broadcast_to(table, (len(rows), *table.shape))
            grown.append(np.concatenate([head, rows[:, None]], 1))
            if sum(map(len, grown)) > MOST:
                return None
        found = np.concatenate(grown)
    whole = (found.sum(1) == np.asarray(column)).all(-1)
    return found[whole].astype(np.int32)
