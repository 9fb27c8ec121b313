"""Draws as functions of fixed noise: x = push(θ, ε), differentiable in the parameters.

Normal noise is a scrambled Sobol sequence in antithetic pairs, whitened so that its mean is 0 and its covariance the
identity: then a Gaussian fitted to a quadratic log-density is exact at any number of draws. Laws whose draws come by
rejection (the gamma family) are left to stochastic gradients: at a fixed key they jump as the parameters move.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.special import ndtri

from kullback.families.form import Form
from kullback.families.learnable import Structure
from kullback.families.mixture import MixtureStructure

LOCATION_SCALE = (dist.Normal, dist.LogNormal)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_EDGE = 2.0**-24  # single precision has no number between this and the ends of [0, 1]

BY_QUANTILE = (
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.Exponential,
    dist.HalfNormal,
    dist.HalfCauchy,
    dist.Uniform,
)


@dataclass(frozen=True)
class Push:
    """How a structure's draws follow from noise.

    draw   (d, noise) -> x, of one component
    log_q  (d, noise, x) -> log q(x), from the noise where that spares inverting the push
    noise  (rng, n, event_shape) -> points that cover the law evenly, to fit by
    fresh  (rng, n, event_shape) -> independent noise, to judge by
    middle the noise in the middle of the law
    """

    draw: Callable[[Any, Any], Any]
    log_q: Callable[[Any, Any, Any], Any]
    noise: Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray]
    fresh: Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray]
    middle: float = 0.0


def push_for(structure: Structure) -> Push | None:
    """The push of a structure, or None where its draws are not smooth functions of the parameters."""
    form = structure.form if isinstance(structure, MixtureStructure) else structure
    if not isinstance(form, Form):
        return None
    if form.cls in LOCATION_SCALE:
        return Push(_shift_and_scale, _log_shifted, normal_noise, _independent_normal)
    if form.cls is dist.MultivariateNormal:
        return Push(_affine, _log_affine, normal_noise, _independent_normal)
    if form.cls in BY_QUANTILE:
        return Push(_quantile, _log_quantile, uniform_noise, _independent_uniform, 0.5)
    return None


def weighted_draws(push: Push, d: Any, noise: Any) -> tuple[Any, Any, Any]:
    """Draws x [m, *event], log q(x) [m], and weights [m] that sum to 1; a mixture contributes every component."""
    n = noise.shape[0]
    if isinstance(d, dist.MixtureSameFamily):
        x = push.draw(d.component_distribution, noise[:, None])
        weights = jnp.broadcast_to(d.mixing_distribution.probs / n, (n, d.mixture_size))
        x = x.reshape(-1, *d.event_shape)
        return x, d.log_prob(x), weights.reshape(-1)
    x = push.draw(d, noise)
    return x, push.log_q(d, noise, x), jnp.full(n, 1.0 / n)


def _base(d: Any) -> Any:
    while isinstance(d, dist.Independent):
        d = d.base_dist
    return d


def _shift_and_scale(d: Any, noise: Any) -> Any:
    base = _base(d)
    x = base.loc + base.scale * noise
    return jnp.exp(x) if isinstance(base, dist.LogNormal) else x


def _log_shifted(d: Any, noise: Any, x: Any) -> Any:
    base = _base(d)
    log_q = -0.5 * jnp.square(noise) - jnp.log(base.scale) - _HALF_LOG_2PI
    log_q = log_q - jnp.log(x) if isinstance(base, dist.LogNormal) else log_q
    return log_q.sum(tuple(range(1, noise.ndim)))


def _affine(d: Any, noise: Any) -> Any:
    base = _base(d)
    return base.loc + jnp.matmul(base.scale_tril, noise[..., None])[..., 0]


def _log_affine(d: Any, noise: Any, x: Any) -> Any:
    log_det = jnp.log(jnp.diagonal(_base(d).scale_tril, axis1=-2, axis2=-1))
    return (-0.5 * jnp.square(noise) - log_det - _HALF_LOG_2PI).sum(tuple(range(1, noise.ndim)))


def _quantile(d: Any, noise: Any) -> Any:
    return _base(d).icdf(noise)


def _log_quantile(d: Any, noise: Any, x: Any) -> Any:
    return d.log_prob(x)


def normal_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise [n, *event]: Sobol points in antithetic pairs, whitened."""
    d = int(np.prod(event_shape))
    half = ndtri(_sobol(rng, n // 2, d))
    second = half.T @ half / len(half)
    if len(half) >= 2 * d:
        half = np.linalg.solve(np.linalg.cholesky(second), half.T).T
    return np.concatenate([half, -half]).reshape(-1, *event_shape)


def uniform_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise [n, *event]: Sobol points u and their reflections 1 − u."""
    half = _sobol(rng, n // 2, int(np.prod(event_shape)))
    return np.concatenate([half, 1 - half]).reshape(-1, *event_shape)


def _independent_normal(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=(n, *event_shape))


def _independent_uniform(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(rng.uniform(size=(n, *event_shape)), _EDGE, 1 - _EDGE)


def _sobol(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    from scipy.stats import qmc  # a third of a second, which only fixed draws should pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        points = qmc.Sobol(d, rng=rng).random(n)
    return np.clip(points, _EDGE, 1 - _EDGE)
