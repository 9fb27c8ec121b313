"""Parameters at which a class of distributions has about the location and the scale of given outcomes.

Each function takes `Hints` and the parameters held fixed, and returns constrained parameters by matching moments of
the outcomes, of their logarithms or of their directions: good enough to start from, and elementary on the host. Some
likelihoods have further optima near the family's limit laws, which no such start leads to: those have starts of their
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kullback.families.initialisation.location_scale import Hints
from kullback.families.initialisation.scaling import mean_and_scale, middle_and_spread

Values = dict[str, Any]
Start = Callable[[Hints, Mapping[str, Any]], Values]

EULER = 0.5772156649015329
DEGREES = 5.0  # Student's t: heavier tails than the normal, with a variance
UNDERDISPERSED = 100.0  # concentration over mean of a negative binomial that is nearly Poisson
LEAST_SHARE = 0.02
LEAST_LABEL_SHARE = 1e-6  # of a label that never came
NEAREST_UNIFORM = 0.87  # the scale at which tanh of a normal is nearest to uniform, in KL


def _positive(hints: Hints) -> np.ndarray:
    return np.maximum(np.abs(hints.mean), 1e-6 * hints.scale)


def _location_scale(factor: float, shift: float = 0.0) -> Start:
    """A law whose standard deviation is scale/factor and whose mean is loc + shift·scale."""

    def start(hints: Hints, fixed: Mapping[str, Any]) -> Values:
        scale = factor * hints.scale
        return {"loc": hints.mean - shift * scale, "scale": scale}

    return start


def _student(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    df = np.asarray(fixed.get("df", DEGREES), np.float64)
    factor = np.sqrt(np.where(df > 2.1, 1.0 - 2.0 / np.maximum(df, 2.1), 0.2))
    return {"df": np.full(hints.mean.shape, DEGREES), "loc": hints.mean, "scale": factor * hints.scale}


def _multivariate_student(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"df": np.asarray(DEGREES), "loc": hints.mean, "scale_tril": _diagonal(_student(hints, fixed)["scale"])}


def _multivariate_normal(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"loc": hints.mean, "scale_tril": _diagonal(hints.scale)}


def _diagonal(scale: np.ndarray) -> np.ndarray:
    return scale[..., None] * np.eye(scale.shape[-1])


def _uniform(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    half = np.sqrt(3.0) * hints.scale
    return {"low": hints.mean - half, "high": hints.mean + half}


def _gamma(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean = _positive(hints)
    concentration = np.square(mean / hints.scale)
    return {"concentration": concentration, "rate": fixed.get("concentration", concentration) / mean}


def _inverse_gamma(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean = _positive(hints)
    concentration = np.square(mean / hints.scale) + 2.0
    return {"concentration": concentration, "rate": mean * (concentration - 1.0)}


def _beta(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, total = _share_and_total(hints)
    return {"concentration1": mean * total, "concentration0": (1.0 - mean) * total}


def _beta_proportion(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, total = _share_and_total(hints)
    return {"mean": mean, "concentration": total}


def _share_and_total(hints: Hints) -> tuple[np.ndarray, np.ndarray]:
    mean = np.clip(hints.mean, 1e-4, 1.0 - 1e-4)
    return mean, np.maximum(mean * (1.0 - mean) / np.square(hints.scale) - 1.0, 0.1)


def _dirichlet(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, total = _share_and_total(hints)
    return {"concentration": mean * np.median(total)}


def _log_normal(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, scale = hints.logs
    return {"loc": mean, "scale": scale}


def _weibull(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    # log y is a Gumbel law of minima: its variance is π²/(6 k²) and its mean log(scale) − γ/k.
    mean, scale = hints.logs
    concentration = np.asarray(fixed.get("concentration", np.pi / (np.sqrt(6.0) * scale)))
    return {"concentration": concentration, "scale": np.exp(mean + EULER / concentration)}


def _pareto(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, scale = hints.logs
    return {"alpha": 1.0 / scale, "scale": np.exp(mean - scale)}


def _rate_of_mean(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"rate": _positive(hints)}


def _exponential(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"rate": 1.0 / _positive(hints)}


def _half_normal(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"scale": np.hypot(hints.mean, hints.scale)}


def _concentration(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Of a negative binomial: variance = mean + mean²/concentration."""
    excess = np.maximum(variance - mean, 1e-30)
    return np.where(
        variance > mean, np.clip(np.square(mean) / excess, 1e-2, 1e4), UNDERDISPERSED * np.maximum(mean, 1.0)
    )


def _negative_binomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean = _positive(hints)
    return {"mean": mean, "concentration": _concentration(mean, np.square(hints.scale))}


