"""The continuous ranked probability score of any law of numbers, by quadrature on its distribution function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from kullback.errors import InputError
from kullback.supervised.inputs import mean_of, outcomes
from kullback.supervised.scipy_laws import line_of
from kullback.supervised.univariate import Circular, Frozen, Inflated, Joined, Line, Listed, Mixed

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(12)
LEVELS = (1e-16, 1e-8, 1e-3, 0.05, 0.5)
LONGEST, FARTHEST, MOST = 10.0, 600.0, 1e300
STEPS = (2.0, 6.0, 14.0, 30.0)  # beyond the median, in the coordinate of `_Coordinate`
BLOCK = 1_000_000  # probabilities at a time


def crps(y: Any, q: Any, sample_weight: ArrayLike | None = None) -> float:
    """The mean continuous ranked probability score, in the units of y; lower is better, 0 for certain and right.

    CRPS(F, y) = ∫ (F(x) − 1{y ≤ x})² dx = E|X − y| − ½ E|X − X′|: the absolute error of a forecast that is a
    distribution. For counts the integral is a sum. It is infinite for tails as heavy as P(X > x) ~ x^(−½), and is
    called so where a tail still falls no faster once it holds 1e-16.

    y              outcomes [n], or [n, outputs] for several outputs, whose scores are averaged
    q              a NumPyro distribution of batch shape [n]: any with a distribution function, mixtures and ensembles
                   of such, counts
    sample_weight  [n] or None

    Raises `InputError` for shapes that do not match, and for laws that have no distribution function on the line.
    Source: Gneiting and Raftery (2007), equation 20.
    """
    return mean_of(crps_each(y, q), sample_weight)


def crps_each(y: Any, q: Any) -> Float[np.ndarray, "n ..."]:
    """The score of each outcome, [n] or [n, outputs]; see `crps`."""
    line = line_of(q)
    if isinstance(line, Circular):
        raise InputError(
            "q: the CRPS is an integral over the line, and von Mises angles live on a circle; use log_score"
        )
    y = outcomes(y, line.shape)
    return _counts(line, y) if line.discrete else _measurements(line, y)


def _measurements(line: Line, y: np.ndarray) -> np.ndarray:
    """∫_{x<y} F² + ∫_{x>y} (1 − F)², by Gauss and Legendre between quantiles.

    The panels end at quantiles (of every component), at y, and at fixed steps from the median in a coordinate that
    sends the ends of the support to infinity, in which the integrand is smooth and falls off exponentially: so no tail
    is too long and no pole at an end too steep. What is left is that of a power law, and infinite for the heaviest.
    """
    marks = np.sort(marks_of(line), axis=0)
    low, high, middle = marks[0], marks[-1], line.quantile(0.5)
    there = _Coordinate(line, middle)
    first, last, at = there.to(low), there.to(high), there.to(np.clip(y, low, high))
    steps = [there.centre + way * step for step in STEPS for way in (-1.0, 1.0)]
    edges = np.sort(np.clip([there.to(marks[k]) for k in range(len(marks))] + steps + [at], first, last), axis=0)
    total = np.abs(y - np.clip(y, low, high))  # beyond them F is 0 or 1
    for start, end in _panels(edges):
        half = (end - start) / 2.0
        t = start + half * (1.0 + POINTS.reshape(-1, *(1,) * len(line.shape)))
        x, slope = there.back(t)
        square = np.where(t < at, line.cdf(x), line.sf(x)) ** 2
        total = total + half * np.tensordot(WEIGHTS, square * slope, 1)
    left, right = _tail(line.cdf, middle, there.back(first)[0]), _tail(line.sf, middle, there.back(last)[0])
    return total + np.where(np.isinf(line.lower), left, 0.0) + np.where(np.isinf(line.upper), right, 0.0)


def _panels(edges: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Neighbouring edges, with panels cut into pieces of moderate length and those without any left out."""
    for start, end in itertools.pairwise(edges):
        pieces = int(np.ceil(np.max(end - start) / LONGEST))
        for k in range(pieces):
            yield start + (end - start) * (k / pieces), start + (end - start) * ((k + 1) / pieces)


def _tail(beyond: Callable[[np.ndarray], np.ndarray], middle: np.ndarray, end: np.ndarray) -> np.ndarray:
    """∫ of P² from `end` outwards, where P(beyond x) is taken to fall as a power of x; infinite for ½ or less."""
    halfway, at_end = beyond((middle + end) / 2.0), beyond(end)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log2(halfway / at_end)
        rest = at_end**2 * np.abs(end - middle) / (2.0 * power - 1.0)
    return np.where(at_end <= 0.0, 0.0, np.where(power <= 0.5, np.inf, rest))


