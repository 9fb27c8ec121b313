"""Laws of numbers, on the host and in double precision: what quantiles, PIT values and CRPS are made of."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from kullback.errors import InputError
from kullback.runtime.export_cache import program
from kullback.supervised.quantile_solver import bracketed, least_integer, solved

MOST_COUNTS, CHUNK, RESOLVED = 2**20, 128, 1e-14


class Line(abc.ABC):
    """A batch of laws on the real line, of shape [*shape], from `lower` to `upper`; `discrete` ones are counts."""

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
