"""Weighted means and scales of many rows, read in blocks, so that a memory-mapped array is never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK_BYTES = 2**18  # blocks that stay in a cache are several times faster than large ones
SMALLEST = 1e-36  # in single precision a smaller scale would be 0 or its reciprocal infinite
_SQUARED = 1e-145  # of smaller deviations the squares are no longer numbers of double precision to the last digit


_WHOLE = 2**53  # up to which a double holds every whole number


def blocks_of(
    values: np.ndarray, weights: np.ndarray | None, own: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows [b, ...] in float64, or of their `own` type, with their weights [b], block by block."""
    step = max(1, BLOCK_BYTES // max(1, values.nbytes // max(1, len(values))))
    for start in range(0, len(values), step):
        block = np.asarray(values[start : start + step], None if own else np.float64)
        yield block, np.ones(len(block)) if weights is None else weights[start : start + step]


def less(values: Any, shift: Any) -> np.ndarray:
    """values − shift in double; whole numbers of 64 bits, of which a double holds 53, keep their differences.

    values  [n, ...]; shift [...], doubles
    """
    values = np.asarray(values)
    rough = values.astype(np.float64) - shift
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return rough
    if max(abs(int(values.min())), abs(int(values.max()))) <= _WHOLE:
        return rough
    limits = np.iinfo(values.dtype)
    whole = np.clip(np.round(shift), float(limits.min), np.nextafter(float(limits.max), 0.0))
    base = whole.astype(values.dtype)
    # Differences of unsigned numbers are right as signed ones, modulo 2⁶⁴.
    exact = (values - base).view(np.int64).astype(np.float64) - (shift - whole)
    return np.where(np.abs(rough) < 2.0**62, exact, rough)


def mean_and_scale(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean and standard deviation over the rows, float64; the scale of a constant column is 1.

    values   [n, ...], read once in blocks; weights [n] of any positive sum, None for equal ones
    Rows of weight 0 do not count. Blocks are merged by Chan, Golub and LeVeque (1983), equation 2.1, about a row that
    counts: a constant column then has the variance 0 without rounding. Rows or weights whose squares or sums are no
    numbers of double precision are divided by the largest first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = _mean_and_scale(values, weights)
    fine = np.isfinite(mean) & np.isfinite(scale) & (scale > _SQUARED)
    if not fine.all() and not (fine | _is_constant(values, weights)).all():
        counted = (values if weights is None else values[weights > 0]).astype(np.float64)
        relative = None if weights is None else weights[weights > 0] / weights.max()
        peak = np.abs(counted).max(0)
        unit = np.exp2(np.floor(np.log2(np.where(peak > 0, peak, 1.0))))
        mean, scale = (found * unit for found in _mean_and_scale(counted / unit, relative))
    return mean, np.where(scale > 0, scale, 1.0)


def _is_constant(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Which columns [...] have one value in all rows that count."""
    first = np.asarray(values[0 if weights is None else int(np.argmax(weights > 0))], np.float64)
    constant = np.isfinite(first)
    for block, w in blocks_of(values, weights):
        constant &= (block[w > 0] == first).all(0)
    return constant


def _mean_and_scale(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    first = 0 if weights is None else int(np.argmax(weights > 0))
    shift = np.asarray(values[first], np.float64)
    exact = values.dtype.kind in "iu" and values.dtype.itemsize == 8
    total, mean, squares = 0.0, np.zeros_like(shift), np.zeros_like(shift)
    for block, w in blocks_of(values, weights, own=exact):
        weight = w.sum()
        if weight == 0:
            continue
        block = less(block, shift)
        centre = np.tensordot(w, block, 1) / weight
        difference = centre - mean
        block -= centre
        spread = np.tensordot(w, np.square(block, out=block), 1)
        squares = squares + spread + np.square(difference) * (total * weight / (total + weight))
        mean = mean + difference * (weight / (total + weight))
        total += weight
    scale = np.sqrt(squares / total)
    return shift + mean, scale


# The interquartile range of a normal law, and the ranges that stand in for it where most outcomes are equal.
_RANGES = ((0.25, 0.75), (0.1, 0.9), (0.01, 0.99), (0.0, 1.0))
_QUARTILES = 1.3489795003921634


def middle_and_spread(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted median and interquartile range over 1.349 of rows [m, *event]: neither minds a few outliers.

    The spread of a column of equal numbers is their size, or 1 where they are 0.
    """
    levels = sorted({0.5, *(level for ends in _RANGES for level in ends)})
    first = np.asarray(rows[0], np.float64) if rows.dtype.kind in "iu" else 0.0
    found = dict(zip(levels, quantiles(less(rows, first), weights, levels), strict=True))
    middle = found[0.5] + first
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
