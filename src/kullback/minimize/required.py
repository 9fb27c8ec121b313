"""What a family requires of outcomes before it is fitted to them, told row by row.

The sets are decided here, in double, and not by NumPyro's constraints: those leave out an end at which a density is
finite, and what its laws make of values at an end differs between versions and with its validation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.errors import InputError
from kullback.families.form import LOWER_ENDS, UPPER_ENDS
from kullback.known import Known
from kullback.minimize.weighted import Weighted

# Laws on [0, ∞) with a finite density at 0, and laws whose support is a part of (0, ∞) that their parameters say.
_FINITE_AT_0 = (dist.Exponential, dist.HalfNormal, dist.HalfCauchy, dist.Gompertz)
_POSITIVE = (dist.Pareto, dist.LogUniform, dist.LowerTruncatedPowerLaw, dist.DoublyTruncatedPowerLaw)
# Laws on a closed set whose density at its edge is 0 or ∞, unless a parameter has one value.
_OPEN = (dist.Beta, dist.BetaProportion, dist.Kumaraswamy, dist.Dirichlet)
_OF_TRIALS = (dist.BinomialLogits, dist.BinomialProbs, dist.BetaBinomial)
_NEARLY = 0.02  # how far from 1 a sum may be that was rounded


def require_support(data: Weighted, q: Known) -> None:
    """Raise `InputError` where an outcome that counts lies where no member of Q has mass, or at an end of its support
    where the density is 0 or ∞, so that the likelihood has no maximum."""
    assert q.learnable is not None and q.event_shape is not None
    if not isinstance(data.y, np.ndarray):
        return
    structure, fixed = q.learnable.structure, q.learnable.fixed
    form = getattr(structure, "form", structure)
    cls, fixed = getattr(form, "cls", type(None)), fixed.get("given", fixed)
    _require_inside(data, cls, q)
    _require_interior(data, cls, q)
    if "total_count" in fixed and cls in _OF_TRIALS:
        _require_trials(data, fixed["total_count"], q)
    for ends, beyond in ((LOWER_ENDS, np.less), (UPPER_ENDS, np.greater)):
        for name in [name for name in fixed if (cls.__name__, name) in ends]:
            where = f"lies beyond the end {name}={fixed[name]} of {q.name}"
            _raise(data, beyond(data.y, fixed[name]), where, f"leave {name} free or move it")


def _require_inside(data: Weighted, cls: type, q: Known) -> None:
    if cls in _FINITE_AT_0:
        inside, name = data.y >= 0, "[0, ∞)"
    elif cls in _POSITIVE or _base(q) is constraints.positive:
        inside, name = data.y >= 0, "(0, ∞)"
    elif q.support is None or q.support.constraint is None:
        return
    elif q.support.constraint is constraints.simplex:
        return _require_simplex(data, q)
    else:
        inside, name = np.asarray(q.support.constraint(data.y)), q.support.name
    _raise(
        data, ~inside, f"lies outside the support {name} of {q.name}", "choose a family whose support contains the data"
    )


def _base(q: Known) -> Any:
    constraint = None if q.support is None else q.support.constraint
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint


def _require_simplex(data: Weighted, q: Known) -> None:
    y = data.y.astype(np.float64)
    rounding = 4.0 * np.finfo(data.y.dtype).eps * np.sqrt(y.shape[-1]) if data.y.dtype.kind == "f" else 0.0
    off = np.abs(y.sum(-1) - 1.0)
    outside = (y < 0).any(-1) | (off > max(1e-6, rounding))
    where = f"lies outside the support, the simplex, of {q.name}"
    if (y >= 0).all() and off.max() <= _NEARLY:
        _raise(data, outside, where, "divide every row by its sum, x / x.sum(-1, keepdims=True)", "its sum was rounded")
    _raise(data, outside, where, "choose a family whose support contains the data")


def _require_interior(data: Weighted, cls: type, q: Known) -> None:
    positive = cls not in _FINITE_AT_0 and (cls in _POSITIVE or _base(q) is constraints.positive)
    if not positive and cls not in _OPEN:
        return
    edge = (data.y <= 0.0) | ((data.y >= 1.0) & (cls in _OPEN and cls is not dist.Dirichlet))
    remedy = "move such rows inside, for example to (x (n − 1) + 1/2)/n of n rows, or model the ends apart"
    if positive:
        remedy = "move such rows inside, for example to half the least positive outcome, or model the zeros apart"
    where = f"lies at an end of the support {'(0, ∞) ' if positive else ''}of {q.name}, where the density is 0 or ∞"
    _raise(data, edge, where, remedy, "the likelihood has no maximum")


def _require_trials(data: Weighted, total_count: Any, q: Known) -> None:
    count = np.asarray(total_count)
    outside = (data.y < 0) | (data.y > count) | (data.y != np.round(data.y))
    where = f"is no count from 0 to total_count={count}, where every member of {q.name} has its mass"
    _raise(data, outside, where, "drop such rows, or pass a total_count that is at least the largest count")


def _raise(data: Weighted, outside: Any, where: str, remedy: str, what: str = "KL(P‖Q) would be infinite") -> None:
    """The error that names the first row that is outside and counts, if there is one."""
    bad = np.asarray(outside).reshape(len(data.y), -1).any(-1) & (data.weights > 0)
    if bad.any():
        row = int(np.argmax(bad))
        shown = np.array2string(np.asarray(data.y[row]), precision=4, threshold=6)
        raise InputError(f"p: row {row} of {data.source}, {shown}, {where}; {what}, so {remedy}")
