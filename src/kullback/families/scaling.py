"""Weighted means and scales of many rows, read in blocks, so that a memory-mapped array is never copied whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK_BYTES = 2**18  # blocks that stay in a cache are several times faster than large ones
# In single precision a smaller scale would be 0 or its reciprocal infinite.
SMALLEST = 1e-30


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
    counts: a constant column then has the variance 0 without rounding.
    """
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
