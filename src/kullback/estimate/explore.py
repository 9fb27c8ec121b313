"""Points spread like a density on a plane that cannot be sampled: a scan, its modes, and annealing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from kullback.errors import EstimateError
from kullback.estimate.logs import LogDensity
from kullback.estimate.modes import scan

PER_AXIS, STARTS, POINTS = 63, 6, 2048
STRETCH, SWEEPS = 2.0, 10
POWERS = 2.0 ** np.arange(-6.0, 0.5, 0.5)  # of the density, from nearly flat to itself


def explore(
    log_density: LogDensity, lower: Float[np.ndarray, " 2"], upper: Float[np.ndarray, " 2"], request: Any
) -> Float[np.ndarray, "n 2"]:
    """Points that follow the density roughly: enough to say where to integrate, not to integrate with.

    A scan at all scales, Nelder–Mead from its highest local maxima, and a normal at each mode from the drop of the
    log-density around it. Half of the points are draws of those normals, resampled by importance weights; the other
    half are annealed, and reach the arms of a bent density, of which no normal knows.
    Raises `EstimateError` where the density is 0 at every point scanned.
    """
    axes = [_thinned(scan(low, high, np.zeros(0))) for low, high in zip(lower, upper, strict=True)]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], 1)
    heights = log_density(grid)
    if not np.isfinite(heights).any():
        raise EstimateError(f"{log_density.side}: its log-density is −∞ at all points scanned; state its support")
    modes = _modes(log_density, grid, heights.reshape(len(axes[0]), -1), lower, upper)
    rng = request.host_rng(2)
    if not modes:
        widths = np.outer(*(np.gradient(axis) for axis in axes)).ravel()
        return _resample(grid, heights + np.log(widths), rng)
    points, proposal = _around(modes, np.array([1.5]), lower, upper, rng)
    near = _resample(points, log_density(points) - proposal, rng)
    points, proposal = _around(modes, 1.5 * 2.0 ** np.arange(7), lower, upper, rng)
    points = _resample(points, POWERS[0] * log_density(points) - proposal, rng)
    for cooler, power in itertools.pairwise(POWERS):
        points = _resample(points, (power - cooler) * log_density(points), rng)
        points = walked(log_density, points, lower, upper, rng, power, SWEEPS)
    return np.concatenate([near, points])


def walked(
    log_density: LogDensity,
    points: Float[np.ndarray, "n 2"],
    lower: Float[np.ndarray, " 2"],
    upper: Float[np.ndarray, " 2"],
    rng: np.random.Generator,
    power: float,
    sweeps: int,
) -> Float[np.ndarray, "n 2"]:
    """The points after moves that leave density^power invariant: each along a line through a point of the other half.

    The move needs no scale of its own, and is the same after any linear map. Source: Goodman and Weare (2010), eq. 7.
    """
    points, heights = points.copy(), power * log_density(points)
    halves = np.array_split(rng.permutation(len(points)), 2)
    for _ in range(sweeps):
        for moving, others in (halves, halves[::-1]):
            stretch = ((STRETCH - 1.0) * rng.random(len(moving)) + 1.0) ** 2 / STRETCH
            centre = points[rng.choice(others, len(moving))]
            to = centre + stretch[:, None] * (points[moving] - centre)
            inside = np.all((to > lower) & (to < upper), axis=1)
            height = power * log_density(np.where(inside[:, None], to, points[moving]))
            height = np.where(inside, height, -np.inf)
            gain = np.log(stretch) + height - heights[moving]
            kept = np.flatnonzero(np.log(rng.random(len(moving))) < gain)
            points[moving[kept]], heights[moving[kept]] = to[kept], height[kept]
    return points


def _around(
    modes: list[tuple[np.ndarray, np.ndarray]], widths: np.ndarray, lower: np.ndarray, upper: np.ndarray, rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the normals at the modes, as many times as wide as each of `widths`, and their log-density."""
    scaled = [(mode, width * root) for mode, root in modes for width in widths]
    points = np.concatenate([mode + rng.standard_normal((POINTS, 2)) @ root.T for mode, root in scaled])
    points = points[((points > lower) & (points < upper)).all(1)]
    return points, _log_mixture(points, scaled)


def _thinned(points: np.ndarray) -> np.ndarray:
    return points[np.linspace(0, len(points) - 1, PER_AXIS).astype(int)]


def _resample(points: np.ndarray, log_weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weight = np.exp(log_weight - log_weight.max())
    return points[rng.choice(len(points), POINTS, p=weight / weight.sum())]


def _log_mixture(points: np.ndarray, modes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    parts = []
    for mode, root in modes:
        z = np.linalg.solve(root, (points - mode).T)
        parts.append(-0.5 * (z**2).sum(0) - np.log(abs(np.linalg.det(root))))
    return np.logaddexp.reduce(parts, axis=0)


def _modes(
    log_density: LogDensity, grid: np.ndarray, heights: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(mode, a root of the covariance of the normal there) for the interior modes found from the scan."""
    padded = np.pad(np.where(np.isfinite(heights), heights, -np.inf), 1, constant_values=-np.inf)
    shifts = [(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if (a, b) != (1, 1)]
    rows, columns = heights.shape
    highest = np.max([padded[a : a + rows, b : b + columns] for a, b in shifts], axis=0)
    local = np.flatnonzero((np.isfinite(heights) & (heights >= highest)).ravel())
    starts = local[np.argsort(-heights.ravel()[local], kind="stable")][:STARTS]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in grid[starts]:
        mode = _climb(log_density, start, lower, upper)
        root = _local_root(log_density, mode)
        known = any(np.abs(np.linalg.solve(root_, mode - mode_)).max() < 1.0 for mode_, root_ in found)
        if root is not None and not known:
            found.append((mode, root))
    return found


def _climb(log_density: LogDensity, start: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    def negative(x: np.ndarray) -> float:
        inside = (x > lower).all() and (x < upper).all()
        return float(-log_density(x[None])[0]) if inside else np.inf

    for _ in range(3):
        answer = minimize(
            negative, start, method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-12, "fatol": 1e-3}
        )
        start = answer.x
    return start


def _local_root(log_density: LogDensity, mode: np.ndarray) -> np.ndarray | None:
    """A root of the inverse of minus the Hessian, from steps along which the log-density falls by about one."""
    first, second = (_step(log_density, mode, axis) for axis in range(2))
    if first is None or second is None:
        return None
    a, b = np.array([first, 0.0]), np.array([0.0, second])
    top, *around = log_density(mode + np.array([0 * a, a, -a, b, -b, a + b, -a - b]))
    with np.errstate(invalid="ignore"):  # beyond an edge
        curve = 2 * top - np.array(around[0::2]) - np.array(around[1::2])
        cross = 0.5 * (curve[2] - curve[0] - curve[1])
    hessian = np.array([[curve[0], cross], [cross, curve[1]]])
    if not np.isfinite(hessian).all() or np.linalg.eigvalsh(hessian)[0] <= 1e-8 * np.trace(hessian):
        return None
    return np.diag([first, second]) @ np.linalg.cholesky(np.linalg.inv(hessian))


def _step(log_density: LogDensity, mode: np.ndarray, axis: int) -> float | None:
    """The first of the steps 2ᵏ along an axis at which the log-density has fallen by at least half a nat."""
    steps = 2.0 ** np.arange(-60.0, 60.0)
    around = mode + steps[:, None] * np.eye(2)[axis]
    drop = log_density(mode[None])[0] - log_density(around)
    fallen = np.flatnonzero(drop >= 0.5)
    return float(steps[fallen[0]]) if len(fallen) else None
