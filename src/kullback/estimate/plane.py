"""Quadrature on a plane: a frame in which the mass is round, lines along both axes, and boxes between their cuts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kullback.estimate.cubature import Box, adaptive
from kullback.estimate.explore import explore, walked
from kullback.estimate.hints import centres_of, draws_of
from kullback.estimate.integrals import Integrals, Settings, Weighted
from kullback.estimate.lines import Line
from kullback.estimate.logs import LogDensity, box_of
from kullback.estimate.tails import NEGLIGIBLE, examine
from kullback.estimate.underflow import guarded
from kullback.known import Known

LEVELS = np.array([0.0, 0.03, 0.97, 1.0])
FEWEST, NEAREST, GAP, DEPTH = 16, 128, 0.2, 5
TEMPERED, SWEEPS = 0.25, 60  # a power of P shows where its arms go on beyond the draws
AT_START = 50  # boxes at the start, of which about half matter
LONG = 1e3  # times the middle half of a cloud
NEAR = 0.05  # of the cloud's extent
UNCORRELATED = 0.1  # a correlation that a cloud of a few thousand may have by chance
BLIND, HALVINGS = 2.0, 6  # nats of a density; times that a box is halved
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
    over_p = over_plane(p, log_p, log_q, centres_of(q, log_q), settings)
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
    far = walked(log_p, cloud, lower, upper, settings.request.host_rng(3), TEMPERED, SWEEPS)
    frame = _frame(cloud, far, lower, upper, np.concatenate([centres_of(side, log_p), others]))
    boxes = _resolved(Weighted(log_p, None, 0.0), frame, _boxes(frame))
    guard = None if log_q is None else guarded(log_q, np.concatenate([cloud, others]))
    log_size, log_unit = _survey(Weighted(log_p, guard, 0.0), frame, boxes)
    integrand = Weighted(log_p, guard, log_unit)
    reason = _divergence(integrand, frame)
    if reason:
        return Integrals(np.array([1.0, np.inf]), np.zeros(2), log_unit, 0, reason)
    kept = [box for box, size in zip(boxes, log_size, strict=True) if size > NEGLIGIBLE]
    target = 0.5 * settings.tolerance
    value, error, used = adaptive(lambda u: integrand(*frame.point(u)), kept, target, settings.panels * AT_START)
    if integrand.escaped is not None:
        return Integrals(np.array([1.0, np.inf]), np.zeros(2), log_unit, used, integrand.escape_reason())
    edge = log_size[_outermost(boxes)].max()
    error = error[:2] * _doubt(frame) + (np.exp(edge) if edge > NEGLIGIBLE else 0.0)
    return Integrals(value[:2], error, log_unit, used, "", float(value[2]), integrand.deepest, integrand.extent)


def _frame(cloud: np.ndarray, far: np.ndarray, lower: np.ndarray, upper: np.ndarray, others: np.ndarray) -> Frame:
    """Coordinates in which the cloud is centred and, where no bound forbids turning, uncorrelated."""
    origin, axes = np.zeros(2), np.eye(2)
    if np.isinf(lower).all() and np.isinf(upper).all():
        origin = np.median(cloud, 0)
        low, high = np.quantile(cloud, [0.02, 0.98], axis=0)
        central = cloud[((cloud >= low) & (cloud <= high)).all(1)]
        axes = _axes(np.cov(central.T) if len(central) > 2 else np.eye(2))
    y = np.linalg.solve(axes, (np.concatenate([cloud, far]) - origin).T).T
    extra = _lonely(np.linalg.solve(axes, (others - origin).T).T, y[: len(cloud)])
    lines = []
    for axis in range(2):
        low, high = (float(end) for end in np.quantile(y[:, axis], [0.0, 1.0]))
        scale = high - low if high > low else 1.0
        lines.append(Line(float(lower[axis]), float(upper[axis]), low, high, scale))
    return Frame(origin, axes, (lines[0], lines[1]), y, extra, len(cloud))


def _lonely(points: Float[np.ndarray, "n 2"], cloud: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "k 2"]:
    """The points about which there is little of the cloud: where there is enough, it says where to split."""
    low, high = np.quantile(cloud, [0.02, 0.98], axis=0)
    near = (np.abs(points[:, None] - cloud) < NEAR * (high - low)).all(2).sum(1)
    return points[near < FEWEST]


def _doubt(frame: Frame) -> float:
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
        blind = np.array([np.max(heights, where=within, initial=-np.inf) for within in inside]) > seen + BLIND
        resolved += [box for box, hidden in zip(boxes, blind, strict=True) if not hidden]
        boxes = [half for box, hidden in zip(boxes, blind, strict=True) if hidden for half in _halves(*box)]
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
