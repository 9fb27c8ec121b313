"""Draws as functions of fixed noise, x = push(θ, ε), differentiable in the parameters; and the laws of that noise.

The gamma law and what is made of it follow from quantiles: by rejection, draws at a fixed key would jump as the
parameters move. Normal noise is a scrambled Sobol sequence in antithetic pairs, whitened so that its mean is 0 and its
covariance the identity: then a Gaussian fitted to a quadratic log-density is exact at any number of draws.

Where log p falls like a wall in the tail of q, the divergence is that of events which a few hundred draws do not meet.
Of noise that reaches, every other row has one coordinate that is twice as wide, or of the arcsine law, each in turn.
The rows are then of a mixture of laws, and weighted as such (Hesterberg 1995, on defensive mixtures): the weights are
at most 2 in any dimension, since one coordinate is stretched at a time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.special
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from kullback.distributions import TanhNormal
from kullback.distributions.log_density import log_prob
from kullback.families.form import Form
from kullback.families.learnable import Structure
from kullback.families.mixture import MixtureStructure
from kullback.numerics.incomplete_gamma import log_gamma_quantile

FURTHER = 2.0  # how much wider normal noise is that reaches
_EDGE = 2.0**-24  # single precision has no number between this and the ends of [0, 1]


@dataclass(frozen=True)
class Noise:
    """A law of noise.

    normal  whether it is normal; uniform otherwise
    count   how many numbers there are for each of the outcome, along a last axis; one, without that axis, if 0
    reach   whether half of the rows reach into the tails
    """

    normal: bool
    count: int = 0
    reach: bool = False

    def reaching(self) -> Noise:
        """The same law, by rows that meet events too rare for as many draws of the law itself."""
        return replace(self, reach=True)

    def even(self, rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
        """Points that cover the law evenly, to fit by."""
        shape = (*event_shape, self.count) if self.count else event_shape
        return self._stretched((normal_noise if self.normal else uniform_noise)(rng, n, shape))

    def fresh(self, rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws, to judge by."""
        shape = (n, *event_shape, self.count) if self.count else (n, *event_shape)
        if self.normal:
            return self._stretched(rng.normal(size=shape))
        return self._stretched(np.clip(rng.uniform(size=shape), _EDGE, 1 - _EDGE))

    def weights(self, noise: Float[Any, "n ..."]) -> Float[Any, " n"]:
        """The density of the law over that of the rows, whose mean is 1; on the host for noise that lies there."""
        xp: Any = np if isinstance(noise, np.ndarray) else jnp
        if not self.reach:
            return xp.ones(len(noise))
        x = noise.reshape(len(noise), -1)
        if self.normal:
            ratio = xp.exp(0.5 * (1.0 - FURTHER**-2) * xp.square(x)) / FURTHER
        else:
            ratio = 1.0 / (np.pi * xp.sqrt(x * (1.0 - x)))
        return 2.0 / (1.0 + xp.mean(ratio, 1))

    def _stretched(self, noise: np.ndarray) -> np.ndarray:
        if not self.reach:
            return noise
        n = len(noise)
        rows = noise.reshape(n, -1)
        # By places within one half of the rows: of even noise the others are their reflections.
        place = np.arange(n) % max(n // 2, 1)
        moved = np.flatnonzero(place % 2)
        along = (place[moved] // 2) % rows.shape[1]
        x = rows[moved, along]
        rows[moved, along] = FURTHER * x if self.normal else _arcsine(x)
        return rows.reshape(noise.shape)


def _arcsine(u: np.ndarray) -> np.ndarray:
    """The law of density 1/(π √(u (1 − u))), from its quantiles."""
    return np.clip(np.square(np.sin(0.5 * np.pi * u)), _EDGE, 1 - _EDGE)


def normal_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise [n, *event]: Sobol points in antithetic pairs, whitened."""
    d = int(np.prod(event_shape))
    half = scipy.special.ndtri(_sobol(rng, n // 2, d))
    second = half.T @ half / len(half)
    if len(half) >= 2 * d:
        half = np.linalg.solve(np.linalg.cholesky(second), half.T).T
    return np.concatenate([half, -half]).reshape(-1, *event_shape)


def uniform_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise [n, *event]: Sobol points u and their reflections 1 − u, whose every coordinate is a grid.

    The ranks of the points are kept and their places taken from the midpoints (k + ½)/n: of one number the mean is then
    the midpoint rule.
    """
    half = _sobol(rng, n // 2, int(np.prod(event_shape)))
    half = (np.argsort(np.argsort(half, 0), 0) + 0.25) / (n // 2)
    return np.concatenate([half, 1 - half]).reshape(-1, *event_shape)


def _sobol(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    from scipy.stats import qmc  # a third of a second, which only fixed draws should pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        points = qmc.Sobol(d, rng=rng).random(n)
    return np.clip(points, _EDGE, 1 - _EDGE)


_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

BY_QUANTILE = (
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.Exponential,
    dist.HalfNormal,
    dist.HalfCauchy,
    dist.Uniform,
    dist.AsymmetricLaplace,
    dist.SoftLaplace,
    dist.Gompertz,
    dist.Pareto,
    dist.LogUniform,
)


@dataclass(frozen=True)
class Push:
    """How a structure's draws follow from noise.

    draw   (d, noise) -> x, of one component
    log_q  (d, noise, x) -> log q(x), from the noise where that spares inverting the push
    noise  the law of the noise
    """

    draw: Callable[[Any, Any], Any]
    log_q: Callable[[Any, Any, Any], Any]
    noise: Noise

    def reaching(self) -> Push:
        """The same draws from noise that reaches into the tails."""
        return replace(self, noise=self.noise.reaching())


def push_for(structure: Structure) -> Push | None:
    """The push of a structure, or None where its draws are not smooth functions of the parameters."""
    form = structure.form if isinstance(structure, MixtureStructure) else structure
    return PUSHES.get(form.cls) if isinstance(form, Form) else None


def weighted_draws(push: Push, d: Any, noise: Float[Array, "m ..."]) -> tuple[Any, Any, Any]:
    """Draws x [m, *event], log q(x) [m], and weights [m] that sum to 1; a mixture contributes every component."""
    each = push.noise.weights(noise)
    each = each / jnp.sum(each)
    if isinstance(d, dist.MixtureSameFamily):
        x = push.draw(d.component_distribution, noise[:, None])
        weights = each[:, None] * jnp.asarray(d.mixing_distribution.probs)
        x = x.reshape(-1, *d.event_shape)
        return x, log_prob(d, x), weights.reshape(-1)
    x = push.draw(d, noise)
    return x, push.log_q(d, noise, x), each


def _base(d: Any) -> Any:
    while isinstance(d, dist.Independent):
        d = d.base_dist
    return d


def _shift_and_scale(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    x = base.loc + base.scale * noise
    return jnp.exp(x) if isinstance(base, dist.LogNormal) else x


def _log_shifted(d: Any, noise: Float[Array, "m ..."], x: Any) -> Any:
    base = _base(d)
    log_q = -0.5 * jnp.square(noise) - jnp.log(base.scale) - _HALF_LOG_2PI
    log_q = log_q - jnp.log(x) if isinstance(base, dist.LogNormal) else log_q
    return log_q.sum(tuple(range(1, noise.ndim)))


def _squashed(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    return base.squash(base.loc + base.scale * noise)


def _log_squashed(d: Any, noise: Float[Array, "m ..."], x: Any) -> Any:
    base = _base(d)
    return base.log_prob_unsquashed(base.loc + base.scale * noise).sum(tuple(range(1, noise.ndim)))


def _affine(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    return base.loc + jnp.matmul(base.scale_tril, noise[..., None])[..., 0]


def _log_affine(d: Any, noise: Float[Array, "m ..."], x: Any) -> Any:
    log_det = jnp.log(jnp.diagonal(_base(d).scale_tril, axis1=-2, axis2=-1))
    return (-0.5 * jnp.square(noise) - log_det - _HALF_LOG_2PI).sum(tuple(range(1, noise.ndim)))


def _low_rank(d: Any, noise: Float[Array, "m ..."]) -> Any:
    """Of each pair of numbers the first is of a coordinate, and the second of a factor, of which there are fewer."""
    base = _base(d)
    factors = noise[..., : base.cov_factor.shape[-1], 1]
    return base.loc + jnp.sqrt(base.cov_diag) * noise[..., 0] + factors @ base.cov_factor.T


def _gamma(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    return jnp.exp(_log_gamma(base.concentration, noise)) / base.rate


def _inverse_gamma(d: Any, noise: Float[Array, "m ..."]) -> Any:
    # Largest where the gamma is least.
    base = _base(d)
    return base.rate * jnp.exp(-_log_gamma(base.concentration, 1.0 - noise))


def _beta(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    one, other = (_log_gamma(c, noise[..., i]) for i, c in enumerate((base.concentration1, base.concentration0)))
    return jax.nn.sigmoid(one - other)


def _dirichlet(d: Any, noise: Float[Array, "m ..."]) -> Any:
    return jax.nn.softmax(_log_gamma(_base(d).concentration, noise))


def _student(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    half = 0.5 * base.df
    return base.loc + base.scale * ndtri(noise[..., 0]) * jnp.exp(
        0.5 * (jnp.log(half) - _log_gamma(half, noise[..., 1]))
    )


def _log_gamma(concentration: Any, shares: Any) -> Any:
    concentration, shares = jnp.broadcast_arrays(concentration, jnp.asarray(shares, jnp.result_type(concentration)))
    return log_gamma_quantile(concentration, shares)


def _weibull(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    return base.scale * (-jnp.log1p(-noise)) ** (1.0 / base.concentration)


def _kumaraswamy(d: Any, noise: Float[Array, "m ..."]) -> Any:
    base = _base(d)
    return (-jnp.expm1(jnp.log1p(-noise) / base.concentration0)) ** (1.0 / base.concentration1)


def _quantile(d: Any, noise: Float[Array, "m ..."]) -> Any:
    return _base(d).icdf(noise)


def _log_quantile(d: Any, noise: Float[Array, "m ..."], x: Any) -> Any:
    return log_prob(d, x)


_NORMAL, _UNIFORM, _PAIRS = Noise(normal=True), Noise(normal=False), Noise(normal=False, count=2)

PUSHES: dict[type, Push] = {
    dist.Normal: Push(_shift_and_scale, _log_shifted, _NORMAL),
    dist.LogNormal: Push(_shift_and_scale, _log_shifted, _NORMAL),
    dist.MultivariateNormal: Push(_affine, _log_affine, _NORMAL),
    dist.LowRankMultivariateNormal: Push(_low_rank, _log_quantile, Noise(normal=True, count=2)),
    TanhNormal: Push(_squashed, _log_squashed, _NORMAL),
    **{cls: Push(_quantile, _log_quantile, _UNIFORM) for cls in BY_QUANTILE},
    dist.Weibull: Push(_weibull, _log_quantile, _UNIFORM),
    dist.Kumaraswamy: Push(_kumaraswamy, _log_quantile, _UNIFORM),
    dist.Gamma: Push(_gamma, _log_quantile, _UNIFORM),
    dist.InverseGamma: Push(_inverse_gamma, _log_quantile, _UNIFORM),
    dist.Beta: Push(_beta, _log_quantile, _PAIRS),
    dist.Dirichlet: Push(_dirichlet, _log_quantile, _UNIFORM),
    dist.StudentT: Push(_student, _log_quantile, _PAIRS),
}
