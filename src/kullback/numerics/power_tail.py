"""Sums whose terms decay like a power of the index: their limit by Richardson's extrapolation, with an error.

Let t_j ~ j^(−σ) Σᵢ (aᵢ + bᵢ log j) j^(−i). By the Euler–Maclaurin formula the partial sums are
S(N) = S + N^(1−σ) Σᵢ (cᵢ + dᵢ log N) N^(−i), so that the step

    S(N) ← S(2N) + (S(2N) − S(N)) / (2^e − 1)

with e = σ − 1 + i removes cᵢ and, applied twice, dᵢ as well. From partial sums at N, 2N, 4N, ... the powers are removed
in turn. The last two values of a column show its error, which falls by 2^e from one to the next.

Source: Knopp (1951), section 64, for the formula; Sidi (2003), Practical Extrapolation Methods, section 1.5, for the
steps.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEAST_TERMS = 512
FIRST, COLUMNS = 8, 9
MARGIN, EPS = 4.0, float(np.finfo(float).eps)
# A series whose exponent is within this of the harmonic series is taken to diverge.
BOUNDARY = 1e-9


class Limit(NamedTuple):
    """The limit of the partial sums, ∞ where they diverge, and the error of it."""

    value: float
    error: float


def power_tail(log_p: Float[np.ndarray, " n"], ratio: Float[np.ndarray, " n"]) -> tuple[Limit, Limit] | None:
    """The limits of Σ p and Σ p · ratio over all j, from the first n; None where p does not decay like a power of j.

    log_p  log p
    ratio  log p/q, which may grow like log j, or like j or j² up to a factor of log j
    """
    if len(log_p) < LEAST_TERMS or not np.isfinite(log_p).all() or not np.isfinite(ratio).all():
        return None
    exponent, growth = _exponent(log_p), _growth(ratio)
    if exponent is None or growth is None:
        return None
    p, noise = np.exp(log_p), EPS * (1.0 + np.abs(log_p))
    mass = _limit(p, noise, exponent)
    if exponent.value - growth <= 1.0 + BOUNDARY:
        return mass, Limit(float("inf"), 0.0)
    return mass, _limit(p * ratio, noise, Limit(exponent.value - growth, exponent.error))


def _exponent(log_p: np.ndarray) -> Limit | None:
    """s where p ~ j^(−s)(1 + a/j + ...): the limit of log₂ p(N)/p(2N), where it settles to one above 1."""
    sizes = _sizes(len(log_p))
    slopes = -np.diff(log_p[sizes - 1]) / np.log(2.0)
    # A shift of the index adds only powers of 1/N.
    best = _best(slopes, np.arange(1.0, COLUMNS))
    settled = abs(slopes[-1] - best.value) < 0.25 and best.error < 1e-4
    return best if settled and best.value > 1.0 else None


def _growth(ratio: np.ndarray) -> int | None:
    """0 where the ratio grows like log j or less, 1 like j or j log j, 2 like j²; None where it is none of these."""
    early, middle, late = (float(ratio[len(ratio) * part // 8 - 1]) for part in (2, 4, 8))
    if abs(late - middle) <= 1e-9 * (1.0 + abs(late)):
        return 0
    power = np.log2(abs(late - middle) / max(abs(middle - early), 1e-300))
    nearest = max(int(np.floor(power + 0.25)), 0)
    return nearest if nearest <= 2 and power - nearest < 0.4 else None


def _limit(terms: np.ndarray, noise: np.ndarray, exponent: Limit) -> Limit:
    """The limit of the partial sums of terms ~ j^(−exponent)(a + b log j)(1 + ...), each right to a part of `noise`."""
    edges = np.concatenate([[0], _sizes(len(terms))])
    sums = np.cumsum([terms[a:b].sum() for a, b in itertools.pairwise(edges)])
    first, second = (
        _best(sums, np.repeat(e - 1.0 + np.arange(COLUMNS), 2))
        for e in (exponent.value, exponent.value + exponent.error)
    )
    by_noise = MARGIN / (1.0 - 2.0 ** (1.0 - exponent.value)) * float(np.abs(terms) @ noise)
    return Limit(first.value, first.error + abs(second.value - first.value) + by_noise)


def _sizes(n: int) -> np.ndarray:
    """N, 2N, 4N, ... up to n, with N about `FIRST`."""
    doublings = int(np.log2(n / FIRST))
    return (n >> doublings) * 2 ** np.arange(doublings + 1)


def _best(sums: np.ndarray, powers: np.ndarray) -> Limit:
    """The last value of the column of least error, the error being what its last two values differ by, magnified.

    The error of the next best column is stated, since the two values of one column may be near by chance.
    """
    column, found = np.asarray(sums, np.float64), []
    magnified = MARGIN / (1.0 - 2.0 ** -powers[0])
    for power in powers:
        if len(column) < 3:
            break
        step = np.diff(column)
        found.append((column[-1], magnified * max(abs(step[-1]), abs(step[-1] / np.expm1(power * np.log(2.0))))))
        column = column[1:] + step / np.expm1(power * np.log(2.0))
    found.sort(key=lambda entry: entry[1])
    value, error = found[0][0], found[1][1]
    return Limit(float(value), float(error) + magnified * EPS * float(np.abs(sums[-1])))
