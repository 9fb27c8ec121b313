"""What the end of a descent on a likelihood means: an optimum, the boundary of the family, or no maximum.

A descent ends at an optimum, at the boundary of the family, or nowhere. Positive parameters are learned by their
logarithms and probabilities by their logits, so that a descent that ends far out on such a coordinate either has its
optimum there or follows a limit law. A few more steps outward tell them apart: they change nothing for a limit law, and
give a constant decrease per step for a likelihood without maximum. Other parameters may have to move along, so before
a likelihood is said to have no maximum the descent goes on in a wider box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from kullback.distributions import TruncatedNormal, ZeroInflatedNegativeBinomial
from kullback.families.form import MOST_DEGREES, Form
from kullback.families.units import form_of
from kullback.minimize.closed_forms.solution import POINT
from kullback.result import Status
from kullback.runtime.export_cache import program
from kullback.training.ravel import Layout

FAR = 8.0  # of a logarithm or a logit, in units in which parameters are about 1
REACH = float(-np.log(POINT))
_STEP = 3.0
_WIDER = 6.0  # how much farther a descent goes on before a likelihood is said to have no maximum
_ROOM = 0.5  # of a step: with less before the end of the box nothing is to be seen outward
_MOST = 8  # coordinates that are tried one by one
_EXPONENTIAL = 100.0  # scales from the location to the outcomes: exponential to about 1e-8 nats
_FLAT = 1e-9  # nats, of a limit law; of a likelihood without maximum a step takes at least:
_FALLING = 1e-2

_BOUNDED = constraints.greater_than | constraints.greater_than_eq | constraints.less_than | constraints.interval

# Logits that run away with another parameter.
_LOGITS = {(dist.NegativeBinomialLogits, "logits")}

# Means of counts, which are as large as the counts are.
_MEANS = {(dist.NegativeBinomial2, "mean"), (dist.ZeroInflatedPoisson, "rate"), (ZeroInflatedNegativeBinomial, "rate")}

# The laws that are met at the ends of some parameters.
LIMITS: dict[tuple[type, str, int], str] = {
    (dist.StudentT, "df", 1): "dist.Normal",
    (dist.MultivariateStudentT, "df", 1): "dist.MultivariateNormal",
    (dist.Gompertz, "rate", -1): "dist.Exponential",
    (dist.NegativeBinomial2, "concentration", 1): "dist.Poisson",
    (dist.NegativeBinomialProbs, "total_count", 1): "dist.Poisson",
    (dist.NegativeBinomialLogits, "total_count", 1): "dist.Poisson",
    (dist.GammaPoisson, "concentration", 1): "dist.Poisson",
    (dist.DirichletMultinomial, "concentration", 1): "dist.Multinomial",
    (dist.BetaBinomial, "concentration0", 1): "dist.Binomial",
    (dist.BetaBinomial, "concentration1", 1): "dist.Binomial",
    (dist.ZeroInflatedPoisson, "gate", -1): "dist.Poisson",
    (ZeroInflatedNegativeBinomial, "concentration", 1): "dist.ZeroInflatedPoisson",
    (ZeroInflatedNegativeBinomial, "gate", -1): "dist.NegativeBinomial2",
}


Value = Callable[[np.ndarray], float]
Box = tuple[np.ndarray, np.ndarray]
# The best end point of descents that go on from some points [k, n] in another box, and the objective there.
Further = Callable[[np.ndarray, Box], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Verdict:
    """How a descent ended, what to say of it, and the flat parameters to return."""

    status: Status
    message: str
    vector: np.ndarray


def box_of(structure: Any, layout: Layout, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far from starts [k, n] a descent looks, [n] each: logarithms and logits go `REACH` beyond all and 0.

    In units of the outcomes 0 is about right, where moments of heavy tails are far off.
    """
    names, _ = _coordinates(structure, layout)
    low = np.where(names >= 0, np.minimum(starts.min(0), 0.0) - REACH, -np.inf)
    return low, np.where(names >= 0, np.maximum(starts.max(0), 0.0) + REACH, np.inf)


def judged(structure: Any, layout: Layout, vector: np.ndarray, box: Box, value: Value, further: Further) -> Verdict:
    """The verdict on an end point [n] of a descent, whose objective elsewhere is `value`."""
    if limit := _exponential_limit(structure, layout, vector):
        return Verdict(Status.BOUNDARY, limit, vector)
    names, most = _coordinates(structure, layout)
    vector, at_end = np.clip(vector, *box), (vector <= box[0]) | (vector >= box[1])
    capped = np.isfinite(most) & (vector >= most)
    far = ((np.abs(vector) > FAR) | at_end) & (names >= 0) & ~capped & ~((vector > 0) & _is_mean(structure, names))
    found = _looked_at(structure, names, vector, box, far, value) if far.any() else None
    if found is None or found.status is Status.UNBOUNDED:
        # An end that looks like an optimum may be a valley too narrow to follow.
        found = _confirmed(found, structure, names, vector, box, far, value, further) if far.any() else found
    if capped.any() and (found is None or found.status is not Status.UNBOUNDED):
        # Beyond the most degrees nothing changes, by definition.
        return Verdict(Status.BOUNDARY, _limit(structure, names, capped * 1.0), vector)
    return found or Verdict(Status.CONVERGED, "", vector)


