"""NumPyro's distributions of numbers on the host: SciPy's variables where it has them, and their quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from scipy import special, stats

from kullback.errors import InputError
from kullback.families.conditional import PRECISE
from kullback.known.adaptors.numpyro_distributions import support_of
from kullback.supervised.univariate import (
    Circular,
    Compiled,
    Frozen,
    Inflated,
    Joined,
    Line,
    Listed,
    Mixed,
    Moved,
    in_double,
    listed,
)

# A class of NumPyro's to a variable of SciPy's; `p` gives a parameter as a float64 array.
SCIPY: dict[str, Callable[..., Any]] = {
    "Normal": lambda p: stats.norm(p("loc"), p("scale")),
    "TruncatedNormal": lambda p: _truncated_normal(p("loc"), p("scale"), p("low"), p("high")),
    "Cauchy": lambda p: stats.cauchy(p("loc"), p("scale")),
    "Laplace": lambda p: stats.laplace(p("loc"), p("scale")),
    "Logistic": lambda p: stats.logistic(p("loc"), p("scale")),
    "Gumbel": lambda p: stats.gumbel_r(p("loc"), p("scale")),
    "StudentT": lambda p: stats.t(p("df"), p("loc"), p("scale")),
    "LogNormal": lambda p: stats.lognorm(p("scale"), scale=np.exp(p("loc"))),
    "Exponential": lambda p: stats.expon(scale=1.0 / p("rate")),
    "Gamma": lambda p: stats.gamma(p("concentration"), scale=1.0 / p("rate")),
    "Chi2": lambda p: stats.chi2(p("df")),
    "InverseGamma": lambda p: stats.invgamma(p("concentration"), scale=p("rate")),
    "Weibull": lambda p: stats.weibull_min(p("concentration"), scale=p("scale")),
    "HalfNormal": lambda p: stats.halfnorm(scale=p("scale")),
    "HalfCauchy": lambda p: stats.halfcauchy(scale=p("scale")),
    "Pareto": lambda p: stats.pareto(p("alpha"), scale=p("scale")),
    "Beta": lambda p: stats.beta(p("concentration1"), p("concentration0")),
    "BetaProportion": lambda p: stats.beta(p("concentration1"), p("concentration0")),
    "Gompertz": lambda p: stats.gompertz(p("concentration"), scale=1.0 / p("rate")),
    "LogUniform": lambda p: stats.loguniform(p("low"), p("high")),
    "Uniform": lambda p: stats.uniform(p("low"), p("high") - p("low")),
    "Poisson": lambda p: stats.poisson(p("rate")),
    "GammaPoisson": lambda p: stats.nbinom(p("concentration"), p("rate") / (1.0 + p("rate"))),
    "NegativeBinomial2": lambda p: stats.nbinom(p("concentration"), p("rate") / (1.0 + p("rate"))),
    "NegativeBinomialProbs": lambda p: stats.nbinom(p("total_count"), 1.0 - p("probs")),
    "NegativeBinomialLogits": lambda p: stats.nbinom(p("total_count"), special.expit(-p("logits"))),
    "BinomialProbs": lambda p: stats.binom(p("total_count"), p("probs")),
    "BinomialLogits": lambda p: stats.binom(p("total_count"), special.expit(p("logits"))),
    "BernoulliProbs": lambda p: stats.bernoulli(p("probs")),
    "BernoulliLogits": lambda p: stats.bernoulli(special.expit(p("logits"))),
    "GeometricProbs": lambda p: stats.geom(p("probs"), loc=-1),
    "GeometricLogits": lambda p: stats.geom(special.expit(p("logits")), loc=-1),
}

_ABSENT = {"low": -np.inf, "high": np.inf}  # an end that a law does not have


def line_of(d: Any) -> Line:
    """The law of a NumPyro distribution of numbers on the host; of several outputs, that of each by itself.

    Raises `InputError` for anything without an order or a distribution function.
    """
    d = getattr(d, "distribution", d)  # what `q.on(x)` returns
    d = precise(d)
    if not isinstance(d, dist.Distribution):
        raise InputError(f"q: {type(d).__name__} is not a NumPyro distribution; pass q(x), or predict_dist(X)")
    with jax.enable_x64(True):  # parameters in double precision stay so
        return _line(d, (*d.batch_shape, *d.event_shape))


def precise(d: Any) -> Any:
    """A predictive law with its parameters in double precision, where it has them; anything else as it is."""
    return d.__dict__[PRECISE]() if PRECISE in getattr(d, "__dict__", {}) else d


def _line(d: Any, shape: tuple[int, ...]) -> Line:
    while isinstance(d, dist.Independent | dist.ExpandedDistribution):
        d = d.base_dist
    if isinstance(d, dist.MixtureSameFamily | dist.MixtureGeneral):
        return _mixture(d, shape)
    found = _marginal(d) or (type(d).__name__, _parameter(d))
    if found[0] in SCIPY:
        return Frozen(SCIPY[found[0]](found[1]), shape)
    if d.event_shape:
        raise InputError(f"q: {type(d).__name__} is a law of vectors; scores by its distribution function need numbers")
    match d:
        case dist.VonMises():
            return Circular(found[1]("loc"), found[1]("concentration"), shape, found[1]("loc"))
        case dist.ZeroInflatedProbs():
            return Inflated(found[1]("gate"), _line(d.base_dist, shape))
        case dist.OrderedLogistic():
            table = np.moveaxis(np.broadcast_to(found[1]("probs"), (*shape, np.shape(d.probs)[-1])), -1, 0)
            return Listed(table, np.zeros(()), np.asarray(len(table) - 1.0))
    if type(d).__name__ in ("CategoricalProbs", "CategoricalLogits"):
        raise InputError("q: the labels of a categorical have no order; use the log score or the Brier score")
    if isinstance(d, dist.TransformedDistribution) and not d.base_dist.event_shape:
        return _transformed(d, shape)
    return _by_itself(d.expand(shape) if d.batch_shape != shape else d)


def _by_itself(d: Any) -> Line:
    """A class that SciPy does not know: counts by their probabilities, others by NumPyro's distribution function."""
    support = support_of(d)
    if support is None or not support.bounded:
        raise InputError(f"q: the outcomes of {type(d).__name__} are not numbers between two bounds")
    if support.discrete:
        return listed(
            d, *(np.broadcast_to(np.asarray(end, np.float64), d.batch_shape) for end in (support.lower, support.upper))
        )
    try:
        jax.eval_shape(d.cdf, jnp.zeros(d.batch_shape))
    except NotImplementedError as error:
        raise InputError(f"q: {type(d).__name__} has no distribution function in NumPyro; use the log score") from error
    return Compiled(d, support.lower, support.upper)


