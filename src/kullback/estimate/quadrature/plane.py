"""Quadrature on a plane: a frame in which the mass is round, lines along both axes, and boxes between their cuts.

The frame and the cuts follow a cloud of points that is spread like P: draws of it, or, where it cannot be sampled, what
`explore` finds by a scan, the modes, and annealing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from kullback.errors import EstimateError
from kullback.estimate.log_density import LogDensity, box_of, guarded
from kullback.estimate.quadrature.cubature import Box, adaptive
from kullback.estimate.quadrature.line import NEGLIGIBLE, Integrals, Settings, Weighted, examine, infinite
from kullback.estimate.quadrature.mass import Line, centres_of_mass, draws_of, scan
from kullback.known import Known
from kullback.rule import Request

# The frame, the boxes and the integral

LEVELS = np.array([0.0, 0.03, 0.97, 1.0])
FEWEST, NEAREST, GAP, DEPTH = 16, 128, 0.2, 5
TEMPERED, TAIL_SWEEPS = 0.25, 60  # a power of P shows where its arms go on beyond the draws
AT_START = 50  # boxes at the start, of which about half matter
LONG = 1e3  # times the middle half of a cloud
NEAR = 0.05  # of the cloud's extent
UNCORRELATED = 0.1  # a correlation that a cloud of a few thousand may have by chance
MISSED, HALVINGS = 2.0, 6  # nats of a density; times that a box is halved
PLACES = (0.02, 0.14, 0.26, 0.38, 0.5, 0.62, 0.74, 0.86, 0.98)


@dataclass(frozen=True)
class Frame:
    """x = origin + axes · y, a line for each coordinate of y, and points y where P has mass: a `cloud`, and `extra`.

    The first `core` of the cloud are spread like P; the others reach further out.
    """

    origin: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "2 2"]
    lines: tuple[Line, Line]
    cloud: Float[np.ndarray, "n 2"]
    extra: Float[np.ndarray, "m 2"]
    core: int

    def point(self, u: Float[np.ndarray, "n 2"]) -> tuple[np.ndarray, np.ndarray]:
        """(x [n, 2], log |dx/du| [n])."""
        first, second = (line.point(u[:, axis]) for axis, line in enumerate(self.lines))
        y = np.stack([first[0], second[0]], 1)
        return self.origin + y @ self.axes.T, first[1] + second[1] + self.log_scale

    @property
    def log_scale(self) -> float:
        return float(np.log(abs(np.linalg.det(self.axes))))


def on_plane(
    p: Known, q: Known, log_p: LogDensity, log_q: LogDensity, settings: Settings
) -> tuple[Integrals, float, float]:
    """([∫ P̃, ∫ P̃ log(P̃/Q̃)], log Y, its error) on a plane; log Y is 0 where Q is normalised."""
    over_p = over_plane(p, log_p, log_q, centres_of_mass(q, log_q), settings)
    if q.normalized or over_p.reason:
        return over_p, 0.0, 0.0
    over_q = over_plane(q, log_q, None, np.zeros((0, 2)), settings)
    return over_p, over_q.log_mass, over_q.log_mass_error


def over_plane(
    side: Known, log_p: LogDensity, log_q: LogDensity | None, others: Float[np.ndarray, "n 2"], settings: Settings
) -> Integrals:
    """[∫ P, ∫ P log(P/Q)] over a box of the plane; `others` are more points to split at."""
    lower, upper = box_of(side, log_p)
    if side.sampler is not None:
        cloud = draws_of(side, log_p, settings.request)
    else:
        cloud = explore(log_p, lower, upper, settings.request)
    cloud = cloud[np.isfinite(log_p(cloud))]
    far = walked(log_p, cloud, lower, upper, settings.request.host_rng(3), TEMPERED, TAIL_SWEEPS)
    frame = _frame(cloud, far, lower, upper, np.concatenate([centres_of_mass(side, log_p), others]))
    boxes = _resolved(Weighted(log_p, None, 0.0), frame, _boxes(frame))
    guard = None if log_q is None else guarded(log_q, np.concatenate([cloud, others]))
    log_size, log_unit = _survey(Weighted(log_p, guard, 0.0), frame, boxes)
    integrand = Weighted(log_p, guard, log_unit)
    reason = _divergence(integrand, frame)
    if reason:
        return infinite(reason, log_unit)
    kept = [box for box, size in zip(boxes, log_size, strict=True) if size > NEGLIGIBLE]
    target = 0.5 * settings.tolerance
    value, error, used = adaptive(lambda u: integrand(*frame.point(u)), kept, target, settings.panels * AT_START)
    if integrand.escaped is not None:
        return infinite(integrand.escape_reason(), log_unit, used)
    edge = log_size[_outermost(boxes)].max()
    error = error[:2] * _error_factor(frame) + (np.exp(edge) if edge > NEGLIGIBLE else 0.0)
    return Integrals(
        value=value[:2],
        error=error,
        log_unit=log_unit,
        panels=used,
        deficit=float(value[2]),
        deepest=integrand.deepest,
        extent=integrand.extent,
    )


def _frame(cloud: np.ndarray, far: np.ndarray, lower: np.ndarray, upper: np.ndarray, others: np.ndarray) -> Frame:
    """Coordinates in which the cloud is centred and, where no bound forbids turning, uncorrelated."""
    origin, axes = np.zeros(2), np.eye(2)
    if np.isinf(lower).all() and np.isinf(upper).all():
        origin = np.median(cloud, 0)
        low, high = np.quantile(cloud, [0.02, 0.98], axis=0)
        central = cloud[((cloud >= low) & (cloud <= high)).all(1)]
        axes = _axes(np.cov(central.T) if len(central) > 2 else np.eye(2))
    y = np.linalg.solve(axes, (np.concatenate([cloud, far]) - origin).T).T
    extra = _away_from_cloud(np.linalg.solve(axes, (others - origin).T).T, y[: len(cloud)])
    lines = []
    for axis in range(2):
        low, high = (float(end) for end in np.quantile(y[:, axis], [0.0, 1.0]))
        scale = high - low if high > low else 1.0
        lines.append(Line(lower=float(lower[axis]), upper=float(upper[axis]), low=low, high=high, scale=scale))
    return Frame(origin=origin, axes=axes, lines=(lines[0], lines[1]), cloud=y, extra=extra, core=len(cloud))


def _away_from_cloud(points: Float[np.ndarray, "n 2"], cloud: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "k 2"]:
    """The points about which there is little of the cloud: where there is enough, it says where to split."""
    low, high = np.quantile(cloud, [0.02, 0.98], axis=0)
    near = (np.abs(points[:, None] - cloud) < NEAR * (high - low)).all(2).sum(1)
    return points[near < FEWEST]


def _error_factor(frame: Frame) -> float:
    """How many times the difference of two rules an error may be: more where tails are so long that arms of mass in
    them are narrow beside the boxes there, which both rules then miss."""
    core, every = frame.cloud[: frame.core], frame.cloud
    extent = np.ptp(every, 0) / np.maximum(np.ptp(np.quantile(core, [0.25, 0.75], axis=0), 0), 1e-300)
    return 10.0 if extent.max() > LONG else 1.0


def _boxes(frame: Frame) -> list[Box]:
    """Boxes that cover the plane: columns between cuts of one coordinate, each cut by the points in or near it."""
    first, second = frame.lines
    core = np.quantile(frame.cloud[: frame.core, 1], LEVELS[1:-1])
    sides = first.cuts(_inside(first, frame.cloud[:, 0], frame.extra[:, 0]))
    boxes = []
    for left, right in itertools.pairwise(sides):
        away = np.maximum(left - frame.cloud[:, 0], frame.cloud[:, 0] - right)
        nearest = np.partition(away, NEAREST)[NEAREST]
        within = frame.cloud[away <= max(nearest, 0.0), 1]
        ends = second.cuts(_inside(second, within, np.concatenate([core, frame.extra[:, 1]])))
        boxes += [(np.array([left, low]), np.array([right, high])) for low, high in itertools.pairwise(ends)]
    return boxes


def _resolved(integrand: Weighted, frame: Frame, boxes: list[Box]) -> list[Box]:
    """The boxes, those halved along both axes in which a few points see much less of P than the cloud does."""
    heights, _ = integrand.parts(*frame.point(frame.cloud))
    resolved: list[Box] = []
    for _ in range(HALVINGS):
        seen = _weights(integrand, frame, boxes)[0].max(1)
        inside = [((frame.cloud >= low) & (frame.cloud <= high)).all(1) for low, high in boxes]
        missed = np.array([np.max(heights, where=within, initial=-np.inf) for within in inside]) > seen + MISSED
        resolved += [box for box, misses in zip(boxes, missed, strict=True) if not misses]
        boxes = [half for box, misses in zip(boxes, missed, strict=True) if misses for half in _halves(*box)]
        if not boxes:
            break
    return resolved + boxes


def _halves(low: np.ndarray, high: np.ndarray) -> list[Box]:
    middle = 0.5 * (low + high)
    ends = [((low[axis], middle[axis]), (middle[axis], high[axis])) for axis in range(2)]
    return [(np.array([a[0], b[0]]), np.array([a[1], b[1]])) for a in ends[0] for b in ends[1]]


def _inside(line: Line, points: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Where to split a line: at quantiles of the points on it, and at `extra` points that are not close to those."""
    marks = _marginal_cuts(np.sort(points), 0)
    return _apart(np.concatenate([marks, extra]), 1e-3 * line.scale, marks)


