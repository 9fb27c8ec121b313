"""Laplace's approximation of a target, from which a fit starts and in whose coordinates it is made.

The mode is sought by Newton's method, which knows neither units nor correlations: curvatures are taken by their size,
so that a step goes uphill where log p is not concave, and is halved until log p has risen (Nocedal and Wright 2006,
section 3.4). A descent by gradients alone would take more steps here than the fit that it is to help.
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
from kullback.minimize.frame import Frame, form_of, inverse_root, is_located, laplace_frame, plain_frame
from kullback.minimize.improper import falls_everywhere
from kullback.minimize.pushed import Pushed
from kullback.runtime.export_cache import program

STEPS, HALVINGS = 100, 40  # of Newton's method
RISE = 1e-10  # of log p: a rise that is not waited for
SCALES = ("scale", "scale_tril")
WIDE = 100.0  # of the scales at the first start; what is wider may have no end


def whitened(problem: Pushed, starts: Float[np.ndarray, "s n"]) -> tuple[Pushed, Float[np.ndarray, "s n"]]:
    """The problem in the coordinates of Laplace's approximation, and the starts there.

    A family that has no location, and a target without a mode or without curvature at it, are left as they are.
    """
    structure = problem.learnable.structure
    form = form_of(structure)
    if form is None or not is_located(structure):
        return problem, starts
    plain = plain_frame(structure, problem.layout.tree(starts[0]))
    found = newton(problem.target.log_density, plain, Static(form.cls is dist.LogNormal))
    if found is None:
        problem = replace(problem, frame=plain)
        return problem, problem.framed(starts)
    frame = laplace_frame(plain, *found)
    problem = replace(problem, frame=frame, improper=_is_improper(problem, plain, frame))
    last = len(starts) - 1
    return problem, np.stack([_from_there(problem, x, i == last) for i, x in enumerate(problem.framed(starts))])


def _from_there(problem: Pushed, vector: np.ndarray, at_mode: bool) -> np.ndarray:
    """A start with the scales of Laplace's approximation, whatever those it was drawn with; one of them at the mode."""
    free = problem.layout.tree(vector)
    inner = free["components"] if problem.is_mixture else free
    inner = {name: 0.0 * x if name in SCALES else x for name, x in inner.items()}
    if at_mode and not problem.is_mixture:  # whose components would stay equal
        inner["loc"] = 0.0 * inner["loc"]
    return problem.layout.flat({**free, "components": inner} if problem.is_mixture else inner)


def _is_improper(problem: Pushed, plain: Frame, frame: Frame) -> bool:
    """Whether log p does not fall away from its mode: looked at only where Laplace's approximation is very wide."""
    wide = np.sqrt(np.square(frame.factor).sum(1))
    if (wide <= WIDE * np.diagonal(plain.factor)).all():
        return False
    towards = (frame.centre - plain.centre).reshape(-1)
    widest = frame.factor @ np.linalg.svd(frame.factor)[2][0]
    away = np.stack([towards, widest]).reshape(2, *frame.centre.shape)
    return not falls_everywhere(problem.target.log_density, frame.centre, away)


def newton(target: Any, plain: Frame, on_logarithms: Static) -> tuple[np.ndarray, np.ndarray] | None:
    """A mode [*event] of log p, or of the density of log x, as seen from the centre of a frame, and the curvature
    [D, D] there; None where none is found."""
    x = plain.centre
    try:
        value, gradient, curvature = _second_order(target, x, on_logarithms)
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
            risen = _second_order(target, there, on_logarithms)
            if risen[0] > value:
                break
        else:  # a kink, or rounding
            return x, curvature
        x, (value, gradient, curvature) = there, risen
    return None


def _second_order(target: Any, x: np.ndarray, on_logarithms: Static) -> tuple[float, np.ndarray, np.ndarray]:
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
