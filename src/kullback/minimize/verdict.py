"""How a descent of maximum likelihood ended: at an optimum, at the boundary of the family, or nowhere.

Positive parameters are learned by their logarithms and probabilities by their logits, so that a descent that ends far
out on such a coordinate either has its optimum there or follows a limit law. What a few more steps outward change tells
them apart: nothing for a limit law, a constant decrease a step for a likelihood without maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.families.form import MOST_DEGREES, Form
from kullback.families.units import form_of
from kullback.minimize.layout import Layout
from kullback.minimize.solution import POINT
from kullback.programs import program
from kullback.result import Status

FAR = 8.0  # of a logarithm or a logit, in units in which parameters are about 1
_STEP = 3.0
_MOST = 8  # coordinates that are tried one by one
_FLAT = 1e-9  # nats, of a limit law; of a likelihood without maximum a step takes at least:
_FALLING = 1e-2

_BOUNDED = constraints.greater_than | constraints.greater_than_eq | constraints.less_than | constraints.interval

# The laws that are met at the ends of some parameters.
LIMITS: dict[tuple[type, str, int], str] = {
    (dist.StudentT, "df", 1): "dist.Normal",
    (dist.MultivariateStudentT, "df", 1): "dist.MultivariateNormal",
    (dist.Gompertz, "rate", -1): "dist.Exponential",
    (dist.NegativeBinomial2, "concentration", 1): "dist.Poisson",
    (dist.GammaPoisson, "concentration", 1): "dist.Poisson",
}


@dataclass(frozen=True)
class Verdict:
    """How a descent ended, what to say of it, and the flat parameters to return."""

    status: Status
    message: str
    vector: np.ndarray


def judged(structure: Any, layout: Layout, vector: np.ndarray, value: Callable[[np.ndarray], float]) -> Verdict:
    """The verdict on an end point [n] of a descent, whose objective elsewhere is `value`."""
    names, most = _coordinates(structure, layout)
    far = (np.abs(vector) > FAR) & (names >= 0)
    capped = np.isfinite(most) & (vector >= most)
    if capped.any():
        # Beyond the most degrees nothing changes, by definition.
        return Verdict(Status.BOUNDARY, _limit(structure, names, vector, capped), vector)
    if not far.any():
        return Verdict(Status.CONVERGED, "", vector)
    here = value(vector)
    outward = _STEP * np.sign(vector) * far
    for direction in [outward, *(outward * (np.arange(len(vector)) == i) for i in np.flatnonzero(far)[:_MOST])]:
        fall = here - value(vector + direction)
        if np.isnan(fall):
            fall = 10.0 * (here - value(vector + 0.1 * direction))
        along = direction != 0
        if fall >= _FALLING:
            kept = np.where(along, np.clip(vector, np.log(POINT), -np.log(POINT)), vector)
            return Verdict(Status.UNBOUNDED, _runs_away(structure, names, vector, along), kept)
        if fall >= -_FLAT * max(1.0, abs(here)):
            return Verdict(Status.BOUNDARY, _limit(structure, names, vector, along), vector)
    return Verdict(Status.CONVERGED, "", vector)


def value_of(objective: Any) -> Callable[[np.ndarray], float]:
    """The objective as a function of a flat vector on the host."""
    return lambda vector: float(_value(objective, vector))


@program(static=())
def _value(objective: Any, vector: Any) -> Any:
    return objective(vector)


def _coordinates(structure: Any, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """For each flat coordinate the number of the parameter that it is a logarithm or a logit of, -1 for others, and
    where it is capped."""
    form = form_of(structure)
    blank = layout.tree(np.zeros(sum(int(np.prod(shape)) for shape in layout.shapes)))
    names = jax.tree.map(lambda leaf: np.full(leaf.shape, -1.0), blank)
    most = jax.tree.map(lambda leaf: np.full(leaf.shape, np.inf), blank)
    if form is None:
        return Layout.flat(names), Layout.flat(most)
    parts = (names, most) if structure is form else (names["components"], most["components"])
    for number, name in enumerate(form.names):
        constraint = form.cls.arg_constraints[name]
        base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
        if base is constraints.lower_cholesky:
            parts[0][name][..., -dict(form.shapes)[name][-1] :] = number
        elif isinstance(base, _BOUNDED) and base is not constraints.circular:
            parts[0][name][...] = number
        if form.is_capped(name):
            parts[1][name][...] = np.log(MOST_DEGREES)
    return Layout.flat(names), Layout.flat(most)


def _moves(structure: Any, names: np.ndarray, vector: np.ndarray, along: np.ndarray) -> list[tuple[str, int]]:
    """Which parameters run where: each name with 1 for up and -1 for down."""
    form = form_of(structure)
    assert form is not None
    found = {(form.names[int(names[i])], int(np.sign(vector[i]))) for i in np.flatnonzero(along)}
    return sorted(found)


def _limit(structure: Any, names: np.ndarray, vector: np.ndarray, along: np.ndarray) -> str:
    form, moves = form_of(structure), _moves(structure, names, vector, along)
    assert form is not None
    words = " and ".join(f"{name} goes to {_end(form, name, way)}" for name, way in moves)
    limit = next((LIMITS[form.cls, *move] for move in moves if (form.cls, *move) in LIMITS), None)
    what = f", kl.Family({limit})," if limit else ""
    return f"the best member is the limit law{what} as {words}, which no parameters attain; those returned stand for it"


def _runs_away(structure: Any, names: np.ndarray, vector: np.ndarray, along: np.ndarray) -> str:
    form, moves = form_of(structure), _moves(structure, names, vector, along)
    assert form is not None
    words = " and ".join(f"{name} goes to {_end(form, name, way)}" for name, way in moves)
    held = ", ".join(f"{name}=" for name, _ in moves)
    return f"the likelihood grows without bound as {words}; fix {held}, or leave out what repeats"


def _end(form: Form, name: str, way: int) -> str:
    constraint = form.cls.arg_constraints[name]
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    if way > 0:
        return f"{base.upper_bound:g}" if isinstance(base, constraints.interval) else "∞"
    return f"{float(getattr(base, 'lower_bound', 0.0)):g}"
