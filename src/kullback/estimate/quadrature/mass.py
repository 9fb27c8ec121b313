"""Where the mass of a density on a line lies, and the line along which it is then integrated.

`Line` is linear where the mass is and exponential in the tails, up to a finite or an infinite end. `locate` scans the
line, follows every local maximum, and takes rough quantiles. It starts from points at which a side is known to have
mass (`points_with_mass`): draws, moments, components of a mixture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.errors import EstimateError
from kullback.estimate.batch import spread
from kullback.estimate.log_density import LogDensity
from kullback.known import Known
from kullback.rule import Request

# The line of integration

FAR = 1e140
RESOLUTION = 64 * np.finfo(float).eps
DOUBLINGS = 2.0 ** np.arange(-1, 12)


@dataclass(frozen=True)
class Line:
    """The map from u to x: the identity between `low` and `high`, and outside, with t the distance from there,

        x = high + s (eᵗᐟˢ − 1)             towards an infinite end,
        x = upper − d e⁻ᵗᐟᵈ, d = upper − high,  towards a finite one,

    so that a power law, whether a tail or a singular end, becomes an exponential in u, and x and dx/du are continuous.

    lower, upper  the ends of the support; `low`, `high` those of the part that holds nearly all of the mass
    scale         s, the width of that part
    """

    lower: float
    upper: float
    low: float
    high: float
    scale: float

    def tail(self, side: int) -> tuple[float, float]:
        """(unit, length): a tail's unit of u and how many of them reach the end that doubles resolve; side is ±1."""
        end, start = (self.lower, self.low) if side < 0 else (self.upper, self.high)
        if np.isinf(end):
            return self.scale, float(np.log(FAR) - np.log(self.scale))
        room = abs(end - start)
        if room == 0:
            return 0.0, 0.0
        finest = max(RESOLUTION * abs(end), np.finfo(float).tiny * 1e8)
        return room, max(0.0, float(np.log(room / finest)))

    def tail_point(self, side: int, t: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(x, log dx/dt) at t units into a tail."""
        unit, _ = self.tail(side)
        end, start = (self.lower, self.low) if side < 0 else (self.upper, self.high)
        with np.errstate(over="ignore"):
            x = start + side * unit * np.expm1(t) if np.isinf(end) else end - side * unit * np.exp(-t)
        return x, np.log(unit) + (t if np.isinf(end) else -t)

    def point(self, u: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(x, log dx/du) at u."""
        x, log_slope = np.array(u, float), np.zeros(len(u))
        for side, outside in ((-1, u < self.low), (1, u > self.high)):
            if outside.any():
                unit, _ = self.tail(side)
                t = np.abs(u[outside] - (self.low if side < 0 else self.high)) / unit
                x[outside], log_slope[outside] = self.tail_point(side, t)
                log_slope[outside] -= np.log(unit)
        return x, log_slope

    def cuts(self, inside: Float[np.ndarray, " k"]) -> Float[np.ndarray, " m"]:
        """Where to split u: both ends, points `inside` the linear part, and doubling distances into the tails."""
        marks = [self.low, self.high, *inside[(inside > self.low) & (inside < self.high)]]
        for side, start in ((-1, self.low), (1, self.high)):
            unit, length = self.tail(side)
            steps = [*DOUBLINGS[length * 0.75 > DOUBLINGS], length] if length > 0 else []
            marks += [start + side * unit * step for step in steps]
        return np.unique(np.asarray(marks, float))


# The search for the mass

LogDensity1D = Callable[[np.ndarray], np.ndarray]
LEVELS = np.array([0.003, 0.05, 0.25, 0.5, 0.75, 0.95, 0.997])
MOST_MODES = 24
ZOOM, ZOOMS = 17, 40
FLAT = 0.05
CLOSE, ROOM = 1e-9, 1e-3  # of the part that holds the mass: how near it is to an end that is not 0, and is then kept
NOTHING = -80.0
MARGINS = (0.5, 4.0, 16.0)
OUTWARD = 1.6 ** np.arange(24)
AROUND = np.geomspace(1e-2, 1e7, 4096)  # widths from the highest mode, by half a percent


@dataclass(frozen=True)
class Mass:
    """Where a density's mass lies: its line, where to split it, its log-density's `peak`, and log of its rough mass."""

    line: Line
    inside: Float[np.ndarray, " k"]
    peak: float
    log_mass: float


def locate(
    side: str,
    log_density: LogDensity1D,
    lower: float,
    upper: float,
    hints: Float[np.ndarray, " h"],
    thorough: bool = False,
) -> Mass:
    """Find the mass of a density between `lower` and `upper`, starting from a coarse scan and `hints`.

    Every local maximum of the scan is followed down to the scale at which the density is flat, so that a mode of
    width 1e-6 far from 0 is found if the log-density slopes towards it, or if a hint lies near. Where nothing is known
    by which missing mass would show, the search is `thorough`: beside a normal mode it finds another that is up to 400
    times as narrow and 10⁷ of its widths away, since the second lies above the tail of the first over as large a part
    of their distance.
    Raises `EstimateError` where the density is 0 at every point scanned.
    """
    x = scan(lower, upper, hints)
    y = log_density(x)
    keep = y < np.inf
    x, y = x[keep], y[keep]
    if not (y > -np.inf).any():
        raise EstimateError(f"{side}: its log-density is −∞ at all {len(x):,} points scanned; state its support")
    x, y, modes = _zoomed(log_density, x, y)
    if thorough:
        more = _around(x, y, lower, upper)
        x, first = np.unique(np.concatenate([x, more]), return_index=True)
        x, y, modes = _zoomed(log_density, x, np.concatenate([y, _finite(log_density(more))])[first])
    peak = float(y.max())
    panel = _log_linear(y - peak) * np.diff(x)
    total = float(panel.sum())
    if not total > 0:
        raise EstimateError(f"{side}: its mass lies in less than doubles resolve; give it in another unit")
    modes = modes[_may_hold_mass(x, y, modes, total)]
    heights = np.concatenate([[0.0], np.cumsum(panel)]) / total
    quantiles = np.interp(LEVELS, heights, x)
    inside = np.concatenate([quantiles, modes, _flanks(x, y, modes)])
    inside = np.unique(inside[(inside > lower) & (inside < upper)])
    line = _line(lower, upper, inside, quantiles)
    return Mass(line=line, inside=inside, peak=peak, log_mass=float(np.log(total)))


def _around(x: np.ndarray, y: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Points about the highest mode, at distances from small to very large in units of its width."""
    top = int(np.argmax(y))
    mass = np.cumsum(_log_linear(y - y[top]) * np.diff(x))
    low, high = np.interp(np.array([0.25, 0.75]) * mass[-1], mass, x[1:])
    width = max(high - low, 1e-12 * abs(x[top]), 1e-300)
    points = np.concatenate([x[top] - width * AROUND, x[top] + width * AROUND])
    return points[(points > lower) & (points < upper)]


def _may_hold_mass(x: np.ndarray, y: np.ndarray, modes: np.ndarray, width: float) -> np.ndarray:
    """Which modes could hold mass if they were as wide as their distance from the highest. The others are rounding."""
    height = np.interp(modes, x, np.maximum(y - y.max(), -1e300))
    return height + np.log1p(np.abs(modes - x[np.argmax(y)]) / width) > NOTHING


def _log_linear(y: np.ndarray) -> np.ndarray:
    """The mean of exp(y) over each panel, y linear in it: what a far neighbour of a narrow mode does not inflate."""
    high, gap = np.maximum(y[1:], y[:-1]), np.abs(np.diff(np.maximum(y, -1e300)))
    return np.exp(high) * -np.expm1(-gap) / np.where(gap > 0, gap, 1.0) + np.where(gap > 0, 0.0, np.exp(high))


def _line(lower: float, upper: float, inside: np.ndarray, quantiles: np.ndarray) -> Line:
    low, high = float(inside[0]), float(inside[-1])
    # Mass at an end, within the rounding of the numbers there, is integrated as a tail.
    span = high - low
    if span > 0 and upper - high < CLOSE * span and abs(upper) > CLOSE * span:
        high = upper - ROOM * span
    if span > 0 and low - lower < CLOSE * span and abs(lower) > CLOSE * span:
        low = lower + ROOM * span
    scale = max(high - low, float(quantiles[-1] - quantiles[0]), 1e-12 * abs(high), 1e-300)
    return Line(lower=lower, upper=upper, low=low, high=high, scale=scale)


def scan(lower: float, upper: float, hints: Float[np.ndarray, " h"]) -> Float[np.ndarray, " n"]:
    """Points at every scale from each end of the support, or around 0 and the hints where there is no end."""
    hints = hints[np.isfinite(hints)]
    if np.isfinite(lower) and np.isfinite(upper):
        steps = 1 / (1 + np.exp(-np.linspace(-34.0, 34.0, 401)))
        points = lower + (upper - lower) * steps
    elif np.isfinite(lower):
        points = lower + np.geomspace(1e-30, 1e12, 421)
    elif np.isfinite(upper):
        points = upper - np.geomspace(1e-30, 1e12, 421)
    else:
        steps = np.geomspace(1e-8, 1e12, 201)
        points = np.concatenate([-steps, [0.0], steps])
    if len(hints):
        centre, width = np.median(hints), np.ptp(np.quantile(hints, [0.05, 0.95]))
        width = width if width > 0 else max(1e-6 * abs(centre), 1e-6)
        around = width * np.geomspace(1e-3, 1e3, 61)
        points = np.concatenate([points, hints, centre - around, centre + around])
    return np.unique(points[(points > lower) & (points < upper)])


def _zoomed(log_density: LogDensity1D, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scan with finer and finer points about every interior local maximum, and the maxima."""
    brackets = _brackets(x, y)
    modes, widths = [np.zeros(0)], [np.zeros(0)]
    for _ in range(ZOOMS):
        if not len(brackets):
            break
        grid = _refined(brackets)
        values = _finite(log_density(grid.ravel())).reshape(grid.shape)
        x, y = np.concatenate([x, grid.ravel()]), np.concatenate([y, values.ravel()])
        rows, top = np.arange(len(grid)), np.clip(np.argmax(values, axis=1), 1, grid.shape[1] - 2)
        brackets = np.stack([grid[rows, top + step] for step in (-1, 0, 1)], 1)
        fall = values[rows, top] - np.minimum(values[rows, top - 1], values[rows, top + 1])
        width = brackets[:, 2] - brackets[:, 0]
        done = (fall < FLAT) | (width <= 1e-15 * np.abs(brackets[:, 1]))
        modes.append(brackets[done, 1])
        widths.append(width[done])
        brackets = brackets[~done]
    found, width = np.concatenate([*modes, brackets[:, 1]]), np.concatenate([*widths, brackets[:, 2] - brackets[:, 0]])
    around = found[:, None] + width[:, None] * np.concatenate([-OUTWARD, OUTWARD])
    around = around[(around > x.min()) & (around < x.max())]
    if len(around):
        x, y = np.concatenate([x, around]), np.concatenate([y, _finite(log_density(around))])
    x, first = np.unique(x, return_index=True)
    return x, y[first], found


def _refined(brackets: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n m"]:
    """Points across each bracket (left, highest, right), which are among them."""
    left, top, right = (brackets[:, at : at + 1] for at in range(3))
    steps = np.linspace(0.0, 1.0, ZOOM)
    return np.concatenate([left + (top - left) * steps[:-1], top, right + (top - right) * steps[:-1][::-1]], 1)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(values == np.inf, -np.inf, values)


def _brackets(x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Each interior local maximum between its neighbours, the highest ones only."""
    inner = np.arange(1, len(x) - 1)
    top = inner[(y[inner] >= y[inner - 1]) & (y[inner] > y[inner + 1]) & np.isfinite(y[inner])]
    top = top[np.argsort(-y[top], kind="stable")][:MOST_MODES]
    return np.stack([x[top - 1], x[top], x[top + 1]], 1)


def _flanks(x: np.ndarray, y: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """On both sides of each mode, where the log-density has fallen by each of MARGINS."""
    marks = []
    for mode in modes:
        at = int(np.clip(np.searchsorted(x, mode), 0, len(x) - 1))
        for margin in MARGINS:
            fallen = y < y[at] - margin
            right, left = np.argmax(fallen[at:]), np.argmax(fallen[: at + 1][::-1])
            marks += [x[at + right]] if right else []
            marks += [x[at - left]] if left else []
    return np.asarray(marks)


# Points at which a side is known to have mass

DRAWS = 2048


def points_with_mass(side: Known, log: LogDensity, request: Request, draw: bool) -> Float[np.ndarray, "n d"]:
    """Points [n, d] near the mass of one element of a side's batch; none where nothing is known.

    draw  whether to take draws as well, which costs a compilation of the sampler
    """
    size = int(np.prod(log.event_shape))
    found = [np.zeros((0, size))]
    if draw and side.sampler is not None:
        draws = draws_of(side, log, request)
        low, high = np.quantile(draws, [0.005, 0.995], axis=0)
        found.append(draws[((draws >= low) & (draws <= high)).all(1)])
    found.append(_around_mean(side, log))
    if isinstance(side.distribution, dist.MixtureSameFamily) and not log.batch:
        found.append(_components(side.distribution, size))
    points = np.concatenate(found)
    return points[np.isfinite(points).all(1)]


def draws_of(side: Known, log: LogDensity, request: Request) -> Float[np.ndarray, "n d"]:
    """Draws [n, d] of one element of a side's batch, in double precision."""
    assert side.sampler is not None
    with jax.enable_x64(True):
        draws = np.asarray(side.sampler(jax.random.fold_in(request.key, 1), DRAWS), np.float64)
    rank, own = len(log.event_shape), len(side.batch_shape)
    draws = spread(draws, own, len(log.batch), rank)
    draws = np.broadcast_to(draws, (DRAWS, *log.batch, *log.event_shape))[(slice(None), *log.index)]
    return draws.reshape(DRAWS, -1)


def _around_mean(side: Known, log: LogDensity) -> np.ndarray:
    """The mean and points at one and three standard deviations from it, where there are moments."""
    size = int(np.prod(log.event_shape))
    if side.moments is None:
        return np.zeros((0, size))
    try:
        moments = side.moments()
    except NotImplementedError:
        return np.zeros((0, size))
    mean = np.broadcast_to(moments.mean, (*log.batch, *log.event_shape))[log.index].reshape(size)
    covariance = np.broadcast_to(moments.covariance, (*log.batch, size, size))[log.index]
    deviation = np.sqrt(np.diagonal(covariance))
    deviation = np.where(np.isfinite(deviation), deviation, 0.0)
    return mean + np.array([-3.0, -1.0, 0.0, 1.0, 3.0])[:, None] * deviation


def centres_of_mass(side: Known, log: LogDensity) -> Float[np.ndarray, "n d"]:
    """The means of a mixture's components, or the mean, [n, d]; none where nothing is known."""
    size = int(np.prod(log.event_shape))
    if isinstance(side.distribution, dist.MixtureSameFamily) and not log.batch:
        points = _components(side.distribution, size)[: side.distribution.mixture_size]
    else:
        points = _around_mean(side, log)[2:3]
    return points[np.isfinite(points).all(1)]


def _components(mixture: dist.MixtureSameFamily, size: int) -> np.ndarray:
    """The mean of every component, and a standard deviation to both sides, where there are moments."""
    inside = mixture.component_distribution
    try:
        moments = inside.mean, np.sqrt(inside.variance)
    except NotImplementedError:
        return np.zeros((0, size))
    mean, deviation = (np.asarray(m, np.float64).reshape(-1, size) for m in moments)
    return np.concatenate([mean, mean - deviation, mean + deviation])