def _gamma_poisson(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    values = _negative_binomial(hints, fixed)
    concentration = fixed.get("concentration", values["concentration"])
    return {"concentration": concentration, "rate": concentration / values["mean"]}


def _negative_binomial_of_trials(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    values = _negative_binomial(hints, fixed)
    count = np.asarray(fixed.get("total_count", values["concentration"]), np.float64)
    odds = values["mean"] / count
    return {"total_count": count, "logits": np.log(odds), "probs": odds / (1.0 + odds)}


def _binomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    share = np.clip(hints.mean / np.maximum(fixed["total_count"], 1), 1e-4, 1.0 - 1e-4)
    return {"probs": share, "logits": np.log(share) - np.log1p(-share)}


def _beta_binomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    # The variance is that of the binomial law times (total + n)/(total + 1).
    n = np.maximum(np.asarray(fixed["total_count"], np.float64), 1.0)
    share = np.clip(hints.mean / n, 1e-4, 1.0 - 1e-4)
    ratio = np.square(hints.scale) / (n * share * (1.0 - share))
    over = ratio > 1.0
    total = np.where(over, (n - ratio) / np.where(over, ratio - 1.0, 1.0), UNDERDISPERSED * n)
    total = np.clip(total, 0.1, UNDERDISPERSED * n)
    return {"concentration1": share * total, "concentration0": (1.0 - share) * total}


def _dirichlet_multinomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    each = _beta_binomial(hints, {"total_count": hints.mean.sum(-1, keepdims=True)})
    total = np.median(each["concentration1"] + each["concentration0"], -1, keepdims=True)
    return {"concentration": total * each["concentration1"] / (each["concentration1"] + each["concentration0"])}


def _bernoulli(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return _binomial(hints, {"total_count": 1})


def _geometric(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean = _positive(hints)
    return {"logits": -np.log(mean), "probs": 1.0 / (1.0 + mean)}


def _zero_inflated_poisson(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    # The variance over the mean is 1 + gate · rate, and the mean (1 − gate) rate.
    mean = _positive(hints)
    rate = mean + np.maximum(np.square(hints.scale) / mean - 1.0, 0.0)
    most = np.maximum(hints.zeros, LEAST_SHARE)
    gate = np.clip(1.0 - mean / rate, LEAST_SHARE, np.minimum(most, 1.0 - LEAST_SHARE))
    gate = np.asarray(fixed.get("gate", gate))
    return {"gate": gate, "rate": mean / (1.0 - gate)}


def _zero_inflated_negative_binomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    mean, variance = _positive(hints), np.square(hints.scale)
    plain = _concentration(mean, variance)
    expected = (plain / (plain + mean)) ** plain
    gate = np.clip((hints.zeros - expected) / np.maximum(1.0 - expected, 1e-6), LEAST_SHARE, 0.9)
    gate = np.asarray(fixed.get("gate", gate))
    rate = mean / (1.0 - gate)
    inner = (variance + np.square(mean)) / (1.0 - gate) - np.square(rate)
    return {"gate": gate, "rate": rate, "concentration": _concentration(rate, inner)}


def _ordered_logistic(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    if hints.shares is None:
        return {}
    below = np.cumsum(hints.shares)[:-1]
    return {"predictor": np.zeros(()), "cutpoints": np.log(below) - np.log1p(-below)}


def _von_mises(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    # Mardia and Jupp (2000), equation 5.3.10: about the inverse of I₁(κ)/I₀(κ) = R.
    angle, r = hints.direction
    r = np.clip(r, 0.0, 1.0 - 1e-6)
    middle = -0.4 + 1.39 * r + 0.43 / (1.0 - r)
    high = 1.0 / np.maximum(r**3 - 4.0 * r**2 + 3.0 * r, 1e-6)
    low = 2.0 * r + r**3 + 5.0 * r**5 / 6.0
    concentration = np.where(r < 0.53, low, np.where(r < 0.85, middle, high))
    return {"loc": angle, "concentration": np.clip(concentration, 1e-2, 1e5)}


def _half_cauchy(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    return {"scale": np.exp(hints.logs[0])}


def _tanh_normal(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    """That of the outcomes pulled back to the line; without outcomes nearly the uniform law on the box."""
    if hints.rows is None or hints.weights is None:
        # The hints of a box are its middle and a quarter of its width.
        ends = {"low": hints.mean - 1.9 * hints.scale, "high": hints.mean + 1.9 * hints.scale}
        return {"loc": np.zeros(hints.mean.shape), "scale": np.full(hints.mean.shape, NEAREST_UNIFORM), **ends}
    low, high = fixed.get("low", -1.0), fixed.get("high", 1.0)
    share = np.clip(2.0 * (hints.rows - low) / (high - low) - 1.0, -0.999, 0.999)
    mean, scale = mean_and_scale(np.arctanh(share), hints.weights)
    return {"loc": mean, "scale": scale}


def _levy(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    """Of heavy tails the moments say nothing: 1/(x − loc) is the square of a normal law of precision `scale`."""
    if hints.rows is None or hints.weights is None:
        return {"loc": hints.mean - 2.0 * hints.scale, "scale": hints.scale}
    least, most = hints.rows.min(0), hints.rows.max(0)
    middle, _ = middle_and_spread(hints.rows, hints.weights)
    width = np.where(middle > least, middle - least, np.where(most > least, most - least, 1.0))
    loc = np.asarray(fixed.get("loc", least - 0.1 * width))
    return {"loc": loc, "scale": 0.455 * (middle - loc)}


def _multinomial(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    """The average shares of the labels, whatever the totals are."""
    total = hints.mean.sum(-1, keepdims=True)
    share = np.maximum(hints.mean / np.where(total > 0, total, 1.0), LEAST_LABEL_SHARE)
    share = share / share.sum(-1, keepdims=True)
    return {"logits": np.log(share), "probs": share}


def _binomial_given_total(hints: Hints, fixed: Mapping[str, Any]) -> Values:
    """The logit of a success, the first of two labels."""
    return {"logits": np.subtract(*_multinomial(hints, fixed)["logits"])}


STARTS: dict[str, Start] = {
    "Levy": _levy,
    "Normal": _location_scale(1.0),
    "TruncatedNormal": _location_scale(1.0),
    "Uniform": _uniform,
    "Laplace": _location_scale(np.sqrt(0.5)),
    "AsymmetricLaplace": _location_scale(np.sqrt(0.5)),
    "SoftLaplace": _location_scale(2.0 / np.pi),
    "Logistic": _location_scale(np.sqrt(3.0) / np.pi),
    "Gumbel": _location_scale(np.sqrt(6.0) / np.pi, EULER),
    "Cauchy": _location_scale(0.5),
    "StudentT": _student,
    "MultivariateStudentT": _multivariate_student,
    "MultivariateNormal": _multivariate_normal,
    "Gamma": _gamma,
    "InverseGamma": _inverse_gamma,
    "Beta": _beta,
    "BetaProportion": _beta_proportion,
    "Dirichlet": _dirichlet,
    "LogNormal": _log_normal,
    "Weibull": _weibull,
    "Pareto": _pareto,
    "Poisson": _rate_of_mean,
    "Exponential": _exponential,
    "HalfNormal": _half_normal,
    "HalfCauchy": _half_cauchy,
    "NegativeBinomial2": _negative_binomial,
    "NegativeBinomialLogits": _negative_binomial_of_trials,
    "NegativeBinomialProbs": _negative_binomial_of_trials,
    "GammaPoisson": _gamma_poisson,
    "BinomialLogits": _binomial,
    "BinomialProbs": _binomial,
    "BetaBinomial": _beta_binomial,
    "DirichletMultinomial": _dirichlet_multinomial,
    "DirichletMultinomialGivenTotal": _dirichlet_multinomial,
    **dict.fromkeys(("MultinomialLogits", "MultinomialProbs", "MultinomialGivenTotal"), _multinomial),
    "BinomialGivenTotal": _binomial_given_total,
    "BernoulliLogits": _bernoulli,
    "BernoulliProbs": _bernoulli,
    "GeometricLogits": _geometric,
    "GeometricProbs": _geometric,
    "ZeroInflatedPoisson": _zero_inflated_poisson,
    "ZeroInflatedNegativeBinomial": _zero_inflated_negative_binomial,
    "OrderedLogistic": _ordered_logistic,
    "VonMises": _von_mises,
    "TanhNormal": _tanh_normal,
}


# Starts near the limit laws of a family


_FAR, _NARROW = 50.0, 0.05


def _power_law(hints: Hints) -> dict[str, Any]:
    """Dagum's law with sharpness → ∞ and concentration times sharpness = c: that ∝ x^(c − 1) up to the scale."""
    mean, _ = hints.logs
    assert hints.rows is not None
    most = hints.rows.max(0)
    c = 1.0 / np.maximum(np.log(most) - mean, _NARROW)
    return {"concentration": 1.0 / _FAR, "sharpness": _FAR * c, "scale": most}


def _frechet(hints: Hints) -> dict[str, Any]:
    """Dagum's law with concentration → ∞: Fréchet's, by which −log x is a Gumbel law."""
    mean, spread = hints.logs
    width = np.sqrt(6.0) * np.maximum(spread, _NARROW) / np.pi
    return {
        "concentration": _FAR,
        "sharpness": 1.0 / width,
        "scale": np.exp(mean - EULER * width - width * np.log(_FAR)),
    }


LIMIT_STARTS: dict[str, tuple[Callable[[Hints], dict[str, Any]], ...]] = {"Dagum": (_power_law, _frechet)}