def _apart(points: np.ndarray, least: float, keep: np.ndarray) -> np.ndarray:
    """`keep`, and of the other points those that lie at least `least` from every point kept so far."""
    kept = list(keep)
    for point in points:
        if np.min(np.abs(np.asarray(kept) - point)) > least:
            kept.append(point)
    return np.asarray(kept)


def _axes(covariance: np.ndarray) -> np.ndarray:
    """Axes along which the coordinates are uncorrelated: their own where they nearly are, since of independent
    coordinates with long tails the arms lie along these, and would be thin wherever they are seen aslant."""
    deviation = np.sqrt(np.diagonal(covariance))
    if (deviation > 0).all() and abs(covariance[0, 1]) < UNCORRELATED * deviation.prod():
        return np.diag(deviation)
    return _root(covariance)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    if values[-1] <= 0:
        return np.eye(2)
    return vectors[:, ::-1] * np.sqrt(np.maximum(values, 1e-20 * values[-1]))[::-1]


def _marginal_cuts(y: np.ndarray, depth: int) -> np.ndarray:
    """Quantiles of a sorted sample and a span beyond, taken apart at wide gaps: narrow clusters get their own cuts."""
    if depth < DEPTH and len(y) >= 2 * FEWEST:
        gaps = np.diff(y)[FEWEST - 1 : len(y) - FEWEST]
        widest = int(np.argmax(gaps))
        if gaps[widest] > GAP * (y[-1] - y[0]):
            at = widest + FEWEST
            return np.concatenate([_marginal_cuts(y[:at], depth + 1), _marginal_cuts(y[at:], depth + 1)])
    marks, span = np.quantile(y, LEVELS), y[-1] - y[0]
    return np.unique([marks[0] - span, *marks, marks[-1] + span])


