"""Where a regression by a network starts: at the linear model of its outcomes, which the network then corrects.

A network has to find out that y = xᵀb + noise is linear, and for few rows that is most of what they can tell. For
outcomes of a location family the offset of the outputs therefore becomes affine, c + Aᵀx, with A by ridge regression:
its strength is the one of the least leave-one-out error (Allen 1974, PRESS; infinite is among them, which leaves the
marginal law), and rows far from the rest count less (Huber 1964), since one of them would turn the plane. What is left,
by leaving each row out, gives the scale to start at and the unit in which the network corrects the location.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from kullback.families.conditional_structure import FARTHEST, ConditionalStructure
from kullback.families.glm_starts import glm_start
from kullback.families.initialisation.location_scale import Hints
from kullback.families.initialisation.output_scaling import output_scaling
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.families.learnable import Params

# Classes with q(y + c; loc + c) = q(y; loc), of outcomes on the whole line.
TRANSLATED = frozenset({
    "Normal", "Laplace", "AsymmetricLaplace", "SoftLaplace", "Logistic", "Gumbel", "Cauchy", "StudentT",
    "MultivariateNormal", "LowRankMultivariateNormal", "MultivariateStudentT",
})  # fmt: skip
LOGGED = frozenset({"LogNormal"})  # the same of the logarithms of outcomes
WIDEST = 1024  # inputs, beyond which a linear model takes seconds
STRENGTHS = np.append(10.0 ** np.arange(-6.0, 3.0, 0.5), np.inf)  # of the ridge, for each row
FAR = 4.0  # times the median absolute residual, as a standard deviation: what lies farther counts less
FINEST = 1e-3  # of the outcomes' scale: the least unit of what is left


def locations(structure: Any, classes: frozenset[str] = TRANSLATED) -> np.ndarray | None:
    """Which of a network's outputs are the location, [components or 1, outcomes]; None for other classes."""
    if not isinstance(structure, ConditionalStructure):
        return None
    form, count = structure.form, structure.components
    if form.cls.__name__ not in classes or "loc" not in form.names:
        return None
    start, places = 0, np.zeros(0, int)
    for name in form.names:
        size = int(np.prod(form.free_shape(name)))
        if name == "loc":
            places = start + np.arange(size)
        start += size
    return count + start * np.arange(max(count, 1))[:, None] + places


@dataclass(frozen=True)
class Plane:
    """The part c + Aᵀx of a location that is not learned: outcomes less it are learned from in its stead.

    slope  [inputs, outcomes], None where inputs are labels or there is none; centre [outcomes]; mean, scale of inputs
    """

    slope: np.ndarray | None
    centre: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def less(self, x: Any, y: np.ndarray) -> np.ndarray:
        """Outcomes y [n, *event] at inputs x [n, ...] less the plane, in double."""
        left = np.asarray(y, np.float64).reshape(len(y), -1) - self.centre
        if self.slope is not None:
            # Not by a matrix product, whose last digits depend on how many rows are asked for.
            left -= np.einsum("nd,dk->nk", scaled(x, self.mean, self.scale), self.slope)
        return left.reshape(y.shape)


def without_plane(structure: Any, fixed: Params) -> tuple[Params, Plane | None]:
    """The fixed parameters for outcomes less the plane, and the plane; none where outcomes are not translated.

    Single precision then rounds what is left of the outcomes, and not the outcomes, however far from 0 they lie.
    """
    where = locations(structure)
    if where is None:
        return fixed, None
    offset = np.array(fixed["offset"], np.float64)
    centre = offset[where].mean(0)
    offset[where] -= centre
    slope = np.asarray(fixed["slope"], np.float64)[:, where[0]] if "slope" in fixed else None
    plane = Plane(slope, centre, np.asarray(fixed["x_mean"]), np.asarray(fixed["x_scale"]))
    return {**{name: value for name, value in fixed.items() if name != "slope"}, "offset": offset}, plane


def scaled(x: Any, mean: Any, scale: Any) -> Float[np.ndarray, "n d"]:
    """Standardised inputs as a network that is not linear sees them, in double and in one row each."""
    inside = np.clip((np.asarray(x, np.float64) - mean) / scale, -FARTHEST, FARTHEST)
    return inside.reshape(len(inside), -1)


