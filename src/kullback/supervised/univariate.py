"""Univariate distributions on the host, in double precision, and their quantiles.

Quantiles, PIT values and the CRPS are made of them. A distribution is a batch with a cdf, a survival function that is
accurate in the tail, and an inverse. Where no closed inverse exists, one of three solvers works on a whole batch at
once: a search over integers for counts, Chandrupatla's method between two points, and a bracket by doubling.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from kullback.errors import EstimateError, InputError
from kullback.runtime.export_cache import program

MOST_COUNTS, CHUNK, RESOLVED = 2**20, 128, 1e-14


class Line(abc.ABC):
    """A batch of distributions on the line, of shape [*shape], from `lower` to `upper`; `discrete` ones are counts."""

    shape: tuple[int, ...]
    lower: np.ndarray
    upper: np.ndarray
    discrete: bool

    @abc.abstractmethod
    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        """P(X > x) if `above`, else P(X ≤ x), at x [..., *shape] between the bounds."""

    @abc.abstractmethod
    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        """The x with P(X ≤ x) = level, or P(X > x) = level if `above`; the least such integer for counts.

        level  in [0, 1], broadcastable to [..., *shape]
        """

    def cdf(self, x: Any) -> np.ndarray:
        """P(X ≤ x) at x [..., *shape]."""
        return self._clamped(x, above=False)

    def sf(self, x: Any) -> np.ndarray:
        """P(X > x) at x [..., *shape], precise where it is small."""
        return self._clamped(x, above=True)

    def turned(self, x: np.ndarray) -> np.ndarray:
        """The same point between the bounds: of angles another turn of it."""
        return x

    def _clamped(self, x: Any, above: bool) -> np.ndarray:
        x = self.turned(np.asarray(x, np.float64))
        below, over = x < self.lower, x >= self.upper
        within = np.clip(np.floor(x) if self.discrete else x, self.lower, self.upper)
        value = self.inside(np.where(np.isinf(within), 0.0, within), above)
        return np.where(below, float(above), np.where(over, float(not above), value))


class Frozen(Line):
    """A frozen `scipy.stats` variable."""

    def __init__(self, variable: Any, shape: tuple[int, ...]) -> None:
        self.variable, self.shape = variable, shape
        self.discrete = isinstance(variable.dist, stats.rv_discrete)
        self.lower, self.upper = (np.broadcast_to(np.asarray(end, np.float64), shape) for end in variable.support())

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        return self.variable.sf(x) if above else self.variable.cdf(x)

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        level = over(level, self.shape)
        if self.discrete:
            return least_integer(self, level, above)
        return np.asarray(self.variable.isf(level) if above else self.variable.ppf(level))


class Circular(Line):
    """Von Mises laws on a circle that is cut opposite to `direction`: angles from `direction` − π to `direction` + π.

    A cut that turns with the law turns its quantiles with it, and the interval about a direction near ±π is as short as
    about any other.
    """

    discrete = False

    def __init__(self, loc: np.ndarray, concentration: np.ndarray, shape: tuple[int, ...], direction: Any) -> None:
        self.law, self.shape = stats.vonmises(concentration), shape
        self.lower, self.upper = (np.array(np.broadcast_to(direction + way * np.pi, shape)) for way in (-1.0, 1.0))
        # The turn of `loc` that lies between the cuts.
        self.loc = direction + np.angle(np.exp(1j * (loc - direction)))

    def turned(self, x: np.ndarray) -> np.ndarray:
        inside = self.lower + np.mod(x - self.lower, 2.0 * np.pi)
        return np.where((x >= self.lower) & (x <= self.upper), x, inside)

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        ends = (x, self.upper) if above else (self.lower, x)
        return self.law.cdf(ends[1] - self.loc) - self.law.cdf(ends[0] - self.loc)

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        return solved(self, over(level, self.shape), above, self.lower, self.upper)


class Mixed(Line):
    """Σ_k w_k F_k: weights [*shape, K] over laws of that shape."""

    def __init__(self, weights: np.ndarray, parts: Line) -> None:
        self.weights, self.parts, self.discrete = weights, parts, parts.discrete
        self.shape = parts.shape[:-1]
        present = weights > 0
        self.lower = np.where(present, parts.lower, np.inf).min(-1)
        self.upper = np.where(present, parts.upper, -np.inf).max(-1)

    def turned(self, x: np.ndarray) -> np.ndarray:
        return self.parts.turned(x[..., None])[..., 0]

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        x = x[..., None]
        return (self.weights * (self.parts.sf(x) if above else self.parts.cdf(x))).sum(-1)

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        level = over(level, self.shape)
        ends = self.parts.quantile(level[..., None], above)
        present = self.weights > 0
        low, high = np.where(present, ends, np.inf).min(-1), np.where(present, ends, -np.inf).max(-1)
        if self.discrete:
            return least_integer(self, level, above)
        return solved(self, level, above, low, high)


class Joined(Line):
    """Laws of several kinds, stacked along a last axis: the parts of a mixture of unlike components."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines, self.discrete = lines, lines[0].discrete
        self.shape = (*lines[0].shape, len(lines))
        self.lower, self.upper = (np.stack([getattr(part, end) for part in lines], -1) for end in ("lower", "upper"))

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        x = over(x, self.shape)
        return np.stack([part.sf(x[..., k]) if above else part.cdf(x[..., k]) for k, part in enumerate(self.lines)], -1)

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        level = over(level, self.shape)
        return np.stack([part.quantile(level[..., k], above) for k, part in enumerate(self.lines)], -1)


