"""How much two distributions overlap, in closed form, from which bounds between mixtures are computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import cho_solve
from jaxtyping import Float

from kullback.exact.closed_forms.beta import DirichletLaw, concentrations
from kullback.exact.closed_forms.gamma import GammaLaw, shape_and_rate
from kullback.exact.composite.disjoint_support import disjoint
from kullback.exact.composite.structure import reduce_pair
from kullback.exact.type_keys import INDEPENDENT_NORMAL, Form, every_pair, type_key
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import HALF_LOG_2PI

Table = dict[Any, Callable[[Any, Any], Array]]


def normal_distance(p: dist.Normal | dist.LogNormal, q: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ log(1 + (σp − σq)²/(2 σp σq)) + ¼ (μp − μq)²/(σp² + σq²).

    Source: Bhattacharyya (1943), for the integral; completing the square.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    spread = 0.5 * jnp.log1p(jnp.square(scale_p - scale_q) / (2.0 * scale_p * scale_q))
    return spread + 0.25 * jnp.square(mean_p - mean_q) / (jnp.square(scale_p) + jnp.square(scale_q))


def multivariate_distance(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ⅛ dᵀS⁻¹d + ½ log(|S|/√(|Σp| |Σq|)), with d = μp − μq and S = (Σp + Σq)/2.

    Source: Kailath (1967), eq. 51.
    """
    squares, half_log_total, half_logs = _multivariate(p, q, 0.5)
    return 0.125 * squares + half_log_total - 0.5 * half_logs


def gamma_distance(p: GammaLaw, q: GammaLaw) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ G(ap, bp) + ½ G(aq, bq) − G of the mean parameters, with G(a, b) = log Γ(a) − a log b.

    Source: Nielsen and Boltz (2011), eq. 14, for an exponential family with log-normaliser G.
    """
    a_p, b_p, a_q, b_q = floats(*shape_and_rate(p), *shape_and_rate(q))
    return _midpoint_gap(lambda a, b: jax.lax.lgamma(a) - a * jnp.log(b), (a_p, b_p), (a_q, b_q))


def dirichlet_distance(p: DirichletLaw, q: DirichletLaw) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ log B(α) + ½ log B(β) − log B((α + β)/2). Source: Nielsen and Boltz (2011), eq. 14."""
    return _midpoint_gap(_log_beta, floats(concentrations(p)), floats(concentrations(q)))


def poisson_distance(p: dist.Poisson, q: dist.Poisson) -> Float[Array, "*batch"]:
    """−log Σ √(p q) = ½ (√λp − √λq)². Source: Nielsen and Boltz (2011), table 1."""
    rate_p, rate_q = floats(p.rate, q.rate)
    return 0.5 * jnp.square(jnp.sqrt(rate_p) - jnp.sqrt(rate_q))


def normal_product(p: dist.Normal, q: dist.Normal) -> Float[Array, "*batch"]:
    """−log ∫ p q = −log N(μp; μq, σp² + σq²). Source: the density of x − y at 0, for x of P and y of Q."""
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    total = jnp.square(scale_p) + jnp.square(scale_q)
    return 0.5 * jnp.square(mean_p - mean_q) / total + 0.5 * jnp.log(total) + HALF_LOG_2PI


def multivariate_product(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """−log ∫ p q = −log N(μp; μq, Σp + Σq). Source: the density of x − y at 0, for x of P and y of Q."""
    squares, half_log_total, _ = _multivariate(p, q, 1.0)
    return 0.5 * squares + half_log_total + p.event_shape[0] * HALF_LOG_2PI


def _midpoint_gap(normaliser: Callable[..., Array], p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    middle = (0.5 * (x + y) for x, y in zip(p, q, strict=True))
    return 0.5 * (normaliser(*p) + normaliser(*q)) - normaliser(*middle)


def _log_beta(x: Array) -> Array:
    return jax.lax.lgamma(x).sum(-1) - jax.lax.lgamma(x.sum(-1))


def _multivariate(p: dist.Distribution, q: dist.Distribution, share: float) -> tuple[Array, Array, Array]:
    """dᵀS⁻¹d and ½ log |S| for S = `share` · (Σp + Σq), and the sum ½ log |Σp| + ½ log |Σq|."""
    mean_p, cov_p, mean_q, cov_q = floats(*_moments(p), *_moments(q))
    factor, own, other = (jnp.linalg.cholesky(cov) for cov in (share * (cov_p + cov_q), cov_p, cov_q))
    shift = mean_p - mean_q
    batch = jnp.broadcast_shapes(factor.shape[:-2], shift.shape[:-1])
    factor = jnp.broadcast_to(factor, (*batch, *factor.shape[-2:]))
    shift = jnp.broadcast_to(shift, (*batch, shift.shape[-1]))[..., None]
    squares = (shift * cho_solve((factor, True), shift)).sum((-2, -1))
    return squares, _half_log(factor), _half_log(own) + _half_log(other)


def _moments(d: dist.Distribution) -> tuple[Any, Any]:
    if type(d) is dist.Independent:
        (variance,) = floats(d.variance)
        return d.mean, variance[..., None] * jnp.eye(variance.shape[-1], dtype=variance.dtype)
    assert isinstance(d, dist.MultivariateNormal | dist.LowRankMultivariateNormal)
    return d.loc, d.covariance_matrix


def _half_log(factor: Array) -> Array:
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)


_MULTIVARIATE = (dist.MultivariateNormal, dist.LowRankMultivariateNormal, INDEPENDENT_NORMAL)

DISTANCE: Table = {
    (dist.Normal, dist.Normal): normal_distance,
    (dist.LogNormal, dist.LogNormal): normal_distance,
    (dist.InverseGamma, dist.InverseGamma): gamma_distance,
    (dist.Dirichlet, dist.Dirichlet): dirichlet_distance,
    (dist.Poisson, dist.Poisson): poisson_distance,
    **every_pair(multivariate_distance, *_MULTIVARIATE),
    **every_pair(gamma_distance, dist.Gamma, dist.Chi2, dist.Exponential),
    **every_pair(dirichlet_distance, dist.Beta, dist.BetaProportion),
}

PRODUCT: Table = {
    (dist.Normal, dist.Normal): normal_product,
    **every_pair(multivariate_product, *_MULTIVARIATE),
}

_compiled = cache(jax.jit)


def distance_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """The Bhattacharyya distance −log ∫ √(p q) ≥ 0, ready to be called, or None.

    A shared bijection keeps it, and the distances of independent coordinates add.
    """
    if disjoint(p, q):
        return lambda: jnp.full(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), jnp.inf)
    if (form := DISTANCE.get((type_key(p), type_key(q)))) is not None:
        return partial(_compiled(form), p, q)
    parts = reduce_pair(p, q)
    return None if parts is None else parts.form(distance_form)


def product_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """−log ∫ p q, ready to be called, or None."""
    form = PRODUCT.get((type_key(p), type_key(q)))
    return None if form is None else partial(_compiled(form), p, q)
