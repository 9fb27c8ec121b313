"""The adaptor for frozen scipy.stats variables: read as NumPyro's where the two coincide, else by callback."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from numpyro.distributions import constraints

from kullback.known import numpyro_side
from kullback.known.record import Known, Moments
from kullback.known.static import Static
from kullback.known.support import from_constraint

# scipy's name -> (shapes, loc, scale) -> the same law in NumPyro, or None where the location shifts it away.
TRANSLATIONS: dict[str, Callable[..., Any]] = {
    "norm": lambda shapes, loc, scale: dist.Normal(loc, scale),
    "laplace": lambda shapes, loc, scale: dist.Laplace(loc, scale),
    "cauchy": lambda shapes, loc, scale: dist.Cauchy(loc, scale),
    "logistic": lambda shapes, loc, scale: dist.Logistic(loc, scale),
    "gumbel_r": lambda shapes, loc, scale: dist.Gumbel(loc, scale),
    "t": lambda shapes, loc, scale: dist.StudentT(shapes[0], loc, scale),
    "uniform": lambda shapes, loc, scale: dist.Uniform(loc, loc + scale),
    "expon": lambda shapes, loc, scale: dist.Exponential(1 / scale) if loc == 0 else None,
    "gamma": lambda shapes, loc, scale: dist.Gamma(shapes[0], 1 / scale) if loc == 0 else None,
    "beta": lambda shapes, loc, scale: dist.Beta(*shapes) if (loc, scale) == (0, 1) else None,
    "lognorm": lambda shapes, loc, scale: dist.LogNormal(np.log(scale), shapes[0]) if loc == 0 else None,
    "halfnorm": lambda shapes, loc, scale: dist.HalfNormal(scale) if loc == 0 else None,
    "halfcauchy": lambda shapes, loc, scale: dist.HalfCauchy(scale) if loc == 0 else None,
    "rayleigh": lambda shapes, loc, scale: dist.Weibull(scale * np.sqrt(2.0), 2.0) if loc == 0 else None,
    "weibull_min": lambda shapes, loc, scale: dist.Weibull(scale, shapes[0]) if loc == 0 else None,
    "chi2": lambda shapes, loc, scale: dist.Gamma(shapes[0] / 2, 0.5 / scale) if loc == 0 else None,
    "invgamma": lambda shapes, loc, scale: dist.InverseGamma(shapes[0], scale) if loc == 0 else None,
    "pareto": lambda shapes, loc, scale: dist.Pareto(scale, shapes[0]) if loc == 0 else None,
    "loguniform": lambda shapes, loc, scale: (
        dist.LogUniform(shapes[0] * scale, shapes[1] * scale) if loc == 0 else None
    ),
    "levy": lambda shapes, loc, scale: dist.Levy(loc, scale),
    "truncnorm": lambda shapes, loc, scale: _truncated_normal(shapes[0], shapes[1], loc, scale),
    "nbinom": lambda shapes, loc, scale: dist.NegativeBinomialProbs(shapes[0], 1 - shapes[1]) if loc == 0 else None,
    "betabinom": lambda shapes, loc, scale: dist.BetaBinomial(shapes[1], shapes[2], shapes[0]) if loc == 0 else None,
    "poisson": lambda shapes, loc, scale: dist.Poisson(shapes[0]) if loc == 0 else None,
    "bernoulli": lambda shapes, loc, scale: dist.Bernoulli(shapes[0]) if loc == 0 else None,
    "binom": lambda shapes, loc, scale: dist.Binomial(*shapes) if loc == 0 else None,
}


def _truncated_normal(a: float, b: float, loc: float, scale: float) -> Any:
    """Between a and b standard deviations from the location, either of which may be infinite."""
    low, high = (None if np.isinf(end) else loc + end * scale for end in (a, b))
    return dist.TruncatedNormal(loc, scale, low=low, high=high)


def accepts(x: Any) -> bool:
    return type(x).__module__.startswith("scipy.stats") and hasattr(x, "rvs")


def known(frozen: Any) -> Known:
    """What is known of a frozen scipy.stats variable."""
    name = f"scipy.stats.{getattr(getattr(frozen, 'dist', None), 'name', type(frozen).__name__)}"
    translated = _translate(frozen)
    if translated is not None:
        return numpyro_side.known(translated)
    if not hasattr(frozen, "support"):
        return _multivariate(frozen, name)
    discrete = hasattr(frozen, "pmf")
    low, high = frozen.support()
    constraint = constraints.integer_interval(low, high) if discrete else constraints.interval(low, high)
    evaluate = frozen.logpmf if discrete else frozen.logpdf
    finite = discrete and np.isfinite([low, high]).all() and high - low < numpyro_side.MAX_ATOMS
    return Known(
        name=name,
        event_shape=(),
        sampler=partial(_draw, frozen),
        log_prob=Partial(_callback, Static((evaluate, 0))),
        support=from_constraint(constraint),
        atoms=np.arange(low, high + 1).astype(np.int32) if finite else None,
        moments=lambda: Moments(np.asarray(frozen.mean()), np.reshape(frozen.var(), (1, 1))),
        entropy=frozen.entropy,
        differentiable=False,
    )


def _translate(frozen: Any) -> Any:
    family = getattr(frozen, "dist", None)
    if family is None or family.name not in TRANSLATIONS:
        return None
    shapes, loc, scale = family._parse_args(*frozen.args, **frozen.kwds)
    return TRANSLATIONS[family.name](shapes, loc, scale)


def _multivariate(frozen: Any, name: str) -> Known:
    mean = getattr(frozen, "mean", None)
    if hasattr(frozen, "cov_object") and mean is not None:
        return numpyro_side.known(dist.MultivariateNormal(np.asarray(mean), covariance_matrix=np.asarray(frozen.cov)))
    event_shape = np.shape(frozen.rvs(random_state=np.random.default_rng(0)))
    evaluate = getattr(frozen, "logpdf", None) or frozen.logpmf
    return Known(
        name=name,
        event_shape=event_shape,
        sampler=partial(_draw, frozen),
        log_prob=Partial(_callback, Static((evaluate, len(event_shape)))),
        differentiable=False,
    )


def _draw(frozen: Any, key: jax.Array, n: int) -> np.ndarray:
    seed = np.asarray(jax.random.key_data(key)).ravel()
    return np.asarray(frozen.rvs(size=n, random_state=np.random.default_rng(seed)))


def _callback(static: Static, x: Any) -> jax.Array:
    evaluate, event_ndim = static.value
    x = jnp.asarray(x)
    shape = jax.ShapeDtypeStruct(x.shape[: x.ndim - event_ndim], jnp.result_type(float))

    def host(values: Any) -> np.ndarray:
        # SciPy warns of log 0, which is −∞ and meant.
        with np.errstate(all="ignore"):
            return np.asarray(evaluate(np.asarray(values)), shape.dtype)

    return jax.pure_callback(host, shape, x, vmap_method="expand_dims")
