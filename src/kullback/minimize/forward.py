"""What the forward fits share: outcomes in units of their own, the report of a fit, and fits in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.errors import FitError
from kullback.estimate.quadrature.rule import Quadrature
from kullback.exact.countable_sum import CountableSum
from kullback.families.closure import is_moved
from kullback.families.form import LOWER_ENDS, UPPER_ENDS, Form
from kullback.families.units import Units, form_of, units_for
from kullback.known import Known, describe
from kullback.minimize.closed_forms.moments import multivariate_normal
from kullback.minimize.closed_forms.solution import POINT, Expectation, Fixed, no_maximum, some_rows
from kullback.minimize.closed_forms.table import closed_form
from kullback.minimize.fitting import Report, fit_from
from kullback.minimize.weighted import (
    COUNTS,
    NODES,
    Weighted,
    require_support,
    weighted,
)
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request

_ROUNDING = 5e-16
_NOTHING = 1e-300  # the weight of a row that tells where a support ends


@dataclass(frozen=True)
class Outcomes:
    """Weighted outcomes that count, in the units of a fit where its family has any, with its fixed parameters."""

    data: Weighted
    units: Units | None
    fixed: Any

    @property
    def log_jacobian(self) -> float:
        """What the cross entropy in these units lacks of that in the units of the data."""
        return 0.0 if self.units is None else self.units.log_jacobian


def outcomes_of(p: Known, q: Known) -> Outcomes:
    """P as weighted outcomes for a family or a mixture Q. Raises `InputError` where one lies outside Q's support."""
    assert q.learnable is not None and q.event_shape is not None
    structure, fixed = q.learnable.structure, q.learnable.fixed
    form, data = form_of(structure), weighted(p).counted()
    if form is not None and any((form.cls.__name__, name) in LOWER_ENDS | UPPER_ENDS for name in form.names):
        data = _with_ends(data, p)
    require_support(data, q)
    if form is None:
        return Outcomes(data, None, fixed)
    units = units_for(structure, *some_rows(data.y, data.weights))
    if units is None:
        return Outcomes(data, None, fixed)
    if form.cls is dist.Levy:
        # Its support begins at loc, which stays below 0.
        units = replace(units, shift=Expectation(data.y, data.weights).ends()[0])
    return Outcomes(data, units, units.into(form.cls, fixed))


def _with_ends(data: Weighted, p: Known) -> Weighted:
    """Nodes of a density with the ends of its support, which no node reaches: where a family ends is at those of P."""
    if data.source != NODES or p.support is None or not p.support.bounded:
        return data
    ends = np.array([float(np.asarray(end)) for end in (p.support.lower, p.support.upper)])
    ends = ends[np.isfinite(ends)]
    y, weights = np.concatenate([data.y, ends]), np.concatenate([data.weights, np.full(len(ends), _NOTHING)])
    return replace(data, y=y, weights=weights)


def solved(p: Known, q: Known) -> Fit:
    """The fit in closed form, by a family that has one."""
    learnable, found = q.learnable, outcomes_of(p, q)
    assert learnable is not None and isinstance(learnable.structure, Form)
    form, fixed = learnable.structure, _double(found.fixed)
    solve = closed_form(form, fixed)
    assert solve is not None
    optimum = solve(Expectation(found.data.y, found.data.weights, found.units), fixed)
    values = {name: np.broadcast_to(optimum.values[name], shape) for name, shape in form.shapes}
    free = outside(form, form.unconstrain(values if found.units is None else found.units.back(form.cls, values)))
    report = forward_report(found.data, p, learnable.wrap(free), optimum.cross_entropy + found.log_jacobian)
    if optimum.unbounded:
        return fit_from(q, free, Status.UNBOUNDED, replace(report, message=optimum.unbounded))
    if optimum.boundary:
        return fit_from(q, free, Status.BOUNDARY, replace(report, message=optimum.boundary))
    message = "" if found.units is None else found.units.rounding
    return fit_from(q, free, Status.CLOSED_FORM, replace(report, message=message))


def standing_apart(found: Outcomes, structure: Any) -> tuple[Outcomes, str]:
    """Outcomes in units of their own, spread over `POINT` where they span too little, and why if they do.

    A law with a location and a scale collapses on a coordinate that is one number, and one of vectors on vectors in a
    plane. What is fitted to the spread outcomes stands for the point, or the plane.
    """
    data, units, form = found.data, found.units, form_of(structure)
    if units is None or form is None:
        return found, ""
    y, names = units.standardized(data.y), set(form.names)
    apart = replace(found, data=replace(data, y=y))
    if not is_moved(form.cls) or "loc" not in names or not names & {"scale", "scale_tril"}:
        return apart, ""
    if form.cls is dist.MultivariateStudentT and not form.independent:
        why = multivariate_normal(Expectation(y, data.weights), {}).unbounded
        return (replace(apart, data=_spread(apart.data, np.full(y.shape[1:], POINT))), why) if why else (apart, "")
    flat = y.max(0) == y.min(0)
    if not flat.any():
        return apart, ""
    # That coordinate gets its units from the spread.
    narrow = replace(units, scale=np.where(flat, POINT * units.scale, units.scale))
    return replace(apart, data=_spread(apart.data, flat * 1.0), units=narrow), no_maximum(flat, "scale", "0")


def _spread(data: Weighted, width: np.ndarray) -> Weighted:
    """Every outcome as several about it, so far apart along each coordinate, and no fewer than fill the space."""
    times = -(-(12 + 4 * width.size) // data.size)
    y, weights = np.concatenate([data.y] * times), np.concatenate([data.weights] * times) / times
    return replace(data, y=y + width * np.random.default_rng(0).standard_normal(y.shape), weights=weights)


def outside(form: Form, free: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logarithms of ends that are at an outcome, moved outward by the rounding of the logarithm and the exponential."""
    for ends, way in ((LOWER_ENDS, -1.0), (UPPER_ENDS, 1.0)):
        for name in form.names:
            if (form.cls.__name__, name) in ends and isinstance(form.constraint(name), constraints.greater_than):
                free[name] = free[name] + way * _ROUNDING * np.maximum(1.0, np.abs(free[name]))
    return free


def _double(fixed: Fixed) -> dict[str, Any]:
    return {name: np.asarray(value, np.float64) for name, value in fixed.items()}


def forward_report(data: Weighted, p: Known, q: Any, cross_entropy: float) -> Report:
    """H(P, Q) where P is a sample, and KL(P‖Q) itself where log P is known.

    On nodes and counts the divergence is evaluated again at the fitted q, tails included: points alone cannot tell
    that it is infinite. Raises `FitError` where it is.
    """
    if data.source in (NODES, COUNTS):
        whole = Quadrature() if data.source == NODES else CountableSum()
        objective = whole.run(p, describe(q), Request())
        if np.isinf(objective.value):
            raise FitError(f"p: KL(P‖Q) is infinite at every member of this family: {objective.reason}")
        return Report(objective)
    if data.negentropy is None:
        if np.isnan(cross_entropy) or cross_entropy == np.inf:
            raise FitError(
                f"p: the outcomes reach from {data.y.min():.3g} to {data.y.max():.3g}, so far that double precision "
                "does not hold their likelihood in this family; fit the logarithms of the outcomes, or rescale them "
                "and leave out the most extreme ones"
            )
        objective = Estimate(cross_entropy, quantity="H(P, Q)", dropped=("H(P)",))
        return Report(objective, {"train_nll": cross_entropy})
    return Report(Estimate(data.negentropy + cross_entropy), {"cross_entropy": cross_entropy})