def _mixture(d: Any, shape: tuple[int, ...]) -> Line:
    extra = len(d.event_shape)
    if extra:
        raise InputError("q: a mixture over several outputs has no law of numbers; score its outputs by the log score")
    weights = np.asarray(d.mixing_distribution.probs, np.float64)
    weights = np.broadcast_to(weights / weights.sum(-1, keepdims=True), (*shape, weights.shape[-1]))
    if isinstance(d, dist.MixtureSameFamily) and isinstance(d.component_distribution, dist.VonMises):
        loc, concentration = (_array(d.component_distribution, name) for name in ("loc", "concentration"))
        lengths = special.ive(1, concentration) / special.ive(0, concentration)
        direction = np.angle((weights * lengths * np.exp(1j * loc)).sum(-1, keepdims=True))
        return Mixed(weights, Circular(loc, concentration, weights.shape, direction))
    if isinstance(d, dist.MixtureSameFamily):
        return Mixed(weights, _line(d.component_distribution, weights.shape))
    lines = [_line(part, shape) for part in d.component_distributions]
    if len({line.discrete for line in lines}) > 1:
        raise InputError("q: a mixture of counts and measurements has no inverse; mix components of one kind")
    return Mixed(weights, Joined(lines))


def _transformed(d: Any, shape: tuple[int, ...]) -> Line:
    parts = d.transforms

    def forward(x: np.ndarray) -> np.ndarray:
        return in_double(lambda parts, x: _through(parts, x), parts, x)

    def back(x: np.ndarray) -> np.ndarray:
        return in_double(lambda parts, x: _through([part.inv for part in reversed(parts)], x), parts, x)

    try:
        sign = np.prod([np.broadcast_to(np.asarray(part.sign), shape) for part in parts], axis=0)
    except NotImplementedError as error:
        raise InputError(f"q: {type(d).__name__} is made by a transform that is not monotone") from error
    return Moved(_line(d.base_dist, shape), forward, back, sign > 0)


