"""Modes of a target that a fit has not met, looked for far from it.

A descent goes down to an optimum near its start, and Newton's method to a mode; a narrow mode that lies ten widths away
is met by neither. So log p is looked at where the law found has no mass: at draws of it that are 2 to 100 times as
wide. Where log p is far above what the fit says of it, Newton's method goes uphill from there, and a mode that it
reaches, unless it is that of the fit, is where another descent starts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.known.static import Static
from kullback.minimize.frame import Frame, form_of, from_frame, is_located, laplace_frame, matrix, own_frame
from kullback.minimize.laplace import SCALES, newton
from kullback.minimize.pushed import Pushed
from kullback.training.ravel import Layout

WIDER = (0.3, 2.0)  # powers of ten, between which laws are wider
ABOVE = 3.0  # nats of log p above what the fit says of it
APART = 3.0  # standard deviations, of the fit or at a mode, at which there are two
TRIES, MODES = 8, 3  # climbs, and modes that are fitted


def can_look(problem: Pushed) -> bool:
    """Whether the location and the scale of the learnable side are learned, and it is no mixture."""
    structure = problem.learnable.structure
    learned = getattr(structure, "names", ())
    return is_located(structure) and not problem.is_mixture and ("scale" in learned or "scale_tril" in learned)


def far_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Normal noise, each row wider by a factor of its own."""
    wider = 10.0 ** rng.uniform(*WIDER, size=(n, *(1,) * len(event_shape)))
    return wider * rng.normal(size=(n, *event_shape))


def outcomes(problem: Pushed, vector: Float[np.ndarray, " n"], noise: np.ndarray) -> np.ndarray:
    """Outcomes of noise at parameters that are not in the frame; of a law of logarithms, their logarithms."""
    free = problem.layout.tree(vector)
    if "scale_tril" not in free:
        return free["loc"] + np.exp(free["scale"]) * noise
    lower = matrix(np.asarray(free["scale_tril"]), noise.shape[-1])
    return free["loc"] + np.matmul(lower, noise[..., None])[..., 0]


def highest(problem: Pushed, points: np.ndarray, log_p: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Some of the points, by decreasing log p, or by that of their logarithms where they are such."""
    height = log_p + (points.reshape(len(points), -1).sum(1) if _on_logarithms(problem) else 0.0)
    kept = np.flatnonzero(np.isfinite(log_p) & some)
    return points[kept[np.argsort(-height[kept], kind="stable")]]


def starts_elsewhere(
    problem: Pushed, vector: Float[np.ndarray, " n"], points: np.ndarray, count: int
) -> tuple[Pushed, Float[np.ndarray, "s n"]] | None:
    """The problem in the frame of the highest mode that is not the fit's, and `count` starts at such modes; None
    where uphill from the points there is none."""
    structure, free = problem.learnable.structure, problem.layout.tree(vector)
    own = own_frame(structure, free)
    hills, found = [own], []
    for _ in range(TRIES):
        # Of each hill the highest point is tried, and once.
        points = points[np.min([_distances(hill, points) for hill in hills], 0) > APART]
        if not len(points) or len(found) == MODES:
            break
        start, points = points[0], points[1:]
        mode = newton(problem.target.log_density, own._replace(centre=start), Static(_on_logarithms(problem)))
        if mode is None:
            continue
        hill = laplace_frame(own, *mode)
        if all(_apart(hill, known) for known in hills):
            found.append(hill)
        hills.append(hill)
    if not found:
        return None
    there = replace(problem, frame=found[0])
    centred = {**free, **{name: 0.0 * np.asarray(free[name]) for name in ("loc", *SCALES) if name in free}}
    starts = [Layout.flat(from_frame(structure, hill, centred)) for hill in found]
    return there, there.framed(np.stack([starts[i % len(starts)] for i in range(count)]))


def _apart(one: Frame, other: Frame) -> bool:
    return min(*_distances(one, other.centre[None]), *_distances(other, one.centre[None])) > APART


def _distances(hill: Frame, points: Float[np.ndarray, "m ..."]) -> Float[np.ndarray, " m"]:
    """How many of a frame's standard deviations points lie from its centre."""
    away = (points - hill.centre).reshape(len(points), hill.factor.shape[0])
    return np.linalg.norm(np.linalg.solve(hill.factor, away.T), axis=0)


def _on_logarithms(problem: Pushed) -> bool:
    form = form_of(problem.learnable.structure)
    return form is not None and form.cls is dist.LogNormal
