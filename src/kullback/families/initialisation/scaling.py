"""Weighted means and scales of many rows, read in blocks, so that a memory-mapped array is never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK_BYTES = 2**18  # blocks that stay in a cache are several times faster than large ones
# In single precision a smaller scale would be 0 or its reciprocal infinite.
SMALLEST = 1e-36


def blocks_of(values: np.ndarray, weights: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows [b, ...] in float64 with their weights [b], block by block."""
    step = max(1, BLOCK_BYTES // max(1, values.nbytes // max(1, len(values))))
    for start in range(0, len(values), step):
        block = np.asarray(values[start : start + step], np.float64)
        yield block, np.ones(len(block)) if weights is None else weights[start : start + step]


def mean_and_scale(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean and standard deviation over the rows, float64; the scale of a constant column is 1.

    values   [n, ...], read once in blocks; weights [n] of any positive sum, None for equal ones
    Rows of weight 0 do not count. Blocks are merged by Chan, Golub and LeVeque (1983), equation 2.1, about a row that
    counts: a constant column then has the variance 0 without rounding. Rows or weights whose squares or sums are no
    numbers of double precision are divided by the largest first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = _mean_and_scale(values, weights)
    if np.isfinite(mean).all() and np.isfinite(scale).all():
        return mean, scale
    counted = values if weights is None else values[weights > 0]
    peak = float(np.abs(counted.astype(np.float64)).max())
    relative = None if weights is None else weights[weights > 0] / weights.max()
    mean, scale = _mean_and_scale(counted.astype(np.float64) / peak, relative)
    return mean * peak, scale * peak


def _mean_and_scale(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    first = 0 if weights is None else int(np.argmax(weights > 0))
    shift = np.asarray(values[first], np.float64)
    total, mean, squares = 0.0, np.zeros_like(shift), np.zeros_like(shift)
    for block, w in blocks_of(values, weights):
        weight = w.sum()
        if weight == 0:
            continue
        block = block - shift
        centre = np.tensordot(w, block, 1) / weight
        difference = centre - mean
        block -= centre
        spread = np.tensordot(w, np.square(block, out=block), 1)
        squares = squares + spread + np.square(difference) * (total * weight / (total + weight))
        mean = mean + difference * (weight / (total + weight))
        total += weight
    scale = np.sqrt(squares / total)
    return shift + mean, np.where(scale > SMALLEST, scale, 1.0)


# The interquartile range of a normal law, and the ranges that stand in for it where most outcomes are equal.
_RANGES = ((0.25, 0.75), (0.1, 0.9), (0.01, 0.99), (0.0, 1.0))
_QUARTILES = 1.3489795003921634


def middle_and_spread(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted median and interquartile range over 1.349 of rows [m, *event]: neither minds a few outliers.

    The spread of a column of equal numbers is their size, or 1 where they are 0.
    """
    levels = sorted({0.5, *(level for ends in _RANGES for level in ends)})
    found = dict(zip(levels, quantiles(rows, weights, levels), strict=True))
    middle = found[0.5]
    spread = np.zeros(middle.shape)
    for low, high in _RANGES:
        spread = np.where(spread > 0, spread, (found[high] - found[low]) / _QUARTILES)
    return middle, np.where(spread > 0, spread, np.where(middle != 0, np.abs(middle), 1.0))


def quantiles(rows: np.ndarray, weights: np.ndarray, levels: Any) -> np.ndarray:
    """Weighted quantiles [levels, *event] of rows [m, *event]: outcomes themselves, never a number between two."""
    flat = rows.reshape(len(rows), -1)
    order = np.argsort(flat, axis=0, kind="stable")
    mass = np.cumsum(weights[order], axis=0)
    at = [(mass < level * mass[-1] * (1 - 1e-12)).sum(0).clip(max=len(rows) - 1) for level in levels]
    columns = np.arange(flat.shape[1])
    return np.stack([flat[order[i, columns], columns].reshape(rows.shape[1:]) for i in at])