class Inflated(Line):
    """gate · 1{0} + (1 − gate) · base: counts with extra zeros."""

    discrete = True

    def __init__(self, gate: np.ndarray, base: Line) -> None:
        self.gate, self.base, self.shape = gate, base, base.shape
        self.lower, self.upper = np.minimum(base.lower, 0.0), base.upper

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        rest = (1.0 - self.gate) * (self.base.sf(x) if above else self.base.cdf(x))
        return rest if above else self.gate + rest

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        return least_integer(self, over(level, self.shape), above)


class Moved(Line):
    """The law of t(X) for a monotone t."""

    discrete = False

    def __init__(self, base: Line, forward: Callable[..., Any], back: Callable[..., Any], rising: np.ndarray) -> None:
        self.base, self.forward, self.back, self.shape, self.rising = base, forward, back, base.shape, rising
        with np.errstate(all="ignore"):
            ends = np.sort([forward(base.lower), forward(base.upper)], axis=0)
        self.lower, self.upper = ends

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        z = self.back(x)
        return np.where(self.rising ^ above, self.base.cdf(z), self.base.sf(z))

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        level = over(level, self.shape)
        turned = [self.base.quantile(level, side) for side in (above, not above)]
        return self.forward(np.where(self.rising, *turned))


class Compiled(Line):
    """A law by NumPyro's cdf, in double precision; NumPyro's own inverse is not asked."""

    discrete = False

    def __init__(self, distribution: Any, lower: np.ndarray, upper: np.ndarray) -> None:
        self.distribution, self.shape = distribution, tuple(distribution.batch_shape)
        self.lower, self.upper = (np.broadcast_to(np.asarray(end, np.float64), self.shape) for end in (lower, upper))

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        value = in_double(_cdf, self.distribution, x)
        return 1.0 - value if above else value

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        level = over(level, self.shape)
        if above:  # 1 − cdf does not go below its rounding, and may not reach 0
            level = np.where(level > 0, np.maximum(level, RESOLVED), level)
        return solved(self, level, above, *bracketed(self, level, above))


class Listed(Line):
    """Counts by a table of their probabilities [K, *shape] at `lower`, `lower` + 1, …"""

    discrete = True

    def __init__(self, probabilities: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self.shape = probabilities.shape[1:]
        self.lower, self.upper = (np.broadcast_to(np.asarray(end, np.float64), self.shape) for end in (lower, upper))
        self.below = np.minimum(np.cumsum(probabilities, 0), 1.0)

    def inside(self, x: np.ndarray, above: bool) -> np.ndarray:
        place = over(np.clip(x - self.lower, 0, len(self.below) - 1).astype(np.intp), self.shape)
        flat = place.reshape(-1, *self.shape)
        value = np.take_along_axis(self.below, flat, 0).reshape(place.shape)
        return 1.0 - value if above else value

    def quantile(self, level: Any, above: bool = False) -> np.ndarray:
        return least_integer(self, over(level, self.shape), above)


def listed(distribution: Any, lower: np.ndarray, upper: np.ndarray) -> Listed:
    """Counts by their log-probabilities, as far as there is probability. Raises `InputError` for endless tails."""
    first, last = float(np.min(lower)), float(np.max(upper))
    blocks, left = [], 1.0
    while left > 1e-13 and (start := first + CHUNK * len(blocks)) <= last:
        counts = (start + np.arange(CHUNK)).reshape(-1, *(1,) * len(distribution.batch_shape))
        inside = (counts >= lower) & (counts <= upper)
        blocks.append(np.where(inside, in_double(_mass, distribution, np.where(inside, counts, lower)), 0.0))
        left = np.max(1.0 - sum(block.sum(0) for block in blocks))
        if start > MOST_COUNTS:
            raise InputError(
                f"q: the counts of {type(distribution).__name__} go beyond {MOST_COUNTS:,}; scale them down, or use a "
                "distribution with a cdf"
            )
    return Listed(np.concatenate(blocks), np.asarray(first), upper)


@program(static=())
def _mass(distribution: Any, counts: Any) -> Any:
    return jnp.exp(distribution.log_prob(counts))


@program(static=())
def _cdf(distribution: Any, x: Any) -> Any:
    return distribution.cdf(x)


def over(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """x broadcast so that its last axes are `shape`."""
    x = np.asarray(x)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, shape))


def in_double(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function of distributions and arrays, evaluated with their numbers in double precision, on the host."""

    def widen(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return jnp.asarray(leaf, jnp.float64) if leaf.dtype.kind == "f" else jnp.asarray(leaf)

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(*jax.tree.map(widen, arguments)))


if TYPE_CHECKING:
    from kullback.supervised.univariate import Line


# Solvers of P(X ≤ x) = level


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
    good to rounding. SciPy's `find_root` is not used: it drops the elements that have converged, and a batch of
    distributions cannot be split.
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
