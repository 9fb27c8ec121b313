"""Which of scipy.stats' laws of one number NumPyro has, under what name and in which parameters.

Where SciPy has only a scale, so has NumPyro, and a location is a shift of the whole; the scale is always a parameter of
the law that is shifted, so that two laws of one family and one location differ by parameters alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jax.tree_util import Partial
from jax.typing import ArrayLike
from numpyro.distributions import Distribution
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import AffineTransform, PowerTransform

from kullback.errors import InputError

Number = float | np.ndarray  # a parameter of one distribution, or of a batch of them [*batch]


class Moved(NamedTuple):
    """loc + scale · x for x of a law `base`, and the same as one law."""

    base: Distribution
    loc: Number
    scale: Number
    law: Distribution


def translated(name: str, shapes: tuple[Number, ...], loc: Number, scale: Number) -> Distribution | Moved | None:
    """The law `name` of scipy.stats as NumPyro's, or as one that is `Moved`; None where NumPyro has none.

    shapes, loc, scale  SciPy's parameters, numbers or arrays [*batch]
    """
    if name in LOCATED:
        return LOCATED[name](*shapes, loc, scale)
    if name in SCALED:
        return _moved(SCALED[name](*shapes, scale), loc, 1.0)
    if name in ON_THE_UNIT_INTERVAL:
        a, b, low, width = ON_THE_UNIT_INTERVAL[name](*shapes)
        return _moved(dist.Beta(a, b), loc + low * scale, width * scale)
    if name in REFLECTED:
        return REFLECTED[name](*shapes, loc, scale)
    if name in COUNTS:
        start, law = COUNTS[name]
        return law(*shapes) if np.all(np.asarray(loc) == start) else None
    return None


def _moved(d: Distribution, loc: Number, scale: Number) -> Distribution | Moved | None:
    """loc + scale · x; the law itself where that is x. Of a folded law NumPyro would move what was folded: None."""
    if np.all(np.asarray(loc) == 0) and np.all(np.asarray(scale) == 1):
        return d
    if type(d) is dist.FoldedDistribution:
        return None
    shift = AffineTransform(loc, scale, domain=cast("Constraint", d.support))
    return Moved(base=d, loc=loc, scale=scale, law=dist.TransformedDistribution(d, shift))


def _mirrored(d: Distribution, loc: Number = 0.0) -> Distribution | Moved | None:
    """loc − x."""
    return _moved(d, loc, -1.0)


def _power(d: Distribution, exponent: Number) -> Distribution:
    return dist.TransformedDistribution(d, PowerTransform(exponent))


def _truncated_normal(a: Number, b: Number, loc: Number, scale: Number) -> Distribution | None:
    """Between a and b standard deviations from the location, either of which may be infinite."""
    low, high = (None if np.isinf(end).all() else loc + end * scale for end in (a, b))
    if any(np.isinf(end).any() and not np.isinf(end).all() for end in (a, b)):
        return None
    return (
        dist.Normal(loc, scale)
        if low is None and high is None
        else dist.TruncatedNormal(loc, scale, low=low, high=high)
    )


def _von_mises(kappa: Number, loc: Number, scale: Number) -> Distribution:
    """On the circle, where SciPy's density with a scale and its draws are of two laws."""
    if np.any(np.asarray(scale) != 1):
        raise InputError(
            "scipy.stats.vonmises: a scale has no meaning on the circle; leave it out, or use vonmises_line"
        )
    return dist.VonMises(loc, kappa)


def _von_mises_line(kappa: Number, loc: Number, scale: Number) -> Distribution | Moved | None:
    return _moved(dist.VonMises(0.0, kappa), loc, scale)


def _counts(n: Number) -> int | np.ndarray:
    """Numbers of trials as integers, which NumPyro counts up to."""
    return int(n) if np.ndim(n) == 0 else np.asarray(n).astype(int)


