"""Laplace's approximation of a target, from which a fit starts and in whose coordinates it is made.

The mode is sought with the program that the fit itself runs: with all the noise at its middle and the scale held, the
divergence on fixed draws is −log p at the location up to a constant. So only the curvature there costs a compilation.
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
from kullback.minimize import lbfgs
from kullback.minimize.fitting import TOLERANCE
from kullback.minimize.frame import Frame, form_of, is_located, laplace_frame, located, plain_frame
from kullback.minimize.pushed import Pushed
from kullback.minimize.runaway import falls_everywhere
from kullback.programs import program
from kullback.rule import Request

CHUNK = 40  # evaluations in one call of the compiled program
CHUNKS = 10  # calls spent in search of a mode
WIDE = 100.0  # of the scales at the first start; what is wider may have no end


def whitened(problem: Pushed, starts: np.ndarray, draws: int, request: Request) -> tuple[Pushed, np.ndarray]:
    """The problem in the coordinates of Laplace's approximation, and the starts there.

    A family that has no location, and a target without a mode or without curvature at it, are left as they are.
    """
    structure = problem.learnable.structure
    if not is_located(structure):
        return problem, starts
    plain = plain_frame(structure, problem.layout.tree(starts[0]))
    plain_problem = replace(problem, frame=plain)
    middle = np.full_like(problem.push.noise(request.host_rng(1), 4, problem.event_shape)[:1], problem.push.middle)
    held = replace(problem, frame=plain._replace(moving=np.zeros(())))
    centre = _mode(held, np.repeat(middle, draws, 0), held.framed(starts), request)
    if centre is None:
        return plain_problem, plain_problem.framed(starts)
    form = form_of(structure)
    on_logarithms = form is not None and form.cls is dist.LogNormal
    try:
        curvature = _curvature(problem.target.log_density, centre, Static(on_logarithms))
    except TypeError:  # a derivative of the user's own that JAX cannot differentiate again
        return plain_problem, plain_problem.framed(starts)
    frame = laplace_frame(plain, centre, np.asarray(curvature, np.float64))
    found = replace(problem, frame=frame, improper=_is_improper(problem, plain, frame))
    vectors = found.framed(starts)
    if not problem.is_mixture:  # whose components would stay equal
        vectors[-1] = 0.0
    return found, vectors


def _is_improper(problem: Pushed, plain: Frame, frame: Frame) -> bool:
    """Whether log p does not fall away from its mode: looked at only where Laplace's approximation is very wide."""
    wide = np.sqrt(np.square(frame.factor).sum(1))
    if (wide <= WIDE * np.diagonal(plain.factor)).all():
        return False
    towards = (frame.centre - plain.centre).reshape(-1)
    widest = frame.factor @ np.linalg.svd(frame.factor)[2][0]
    away = np.stack([towards, widest]).reshape(2, *frame.centre.shape)
    return not falls_everywhere(problem.target.log_density, frame.centre, away)


def _mode(held: Pushed, middle: np.ndarray, starts: np.ndarray, request: Request) -> np.ndarray | None:
    """Where log p is greatest as seen from the first start [*event]; None where the search does not end."""
    stack = [lbfgs.start(x) for x in starts]
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *stack)
    ended = np.where(np.arange(len(starts)) == 0, lbfgs.RUNNING, lbfgs.CONVERGED)
    states = states._replace(status=ended.astype(states.status.dtype))
    objective, tolerance = held.objective(middle), request.tolerance or TOLERANCE
    for _ in range(CHUNKS):
        states = lbfgs.advance(objective, states, tolerance, CHUNK)
        if int(states.status[0]) != lbfgs.RUNNING:
            break
    if int(states.status[0]) != lbfgs.CONVERGED:
        return None
    free = held.layout.tree(np.asarray(states.x[0], np.float64))
    frame = held.frame
    assert frame is not None
    loc = free["components"]["loc"][int(np.argmax(free["logits"]))] if held.is_mixture else free["loc"]
    return located(frame, np.asarray(loc))


@program(static=())
def _curvature(target: Any, mode: Float[Array, "*event"], on_logarithms: Static) -> Float[Array, "d d"]:
    """−∇² log p at a mode, over the flattened event; of the density of log x where the family is one of logarithms."""

    def log_density(shift: Float[Array, " d"]) -> Float[Array, ""]:
        x = mode + shift.reshape(jnp.shape(mode))
        if on_logarithms.value:
            return target(jnp.exp(x)[None])[0] + jnp.sum(x)
        return target(x[None])[0]

    return -jax.hessian(log_density)(jnp.zeros(np.size(mode), jnp.result_type(float)))
