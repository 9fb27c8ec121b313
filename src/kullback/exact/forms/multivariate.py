"""The multivariate normal in any of its parametrisations, and independent normals beside it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular

from kullback.exact.kinds import INDEPENDENT_NORMAL, every_pair, unexpanded
from kullback.exact.special import HALF_LOG_2PI, floats, scale_gap


def mean_and_factor(d: Any) -> tuple[Array, Array]:
    """The mean [..., d] and a lower-triangular factor [..., d, d] of the covariance."""
    if type(d) is dist.Independent:
        base, size = unexpanded(d.base_dist), d.event_shape[0]
        loc, scale = jnp.broadcast_arrays(*floats(base.loc, base.scale))
        loc, scale = (jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, (size,))) for x in (loc, scale))
        return loc, scale[..., None] * jnp.eye(size, dtype=scale.dtype)
    if type(d) is dist.LowRankMultivariateNormal:
        loc, factor = floats(d.loc, jnp.linalg.cholesky(d.covariance_matrix))
    else:
        loc, factor = floats(d.loc, d.scale_tril)
    return loc, factor


def multivariate_kl(p: Any, q: Any) -> Array:
    """KL = Σ (φ(uᵢ) + ½uᵢ²) + ½‖X below its diagonal u‖² + ½‖Lq⁻¹(μp − μq)‖², where Lq X = Lp − Lq."""
    mean_p, factor_p, mean_q, factor_q = floats(*mean_and_factor(p), *mean_and_factor(q))
    size = factor_p.shape[-1]
    shift = (mean_p - mean_q)[..., None]
    right = factor_p - factor_q
    batch = jnp.broadcast_shapes(shift.shape[:-2], right.shape[:-2])
    right = jnp.concatenate([_expand(right, batch), _expand(shift, batch)], axis=-1)
    solved = solve_triangular(_expand(factor_q, batch), right, lower=True)
    x, z = solved[..., :size], solved[..., size]
    squares = jnp.square(jnp.tril(x)).sum((-2, -1)) + jnp.square(z).sum(-1)
    scales = scale_gap(_diagonal(factor_p), _diagonal(factor_q))
    return scales.sum(-1) + 0.5 * squares


def _diagonal(x: Array) -> Array:
    return jnp.abs(jnp.diagonal(x, axis1=-2, axis2=-1))


def _expand(x: Array, batch: tuple[int, ...]) -> Array:
    return jnp.broadcast_to(x, batch + x.shape[-2:])


def multivariate_entropy(p: Any) -> Array:
    """H = Σ log Lᵢᵢ + (d/2) log 2πe."""
    loc, factor = mean_and_factor(p)
    scale = jnp.log(_diagonal(factor))
    return (scale + HALF_LOG_2PI + 0.5 + jnp.zeros_like(loc)).sum(-1)


_KINDS = (dist.MultivariateNormal, dist.LowRankMultivariateNormal, INDEPENDENT_NORMAL)

KL = {
    pair: form
    for pair, form in every_pair(multivariate_kl, *_KINDS).items()
    if pair != (INDEPENDENT_NORMAL, INDEPENDENT_NORMAL)  # coordinate by coordinate instead
}

ENTROPY = {dist.MultivariateNormal: multivariate_entropy, dist.LowRankMultivariateNormal: multivariate_entropy}
