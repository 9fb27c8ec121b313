"""Laws of matrices: the matrix normal, Wishart and inverse Wishart, LKJ, and the Cholesky factors of the last three."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from kullback.exact.closed_forms.multivariate import (
    NORMAL_ENTROPY,
    Covariance,
    covariance_as_given,
    covariance_form,
    diagonal,
    factor_of,
    factor_ratio,
)
from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import HALF_LOG_2PI, gamma_entropy, gamma_gap
from kullback.numerics.ratios import gap, phi, psi

WishartLaw = dist.Wishart | dist.WishartCholesky | dist.InverseWishart | dist.InverseWishartCholesky
LKJLaw = dist.LKJ | dist.LKJCholesky


# The normal distribution of matrices, whose covariance is a Kronecker product.


def matrix_normal_kl(p: dist.MatrixNormal, q: dist.MatrixNormal) -> Float[Array, "*batch"]:
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
    x = factor_ratio(Covariance(factor=factor_p), Covariance(factor=factor_q))
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


def matrix_normal_entropy(p: dist.MatrixNormal) -> Float[Array, "*batch"]:
    """H = p Σ log Lᵢᵢ + n Σ log Kⱼⱼ + (np/2) log 2πe. Source: as for the divergence."""
    loc, row, column = floats(p.loc, p.scale_tril_row, p.scale_tril_column)
    n, size = row.shape[-1], column.shape[-1]
    logs = size * _log_scale(row) + n * _log_scale(column)
    return jnp.broadcast_to(logs, jnp.broadcast_shapes(logs.shape, loc.shape[:-2])) + n * size * NORMAL_ENTROPY


def _log_scale(factor: Array) -> Array:
    return jnp.log(jnp.abs(diagonal(factor))).sum(-1)


LOG_2 = 0.69314718055994530942


# The Wishart distribution, its inverse, and the Cholesky factors of either.


def wishart_kl(
    nu_p: Float[Array, "*batch"], p: Covariance, nu_q: Float[Array, "*batch"], q: Covariance
) -> Float[Array, "*batch"]:
    """KL = Σᵢ (Gᵢ + i (φ(uᵢ) + ½uᵢ²)) + ½νp‖A below its diagonal‖², for A = Lq⁻¹ Lp, u = diag A − 1, i = 0, 1, ...

    Gᵢ is that of two gammas of shapes (νp − i)/2 and (νq − i)/2, with the scales Aᵢᵢ² and 1.
    Source: the chain rule along Bartlett's decomposition Lq⁻¹ W Lq⁻ᵀ = (A T)(A T)ᵀ, T lower triangular with
    independent entries (Muirhead 1982, theorem 3.2.14).
    """
    return _along_rows(nu_p, p, nu_q, q)


def inverse_wishart_kl(
    nu_p: Float[Array, "*batch"], p: Covariance, nu_q: Float[Array, "*batch"], q: Covariance
) -> Float[Array, "*batch"]:
    """KL(W⁻¹ ‖ V⁻¹) = KL(W ‖ V) of Wishart W and V of scales Ψ⁻¹: A is S_p⁻¹ S_q transposed and in reverse order.

    Source: as for the Wishart; a divergence is unchanged by the inverse, a bijection.
    """
    return _along_rows(nu_p, q, nu_q, p, reverse=True)


def _along_rows(nu_p: Array, p: Covariance, nu_q: Array, q: Covariance, reverse: bool = False) -> Array:
    x = factor_ratio(p, q)
    u = diagonal(x)[..., ::-1] if reverse else diagonal(x)
    i = jnp.arange(u.shape[-1], dtype=u.dtype)
    half_p, half_q = 0.5 * nu_p[..., None], 0.5 * nu_q[..., None]
    a_p, a_q, step = jnp.broadcast_arrays(half_p - 0.5 * i, half_q - 0.5 * i, half_q - half_p)
    grown = jnp.square(1.0 + u)
    gammas = gap(a_q, a_p * grown, a_p * u * (2.0 + u) - step) + gamma_gap(a_p, a_q, step)
    below = jnp.square(jnp.tril(x, -1)).sum((-2, -1))
    return (gammas + i * (phi(u) + 0.5 * jnp.square(u))).sum(-1) + 0.5 * nu_p * below


def wishart_entropy(nu: Float[Array, "*batch"], s: Covariance) -> Float[Array, "*batch"]:
    """H = (d + 1) Σ log Lᵢᵢ + Σⱼ (h(aⱼ) + log 2 + (d − j)/2 E log gⱼ) + d(d − 1)/4 log 2πe, j = 1, ..., d.

    Here gⱼ ~ χ²(2aⱼ), aⱼ = (ν − j + 1)/2, and h(a) is the entropy of Gamma(a, 1).
    Source: the entropies of Bartlett's independent entries (Muirhead 1982, theorem 3.2.14) and the Jacobian
    2^d Π Tⱼⱼ^(d−j+1) of T ↦ T Tᵀ (theorem 2.1.9).
    """
    terms, log_g, logs, rest = _pieces(nu, s)
    return ((logs.shape[-1] + 1.0) * logs + terms + rest * log_g).sum(-1)


def wishart_cholesky_entropy(nu: Float[Array, "*batch"], s: Covariance) -> Float[Array, "*batch"]:
    """H = Σⱼ (j log Lⱼⱼ + h(aⱼ) − ½ E log gⱼ) + d(d − 1)/4 log 2πe. Source: as for the Wishart, less the Jacobian."""
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    return ((d - 2.0 * rest) * logs + terms - LOG_2 - 0.5 * log_g).sum(-1)


def inverse_wishart_entropy(nu: Float[Array, "*batch"], s: Covariance) -> Float[Array, "*batch"]:
    """H(W⁻¹) = H(W) − (d + 1) E log det W, for W of scale Ψ⁻¹. Source: Muirhead (1982), theorem 2.1.8."""
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    return ((d + 1.0) * (logs - log_g) + terms + rest * log_g).sum(-1)


def inverse_wishart_cholesky_entropy(nu: Float[Array, "*batch"], s: Covariance) -> Float[Array, "*batch"]:
    """H(K) = H(K Kᵀ) − E log 2^d Π Kᵢᵢ^(d−i+1), for K Kᵀ inverse Wishart and Kᵢᵢ² = Sᵢᵢ²/g_{d−i+1}.

    Source: as for the inverse Wishart; the Jacobian of Muirhead (1982), theorem 2.1.9.
    """
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    power = 2.0 * rest + 1.0
    changed = LOG_2 + power * logs - 0.5 * power[..., ::-1] * log_g
    return ((d + 1.0) * (logs - log_g) + terms + rest * log_g - changed).sum(-1)


def _pieces(nu: Array, s: Covariance) -> tuple[Array, Array, Array, Array]:
    """h(aⱼ) + log 2 + (d − 1)/4 log 2πe, E log gⱼ, log Lⱼⱼ and (d − j)/2, each [..., d]."""
    logs = jnp.log(diagonal(factor_of(s)))
    d = logs.shape[-1]
    j = jnp.arange(1, d + 1, dtype=logs.dtype)
    a = 0.5 * (nu[..., None] - j + 1.0)
    terms = gamma_entropy(a) + LOG_2 + 0.5 * (d - 1) * (HALF_LOG_2PI + 0.5)
    return terms, jax.lax.digamma(a) + LOG_2, logs, 0.5 * (d - j)


def _given(d: WishartLaw) -> tuple[Any, Covariance]:
    """ν and the scale matrix, which the law of a matrix has from that of its Cholesky factor."""
    base: Any = d if isinstance(d, dist.WishartCholesky | dist.InverseWishartCholesky) else d.base_dist
    return base.concentration, covariance_as_given(base, "scale_matrix", "rate_matrix")


def _builder(form: Callable[..., Array]) -> Callable[..., Callable[[], Array]]:
    """A function that makes the form of one distribution, or of two, ready to be called."""
    compiled = covariance_form(form, 0)
    return lambda *sides: partial(compiled, *(x for side in sides for x in _given(side)))


# The LKJ distribution of correlation matrices, and of their Cholesky factors.


def _rows(d: LKJLaw) -> tuple[Array, Array, Array]:
    """k/2 and βₖ = η + (d − 1 − k)/2 for k = 1, ..., d − 1, the squared length of row k being Beta(k/2, βₖ); and η."""
    (eta,) = floats(d.concentration)
    k = jnp.arange(1, d.dimension, dtype=eta.dtype)
    return 0.5 * k, eta[..., None] + 0.5 * (d.dimension - 1 - k), eta[..., None]


def lkj_kl(p: LKJLaw, q: LKJLaw) -> Float[Array, "*batch"]:
    """KL = Σₖ KL(Beta(k/2, βₖ) ‖ Beta(k/2, βₖ′)), with βₖ = η + (d − 1 − k)/2.

    Source: the rows below the diagonal of the Cholesky factor are independent, with uniform directions and such squared
    lengths (Lewandowski, Kurowicka and Joe 2009, section 3.2).
    """
    (half, beta, eta_p), (_, other, eta_q) = _rows(p), _rows(q)
    half, beta, other, step = jnp.broadcast_arrays(half, beta, other, eta_q - eta_p)
    return _beta_kl(half, beta, other, step).sum(-1)


def _beta_kl(a: Array, b: Array, c: Array, step: Array) -> Array:
    """KL(Beta(a, b) ‖ Beta(a, c)) from step = c − b: a Dirichlet of two, whose shares differ by a step/((a+b)(a+c))."""
    total, other = a + b, a + c
    change = a * step / (total * other)
    shares = gap(c / other, b / total, -change) + gap(a / other, a / total, change)
    return other * shares + (gamma_gap(b, c, step) - gamma_gap(total, other, step))


def lkj_cholesky_entropy(p: LKJLaw) -> Float[Array, "*batch"]:
    """H = Σₖ (H(yₖ) + (k/2 − 1) E log yₖ + (k/2) log π − log Γ(k/2)), with yₖ ~ Beta(k/2, βₖ).

    Source: as for the divergence, yₖ being the squared length of row k; a uniform direction has the entropy
    log(2 π^(k/2)/Γ(k/2)), and the length that of its square less log 2 + ½ E log yₖ.
    """
    half, b, _ = _rows(p)
    total = half + b
    beta = gamma_entropy(half) + gamma_entropy(b) - gamma_entropy(total) - jax.lax.digamma(total)
    log_square = jax.lax.digamma(half) - jax.lax.digamma(total)
    sphere = half * 2.0 * (HALF_LOG_2PI - 0.5 * LOG_2) - jax.lax.lgamma(half)
    return (beta + (half - 1.0) * log_square + sphere).sum(-1)


def lkj_entropy(p: dist.LKJ) -> Float[Array, "*batch"]:
    """H = H(L) + ½ Σₖ (d − 1 − k) E log(1 − yₖ), with the Jacobian Π Lᵢᵢ^(d−i) of L ↦ L Lᵀ. Source: as for L."""
    half, b, _ = _rows(p)
    log_rest = jax.lax.digamma(b) - jax.lax.digamma(half + b)
    left = 0.5 * (p.dimension - 1) - half
    return lkj_cholesky_entropy(p) + (left * log_rest).sum(-1)


KL = {
    (dist.MatrixNormal, dist.MatrixNormal): matrix_normal_kl,
    (dist.LKJ, dist.LKJ): lkj_kl,
    (dist.LKJCholesky, dist.LKJCholesky): lkj_kl,
}

BUILD_KL = {
    **every_pair(_builder(wishart_kl), dist.Wishart),
    **every_pair(_builder(wishart_kl), dist.WishartCholesky),
    **every_pair(_builder(inverse_wishart_kl), dist.InverseWishart),
    **every_pair(_builder(inverse_wishart_kl), dist.InverseWishartCholesky),
}

ENTROPY = {dist.MatrixNormal: matrix_normal_entropy, dist.LKJ: lkj_entropy, dist.LKJCholesky: lkj_cholesky_entropy}

BUILD_ENTROPY = {
    dist.Wishart: _builder(wishart_entropy),
    dist.WishartCholesky: _builder(wishart_cholesky_entropy),
    dist.InverseWishart: _builder(inverse_wishart_entropy),
    dist.InverseWishartCholesky: _builder(inverse_wishart_cholesky_entropy),
}
