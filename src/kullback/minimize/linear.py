"""Linear models that a linear solver settles: least squares, and least absolute deviations as a linear programme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpyro.distributions as dist
from scipy import sparse
from scipy.optimize import linprog

from kullback.errors import FitError
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.dense import Dense
from kullback.families.learnable import Learnable, Params
from kullback.known import Known
from kullback.minimize.fitting import Report, fit_from, prior_in_words
from kullback.minimize.weighted import Weighted, can_be_weighted, require_support, weighted
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

_BLOCK = 2**21  # numbers that are standardised at once
_MOST_ROWS = 10_000  # for the linear programme, which takes more than a minute beyond


@dataclass(frozen=True)
class LeastSquares(Rule):
    """Minimise H(P, Q_θ) for a linear model with normal outcomes of given scale: ordinary least squares, or ridge.

    −log N(y; xᵀb, s²) = (y − xᵀb)²/2s² + C, and a Gaussian prior of scale σ on the standardised weights adds
    ½‖b‖²/σ². The equations are solved from the triangular factor of the rows, taken block by block in double: forming
    XᵀX would square the condition number, and the whole of X need not lie in memory.
    """

    name: ClassVar[str] = "least squares"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = E_P[(y − xᵀb)²]/2s² + C − H(P): least squares, and ridge under the prior"
    needs_p: ClassVar[str] = "pairs"
    needs_q: ClassVar[str] = "a linear model of normal outcomes with a given scale"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.0
    source: ClassVar[str] = "Gauss (1809), art. 179; Hoerl and Kennard (1970), eq. 2.1; Golub (1965) for the factor"
    aliases: ClassVar[tuple[str, ...]] = ("OLS", "linear regression", "ridge regression")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        found = _linear(p, q, dist.Normal)
        assert q.learnable is not None
        return found or Applies(dropped=("H(P)",), note="in closed form" + prior_in_words(q.learnable))

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        data, learnable, scale = _ready(p, q)
        offset, gain = _output_scaling(learnable)
        factor, target = _triangle(data, learnable.fixed, offset, gain)
        columns = []
        for j in range(target.shape[1]):
            rows, right = factor, target[:, j]
            if "prior_scale" in learnable.fixed:
                strength = scale[j] / (gain[j] * float(learnable.fixed["prior_scale"]))
                rows = np.concatenate([rows, strength * np.eye(rows.shape[1])[:-1]])
                right = np.concatenate([right, np.zeros(rows.shape[1] - 1)])
            columns.append(np.linalg.lstsq(rows, right)[0])
        found = np.stack(columns, axis=1)

        def losses(residual: np.ndarray) -> np.ndarray:
            return 0.5 * (residual / scale) ** 2 + np.log(scale) + 0.5 * np.log(2 * np.pi)

        return _fit(q, data, found, losses, Status.CLOSED_FORM)


@dataclass(frozen=True)
class LeastAbsoluteDeviations(Rule):
    """Minimise H(P, Q_θ) for a linear model with Laplace outcomes of given scale: median regression.

    −log Laplace(y; xᵀb, s) = |y − xᵀb|/s + C has kinks where residuals are 0, and at the optimum as many are 0 as there
    are coefficients, so that gradients stop short of it; as a linear programme it is exact.
    """

    name: ClassVar[str] = "least absolute deviations"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = E_P|y − xᵀb|/s + C − H(P): a linear programme"
    needs_p: ClassVar[str] = f"at most {_MOST_ROWS:,} pairs"
    needs_q: ClassVar[str] = "a linear model of Laplace outcomes with a given scale, without a prior"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.5
    source: ClassVar[str] = "Charnes, Cooper and Ferguson (1955); Koenker and Bassett (1978), eq. 3.1"
    aliases: ClassVar[tuple[str, ...]] = ("LAD", "median regression", "L1 regression")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if (missing := _linear(p, q, dist.Laplace)) is not None:
            return missing
        assert q.learnable is not None and p.sample is not None
        if "prior_scale" in q.learnable.fixed:
            return Missing("the weights have a Gaussian prior, which is not linear")
        if p.sample.size > _MOST_ROWS:
            return Missing(f"{p.sample.size:,} rows take a linear programme too long", f"at most {_MOST_ROWS:,} rows")
        return Applies(dropped=("H(P)",))

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        data, learnable, scale = _ready(p, q)
        offset, gain = _output_scaling(learnable)
        x = _design(data.x, learnable.fixed)
        y = (data.y.reshape(data.size, -1) - offset) / gain
        found = np.stack([_median_regression(x, column, data.weights) for column in y.T], axis=1)

        def losses(residual: np.ndarray) -> np.ndarray:
            return np.abs(residual) / scale + np.log(2 * scale)

        return _fit(q, data, found, losses, Status.CONVERGED)


def _linear(p: Known, q: Known, cls: type) -> Missing | None:
    """Why this is no linear model with outcomes of the class and a given scale; None where it is one."""
    assert q.learnable is not None
    structure = q.learnable.structure
    if not isinstance(structure, ConditionalStructure) or not isinstance(structure.network, Dense):
        return Missing("Q is no linear model")
    if not structure.network.linear or structure.network.labels is not None:
        return Missing("Q is no linear model of real inputs")
    if structure.components or structure.form.cls is not cls or structure.form.names != ("loc",):
        return Missing(f"Q has no {cls.__name__} outcomes of given scale", f"dist.{cls.__name__}, scale=1.")
    if q.learnable.members > 1:
        return Missing("the members of an ensemble would all be the same")
    source = can_be_weighted(p)
    if isinstance(source, Missing):
        return source
    return None if p.sample is not None and p.sample.inputs is not None else Missing("P is no sample of pairs")


def _ready(p: Known, q: Known) -> tuple[Weighted, Learnable, np.ndarray]:
    assert q.learnable is not None and q.event_shape is not None
    data = weighted(p)
    require_support(data, q)
    outputs = int(np.prod(q.event_shape))
    given = np.broadcast_to(np.asarray(q.learnable.fixed["given"]["scale"], np.float64), q.event_shape)
    return data, q.learnable, given.reshape(outputs)


def _output_scaling(learnable: Learnable) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(learnable.fixed["offset"], np.float64), np.asarray(learnable.fixed["gain"], np.float64)


def _design(x: Any, fixed: Params) -> np.ndarray:
    """Standardised inputs and a column of ones, in double: [n, d + 1]."""
    scaled = ((x - fixed["x_mean"]) / fixed["x_scale"]).reshape(len(x), -1)
    return np.concatenate([scaled, np.ones((len(x), 1))], axis=1)


def _triangle(data: Weighted, fixed: Params, offset: Any, gain: Any) -> tuple[np.ndarray, np.ndarray]:
    """R and Qᵀy of the rows, each times the root of its count, a block at a time."""
    assert data.x is not None
    width = int(np.prod(data.x.shape[1:])) + 1
    step = max(width + 1, _BLOCK // width)
    held = np.zeros((0, width + len(offset)))
    for start in range(0, data.size, step):
        part = slice(start, start + step)
        y = (data.y[part].reshape(-1, len(offset)) - offset) / gain
        root = np.sqrt(data.weights[part] * data.total)[:, None]
        held = np.linalg.qr(np.concatenate([held, root * np.hstack([_design(data.x[part], fixed), y])]), mode="r")
    factor = np.asarray(held)
    return factor[:, :width], factor[:, width:]


def _median_regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """b that minimises Σ w |y − xᵀb|: residuals are u − v with u, v ≥ 0, and Σ w (u + v) is least."""
    counted = weights > 0
    x, y, weights = x[counted], y[counted], weights[counted] / weights.max()
    n, width = x.shape
    eye = sparse.eye_array(n, format="csc")
    equal = sparse.hstack([sparse.csc_array(x), eye, -eye], format="csc")
    cost = np.concatenate([np.zeros(width), weights, weights])
    bounds = np.array([[-np.inf, np.inf]] * width + [[0.0, np.inf]] * (2 * n))
    solved = linprog(cost, A_eq=equal, b_eq=y, bounds=bounds, method="highs")
    if not solved.success:
        raise FitError(f"least absolute deviations: the linear programme was not solved ({solved.message.strip()})")
    return solved.x[:width]


def _fit(q: Known, data: Weighted, found: np.ndarray, losses: Any, status: Status) -> Fit:
    """The `Fit` at coefficients [d + 1, outputs] of the standardised problem, with its mean loss by blocks."""
    assert q.learnable is not None and data.x is not None
    offset, gain = _output_scaling(q.learnable)
    total, step = 0.0, max(1, _BLOCK // len(found))
    for start in range(0, data.size, step):
        part = slice(start, start + step)
        predicted = offset + gain * (_design(data.x[part], q.learnable.fixed) @ found)
        residual = data.y[part].reshape(-1, len(offset)) - predicted
        total += float(data.weights[part] @ losses(residual).sum(1))
    free = [{"weight": found[:-1], "bias": found[-1]}]
    report = Report(Estimate(total, quantity="H(P, Q)", dropped=("H(P)",)), {"train_nll": total})
    return fit_from(q, free, status, report)