def affine_start(structure: ConditionalStructure, given: Params, scaling: Params, x: Any, y: Any, w: Any) -> Params:
    """What takes the place of offset, gain and reach, with the `slope` [inputs, width] of standardised inputs.

    x, y, w  rows [n, ...] in the user's units and their weights; empty where no linear model can stand
    """
    inputs = int(np.prod(np.shape(x)[1:]))
    if structure.network.labels is not None or structure.network.linear or inputs > WIDEST:
        return {}
    where = locations(structure, TRANSLATED | LOGGED)
    if where is None:
        seen = scaled(x, scaling["x_mean"], scaling["x_scale"])
        started = glm_start(structure, given, scaling, seen, y, w)
        return {name: _rounded(value, np.asarray(scaling["gain"])) for name, value in started.items()}
    logged = structure.form.cls.__name__ in LOGGED
    y = np.log(np.asarray(y, np.float64)) if logged else np.asarray(y, np.float64)
    seen = scaled(x, scaling["x_mean"], scaling["x_scale"])
    slope, left = ridge(seen, y.reshape(len(y), -1), np.asarray(w, np.float64))
    around = _around(structure, given, y, left.reshape(y.shape), w, logged)
    gain = _rounded(around["gain"], around["gain"])
    offset = _rounded(around["offset"], gain)
    return {**around, "gain": gain, "offset": offset, "slope": _rounded(_placed(structure, where, slope), gain)}


def _rounded(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Values to about a millionth of their unit: the last digits of a sum depend on how a library splits it, and the
    same data are to give the same fit to the last bit."""
    step = 2.0 ** (np.floor(np.log2(unit)) - 20)
    return np.round(values / step) * step


def _around(
    structure: ConditionalStructure, given: Params, y: np.ndarray, left: np.ndarray, w: Any, logged: bool
) -> Params:
    """Offset, gain and reach of the outputs for what is `left` [n, *event] of outcomes y, or of their logarithms."""
    marginal = mean_and_scale(y, w)[1]
    mean, scale = mean_and_scale(left, w)
    least = np.maximum(scale, FINEST * marginal)
    # Residuals that are all but 0 are spread out, so that no start is a point.
    rows = mean + (left - mean) * (least / scale)
    if logged:
        rows = np.exp(rows)
        mean, least = mean_and_scale(rows, w)
    hints = Hints(mean, least, rows=rows, weights=np.asarray(w) / np.sum(w))
    return output_scaling(structure, hints, given)


def _placed(structure: ConditionalStructure, where: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The slope [inputs, outcomes] among the outputs [inputs, width], the same for each component."""
    form, count = structure.form, structure.components
    one = sum(int(np.prod(form.free_shape(name))) for name in form.names)
    placed = np.zeros((len(slope), count + one * max(count, 1)))
    for row in where:
        placed[:, row] = slope
    return placed


def ridge(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n k"], w: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "n k"]]:
    """The slope of y on x, and what is left of each row's y where that row is left out, its mean included."""
    w = w / w.mean()
    slope, left = _leave_one_out(x, y, w)
    for _ in range(5):
        usual = np.median(np.abs(left - np.median(left, 0)), 0) / 0.6745
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.nanmax(np.abs(left - np.median(left, 0)) / (FAR * usual), axis=1, initial=0.0)
        if not np.isfinite(far).all() or (far <= 1.0).all():
            break
        slope, left = _leave_one_out(x, y, w / np.maximum(far, 1.0))
    return slope, left


def _leave_one_out(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # A power of 2 as the unit of outcomes rounds nothing, and squares of the largest are finite.
    unit = np.exp2(np.floor(np.log2(np.abs(y).max() or 1.0)))
    y, total = y / unit, w.sum()
    x_mean, y_mean = w @ x / total, w @ y / total
    x, y = x - x_mean, y - y_mean
    values, vectors = np.linalg.eigh((x * w[:, None]).T @ x)
    values = np.maximum(values, 0.0)
    along = x @ vectors
    right, squares = (along * w[:, None]).T @ y, np.square(along)
    best, chosen = np.inf, (np.zeros((x.shape[1], y.shape[1])), y)
    for strength in STRENGTHS:
        shrunk = 1.0 / (values + strength * total)
        coefficients = shrunk[:, None] * right
        leverage = w * (1.0 / total + squares @ shrunk)
        left = (y - along @ coefficients) / np.maximum(1.0 - leverage, 1e-9)[:, None]
        error = float(np.sum((w @ np.square(left)) / np.maximum(w @ np.square(y), 1e-300)))
        if error <= best:
            best, chosen = error, (vectors @ coefficients, left)
    slope, left = chosen
    return unit * slope, unit * (left + (y_mean - x_mean @ slope))