def _survey(integrand: Weighted, frame: Frame, boxes: list[Box]) -> tuple[np.ndarray, float]:
    """For each box log of its share of ∫ P (1 + |log-ratio|), and log ∫ P; all from a few points in each."""
    weight, ratio = _weights(integrand, frame, boxes)
    low, high = (np.array([box[end] for box in boxes]) for end in (0, 1))
    weight = weight + np.log((high - low).prod(1))[:, None]
    log_unit = float(np.logaddexp.reduce(weight, axis=None) - np.log(weight.shape[1]))
    size = weight + np.log1p(np.abs(np.where(np.isfinite(ratio), ratio, 0.0)))
    return size.max(1) - log_unit, log_unit


def _weights(integrand: Weighted, frame: Frame, boxes: list[Box]) -> tuple[np.ndarray, np.ndarray]:
    """(log w, log-ratio) [boxes, points] at a few points in each box."""
    low, high = (np.array([box[end] for box in boxes]) for end in (0, 1))
    places = np.array([[a, b] for a in PLACES for b in PLACES])
    u = low[:, None] + (high - low)[:, None] * places
    weight, ratio = integrand.parts(*frame.point(u.reshape(-1, 2)))
    return weight.reshape(len(boxes), -1), ratio.reshape(len(boxes), -1)


def _outermost(boxes: list[Box]) -> np.ndarray:
    low, high = (np.array([box[end] for box in boxes]) for end in (0, 1))
    return ((low == low.min(0)) | (high == high.max(0))).any(1)


def _divergence(integrand: Weighted, frame: Frame) -> str:
    """Why the integral diverges, if it does along an axis (a slab) or a diagonal (a cone) of the plane.

    On a slab the measure is that of the line; in a cone it is the area, which is that of both lines together.
    """
    middle = np.median(frame.cloud, 0)
    for signs in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
        length = min(frame.lines[axis].tail(sign)[1] for axis, sign in enumerate(signs) if sign)

        def profile(t: np.ndarray, signs: tuple[int, int] = signs) -> tuple[np.ndarray, np.ndarray]:
            y, log_slope = np.tile(middle, (len(t), 1)), np.full(len(t), frame.log_scale)
            for axis, sign in enumerate(signs):
                if sign:
                    y[:, axis], slope = frame.lines[axis].tail_point(sign, t)
                    log_slope = log_slope + slope
            return integrand.parts(frame.origin + y @ frame.axes.T, log_slope)

        if examine(profile, length).diverges:
            return "log P − log Q grows so fast in the tails that its mean under P diverges"
    return ""


# Points spread like a density that cannot be sampled

PER_AXIS, STARTS, POINTS = 63, 6, 2048
STRETCH, SWEEPS = 2.0, 10
POWERS = 2.0 ** np.arange(-6.0, 0.5, 0.5)  # of the density, from nearly flat to itself


def explore(
    log_density: LogDensity, lower: Float[np.ndarray, " 2"], upper: Float[np.ndarray, " 2"], request: Request
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
    modes: list[tuple[np.ndarray, np.ndarray]],
    widths: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    rng: np.random.Generator,
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