def _exponential_limit(structure: Any, layout: Layout, vector: np.ndarray) -> str:
    """What to say of truncated normals whose location has run so far from the outcomes that they are exponential.

    Of one end the likelihood has a maximum only where the standard deviation is below the mean distance from that end.
    Source: del Castillo (1994), The singly truncated normal distribution: a non-steep exponential family, where the
    coefficient of variation decides.
    """
    form = form_of(structure)
    if structure is not form or form is None or form.cls is not TruncatedNormal or len(form.names) < 2:
        return ""
    free = layout.tree(vector)
    away = np.asarray(free["loc"]) / np.exp(np.asarray(free["scale"]))
    if np.abs(away).max() < _EXPONENTIAL:
        return ""
    way = "−∞" if np.ravel(away)[np.argmax(np.abs(away))] < 0 else "∞"
    return (
        f"the best member is the limit law, exponential on the support, as loc goes to {way} and scale to ∞, which no "
        "parameters attain; those returned stand for it"
    )


def _looked_at(structure: Any, names: Any, vector: Any, box: Any, far: np.ndarray, value: Value) -> Verdict | None:
    """The verdict that a step outward gives, of all the coordinates that are far out or of one; None for an optimum."""
    here = value(vector)
    outward = _STEP * np.where(box[1] - vector < vector - box[0], 1.0, -1.0) * far
    for direction in [outward, *(outward * (np.arange(len(vector)) == i) for i in np.flatnonzero(far)[:_MOST])]:
        # A step of all of them that ends where the first of them does.
        room = np.where(direction > 0, box[1] - vector, vector - box[0])[direction != 0].min() / _STEP
        fall, rise = here - value(vector + min(1.0, room) * direction), value(vector - direction) - here
        stuck = np.isnan(fall) or room < _ROOM
        if fall >= _FALLING or (stuck and not rise < _FALLING):
            words = _runs_away(structure, names, direction)
            return Verdict(Status.UNBOUNDED, words, _usable(vector, direction / _STEP, value))
        if fall >= -_FLAT * max(1.0, abs(here)) or stuck:
            return Verdict(Status.BOUNDARY, _limit(structure, names, direction), vector)
    return None


def _confirmed(
    found: Verdict | None,
    structure: Any,
    names: np.ndarray,
    vector: np.ndarray,
    box: Box,
    far: np.ndarray,
    value: Value,
    further: Further,
) -> Verdict | None:
    """The verdict "no maximum" if the descent falls on in a wider box; else that of a limit law, or of an optimum."""
    wider = np.where(names >= 0, box[0] - _WIDER, box[0]), np.where(names >= 0, box[1] + _WIDER, box[1])
    outward = np.where(box[1] - vector < vector - box[0], 1.0, -1.0) * far
    point, lower = further(np.stack([vector, vector + 0.5 * _WIDER * outward, vector + _WIDER * outward]), wider)
    if value(vector) - lower >= _FALLING:
        if found is not None:
            return found
        words = _runs_away(structure, names, outward)
        return Verdict(Status.UNBOUNDED, words, _usable(vector, outward, value))
    if found is None:
        return None
    point = np.clip(point, *wider)
    out = far & (np.abs(point) > FAR)
    if not out.any():
        return Verdict(Status.CONVERGED, "", point)
    return Verdict(Status.BOUNDARY, _limit(structure, names, np.sign(point) * out), point)


def _is_mean(structure: Any, names: np.ndarray) -> np.ndarray:
    form = form_of(structure)
    means = [] if form is None else [i for i, name in enumerate(form.names) if (form.cls, name) in _MEANS]
    return np.isin(names, means)


def _usable(vector: np.ndarray, outward: np.ndarray, value: Value) -> np.ndarray:
    """A point of a way along which the likelihood grows without bound, at which single precision gives a number."""
    for _ in range(int(REACH)):
        with jax.enable_x64(False):
            if np.isfinite(value(vector.astype(np.float32))):
                return vector
        vector = vector - outward
    return vector


def value_of(objective: Any) -> Value:
    """The objective as a function of a flat vector on the host."""
    return lambda vector: float(_value(objective, vector))


@program(static=())
def _value(objective: Any, vector: Float[Array, " n"]) -> Any:
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
        elif (isinstance(base, _BOUNDED) and base is not constraints.circular) or (form.cls, name) in _LOGITS:
            parts[0][name][...] = number
        if form.is_capped(name):
            parts[1][name][...] = np.log(MOST_DEGREES)
    return Layout.flat(names), Layout.flat(most)


def _moves(form: Form, names: np.ndarray, direction: np.ndarray) -> list[tuple[str, int]]:
    """Which parameters run where: each name with 1 for up and -1 for down."""
    return sorted({(form.names[int(names[i])], int(np.sign(direction[i]))) for i in np.flatnonzero(direction)})


def _limit(structure: Any, names: np.ndarray, direction: np.ndarray) -> str:
    form = form_of(structure)
    assert form is not None
    moves = _moves(form, names, direction)
    words = " and ".join(f"{name} goes to {_end(form, name, way)}" for name, way in moves)
    limit = next((LIMITS[form.cls, *move] for move in moves if (form.cls, *move) in LIMITS), None)
    what = f", kl.Family({limit})," if limit else ""
    return f"the best member is the limit law{what} as {words}, which no parameters attain; those returned stand for it"


def _runs_away(structure: Any, names: np.ndarray, direction: np.ndarray) -> str:
    form = form_of(structure)
    assert form is not None
    moves = _moves(form, names, direction)
    words = " and ".join(f"{name} goes to {_end(form, name, way)}" for name, way in moves)
    held = " and ".join(name for name, _ in moves)
    return f"the likelihood grows without bound as {words}; hold {held} fixed, or leave out repeated outcomes"


def _end(form: Form, name: str, way: int) -> str:
    constraint = form.cls.arg_constraints[name]
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    if way > 0:
        return f"{base.upper_bound:g}" if isinstance(base, constraints.interval) else "∞"
    return "−∞" if base is constraints.real else f"{float(getattr(base, 'lower_bound', 0.0)):g}"