def _discrete_uniform(low: Number, high: Number) -> Distribution | None:
    whole = (np.asarray(low) == np.round(low)).all() and (np.asarray(high) == np.round(high)).all()
    return dist.DiscreteUniform(_counts(low), _counts(high)) if whole else None


# With a location and a scale of their own: (*shapes, loc, scale) -> the law.
LOCATED: dict[str, Callable[..., Any]] = {
    "cauchy": dist.Cauchy,
    "gumbel_r": dist.Gumbel,
    "laplace": dist.Laplace,
    "laplace_asymmetric": lambda kappa, loc, scale: dist.AsymmetricLaplace(loc, scale, kappa),
    "levy": dist.Levy,
    "logistic": dist.Logistic,
    "lomax": lambda c, loc, scale: _moved(dist.Pareto(scale, c), loc - scale, 1.0),
    "norm": dist.Normal,
    "randint": lambda low, high, loc, scale: _discrete_uniform(low + loc, high + loc - 1),
    "t": dist.StudentT,
    "truncnorm": _truncated_normal,
    "uniform": lambda loc, scale: dist.Uniform(loc, loc + scale),
    "vonmises": _von_mises,
    "vonmises_line": _von_mises_line,
}

# On half a line, with a scale: (*shapes, scale) -> the law.
SCALED: dict[str, Callable[..., Any]] = {
    "burr": lambda c, d, scale: dist.Dagum(d, c, scale),
    "chi": lambda df, scale: _power(dist.Gamma(0.5 * df, 0.5 / scale**2), 0.5),
    "chi2": lambda df, scale: dist.Gamma(0.5 * df, 0.5 / scale),
    "erlang": lambda a, scale: dist.Gamma(a, 1.0 / scale),
    "expon": lambda scale: dist.Exponential(1.0 / scale),
    "fisk": lambda c, scale: dist.Dagum(np.ones_like(c)[()], c, scale),
    "foldcauchy": lambda c, scale: dist.FoldedDistribution(dist.Cauchy(c * scale, scale)),
    "foldnorm": lambda c, scale: dist.FoldedDistribution(dist.Normal(c * scale, scale)),
    "gamma": lambda a, scale: dist.Gamma(a, 1.0 / scale),
    "gengamma": lambda a, c, scale: _power(dist.Gamma(a, scale ** -np.asarray(c, float)[()]), 1.0 / c),
    "gibrat": lambda scale: dist.LogNormal(np.log(scale), 1.0),
    "gompertz": lambda c, scale: dist.Gompertz(c, 1.0 / scale),
    "halfcauchy": dist.HalfCauchy,
    "halflogistic": lambda scale: dist.FoldedDistribution(dist.Logistic(np.zeros_like(scale)[()], scale)),
    "halfnorm": dist.HalfNormal,
    "invgamma": dist.InverseGamma,
    "invweibull": lambda c, scale: _power(dist.Weibull(1.0 / scale, c), -1.0),
    "loglaplace": lambda c, scale: dist.TransformedDistribution(
        dist.Laplace(np.log(scale), 1.0 / c), dist.transforms.ExpTransform()
    ),
    "lognorm": lambda s, scale: dist.LogNormal(np.log(scale), s),
    "loguniform": lambda a, b, scale: dist.LogUniform(a * scale, b * scale),
    "maxwell": lambda scale: _power(dist.Gamma(1.5, 0.5 / scale**2), 0.5),
    "mielke": lambda k, s, scale: dist.Dagum(k / s, s, scale),
    "nakagami": lambda nu, scale: _power(dist.Gamma(nu, nu / scale**2), 0.5),
    "pareto": lambda b, scale: dist.Pareto(scale, b),
    "rayleigh": lambda scale: dist.Weibull(scale * np.sqrt(2.0), 2.0),
    "reciprocal": lambda a, b, scale: dist.LogUniform(a * scale, b * scale),
    "weibull_min": lambda c, scale: dist.Weibull(scale, c),
}

