"""Inverses of distribution functions: bracketing in double precision, over a whole batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kullback.errors import EstimateError

if TYPE_CHECKING:
    from kullback.supervised.univariate import Line


def least_integer(line: Line, level: np.ndarray, above: bool) -> np.ndarray:
    """The least integer k with P(X ≤ k) ≥ level, or with P(X > k) ≤ level if `above`."""

    def reached(k: np.ndarray) -> np.ndarray:
        return line.sf(k) <= level if above else line.cdf(k) >= level

    shape = np.broadcast_shapes(level.shape, line.shape)
    lower, upper = np.broadcast_to(line.lower, shape), np.broadcast_to(line.upper, shape)
    certain = level <= 0 if above else level >= 1
    low, step = lower - 1.0, 1.0  # not reached, by convention even at level 0
    high = np.where(certain, upper, lower)
    while not (done := certain | reached(high)).all():
        low, high = np.where(done, low, high), np.where(done, high, np.minimum(high + step, upper))
        step *= 2.0
    low = np.where(certain, upper, low)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ where the level is 1
        while (high - low > 1.0).any():
            middle = np.floor((low + high) / 2.0)
            hit = reached(middle)
            low, high = np.where(hit, low, middle), np.where(hit, middle, high)
    return high


def solved(line: Line, level: np.ndarray, above: bool, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The x in [low, high] with P(X ≤ x) = level, or P(X > x) = level if `above`: Chandrupatla's method (1997).

    It interpolates where the last three points make an inverse quadratic safe and bisects elsewhere; the solution is
    good to rounding. Written out since SciPy's `find_root` drops the elements that have ended, and a batch of laws
    cannot be taken apart.
    """

    def excess(x: np.ndarray) -> np.ndarray:
        return level - line.sf(x) if above else line.cdf(x) - level

    shape = np.broadcast_shapes(level.shape, line.shape)
    a, b = (np.array(np.broadcast_to(end, shape), np.float64) for end in (high, low))
    ends = (level <= 0) | (level >= 1)
    a, b = np.where(ends, 0.0, a), np.where(ends, 0.0, b)
    fa, fb = excess(a), excess(b)
    c, fc, t = a, fa, np.full(shape, 0.5)
    best = a
    for _ in range(200):
        x = a + t * (b - a)
        fx = excess(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            narrow = (2e-16 * np.abs(best) + 1e-300) / np.abs(b - a)
            if (ends | (fa == 0) | (fb == 0) | ~(narrow < 0.5)).all():
                break
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        t = np.where(safe & np.isfinite(quadratic), quadratic, 0.5)
        edge = np.where(np.isfinite(narrow), np.minimum(narrow, 0.5), 0.5)
        t = np.clip(t, edge, 1.0 - edge)
    least = level >= 1 if above else level <= 0
    return np.where(ends, np.where(least, line.lower, line.upper), best)


def bracketed(line: Line, level: np.ndarray, above: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points below and above the quantile: the bounds where they are finite, else found by doubling.

    Raises `EstimateError` where the distribution function does not reach the level.
    """

    def reached(x: np.ndarray) -> np.ndarray:
        return line.sf(x) <= level if above else line.cdf(x) >= level

    shape = np.broadcast_shapes(level.shape, line.shape)
    lower, upper = np.broadcast_to(line.lower, shape), np.broadcast_to(line.upper, shape)
    ends = (level <= 0) | (level >= 1)
    centre = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper, 0.0))
    low, high = (np.where(np.isfinite(end), end, centre + way) for end, way in ((lower, -1.0), (upper, 1.0)))
    reach = 2.0
    for _ in range(1000):
        short = ~ends & np.isinf(upper) & ~reached(high)
        over = ~ends & np.isinf(lower) & reached(low)
        if not (short | over).any():
            return low, high
        high, low = np.where(short, centre + reach, high), np.where(over, centre - reach, low)
        reach *= 2.0
    raise EstimateError("level: the distribution function does not reach it; check the distribution's parameters")