def _through(parts: Any, x: Any) -> Any:
    for part in parts:
        x = part(x)
    return x


def _marginal(d: Any) -> tuple[str, Callable[[str], np.ndarray]] | None:
    """The law of each coordinate of a multivariate normal or Student's t."""
    if isinstance(d, dist.MultivariateStudentT):
        factor = np.asarray(d.scale_tril, np.float64)
        df = np.asarray(d.df, np.float64)[..., None]
        return "StudentT", {"df": df, "loc": _array(d, "loc"), "scale": np.sqrt((factor**2).sum(-1))}.__getitem__
    if isinstance(d, dist.MultivariateNormal):
        factor = np.asarray(d.scale_tril, np.float64)
        return "Normal", {"loc": _array(d, "loc"), "scale": np.sqrt((factor**2).sum(-1))}.__getitem__
    if isinstance(d, dist.LowRankMultivariateNormal):
        variance = (_array(d, "cov_factor") ** 2).sum(-1) + _array(d, "cov_diag")
        return "Normal", {"loc": _array(d, "loc"), "scale": np.sqrt(variance)}.__getitem__
    return None


def _truncated_normal(loc: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> Any:
    return stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)


def _parameter(d: Any) -> Callable[[str], np.ndarray]:
    return lambda name: _array(d, name)


def _array(d: Any, name: str) -> np.ndarray:
    value = getattr(d, name)
    return np.asarray(_ABSENT[name] if value is None else value, np.float64)


# Quantiles


def quantile(d: Any, level: Any) -> Float[np.ndarray, "n ..."]:
    """The quantiles of a distribution: the x with P(X ≤ x) = level; for counts the least integer with P(X ≤ x) ≥ level.

    d      a NumPyro distribution of numbers of batch shape [n]: any with a distribution function, mixtures and
           ensembles of such, and counts; of several outputs (`to_event`, MultivariateNormal) each by itself
    level  a number in [0, 1], or a sequence [m] of them

    Returns float64 [n] (and [n, outputs] for several), with the levels as a last axis [m] where `level` is a sequence.
    Level 0 is the lower end of the support and level 1 the upper. Angles (von Mises) are counted from opposite to their
    mean direction, so that all quantiles turn with the law; they may lie below −π or above π.

    NumPyro's own `icdf` is missing for counts, mixtures, Weibull and von Mises, needs TFP for Gamma, Beta and
    Student's t, and works in single precision, so it is not used: classes that SciPy knows go to its inverses, and
    others are solved to rounding by Chandrupatla's method on the distribution function in double precision.

    Raises `InputError` for a level outside [0, 1] and for a distribution that has no order (categorical) or no
    distribution function.
    """
    levels = np.asarray(level, np.float64)
    if levels.ndim > 1 or levels.size == 0 or not ((levels >= 0) & (levels <= 1)).all():
        raise InputError(f"level: {level} is not in [0, 1]; pass one probability or a sequence of them")
    line = line_of(d)
    rows = levels.reshape(-1, *(1,) * len(line.shape))
    # Above the median the upper tail is solved for, whose level 1 − level is exact.
    found = [line.quantile(1.0 - p, above=True) if p.flat[0] > 0.5 else line.quantile(p) for p in rows]
    found = [np.broadcast_to(x, line.shape) for x in found]
    return np.array(found[0]) if levels.ndim == 0 else np.stack(found, -1)
