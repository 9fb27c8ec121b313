"""Where a regression by a network starts: at a linear model of its outcomes, which the network then corrects.

A network has to find out that y = xᵀb + noise is linear, and few rows tell little more than that. For outcomes of a
location family the offset of the outputs therefore becomes affine, c + Aᵀx, with A by ridge regression: its strength
is the one of the least leave-one-out error (Allen 1974, PRESS; an infinite one, which leaves the marginal law, is
among them), and rows far from the rest count less (Huber 1964), since one of them would tilt the plane. The
leave-one-out residuals give the scale to start at and the unit in which the network corrects the location.

For outcomes of other families the start is a generalised linear model of each parameter, fitted by `glm`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import betaln, gammaln

from kullback.families.conditional_structure import FARTHEST, ConditionalStructure
from kullback.families.initialisation import glm
from kullback.families.initialisation.location_scale import Hints
from kullback.families.initialisation.output_scaling import output_scaling
from kullback.families.initialisation.scaling import less, mean_and_scale
from kullback.families.learnable import Params

# Classes with q(y + c; loc + c) = q(y; loc), of outcomes on the whole line.
TRANSLATED = frozenset(
    {
        "Normal",
        "Laplace",
        "AsymmetricLaplace",
        "SoftLaplace",
        "Logistic",
        "Gumbel",
        "Cauchy",
        "StudentT",
        "MultivariateNormal",
        "LowRankMultivariateNormal",
        "MultivariateStudentT",
    }
)
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
        left = less(np.asarray(y).reshape(len(y), -1), self.centre)
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
    plane = Plane(slope=slope, centre=centre, mean=np.asarray(fixed["x_mean"]), scale=np.asarray(fixed["x_scale"]))
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
    """Values rounded to about a millionth of their unit: the last digits of a sum depend on how a library splits it,
    and the same data must give the same fit to the last bit."""
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


# Generalised linear models: which outputs of a network they start, by the class of distributions


Free = dict[str, tuple[Any, Any]]  # of a parameter: its free value at the mean input, and its slope [inputs, *]
_SHAPES = (-6.0, 14.0)  # logarithms of shapes and concentrations
_MOST_TOTALS = 64  # labels, beyond which a linear model of them takes seconds
# Of labels the network is trained without the linear model, which is then worth no more time than the training.
_MOST_PRODUCTS = 2e8


def glm_start(structure: ConditionalStructure, given: Params, scaling: Params, x: np.ndarray, y: Any, w: Any) -> Params:
    """`offset` and `slope` of outputs that start at a generalised linear model; empty where the class has none.

    x  standardised inputs [n, inputs] in one row each; y outcomes [n, *event]; w weights of any sum
    """
    form = structure.form
    found = STARTS.get(form.cls.__name__)
    w = np.asarray(w, np.float64)
    counted = w > 0
    if found is None or structure.components or counted.sum() < 2:
        return {}
    outcomes = np.asarray(y, np.float64)[counted]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        started = found(x[counted], outcomes, w[counted] / w[counted].mean(), given)
    if started is None or not all(np.isfinite(part).all() for pair in started.values() for part in pair):
        return {}
    return _network_parameters(structure, scaling, started, x.shape[1])


def _network_parameters(structure: ConditionalStructure, scaling: Params, started: Free, inputs: int) -> Params:
    """Free values among the outputs [width], in the order of the form's parameters."""
    offset, slope, at = np.array(scaling["offset"], np.float64), [], 0
    for name in structure.form.names:
        size = int(np.prod(structure.form.free_shape(name)))
        value, along = started.get(name, (offset[at : at + size], np.zeros((inputs, size))))
        offset[at : at + size] = np.broadcast_to(np.ravel(value), size)
        slope.append(np.broadcast_to(along, (inputs, size)))
        at += size
    return {"offset": offset, "slope": np.hstack(slope)}


def _flat(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1)


def _apart(x: np.ndarray, y: np.ndarray, w: np.ndarray, loss: Callable[[np.ndarray], glm.Loss]) -> list[glm.Fitted]:
    """A model for each column of y [n, k]."""
    return [glm.ridged(x, column[:, None], w, loss(column)) for column in y.T]


