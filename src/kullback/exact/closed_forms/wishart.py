"""The Wishart distribution, its inverse, and the Cholesky factors of either."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.multivariate import Spread, diagonal, factor_of, given, ratio, spread_form
from kullback.exact.numerics.log_gamma import HALF_LOG_2PI, gamma_entropy, gamma_gap
from kullback.exact.numerics.ratios import gap, phi
from kullback.exact.type_keys import every_pair

LOG_2 = 0.69314718055994530942


def wishart_kl(nu_p: Array, p: Spread, nu_q: Array, q: Spread) -> Array:
    """KL = Σᵢ (Gᵢ + i (φ(uᵢ) + ½uᵢ²)) + ½νp‖A below its diagonal‖², for A = Lq⁻¹ Lp, u = diag A − 1, i = 0, 1, ...

    Gᵢ is that of two gammas of shapes (νp − i)/2 and (νq − i)/2, with the scales Aᵢᵢ² and 1.
    Source: the chain rule along Bartlett's decomposition Lq⁻¹ W Lq⁻ᵀ = (A T)(A T)ᵀ, T lower triangular with
    independent entries (Muirhead 1982, theorem 3.2.14).
    """
    return _along_rows(nu_p, p, nu_q, q)


def inverse_wishart_kl(nu_p: Array, p: Spread, nu_q: Array, q: Spread) -> Array:
    """KL(W⁻¹ ‖ V⁻¹) = KL(W ‖ V) of Wishart W and V of scales Ψ⁻¹: A is S_p⁻¹ S_q transposed and in reverse order.

    Source: as for the Wishart; a divergence is unchanged by the inverse, a bijection.
    """
    return _along_rows(nu_p, q, nu_q, p, reverse=True)


def _along_rows(nu_p: Array, p: Spread, nu_q: Array, q: Spread, reverse: bool = False) -> Array:
    x = ratio(p, q)
    u = diagonal(x)[..., ::-1] if reverse else diagonal(x)
    i = jnp.arange(u.shape[-1], dtype=u.dtype)
    half_p, half_q = 0.5 * nu_p[..., None], 0.5 * nu_q[..., None]
    a_p, a_q, step = jnp.broadcast_arrays(half_p - 0.5 * i, half_q - 0.5 * i, half_q - half_p)
    grown = jnp.square(1.0 + u)
    gammas = gap(a_q, a_p * grown, a_p * u * (2.0 + u) - step) + gamma_gap(a_p, a_q, step)
    below = jnp.square(jnp.tril(x, -1)).sum((-2, -1))
    return (gammas + i * (phi(u) + 0.5 * jnp.square(u))).sum(-1) + 0.5 * nu_p * below


def wishart_entropy(nu: Array, s: Spread) -> Array:
    """H = (d + 1) Σ log Lᵢᵢ + Σⱼ (h(aⱼ) + log 2 + (d − j)/2 E log gⱼ) + d(d − 1)/4 log 2πe, j = 1, ..., d.

    Here gⱼ ~ χ²(2aⱼ), aⱼ = (ν − j + 1)/2, and h(a) is the entropy of Gamma(a, 1).
    Source: the entropies of Bartlett's independent entries (Muirhead 1982, theorem 3.2.14) and the Jacobian
    2^d Π Tⱼⱼ^(d−j+1) of T ↦ T Tᵀ (theorem 2.1.9).
    """
    terms, log_g, logs, rest = _pieces(nu, s)
    return ((logs.shape[-1] + 1.0) * logs + terms + rest * log_g).sum(-1)


def wishart_cholesky_entropy(nu: Array, s: Spread) -> Array:
    """H = Σⱼ (j log Lⱼⱼ + h(aⱼ) − ½ E log gⱼ) + d(d − 1)/4 log 2πe. Source: as for the Wishart, less the Jacobian."""
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    return ((d - 2.0 * rest) * logs + terms - LOG_2 - 0.5 * log_g).sum(-1)


def inverse_wishart_entropy(nu: Array, s: Spread) -> Array:
    """H(W⁻¹) = H(W) − (d + 1) E log det W, for W of scale Ψ⁻¹. Source: Muirhead (1982), theorem 2.1.8."""
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    return ((d + 1.0) * (logs - log_g) + terms + rest * log_g).sum(-1)


def inverse_wishart_cholesky_entropy(nu: Array, s: Spread) -> Array:
    """H(K) = H(K Kᵀ) − E log 2^d Π Kᵢᵢ^(d−i+1), for K Kᵀ inverse Wishart and Kᵢᵢ² = Sᵢᵢ²/g_{d−i+1}.

    Source: as for the inverse Wishart; the Jacobian of Muirhead (1982), theorem 2.1.9.
    """
    terms, log_g, logs, rest = _pieces(nu, s)
    d = logs.shape[-1]
    power = 2.0 * rest + 1.0
    changed = LOG_2 + power * logs - 0.5 * power[..., ::-1] * log_g
    return ((d + 1.0) * (logs - log_g) + terms + rest * log_g - changed).sum(-1)


def _pieces(nu: Array, s: Spread) -> tuple[Array, Array, Array, Array]:
    """h(aⱼ) + log 2 + (d − 1)/4 log 2πe, E log gⱼ, log Lⱼⱼ and (d − j)/2, each [..., d]."""
    logs = jnp.log(diagonal(factor_of(s)))
    d = logs.shape[-1]
    j = jnp.arange(1, d + 1, dtype=logs.dtype)
    a = 0.5 * (nu[..., None] - j + 1.0)
    terms = gamma_entropy(a) + LOG_2 + 0.5 * (d - 1) * (HALF_LOG_2PI + 0.5)
    return terms, jax.lax.digamma(a) + LOG_2, logs, 0.5 * (d - j)


def _given(d: Any) -> tuple[Any, Spread]:
    """ν and the scale matrix; the matrix forms are made from the Cholesky forms."""
    base = d if type(d) in (dist.WishartCholesky, dist.InverseWishartCholesky) else d.base_dist
    return base.concentration, given(base, "scale_matrix", "rate_matrix")


def _builder(form: Callable[..., Array]) -> Callable[..., Callable[[], Array]]:
    """What makes the form of one distribution, or of two, ready to be called."""
    compiled = spread_form(form, 0)
    return lambda *sides: partial(compiled, *(x for side in sides for x in _given(side)))


BUILD_KL = {
    **every_pair(_builder(wishart_kl), dist.Wishart),
    **every_pair(_builder(wishart_kl), dist.WishartCholesky),
    **every_pair(_builder(inverse_wishart_kl), dist.InverseWishart),
    **every_pair(_builder(inverse_wishart_kl), dist.InverseWishartCholesky),
}

BUILD_ENTROPY = {
    dist.Wishart: _builder(wishart_entropy),
    dist.WishartCholesky: _builder(wishart_cholesky_entropy),
    dist.InverseWishart: _builder(inverse_wishart_entropy),
    dist.InverseWishartCholesky: _builder(inverse_wishart_cholesky_entropy),
}
