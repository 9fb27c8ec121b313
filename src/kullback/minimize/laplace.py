"""Modes of the target: Laplace's approximation, from which a fit starts, and modes that a fit has not met.

The mode is sought by Newton's method, which knows neither units nor correlations: curvatures are taken by their size,
so that a step goes uphill where log p is not concave, and is halved until log p has risen (Nocedal and Wright 2006,
section 3.4). A descent by gradients alone would take more steps here than the fit that it is to help.

A descent reaches an optimum near its start; a narrow mode ten widths away is met by neither. So log p is evaluated
where the fitted law has no mass: at draws of it that are 2 to 100 times as wide. Where log p is far above what the fit
says of it, Newton's method goes uphill from there, and a mode that it reaches, unless it is that of the fit, is where
another descent starts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from kullback.known.static import Static
from kullback.minimize.fixed_draw_objective import (
    Frame,
    Reparameterised,
    form_of,
    from_frame,
    inverse_root,
    is_located,
    laplace_frame,
    matrix,
    own_frame,
    plain_frame,
)
from kullback.minimize.improper import falls_everywhere
from kullback.runtime.export_cache import program
from kullback.training.ravel import Layout

STEPS, HALVINGS = 100, 40  # of Newton's method
RISE = 1e-10  # of log p: a rise that is not waited for
SCALES = ("scale", "scale_tril")
WIDE = 100.0  # of the scales at the first start; what is wider may have no end


def whitened(
    problem: Reparameterised, starts: Float[np.ndarray, "s n"]
) -> tuple[Reparameterised, Float[np.ndarray, "s n"]]:
    """The problem in the coordinates of Laplace's approximation, and the starts there.

    A family that has no location, and a target without a mode or without curvature at it, are left as they are.
    """
    structure = problem.learnable.structure
    form = form_of(structure)
    if form is None or not is_located(structure):
        return problem, starts
    plain = plain_frame(structure, problem.layout.tree(starts[0]))
    around = problem.target.around
    on_logarithms = Static(form.cls is dist.LogNormal)
    found = newton(problem.target.log_density, plain, on_logarithms) if around is None else around()
    if found is None:
        problem = replace(problem, frame=plain)
        return problem, problem.framed(starts)
    frame = laplace_frame(plain, *found)
    problem = replace(problem, frame=frame, improper=_is_improper(problem, plain, frame))
    last = len(starts) - 1
    return problem, np.stack([_from_there(problem, x, i == last) for i, x in enumerate(problem.framed(starts))])


def _from_there(problem: Reparameterised, vector: np.ndarray, at_mode: bool) -> np.ndarray:
    """A start with the scales of Laplace's approximation, whatever those it was drawn with; one of them at the mode."""
    free = problem.layout.tree(vector)
    inner = free["components"] if problem.is_mixture else free
    inner = {name: 0.0 * x if name in SCALES else x for name, x in inner.items()}
    if at_mode and not problem.is_mixture:  # whose components would stay equal
        inner["loc"] = 0.0 * inner["loc"]
    return problem.layout.flat({**free, "components": inner} if problem.is_mixture else inner)


def _is_improper(problem: Reparameterised, plain: Frame, frame: Frame) -> bool:
    """Whether log p does not fall away from its mode: looked at only where Laplace's approximation is very wide."""
    wide = np.sqrt(np.square(frame.factor).sum(1))
    if (wide <= WIDE * np.diagonal(plain.factor)).all():
        return False
    towards = (frame.centre - plain.centre).reshape(-1)
    widest = frame.factor @ np.linalg.svd(frame.factor)[2][0]
    away = np.stack([ray for ray in (towards, widest) if ray.any()]).reshape(-1, *frame.centre.shape)
    return not falls_everywhere(problem.target.log_density, frame.centre, away)