class _Coordinate:
    """x as log, logit or asinh about the median, whichever sends the ends of the support to infinity."""

    def __init__(self, line: Line, middle: np.ndarray) -> None:
        # A quantile can round to an end of the support, which this coordinate does not reach.
        least, most = np.nextafter(line.lower, np.inf), np.nextafter(line.upper, -np.inf)
        self.lower, self.upper, self.middle = line.lower, line.upper, np.clip(middle, least, most)
        self.scale = np.maximum(line.quantile(0.25, above=True) - line.quantile(0.25), 1e-300)
        self.left, self.right = np.isfinite(line.lower), np.isfinite(line.upper)
        self.centre = self._of(self.middle)

    def to(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self._of(x), self.centre - FARTHEST, self.centre + FARTHEST)

    def _of(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            below, over = np.log(x - self.lower), -np.log(self.upper - x)
            ended = np.where(self.left, below, 0.0) + np.where(self.right, over, 0.0)
            return np.where(self.left | self.right, ended, np.arcsinh((x - self.middle) / self.scale))

    def back(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and dx/dt."""
        width = np.where(self.left & self.right, self.upper - self.lower, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            share = 1.0 / (1.0 + np.exp(-t))
            kinds = [self.left & self.right, self.left, self.right]
            x = np.select(
                kinds,
                [self.lower + width * share, self.lower + np.exp(t), self.upper - np.exp(-t)],
                self.middle + self.scale * np.sinh(t),
            )
            rest = 1.0 / (1.0 + np.exp(t))
            slope = np.select(kinds, [width * share * rest, np.exp(t), np.exp(-t)], self.scale * np.cosh(t))
        return x, slope


def marks_of(line: Line) -> np.ndarray:
    """Points [k, *shape] between which a distribution function is smooth and changes moderately: quantiles."""
    if isinstance(line, Mixed):
        parts = marks_of(line.parts)  # [k, *shape, components]
        parts = np.where(line.weights > 0, parts, line.quantile(0.5)[..., None])
        return np.moveaxis(parts, -1, 0).reshape(-1, *line.shape)
    if isinstance(line, Joined):
        each = [marks_of(part) for part in line.lines]
        return np.stack(each, -1)
    found = [line.quantile(p) for p in LEVELS] + [line.quantile(p, above=True) for p in LEVELS[:-1]]
    return np.clip(np.stack([np.broadcast_to(x, line.shape) for x in found]), -MOST, MOST)


def _counts(line: Line, y: np.ndarray) -> np.ndarray:
    """Σ_k (F(k) − 1{y ≤ k})² over the counts that have probability, and 1 for each between them and y.

    Rows end at very different counts, so each block of counts is worked out for the rows that reach it.
    """
    low, high = line.quantile(1e-12), line.quantile(1e-12, above=True)
    total = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    start, size = 0, 64
    while (left := low + start < high).any():
        rows, at = taken(line, left), y[left]
        k = low[left] + (start + np.arange(size))[:, None]
        square = np.where(k < at, rows.cdf(k), rows.sf(k)) ** 2
        total[left] += np.where(k < high[left], square, 0.0).sum(0)
        start += size
        size = max(64, min(2 * size, BLOCK // int(left.sum())))
    return total


def taken(line: Line, rows: np.ndarray) -> Line:
    """The laws of counts where `rows` is true, a mask of the first axes, which become one."""

    def pick(a: Any) -> np.ndarray:
        return np.broadcast_to(a, line.shape)[rows]

    match line:
        case Frozen():
            law = line.variable
            return Frozen(law.dist(*map(pick, law.args), **{k: pick(v) for k, v in law.kwds.items()}), pick(0).shape)
        case Mixed():
            return Mixed(line.weights[rows], taken(line.parts, rows))
        case Joined():
            return Joined([taken(part, rows) for part in line.lines])
        case Inflated():
            return Inflated(pick(line.gate), taken(line.base, rows))
        case Listed():
            below = np.broadcast_to(line.below, (len(line.below), *line.shape))[:, rows]
            return Listed(np.diff(below, axis=0, prepend=0.0), pick(line.lower), pick(line.upper))
    raise AssertionError(f"{type(line).__name__} is not a law of counts")