def _linear(models: list[glm.Fitted], sign: float = 1.0, shift: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """shift + sign · (c + xᵀb) of each model."""
    centre = np.concatenate([m.centre for m in models])
    return shift + sign * centre, sign * np.hstack([m.slope for m in models])


def _profiled(log_likelihood: Callable[[float], Any], w: np.ndarray) -> float:
    """The logarithm of a shape that makes rows most probable at the predictors that they have left out."""
    low, high = _SHAPES
    found = minimize_scalar(
        lambda log_k: -float(w @ log_likelihood(np.exp(log_k))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(found.x)


def _given(given: Mapping[str, Any], name: str) -> np.ndarray | None:
    return np.log(np.asarray(given[name], np.float64)) if name in given else None


def _poisson(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    return {"rate": _linear(_apart(x, _flat(y), w, lambda _: glm.Counts()))}


def _negative_binomials(x: np.ndarray, y: np.ndarray, w: np.ndarray, log_k: Any) -> tuple[list[glm.Fitted], np.ndarray]:
    """Models of means, and logarithms of concentrations: given, or in two rounds those of the largest likelihood."""
    known = [None] * y.shape[1] if log_k is None else list(np.broadcast_to(log_k, y.shape[1]))
    found = [_one_negative_binomial(x, column[:, None], w, log) for column, log in zip(y.T, known, strict=True)]
    return [model for model, _ in found], np.array([log for _, log in found])


def _one_negative_binomial(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, log_k: float | None
) -> tuple[glm.Fitted, float]:
    if log_k is not None:
        return glm.ridged(x, y, w, glm.Counts(np.exp(log_k))), log_k
    model, log = glm.ridged(x, y, w, glm.Counts()), 0.0
    for _ in range(2):
        log = _profiled(partial(_log_negative_binomial, y[:, 0], np.exp(model.left_out[:, 0])), w)
        model = glm.ridged(x, y, w, glm.Counts(np.exp(log)))
    return model, log


def _log_negative_binomial(y: np.ndarray, mean: np.ndarray, k: float) -> np.ndarray:
    counted = -betaln(k, y + 1.0) - np.log(k + y)
    return counted - k * np.log1p(mean / k) - y * np.log1p(k / mean)


def _negative_binomial(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    models, log_k = _negative_binomials(x, _flat(y), w, _given(given, "concentration"))
    return {"mean": _linear(models), "concentration": (log_k, 0.0)}


def _gamma_poisson(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    models, log_k = _negative_binomials(x, _flat(y), w, _given(given, "concentration"))
    return {"rate": _linear(models, -1.0, log_k), "concentration": (log_k, 0.0)}


def _negative_binomial_of_trials(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    models, log_k = _negative_binomials(x, _flat(y), w, _given(given, "total_count"))
    return {"logits": _linear(models, 1.0, -log_k), "total_count": (log_k, 0.0)}


def _geometric(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    return {"logits": _linear(_apart(x, _flat(y), w, lambda _: glm.Counts(1.0)), -1.0)}


def _exponential(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    return {"rate": _linear(_apart(x, _flat(y), w, lambda _: glm.Times()), -1.0)}


def _gammas(x: np.ndarray, y: np.ndarray, w: np.ndarray, log_k: Any) -> tuple[list[glm.Fitted], np.ndarray]:
    """Models of the means of gamma laws, and logarithms of their shapes."""
    models = _apart(x, y, w, lambda _: glm.Times())
    if log_k is not None:
        return models, np.broadcast_to(log_k, y.shape[1])

    def log_gamma(column: np.ndarray, log_mean: np.ndarray, k: float) -> np.ndarray:
        ratio = np.log(column) - log_mean
        return k * np.log(k) - gammaln(k) + k * ratio - k * np.exp(ratio)

    pairs = zip(y.T, models, strict=True)
    logs = [_profiled(lambda k, c=c, m=m: log_gamma(c, m.left_out[:, 0], k), w) for c, m in pairs]
    return models, np.array(logs)


def _gamma(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    if (y <= 0).any():
        return None
    models, log_k = _gammas(x, _flat(y), w, _given(given, "concentration"))
    return {"concentration": (log_k, 0.0), "rate": _linear(models, -1.0, log_k)}


def _inverse_gamma(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    """That of 1/y, which has a gamma law."""
    return None if (y <= 0).any() else _gamma(x, 1.0 / y, w, given)


def _half_normal(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    """E y² = scale², and y² has a gamma law of shape ½."""
    return {"scale": _linear(_apart(x, np.square(_flat(y)), w, lambda _: glm.Times()), 0.5)}


def _bernoulli(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free:
    return {"logits": _linear(_apart(x, _flat(y), w, lambda _: glm.Shares()))}


def _binomial(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    total = np.asarray(given["total_count"], np.float64)
    if total.size != 1 or total.ravel()[0] < 1:
        return None
    n = float(total.ravel()[0])
    return {"logits": _linear(_apart(x, _flat(y) / n, w, lambda _: glm.Shares(n)))}


def _categorical(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    """The labels that came; those that did not keep the share that they start at."""
    labels, code = np.unique(y.astype(np.int64), return_inverse=True)
    return None if y.ndim > 1 or len(labels) < 2 else _labels(x, np.eye(len(labels))[code], w)


def _labels(x: np.ndarray, counts: np.ndarray, w: np.ndarray) -> Free | None:
    if counts.ndim != 2 or counts.shape[1] > _MOST_TOTALS or (counts.sum(0) == 0).any():
        return None
    if glm.products(x, counts.shape[1]) > _MOST_PRODUCTS:
        return None
    return {"logits": _linear([glm.ridged(x, counts, w, glm.Labels())])}


def _multinomial(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    return _labels(x, y, w)


def _binomial_given_total(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    """The logit of a success, which is the difference of those of two labels."""
    if (found := _labels(x, y, w) if y.ndim == 2 else None) is None:
        return None
    centre, slope = found["logits"]
    return {"logits": (centre[:1] - centre[1:], slope[:, :1] - slope[:, 1:])}


def _beta(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    """The logit of the mean, half of it from each side, and the sum of both concentrations at the mean input."""
    flat = _flat(y)
    if given or (flat <= 0).any() or (flat >= 1).any():
        return None
    models, logs = _shares(x, flat, w)
    half = [0.5 * np.abs(m.centre) for m in models]  # c₁ + c₀ = k where both are k e^{±η/2}/(e^{η/2} + e^{−η/2})
    shift = logs - np.logaddexp(np.concatenate(half), -np.concatenate(half))
    return {"concentration1": _linear(models, 0.5, shift), "concentration0": _linear(models, -0.5, shift)}


def _beta_proportion(x: np.ndarray, y: np.ndarray, w: np.ndarray, given: Mapping[str, Any]) -> Free | None:
    flat = _flat(y)
    if given or (flat <= 0).any() or (flat >= 1).any():
        return None
    models, logs = _shares(x, flat, w)
    return {"mean": _linear(models), "concentration": (logs, 0.0)}


def _shares(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[list[glm.Fitted], np.ndarray]:
    """Models of the logits of mean shares, and logarithms of the sums of concentrations."""

    def log_beta(column: np.ndarray, logit: np.ndarray, k: float) -> np.ndarray:
        p = 1.0 / (1.0 + np.exp(-logit))
        a, b = k * p, k * (1.0 - p)
        return (a - 1.0) * np.log(column) + (b - 1.0) * np.log1p(-column) - betaln(a, b)

    models = _apart(x, y, w, lambda _: glm.Shares(parts=0))
    pairs = zip(y.T, models, strict=True)
    return models, np.array([_profiled(lambda k, c=c, m=m: log_beta(c, m.left_out[:, 0], k), w) for c, m in pairs])


STARTS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, Mapping[str, Any]], Free | None]] = {
    "Poisson": _poisson,
    "NegativeBinomial2": _negative_binomial,
    "NegativeBinomialLogits": _negative_binomial_of_trials,
    "GammaPoisson": _gamma_poisson,
    "GeometricLogits": _geometric,
    "Exponential": _exponential,
    "Gamma": _gamma,
    "InverseGamma": _inverse_gamma,
    "HalfNormal": _half_normal,
    "BernoulliLogits": _bernoulli,
    "BinomialLogits": _binomial,
    "BinomialGivenTotal": _binomial_given_total,
    "CategoricalLogits": _categorical,
    "MultinomialGivenTotal": _multinomial,
    "Beta": _beta,
    "BetaProportion": _beta_proportion,
}
