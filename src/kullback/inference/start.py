"""Where a fit of a posterior starts: the place and the shape of most of its mass.

A mode is a poor start where the density rises without end in a corner of no mass, as that of a hierarchical model does
where its group scale goes to 0. So Newton's method goes uphill from several points, and at each of its steps the normal
law of the local curvature is judged by what a fit maximises, its bound E_q[log p − log q], on a few draws. The step of
the largest bound is taken: at a mode for a posterior that has one where its mass is, on the way to it for others.
Source: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder, section 2, for the choice along a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from kullback.errors import FitError
from kullback.known.static import Static
from kullback.minimize.fixed_draw_objective import inverse_root
from kullback.minimize.improper import log_density_at
from kullback.minimize.laplace import second_order
from kullback.minimize.reparameterise import normal_noise
from kullback.runtime.export_cache import program

RADIUS = 2.0  # starts of a search are so far from 0 in each coordinate; the first is at 0
STEPS, HALVINGS = 200, 30
RISE = 1e-9  # of log p: a rise that is not waited for
DRAWS = 64  # by which a step is judged
SAME = 0.5  # standard deviations: ends nearer to each other are one mode


@dataclass(frozen=True)
class Place:
    """A point x [D], the curvature −∇² log p there [D, D], the factor C of the normal law there with C Cᵀ its
    covariance, its bound on log Z, and whether x is a mode."""

    x: np.ndarray
    curvature: np.ndarray
    factor: np.ndarray
    bound: float
    is_mode: bool


def locate(target: Any, size: int, rng: np.random.Generator) -> tuple[Place, ...]:
    """The places found, best first: the best step of all paths, then other modes.

    Raises `FitError` where the log-density is finite at no start.
    """
    noise = normal_noise(rng, DRAWS, (size,))
    starts = [np.zeros(size), *rng.uniform(-RADIUS, RADIUS, (_paths(size) - 1, size))]
    steps = [step for start in starts for step in _path(target, start, noise)]
    if not steps:
        raise FitError("the log-density and its derivatives are finite at no start")
    best = max(steps, key=_height)
    steps += [step for start in _along_axes(target, best) for step in _path(target, start, noise)]
    best = max(steps, key=_height)
    found = [best]
    for mode in sorted((step for step in steps if step.is_mode), key=lambda step: -step.bound):
        if np.isfinite(mode.bound) and all(_away(mode, other) > SAME for other in found):
            found.append(mode)
    return tuple(found)


def _paths(size: int) -> int:
    """How many starts: of many dimensions a step takes long."""
    return 8 if size <= 30 else 4 if size <= 100 else 2


def _height(step: Place) -> float:
    return step.bound if np.isfinite(step.bound) else -np.inf


AXES, FARTHEST, RATIO = 20, 300.0, 1.02  # of a look along the axes of a place, in standard deviations
DIP, BELOW, PEAKS = 3.0, 30.0, 4  # nats between two modes, and below the first; how many are climbed


def _along_axes(target: Any, place: Place) -> list[Float[np.ndarray, " d"]]:
    """Points beyond a dip of log p along the axes of a place, at which it rises again: where other modes may be."""
    d = len(place.x)
    t = RATIO ** np.arange(np.log(FARTHEST) / np.log(RATIO))
    t = np.concatenate([-t[::-1], [0.0], t])
    axes = place.factor.T[:AXES]
    points = place.x + t[:, None, None] * axes
    logs = np.asarray(log_density_at(target, points.reshape(-1, d)), np.float64).reshape(len(t), -1)
    logs, middle, found = np.where(np.isnan(logs), -np.inf, logs), len(t) // 2, []
    for j, line in enumerate(logs.T):
        for sign in (1, -1):
            side = line[middle::sign]
            lowest = np.minimum.accumulate(side)
            peak = int(np.argmax(np.where(side > lowest + DIP, side, -np.inf)))
            if side[peak] > max(lowest[peak] + DIP, side[0] - BELOW):
                found.append((side[peak], points[middle + sign * peak, j]))
    return [point for _, point in sorted(found, key=lambda one: -one[0])[:PEAKS]]


def _away(one: Place, other: Place) -> float:
    """How many standard deviations of `other` a place lies from it, by coordinate on average."""
    away = np.linalg.solve(other.factor, one.x - other.x)
    return float(np.sqrt(np.square(away).mean()))


def _path(target: Any, x: Float[np.ndarray, " d"], noise: np.ndarray) -> list[Place]:
    """The steps of Newton's method uphill, with what is there."""
    found: list[Place] = []
    here = second_order(target, x, Static(False))
    unit = np.ones(len(x))
    for _ in range(STEPS):
        value, gradient, curvature = here
        if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(curvature).all()):
            break
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                factor = inverse_root(curvature, unit)
                step = factor @ (factor.T @ gradient)
        except np.linalg.LinAlgError:  # numbers beyond double precision
            break
        if not np.isfinite(step).all():
            break
        bound = float(_bound(target, x, factor, noise)) + float(np.log(np.diagonal(factor)).sum())
        ended = bool(0.5 * gradient @ step <= RISE * max(1.0, abs(value)))
        found.append(Place(x, curvature, factor, bound, ended and _is_positive(curvature)))
        if ended or _is_hopeless(found):
            break
        for halving in range(HALVINGS):
            there = x + step * 0.5**halving
            risen = second_order(target, there, Static(False))
            if risen[0] > value:
                break
        else:
            break
        x, here = there, risen
    return found


def _is_positive(curvature: Float[np.ndarray, "d d"]) -> bool:
    """Whether a point of no slope is a mode and no saddle."""
    scale = np.sqrt(np.abs(np.diagonal(curvature)))
    return bool((scale > 0).all() and np.linalg.eigvalsh(curvature / np.outer(scale, scale))[0] > 0)


PATIENCE = 25  # steps whose bound is not finite or falls


def _is_hopeless(found: list[Place]) -> bool:
    """Whether the bound has not risen for long: the path has left the mass for a corner."""
    bounds = [place.bound if np.isfinite(place.bound) else -np.inf for place in found]
    return len(bounds) - 1 - int(np.argmax(bounds)) >= PATIENCE and max(bounds) > -np.inf


@program(static=())
def _bound(
    target: Any, x: Float[Array, " d"], factor: Float[Array, "d d"], noise: Float[Array, "m d"]
) -> Float[Array, ""]:
    """E log p under the normal law, less the constant of its entropy; −∞ where a draw has none."""
    log_p = target(x + noise @ factor.T)
    return log_p.mean()
