"""How the parameters of a family move with the units of the outcomes: y = shift + scale · z, coordinate by coordinate.

A fit to y is the moved fit to z, so that data are fitted in units of their own, where neither single precision nor a
stopping rule depends on the scale that they come in. The density moves by the Jacobian: log q(y) = log q(z) − Σ log
scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.families.closure import (
    INVERSE,
    LENGTH,
    LOG,
    PLACE,
    RATE,
    ROOT,
    SQUARE,
    VARIANCE,
    is_moved,
    kinds_of,
)
from kullback.families.form import Form
from kullback.families.initialisation.scaling import less, middle_and_spread, quantiles
from kullback.families.learnable import Params
from kullback.families.mixture import MixtureStructure

Values = Mapping[str, Any]


# Laws whose scale follows the farthest outcome; of others it may be that of the nearest ones.
_LIGHT_TAILED = (dist.Normal, dist.Logistic, dist.Gumbel, dist.SoftLaplace, dist.MultivariateNormal)
_MOST, _FEW_UNITS = 1e100, 8.0


@dataclass(frozen=True)
class Units:
    """The place 0 and the length 1 of standardised outcomes, in the units of the data: both of the event's shape."""

    shift: Float[np.ndarray, "*event"]
    scale: Float[np.ndarray, "*event"]

    @property
    def log_jacobian(self) -> float:
        """Σ log scale: what −log q(z) lacks of −log q(y)."""
        return float(np.log(self.scale).sum())

    def standardized(self, y: Any) -> np.ndarray:
        """Outcomes [n, *event] in these units, float64."""
        return less(y, self.shift) / self.scale

    @property
    def rounding(self) -> str:
        """What to say where a double rounds the place 0 to more than a thousandth of the length 1; empty elsewhere."""
        lost = np.spacing(np.abs(self.shift)) / 2 / self.scale
        if not (lost > 1e-3).any():
            return ""
        return (
            f"the outcomes lie so far from 0 that a double rounds a location by up to {float(lost.max()):.2g} of their "
            "spread: the parameters are rounded, and the objective is that before; fit the outcomes less an offset"
        )

    def into(self, cls: type, values: Values) -> dict[str, Any]:
        """The parameters of the law of z at which that of y has the parameters `values`."""
        return self._each(cls, values, _INTO)

    def back(self, cls: type, values: Values) -> dict[str, Any]:
        """The parameters of the law of y, from those of the law of z."""
        return self._each(cls, values, _BACK)

    def _each(self, cls: type, values: Values, ways: Mapping[int, Any]) -> dict[str, Any]:
        kinds = kinds_of(cls) or {}
        a, b = self.shift, self.scale
        return {
            name: ways[kinds[name]](np.asarray(value, np.float64), a, b) if name in kinds else value
            for name, value in values.items()
        }


_INTO = {
    PLACE: lambda v, a, b: (v - a) / b,
    LENGTH: lambda v, a, b: v / b,
    RATE: lambda v, a, b: v * b,
    LOG: lambda v, a, b: v - np.log(b),
    ROOT: lambda v, a, b: v / b[..., None],
    SQUARE: lambda v, a, b: v / (b[..., None] * b[..., None, :]),
    INVERSE: lambda v, a, b: v * (b[..., None] * b[..., None, :]),
    VARIANCE: lambda v, a, b: v / np.square(b),
}
_BACK = {
    PLACE: lambda v, a, b: a + b * v,
    LENGTH: lambda v, a, b: v * b,
    RATE: lambda v, a, b: v / b,
    LOG: lambda v, a, b: v + np.log(b),
    ROOT: lambda v, a, b: v * b[..., None],
    SQUARE: lambda v, a, b: v * (b[..., None] * b[..., None, :]),
    INVERSE: lambda v, a, b: v / (b[..., None] * b[..., None, :]),
    VARIANCE: lambda v, a, b: v * np.square(b),
}


def form_of(structure: Any) -> Form | None:
    """The form of a family, or of the components of a mixture; None for another structure."""
    if isinstance(structure, MixtureStructure):
        return structure.form
    return structure if isinstance(structure, Form) else None


def units_for(structure: Any, rows: np.ndarray, weights: np.ndarray) -> Units | None:
    """Units in which these outcomes have their median at 0, or at 1 where 0 has a meaning, and a spread of about 1.

    rows [m, *event] with positive weights [m]: some of the outcomes are enough. None for a family whose outcomes have
    units of their own, such as counts, shares and angles.
    """
    form = form_of(structure)
    if form is None or kinds_of(form.cls) is None:
        return None
    if is_moved(form.cls):
        shift, scale = middle_and_spread(rows, weights)
        rows = np.asarray(rows, np.float64)
        if form.cls in _LIGHT_TAILED:
            # Outcomes so far out decide the scale, and their squares are numbers of double precision in their units.
            far = np.abs(rows / _FEW_UNITS - shift / _FEW_UNITS).max(0)
            scale = np.where(far / _MOST > scale, far, scale)
        return Units(shift, scale)
    rows = np.asarray(rows, np.float64)
    middle = np.abs(quantiles(np.abs(rows), weights, (0.5,))[0])
    mean = np.tensordot(weights, np.abs(rows), 1) / weights.sum()
    scale = np.where(middle > 0, middle, np.where(mean > 0, mean, 1.0))
    if form.cls is dist.HalfNormal:
        scale = np.where(np.abs(rows).max(0) / _MOST > scale, np.abs(rows).max(0), scale)
    return Units(np.zeros(scale.shape), scale)


def free_into(structure: Any, within: Any, units: Units, free: Params) -> Any:
    """Free parameters of the law of z, in the structure `within`, from those of the law of y in `structure`."""
    return _moved(structure, within, units.into, free)


def free_back(within: Any, structure: Any, units: Units, free: Params) -> Any:
    """Free parameters of the law of y in `structure`, from those of the law of z in the structure `within`."""
    return _moved(within, structure, units.back, free)


def _moved(source: Any, target: Any, way: Any, free: Params) -> Any:
    if isinstance(source, MixtureStructure):
        return {**free, "components": _moved(source.form, target.form, way, free["components"])}
    kinds = kinds_of(source.cls) or {}
    moved = way(source.cls, source.constrain({name: free[name] for name in source.names if name in kinds}))
    return {**free, **target.unconstrain(moved)}
