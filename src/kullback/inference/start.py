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
from kullback.minimize.laplace import second_order
from kullback.minimize.reparameterise import normal_noise
from kullback.runtime.export_cache import program

PATHS, RADIUS = 4, 2.0  # starts of a search, the first at 0, and how far from it the others are in each coordinate
MANY = 100  # dimensions
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
    paths = PATHS if size <= MANY else 2  # of many dimensions a step takes long
    starts = [np.zeros(size), *rng.uniform(-RADIUS, RADIUS, (paths - 1, size))]
    steps = [step for start in starts for step in _path(target, start, noise)]
    if not steps:
        raise FitError("the log-density and its derivatives are finite at no start")
    best = max(steps, key=lambda step: step.bound if np.isfinite(step.bound) else -np.inf)
    found = [best]
    for mode in sorted((step for step in steps if step.is_mode), key=lambda step: -step.bound):
        if np.isfinite(mode.bound) and all(_away(mode, other) > SAME for other in found):
            found.append(mode)
    return tuple(found)


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
        found.append(Place(x, curvature, factor, bound, ended))
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
