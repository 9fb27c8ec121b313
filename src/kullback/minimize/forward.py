"""What the forward fits share: outcomes in units of their own, the report of a fit, and fits in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kullback.errors import FitError
from kullback.estimate.quadrature import Quadrature
from kullback.exact.countable_sum import CountableSum
from kullback.families.form import Form
from kullback.families.units import Units, form_of, units_for
from kullback.known import Known, describe
from kullback.minimize.expectation import Expectation, some_rows
from kullback.minimize.fitting import Report, fit_from
from kullback.minimize.matched_forms import closed_form
from kullback.minimize.solution import Fixed
from kullback.minimize.weighted import COUNTS, NODES, Weighted, require_support, weighted
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request


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
    data = weighted(p).counted()
    require_support(data, q.support, q.name, len(q.event_shape))
    structure, fixed = q.learnable.structure, q.learnable.fixed
    units = units_for(structure, *some_rows(data.y, data.weights))
    form = form_of(structure)
    if units is not None and form is not None:
        fixed = units.into(form.cls, fixed)
    return Outcomes(data, units, fixed)


def solved(p: Known, q: Known) -> Fit:
    """The fit in closed form, by a family that has one."""
    learnable, found = q.learnable, outcomes_of(p, q)
    assert learnable is not None and isinstance(learnable.structure, Form)
    form, fixed = learnable.structure, _double(found.fixed)
    solve = closed_form(form, fixed)
    assert solve is not None
    optimum = solve(Expectation(found.data.y, found.data.weights, found.units), fixed)
    values = {name: np.broadcast_to(optimum.values[name], shape) for name, shape in form.shapes}
    free = form.unconstrain(values if found.units is None else found.units.back(form.cls, values))
    report = forward_report(found.data, p, learnable.wrap(free), optimum.cross_entropy + found.log_jacobian)
    if optimum.unbounded:
        return fit_from(q, free, Status.UNBOUNDED, replace(report, message=optimum.unbounded))
    if optimum.boundary:
        return fit_from(q, free, Status.BOUNDARY, replace(report, message=optimum.boundary))
    return fit_from(q, free, Status.CLOSED_FORM, report)


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
        objective = Estimate(cross_entropy, quantity="H(P, Q)", dropped=("H(P)",))
        return Report(objective, {"train_nll": cross_entropy})
    return Report(Estimate(data.negentropy + cross_entropy), {"cross_entropy": cross_entropy})
