"""The LKJ distribution of correlation matrices, and of their Cholesky factors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.log_gamma import HALF_LOG_2PI, gamma_entropy, gamma_gap
from kullback.exact.numerics.ratios import gap

LOG_2 = 0.69314718055994530942


def _rows(d: Any) -> tuple[Array, Array, Array]:
    """k/2 and βₖ = η + (d − 1 − k)/2 for k = 1, ..., d − 1, the squared length of row k being Beta(k/2, βₖ); and η."""
    (eta,) = floats(d.concentration)
    k = jnp.arange(1, d.dimension, dtype=eta.dtype)
    return 0.5 * k, eta[..., None] + 0.5 * (d.dimension - 1 - k), eta[..., None]


def lkj_kl(p: Any, q: Any) -> Array:
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


def lkj_cholesky_entropy(p: Any) -> Array:
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


def lkj_entropy(p: Any) -> Array:
    """H = H(L) + ½ Σₖ (d − 1 − k) E log(1 − yₖ), with the Jacobian Π Lᵢᵢ^(d−i) of L ↦ L Lᵀ. Source: as for L."""
    half, b, _ = _rows(p)
    log_rest = jax.lax.digamma(b) - jax.lax.digamma(half + b)
    left = 0.5 * (p.dimension - 1) - half
    return lkj_cholesky_entropy(p) + (left * log_rest).sum(-1)


KL = {(dist.LKJ, dist.LKJ): lkj_kl, (dist.LKJCholesky, dist.LKJCholesky): lkj_kl}

ENTROPY = {dist.LKJ: lkj_entropy, dist.LKJCholesky: lkj_cholesky_entropy}