# Beta laws of low + width · x: (*shapes) -> (a, b, low, width).
ON_THE_UNIT_INTERVAL: dict[str, Callable[..., Any]] = {
    "arcsine": lambda: (0.5, 0.5, 0.0, 1.0),
    "beta": lambda a, b: (a, b, 0.0, 1.0),
    "powerlaw": lambda a: (a, np.ones_like(a)[()], 0.0, 1.0),
    "rdist": lambda c: (0.5 * c, 0.5 * c, -1.0, 2.0),
    "semicircular": lambda: (1.5, 1.5, -1.0, 2.0),
}

# Those that are a power of a gamma variable: (*shapes, scale) -> (a, c, s) where (x/s)^c is one of shape a.
POWERS: dict[str, Callable[..., Any]] = {
    "chi": lambda df, scale: (0.5 * df, 2.0, np.sqrt(2.0) * scale),
    "gengamma": lambda a, c, scale: (a, c, scale),
    "invweibull": lambda c, scale: (1.0, -c, scale),
    "maxwell": lambda scale: (1.5, 2.0, np.sqrt(2.0) * scale),
    "nakagami": lambda nu, scale: (nu, 2.0, scale / np.sqrt(nu)),
}


def log_prob_of_power(name: str, shapes: tuple[Number, ...], loc: Number, scale: Number) -> Partial | None:
    """The log-density of a power of a gamma variable; None for other laws.

    log |c| − log Γ(a) + a c log z − log x − z^c with z = x/s: where z^c overflows, or underflows to 0, the density of
    the gamma variable there would be no number, or 0.
    """
    return Partial(_log_prob_of_power, *POWERS[name](*shapes, scale), loc) if name in POWERS else None


def _log_prob_of_power(a: Number, c: Number, s: Number, loc: Number, y: ArrayLike) -> jax.Array:
    x = jnp.asarray(y) - loc
    inside = (x > 0) & (x < jnp.inf)
    log_x = jnp.log(jnp.where(inside, x, 1.0))
    t = c * (log_x - jnp.log(s))
    constant = jnp.log(jnp.abs(c)) - gammaln(a)
    at_0 = jnp.where(a * c == 1.0, constant - jnp.log(s), jnp.where((a * c > 1.0) | (c < 0), -jnp.inf, jnp.inf))
    return jnp.where(inside, constant + a * t - log_x - jnp.exp(t), jnp.where(x == 0, at_0, -jnp.inf))


# Those of −x: (*shapes, loc, scale) -> the law.
REFLECTED: dict[str, Callable[..., Any]] = {
    "gumbel_l": lambda loc, scale: _mirrored(dist.Gumbel(-loc, scale)),
    "levy_l": lambda loc, scale: _mirrored(dist.Levy(-loc, scale)),
    "weibull_max": lambda c, loc, scale: _mirrored(dist.Weibull(scale, c), loc),
}

# Counts: the location at which they begin where NumPyro's do, and (*shapes) -> the law.
COUNTS: dict[str, tuple[int, Callable[..., Any]]] = {
    "bernoulli": (0, dist.BernoulliProbs),
    "betabinom": (0, lambda n, a, b: dist.BetaBinomial(a, b, _counts(n))),
    "betanbinom": (0, lambda n, a, b: dist.BetaNegativeBinomial(b, a, n)),
    "binom": (0, lambda n, p: dist.BinomialProbs(p, _counts(n))),
    "geom": (-1, dist.GeometricProbs),
    "nbinom": (0, lambda n, p: dist.NegativeBinomialProbs(n, 1.0 - p)),
    "planck": (0, lambda rate: dist.GeometricProbs(-np.expm1(-rate))),
    "poisson": (0, dist.Poisson),
    "yulesimon": (-1, lambda alpha: dist.BetaNegativeBinomial(np.ones_like(alpha)[()], alpha, np.ones_like(alpha)[()])),
}
