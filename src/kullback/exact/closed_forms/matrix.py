"""The normal distribution of matrices, whose covariance is a Kronecker product."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular

from kullback.exact.closed_forms.multivariate import NORMAL_ENTROPY, Spread, diagonal, ratio
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.ratios import psi


def matrix_normal_kl(p: Any, q: Any) -> Array:
    """KL = (np/2)(ψ(2a + 2b) + e^{2a + 2b}(s + t + st)) + ½‖Lq⁻¹ (Mp − Mq) Kq⁻ᵀ‖², of n × p matrices.

    a and 1 + s are the mean of log Aᵢᵢ and the mean square of e⁻ᵃ A, for A = Lq⁻¹ Lp of the rows; b and t those of the
    columns. A scale that moves from the rows to the columns leaves a + b, and so the divergence, as they are.
    Source: that of vec X (Gupta and Nagar 2000, theorem 2.2.1) with tr (A ⊗ B) = tr A tr B and
    log det (A ⊗ B) = p log det A + n log det B.
    """
    loc_p, row_p, column_p = floats(p.loc, p.scale_tril_row, p.scale_tril_column)
    loc_q, row_q, column_q = floats(q.loc, q.scale_tril_row, q.scale_tril_column)
    size = row_p.shape[-1] * column_p.shape[-1]
    (a, s), (b, t) = _scale_and_shape(row_p, row_q), _scale_and_shape(column_p, column_q)
    shape = s + t + s * t
    spread = psi(2.0 * (a + b)) + jnp.exp(2.0 * (a + b)) * shape
    return 0.5 * (size * spread + jnp.square(_standardised(loc_p - loc_q, row_q, column_q)).sum((-2, -1)))


def _scale_and_shape(factor_p: Array, factor_q: Array) -> tuple[Array, Array]:
    """a and s ≥ 0, from Σ (e^{2cᵢ} − 1) = Σ ψ(2cᵢ) for the deviations cᵢ of log Aᵢᵢ from their mean a."""
    x = ratio(Spread(factor=factor_p), Spread(factor=factor_q))
    logs = jnp.log1p(diagonal(x))
    a = logs.mean(-1)
    below = jnp.square(jnp.tril(x, -1)).sum((-2, -1))
    total = psi(2.0 * (logs - a[..., None])).sum(-1) + jnp.exp(-2.0 * a) * below
    return a, total / x.shape[-1]


def _standardised(x: Array, row: Array, column: Array) -> Array:
    """L⁻¹ X K⁻ᵀ."""
    batch = jnp.broadcast_shapes(*(a.shape[:-2] for a in (x, row, column)))
    x, row, column = (jnp.broadcast_to(a, batch + a.shape[-2:]) for a in (x, row, column))
    return solve_triangular(column, solve_triangular(row, x, lower=True).mT, lower=True)


def matrix_normal_entropy(p: Any) -> Array:
    """H = p Σ log Lᵢᵢ + n Σ log Kⱼⱼ + (np/2) log 2πe. Source: as for the divergence."""
    loc, row, column = floats(p.loc, p.scale_tril_row, p.scale_tril_column)
    n, size = row.shape[-1], column.shape[-1]
    logs = size * _log_scale(row) + n * _log_scale(column)
    return jnp.broadcast_to(logs, jnp.broadcast_shapes(logs.shape, loc.shape[:-2])) + n * size * NORMAL_ENTROPY


def _log_scale(factor: Array) -> Array:
    return jnp.log(jnp.abs(diagonal(factor))).sum(-1)


KL = {(dist.MatrixNormal, dist.MatrixNormal): matrix_normal_kl}

ENTROPY = {dist.MatrixNormal: matrix_normal_entropy}