def newton(target: Any, plain: Frame, on_logarithms: Static) -> tuple[np.ndarray, np.ndarray] | None:
    """A mode [*event] of log p, or of the density of log x, as seen from the centre of a frame, and the curvature
    [D, D] there; None where none is found."""
    x = plain.centre
    try:
        value, gradient, curvature = second_order(target, x, on_logarithms)
    except TypeError:  # a derivative of the user's own that JAX cannot differentiate again
        return None
    for _ in range(STEPS):
        if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(curvature).all()):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            step = inverse_root(curvature, np.diagonal(plain.factor))
            step = step @ (step.T @ gradient)
        if not np.isfinite(step).all():
            return None
        if 0.5 * gradient @ step <= RISE * max(1.0, abs(value)):
            return x, curvature
        for halving in range(HALVINGS):
            there = x + (step * 0.5**halving).reshape(x.shape)
            risen = second_order(target, there, on_logarithms)
            if risen[0] > value:
                break
        else:  # a kink, or rounding
            return x, curvature
        x, (value, gradient, curvature) = there, risen
    return None


def second_order(target: Any, x: np.ndarray, on_logarithms: Static) -> tuple[float, np.ndarray, np.ndarray]:
    value, gradient, curvature = _expansion(target, x, on_logarithms)
    return float(value), np.asarray(gradient, np.float64), np.asarray(curvature, np.float64)


@program(static=())
def _expansion(
    target: Any, x: Float[Array, "*event"], on_logarithms: Static
) -> tuple[Float[Array, ""], Float[Array, " d"], Float[Array, "d d"]]:
    """log p, its gradient and its curvature −∇² log p over the flattened event; of the density of log x where the
    family is one of logarithms."""

    def log_density(shift: Float[Array, " d"]) -> Float[Array, ""]:
        there = x + shift.reshape(jnp.shape(x))
        if on_logarithms.value:
            return target(jnp.exp(there)[None])[0] + jnp.sum(there)
        return target(there[None])[0]

    def gradient(shift: Float[Array, " d"]) -> tuple[Any, Any]:
        value, slope = jax.value_and_grad(log_density)(shift)
        return slope, (value, slope)

    curvature, (value, slope) = jax.jacfwd(gradient, has_aux=True)(jnp.zeros(np.size(x), jnp.result_type(float)))
    return value, slope, -curvature


WIDER = (0.3, 2.0)  # powers of ten, between which laws are wider
ABOVE = 3.0  # nats of log p above what the fit says of it
APART = 3.0  # standard deviations, of the fit or at a mode, at which there are two
TRIES, MODES = 8, 3  # climbs, and modes that are fitted


def can_look(problem: Reparameterised) -> bool:
    """Whether the location and the scale of the learnable side are learned, and it is no mixture."""
    structure = problem.learnable.structure
    learned = getattr(structure, "names", ())
    return is_located(structure) and not problem.is_mixture and ("scale" in learned or "scale_tril" in learned)


def far_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Normal noise, each row wider by a factor of its own."""
    wider = 10.0 ** rng.uniform(*WIDER, size=(n, *(1,) * len(event_shape)))
    return wider * rng.normal(size=(n, *event_shape))


def outcomes(problem: Reparameterised, vector: Float[np.ndarray, " n"], noise: np.ndarray) -> np.ndarray:
    """Outcomes of noise at parameters that are not in the frame; of a law of logarithms, their logarithms."""
    free = problem.layout.tree(vector)
    if "scale_tril" not in free:
        return free["loc"] + np.exp(free["scale"]) * noise
    lower = matrix(np.asarray(free["scale_tril"]), noise.shape[-1])
    return free["loc"] + np.matmul(lower, noise[..., None])[..., 0]


def highest(problem: Reparameterised, points: np.ndarray, log_p: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Some of the points, by decreasing log p, or by that of their logarithms where they are such."""
    height = log_p + (points.reshape(len(points), -1).sum(1) if _on_logarithms(problem) else 0.0)
    kept = np.flatnonzero(np.isfinite(log_p) & some)
    return points[kept[np.argsort(-height[kept], kind="stable")]]


def starts_elsewhere(
    problem: Reparameterised, vector: Float[np.ndarray, " n"], points: np.ndarray, count: int
) -> tuple[Reparameterised, Float[np.ndarray, "s n"]] | None:
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


def _on_logarithms(problem: Reparameterised) -> bool:
    form = form_of(problem.learnable.structure)
    return form is not None and form.cls is dist.LogNormal
