"""The adaptor for `scipy.stats.gaussian_kde`: the mixture of normals about its points that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array
from numpyro.distributions import Distribution

from kullback.known.record import Functions, Known, Moments
from kullback.known.static import Static
from kullback.known.support import from_constraint

if TYPE_CHECKING:
    from scipy import stats

BLOCK = 256
# Rules that compare components pair by pair are of use for few of them, and slow for many.
FEW = 64

# Mean [d], Cholesky factor [d, d], standardised points [n, d], log-weights [n], whether outcomes are single numbers.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Static]


def accepts(x: object) -> bool:
    return any(
        kind.__name__ == "gaussian_kde" and kind.__module__.startswith("scipy.stats") for kind in type(x).__mro__
    )


def known(kde: stats.gaussian_kde) -> Known:
    """What is known of a kernel density estimate: one normal of its covariance about each of its points."""
    points, weights = np.asarray(kde.dataset, float).T, np.asarray(kde.weights, float)
    covariance = np.asarray(kde.covariance, float)
    tril, scalar = np.linalg.cholesky(covariance), points.shape[1] == 1
    middle = weights @ points
    white = np.linalg.solve(tril, (points - middle).T).T
    with np.errstate(divide="ignore"):
        arrays = (middle, tril, white, np.log(weights), Static(scalar))
    spread = covariance + (points - middle).T @ (weights[:, None] * (points - middle))
    return Known(
        name=f"gaussian_kde of {len(points):,} points",
        event_shape=() if scalar else middle.shape,
        support=from_constraint(dist.constraints.real if scalar else dist.constraints.real_vector),
        functions=Functions(
            sampler=Partial(_draw, arrays),
            log_prob=Partial(_log_prob, arrays),
            moments=lambda: Moments(middle[0] if scalar else middle, spread),
            distribution=_mixture(points, weights, tril) if len(points) <= FEW else None,
        ),
    )


def _mixture(points: np.ndarray, weights: np.ndarray, tril: np.ndarray) -> Distribution:
    parts = (
        dist.Normal(points[:, 0], np.full(len(points), tril[0, 0]))
        if points.shape[1] == 1
        else dist.MultivariateNormal(points, scale_tril=tril)
    )
    return dist.MixtureSameFamily(dist.CategoricalProbs(weights), parts)


def _log_prob(arrays: Arrays, x: ArrayLike) -> Array:
    """log Σᵢ wᵢ N(x; xᵢ, L Lᵀ), a block of points at a time, so that not all distances are kept at once."""
    middle, tril, white, log_weights, scalar = arrays
    x = jnp.asarray(x)
    x = x[..., None] if scalar.value else x
    shape, d = x.shape[:-1], x.shape[-1]
    whitened = solve_triangular(jnp.asarray(tril), (x.reshape(-1, d) - middle).T, lower=True).T
    missing = -len(white) % BLOCK
    white = jnp.pad(jnp.asarray(white), ((0, missing), (0, 0))).reshape(-1, BLOCK, d)
    logs = jnp.pad(jnp.asarray(log_weights), (0, missing), constant_values=-jnp.inf).reshape(-1, BLOCK)

    def block(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        centres, weights = part
        distances = ((whitened[:, None] - centres) ** 2).sum(-1)
        return jnp.logaddexp(total, jax.nn.logsumexp(weights - 0.5 * distances, axis=-1)), None

    total, _ = jax.lax.scan(block, jnp.full(len(whitened), -jnp.inf, whitened.dtype), (white, logs))
    constant = 0.5 * d * jnp.log(2.0 * jnp.pi) + jnp.log(jnp.diagonal(jnp.asarray(tril))).sum()
    return (total - constant).reshape(shape)


def _draw(arrays: Arrays, key: jax.Array, n: int) -> Array:
    """A point of the estimate by its weight, and the kernel's noise about it."""
    middle, tril, white, log_weights, scalar = arrays
    which, noise = jax.random.split(key)
    cumulative = jnp.cumsum(jnp.exp(jnp.asarray(log_weights)))
    index = jnp.searchsorted(cumulative, jax.random.uniform(which, (n,)) * cumulative[-1], side="right")
    centre = jnp.asarray(white)[jnp.clip(index, 0, len(white) - 1)]
    x = jnp.asarray(middle + (centre + jax.random.normal(noise, centre.shape)) @ jnp.asarray(tril).T)
    return x[:, 0] if scalar.value else x
