"""Log-densities that keep their digits where the parameters of a law are large.

NumPyro writes the log-densities of gammas, betas and counts as differences of log Γ, of the size of c log c for a
concentration c: in double precision 1e-7 nats are lost at c = 1e9 and every digit at 1e15, in single precision at 1e6.
Here they are sums of deviances between what is observed and what is expected and of s(t) = log Γ(t) − t log t + t
(`numerics/saddle_point.py`); laws that such a law is a part of are taken apart. Integers that a floating number does
not hold enter as the number and what it lacks.
Source: Loader (2000), Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import i0e
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions.copula import GaussianCopula
from numpyro.distributions.discrete import HurdleProbs, ZeroInflatedProbs
from numpyro.distributions.util import clamp_probs

from kullback.distributions.given_total import (
    BinomialGivenTotal,
    DirichletMultinomialGivenTotal,
    MultinomialGivenTotal,
)
from kullback.numerics.log_gamma import HALF_LOG_2PI
from kullback.numerics.saddle_point import (
    cross_difference,
    deviance,
    factorial_rest,
    gamma_rest,
    product_less,
    rising,
)

LOG_2PI = 2.0 * HALF_LOG_2PI
_HANKEL = 500.0  # from here on six terms of the series are enough for a double


def log_prob(d: Any, x: ArrayLike) -> Float[Array, "*batch"]:
    """log d(x) for outcomes in the support of d, counts in the precision of the parameters.

    d  a NumPyro distribution: one of a table, made up of such ones, or any other, which is asked for its own
    """
    if type(d) in _FORMS:
        return _FORMS[type(d)](d, x)
    return _whole(d)(d, x) if has_form(d) else d.log_prob(x)


def has_form(d: Any) -> bool:
    """Whether a law, or one that it is made up of, has a form here."""
    if type(d) in _FORMS:
        return True
    if _whole(d) is None:
        return False
    return any(has_form(getattr(d, name)) for name in _PARTS if hasattr(d, name))


# Laws made up of others.


_PARTS = ("component_distribution", "marginal_dist", "base_dist")  # of which a law consists


def _whole(d: Any) -> Any:
    # By the method, for classes of the same density under another name: LKJ, Wishart, LogNormal.
    return next((form for cls, form in _COMPOSITE.items() if _is_plain(d, cls)), None)


def _is_plain(d: Any, cls: type) -> bool:
    """Whether a law is of a class, or of one derived from it that has the density of the class."""
    return isinstance(d, cls) and type(d).log_prob is cls.log_prob  # pyright: ignore[reportAttributeAccessIssue]


def _independent(d: Any, x: Any) -> Array:
    return _sum_rightmost(log_prob(d.base_dist, x), d.reinterpreted_batch_ndims)


def _mixture(d: Any, x: Any) -> Array:
    parts = log_prob(d.component_distribution, jnp.expand_dims(x, d.mixture_dim))
    return jax.nn.logsumexp(jax.nn.log_softmax(jnp.asarray(d.mixing_distribution.logits)) + parts, -1)


def _expanded(d: Any, x: Any) -> Array:
    found = log_prob(d.base_dist, x)
    return jnp.broadcast_to(found, jnp.broadcast_shapes(found.shape, d.batch_shape))


def _zero_inflated(d: Any, x: Any) -> Array:
    gate = jnp.asarray(d.gate)
    counted = jnp.log1p(-gate) + log_prob(d.base_dist, x)
    return jnp.where(jnp.asarray(x) == 0, jnp.log(gate + jnp.exp(counted)), counted)


def _hurdle(d: Any, x: Any) -> Array:
    """log g at 0, and log(1 − g) + log f(x) elsewhere, counts given that they are not 0."""
    if hasattr(d, "gate_logits"):
        zero, other = jax.nn.log_sigmoid(d.gate_logits), jax.nn.log_sigmoid(-d.gate_logits)
    else:
        zero, other = jnp.log(d.gate), jnp.log1p(-d.gate)
    if d.support.is_discrete:
        other = other - jax.nn.log1mexp(-log_prob(d.base_dist, jnp.zeros((), int)))
    x = jnp.asarray(x)
    return jnp.where(x == 0, zero, other + log_prob(d.base_dist, jnp.where(x == 0, jnp.ones_like(x), x)))


def _copula(d: Any, x: Any) -> Array:
    """Σ log fᵢ(xᵢ) and what the normal scores of the Fᵢ(xᵢ) have beyond independent ones."""
    scores = dist.Normal().icdf(clamp_probs(d.marginal_dist.cdf(x)))
    own = d.base_dist.log_prob(scores) + (0.5 * jnp.square(scores) + HALF_LOG_2PI).sum(-1)
    return own + log_prob(d.marginal_dist, x).sum(-1)


def _transformed(d: Any, y: Any) -> Array:
    """log f(x) − Σ log |dy/dx|, the transforms undone one by one."""
    event_ndim, jacobians = len(d.event_shape), jnp.zeros(())
    for transform in reversed(d.transforms):
        x = transform.inv(y)
        event_ndim += transform.domain.event_dim - transform.codomain.event_dim
        own = transform.log_abs_det_jacobian(x, y)
        jacobians = jacobians + _sum_rightmost(own, event_ndim - transform.domain.event_dim)
        y = x
    return _sum_rightmost(log_prob(d.base_dist, y), event_ndim - len(d.base_dist.event_shape)) - jacobians


def _sum_rightmost(x: Any, axes: int) -> Array:
    return jnp.sum(x, axis=tuple(range(-axes, 0)))


_COMPOSITE: dict[type, Callable[[Any, Any], Array]] = {
    dist.Independent: _independent,
    dist.MixtureSameFamily: _mixture,
    dist.ExpandedDistribution: _expanded,
    dist.TransformedDistribution: _transformed,
    ZeroInflatedProbs: _zero_inflated,
    HurdleProbs: _hurdle,
    GaussianCopula: _copula,
}


# Continuous laws.


def _gamma(d: Any, x: Any) -> Array:
    """a log r + (a − 1) log x − r x − log Γ(a) = −log x − D(a, r x) − s(a)."""
    x, a, r = _floats(x, d.concentration, d.rate)
    inside = x > 0
    some = jnp.where(inside, x, 1.0)
    value = -jnp.log(some) - deviance(a, r * some, product_less(r, some, a)) - gamma_rest(a)
    return jnp.where(inside, value, _at_end(a) + jnp.log(r))


def _at_end(a: Array) -> Array:
    """log xᵃ⁻¹ at x = 0."""
    return jnp.where(a < 1.0, jnp.inf, jnp.where(a > 1.0, -jnp.inf, 0.0))


def _inverse_gamma(d: Any, x: Any) -> Array:
    """a log r − (a + 1) log x − r/x − log Γ(a) = −log x − D(a, r/x) − s(a)."""
    x, a, r = _floats(x, d.concentration, d.rate)
    return -jnp.log(x) - deviance(a, r / x, -product_less(a, x, r) / x) - gamma_rest(a)


def _beta(d: Any, x: Any) -> Array:
    """(a − 1) log x + (b − 1) log(1 − x) − log B(a, b), with D(a, n x) and D(b, n (1 − x)) for n = a + b."""
    x, a, b = _floats(x, d.concentration1, d.concentration0)
    inside = (x > 0) & (x < 1)
    ends = jnp.where(x > 0, _at_end(b) + jnp.log(a), _at_end(a) + jnp.log(b))
    x = jnp.where(inside, x, 0.5)
    n, rest = a + b, 1.0 - x
    lost = (1.0 - rest) - x
    over = cross_difference(b, x, a, rest) - a * lost
    deviances = deviance(a, n * x, over) + deviance(b, n * rest, -over)
    value = gamma_rest(n) - gamma_rest(a) - gamma_rest(b) - deviances - jnp.log(x) - jnp.log1p(-x)
    return jnp.where(inside, value, ends)


def _dirichlet(d: Any, x: Any) -> Array:
    """Σ (aᵢ − 1) log xᵢ − log B(a), with D(aᵢ, n xᵢ) for n = Σ aᵢ: where Σ x is 1 up to rounding, that of x/Σ x."""
    x, a = _floats(x, d.concentration)
    n = a.sum(-1, keepdims=True)
    inside = x > 0
    some = jnp.where(inside, x, 1.0)
    parts = jnp.log(some) + deviance(a, n * some, product_less(n, some, a)) + gamma_rest(a)
    return gamma_rest(n)[..., 0] - jnp.where(inside, parts, -_at_end(a) - jnp.log(n)).sum(-1)


def _student(d: Any, x: Any) -> Array:
    """log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(π ν) − log s − ½ (ν + 1) log(1 + z²/ν)."""
    x, df, loc, scale = _floats(x, d.df, d.loc, d.scale)
    z = (x - loc) / scale
    ways = rising(jnp.full_like(df, 0.5), 0.5 * df)
    return ways - HALF_LOG_2PI - jnp.log(scale) - 0.5 * (df + 1.0) * jnp.log1p(z * z / df)


def _multivariate_student(d: Any, x: Any) -> Array:
    """log Γ((ν + n)/2) − log Γ(ν/2) − ½ n log(π ν) − log |L| − ½ (ν + n) log(1 + |L⁻¹(x − m)|²/ν)."""
    x, df, loc, factor = _floats(x, d.df, d.loc, d.scale_tril)
    n = factor.shape[-1]
    square = jnp.square(_solved(factor, (x - loc)[..., None])).sum((-2, -1))
    ways = rising(jnp.full_like(df, 0.5 * n), 0.5 * df)
    return ways - n * HALF_LOG_2PI - jnp.log(_diagonal(factor)).sum(-1) - 0.5 * (df + n) * jnp.log1p(square / df)


def _wishart_cholesky(d: Any, x: Any) -> Array:
    """T⁻¹L has independent entries (Bartlett, 1933): normals below the diagonal, on it roots of χ² of ν − i."""
    x, df, factor = _floats(x, d.concentration, d.scale_tril)
    order = jnp.arange(x.shape[-1])
    own = _solved(factor, x)
    jacobian = ((order + 1.0) * jnp.log(_diagonal(factor))).sum(-1)
    return _bartlett(own, df[..., None] - order) - jnp.log(_diagonal(own)).sum(-1) - jacobian


def _inverse_wishart_cholesky(d: Any, x: Any) -> Array:
    """L⁻¹T has such entries, in the opposite order."""
    x, df, factor = _floats(x, d.concentration, d.scale_tril)
    order = jnp.arange(x.shape[-1])
    own, behind = _solved(x, factor), x.shape[-1] - 1 - order
    jacobian = (behind * jnp.log(_diagonal(own)) - (order + 1.0) * jnp.log(_diagonal(x))).sum(-1)
    return _bartlett(own, df[..., None] - behind) + jacobian


def _bartlett(own: Array, df: Array) -> Array:
    """Σ log 2 − D(k/2, a²/2) − s(k/2) over the diagonal a, and the normals below it."""
    a, size = _diagonal(own), own.shape[-1]
    deviances = deviance(0.5 * df, 0.5 * a * a, 0.5 * product_less(a, a, df))
    below = jnp.square(jnp.tril(own, -1)).sum((-2, -1))
    on = (math.log(2.0) - deviances - gamma_rest(0.5 * df)).sum(-1)
    return on - 0.5 * below - 0.5 * size * (size - 1) * HALF_LOG_2PI


def _lkj_cholesky(d: Any, x: Any) -> Array:
    """Row i lies in a ball: Σ (bᵢ − 1) log(1 − |wᵢ|²) + log Γ(bᵢ + i/2)/Γ(bᵢ) − ½ i log π, bᵢ = η + ½ (n − 1 − i).

    Source: Lewandowski, Kurowicka and Joe (2009), section 3.2.
    """
    x, eta = _floats(x, d.concentration)
    i = jnp.arange(1, d.dimension, dtype=x.dtype)
    b = eta[..., None] + 0.5 * (d.dimension - 1.0 - i)
    # 1 − |w|² is the square of the diagonal, which has no digits of it where it is near 1.
    square, on = jnp.square(jnp.tril(x, -1)).sum(-1)[..., 1:], _diagonal(x)[..., 1:]
    near = square < 0.5
    left = jnp.where(near, jnp.log1p(-jnp.where(near, square, 0.0)), 2.0 * jnp.log(jnp.where(near, 1.0, on)))
    ways = rising(jnp.broadcast_to(0.5 * i, b.shape), b) + 0.5 * i * jnp.log(b / math.pi)
    return ((b - 1.0) * left + ways).sum(-1)


def _diagonal(x: Array) -> Array:
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def _solved(factor: Array, x: Array) -> Array:
    shape = jnp.broadcast_shapes(factor.shape[:-2], x.shape[:-2])
    factor, x = (jnp.broadcast_to(v, shape + v.shape[-2:]) for v in (factor, x))
    return jax.scipy.linalg.solve_triangular(factor, x, lower=True)


def _von_mises(d: Any, x: Any) -> Array:
    """κ cos(x − m) − log(2π I₀(κ)), with cos z − 1 = −2 sin²(z/2)."""
    x, loc, k = _floats(x, d.loc, d.concentration)
    return -2.0 * k * jnp.square(jnp.sin(0.5 * (x - loc))) - LOG_2PI - _log_i0e(k)


def _log_i0e(k: Array) -> Array:
    """log I₀(κ) − κ, by Hankel's series where κ is large (Abramowitz and Stegun, 1964, 9.7.1)."""
    large = k > _HANKEL
    u, low = 0.125 / jnp.where(large, k, _HANKEL), jnp.where(large, 1.0, k)
    series = u * (1.0 + u * (4.5 + u * (37.5 + u * (459.375 + u * 7441.875))))
    far = jnp.log1p(series) - 0.5 * jnp.log(jnp.where(large, k, _HANKEL)) - HALF_LOG_2PI
    return jnp.where(large, far, jnp.log(i0e(low)))


# Counts.


def _poisson(d: Any, k: Any) -> Array:
    """k log λ − λ − log k! = −D(k, λ) less the rest of log k!."""
    given, (k, rate) = k, _floats(k, d.rate)
    return -deviance(k, rate, rate - k - _lost(given, k)) - factorial_rest(k)


def _binomial_probs(d: Any, k: Any) -> Array:
    given, (k, p, n) = k, _floats(k, d.probs, d.total_count)
    few, most = _lost(given, k), _lost(d.total_count, n)
    over = product_less(n, p, k) + (p * most - few)
    return _binomial(k, (n - k) + (most - few), n, p, 1.0 - p, over)


def _binomial_logits(d: Any, k: Any) -> Array:
    given, (k, logit, n) = k, _floats(k, d.logits, d.total_count)
    few = _lost(given, k)
    left, p, rest = (n - k) + (_lost(d.total_count, n) - few), jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    return _binomial(k, left, n, p, rest, cross_difference(p, left, rest, k) - rest * few)


def _binomial_given_total(d: Any, k: Any) -> Array:
    k, logit = _floats(k, d.logits)
    p, rest = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    over = cross_difference(p, k[..., 1], rest, k[..., 0])
    return _binomial(k[..., 0], k[..., 1], k.sum(-1), p, rest, over)


def _binomial(k: Array, left: Array, n: Array, p: Array, rest: Array, over: Array) -> Array:
    """log C(n, k) + k log p + (n − k) log(1 − p), with D(k, n p) and D(n − k, n (1 − p))."""
    deviances = deviance(k, n * p, over) + deviance(left, n * rest, -over)
    return factorial_rest(n) - factorial_rest(k) - factorial_rest(left) - deviances


def _gamma_poisson(d: Any, k: Any) -> Array:
    given, (k, c, rate) = k, _floats(k, d.concentration, d.rate)
    one = 1.0 + rate
    over = (product_less(k, rate, c) + _lost(given, k) * rate) / one
    return _negative_binomial(k, c, rate / one, 1.0 / one, over)


def _negative_binomial_probs(d: Any, k: Any) -> Array:
    given, (k, c, p) = k, _floats(k, d.total_count, d.probs)
    stop = 1.0 - p
    return _negative_binomial(k, c, stop, p, cross_difference(k, stop, c, p) + _lost(given, k) * stop)


def _negative_binomial_logits(d: Any, k: Any) -> Array:
    given, (k, c, logit) = k, _floats(k, d.total_count, d.logits)
    p, rest = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
    return _negative_binomial(k, c, rest, p, cross_difference(k, rest, c, p) + _lost(given, k) * rest)


def _negative_binomial(k: Array, c: Array, stop: Array, go: Array, over: Array) -> Array:
    """log Γ(c + k)/(Γ(c) k!) + c log q + k log p, with D(c, (c + k) q) and D(k, (c + k) p)."""
    n = c + k
    deviances = deviance(c, n * stop, over) + deviance(k, n * go, -over)
    return gamma_rest(n) - gamma_rest(c) - factorial_rest(k) - deviances


def _beta_binomial(d: Any, k: Any) -> Array:
    """log C(n, k) B(a + k, b + n − k)/B(a, b): the deviances of the table a, k over b, n − k from independence."""
    given, (k, a, b, n) = k, _floats(k, d.concentration1, d.concentration0, d.total_count)
    left = (n - k) + (_lost(d.total_count, n) - _lost(given, k))
    return factorial_rest(n) - factorial_rest(k) - factorial_rest(left) + _urn(a, b, k, left)


def _beta_negative_binomial(d: Any, k: Any) -> Array:
    """log Γ(n + k)/(Γ(n) k!) B(a + k, b + n)/B(a, b): the same of the table a, k over b, n."""
    k, a, b, n = _floats(k, d.concentration1, d.concentration0, d.n)
    return gamma_rest(n + k) - gamma_rest(n) - factorial_rest(k) + _urn(a, b, k, n)


def _urn(a: Array, b: Array, k: Array, n: Array) -> Array:
    """log B(a + k, b + n)/B(a, b) without k log k and n log n, and with (k + n) log(k + n)."""
    own, drawn = a + b, k + n
    total = own + drawn
    over = cross_difference(k, b, a, n) / total
    above, below = (a + k) / total, (b + n) / total
    deviances = deviance(a, above * own, over) + deviance(b, below * own, -over)
    deviances = deviances + deviance(k, above * drawn, -over) + deviance(n, below * drawn, over)
    rests = gamma_rest(a + k) + gamma_rest(b + n) + gamma_rest(own)
    return rests - gamma_rest(total) - gamma_rest(a) - gamma_rest(b) - deviances


def _dirichlet_multinomial(d: Any, k: Any) -> Array:
    """log n!/Π kᵢ! B(a + k)/B(a): the same of the table of a over k."""
    k, a = _floats(k, d.concentration)
    own, drawn = a.sum(-1, keepdims=True), k.sum(-1, keepdims=True)
    total = own + drawn
    over, column = cross_difference(k, own, a, drawn) / total, (a + k) / total
    deviances = deviance(a, column * own, over) + deviance(k, column * drawn, -over)
    rests = (gamma_rest(a + k) - gamma_rest(a) - factorial_rest(k) - deviances).sum(-1)
    return rests + (gamma_rest(own) - gamma_rest(total) + factorial_rest(drawn))[..., 0]


def _multinomial(d: Any, k: Any) -> Array:
    """log n!/Π kᵢ! + Σ kᵢ log pᵢ, with D(kᵢ, n pᵢ)."""
    k, p = _floats(k, d.probs)
    n = k.sum(-1, keepdims=True)
    deviances = deviance(k, n * p, product_less(n, p, k))
    return factorial_rest(n)[..., 0] - (factorial_rest(k) + deviances).sum(-1)


def _floats(x: Any, *parameters: Any) -> list[Array]:
    """The outcome and the parameters as arrays of one floating type: of counts that of the parameters."""
    arrays = [jnp.asarray(v) for v in (x, *parameters)]
    kinds = [v.dtype for v in arrays if jnp.issubdtype(v.dtype, jnp.floating)]
    dtype = jnp.result_type(*kinds) if kinds else jnp.result_type(float)
    return [v.astype(dtype) for v in arrays]


def _lost(count: Any, nearest: Array) -> Array:
    """What the nearest floating number lacks of an integer."""
    count = jnp.asarray(count)
    if not jnp.issubdtype(count.dtype, jnp.integer):
        return jnp.zeros((), nearest.dtype)
    return (count - nearest.astype(count.dtype)).astype(nearest.dtype)


_FORMS: dict[type, Callable[[Any, Any], Array]] = {
    **dict.fromkeys((dist.Gamma, dist.Chi2), _gamma),
    dist.InverseGamma: _inverse_gamma,
    **dict.fromkeys((dist.Beta, dist.BetaProportion), _beta),
    dist.Dirichlet: _dirichlet,
    dist.StudentT: _student,
    dist.MultivariateStudentT: _multivariate_student,
    dist.WishartCholesky: _wishart_cholesky,
    dist.InverseWishartCholesky: _inverse_wishart_cholesky,
    dist.LKJCholesky: _lkj_cholesky,
    dist.VonMises: _von_mises,
    dist.Poisson: _poisson,
    dist.BinomialProbs: _binomial_probs,
    dist.BinomialLogits: _binomial_logits,
    **dict.fromkeys((dist.GammaPoisson, dist.NegativeBinomial2), _gamma_poisson),
    dist.NegativeBinomialProbs: _negative_binomial_probs,
    dist.NegativeBinomialLogits: _negative_binomial_logits,
    dist.BetaBinomial: _beta_binomial,
    dist.BetaNegativeBinomial: _beta_negative_binomial,
    **dict.fromkeys((dist.DirichletMultinomial, DirichletMultinomialGivenTotal), _dirichlet_multinomial),
    **dict.fromkeys((dist.MultinomialProbs, dist.MultinomialLogits, MultinomialGivenTotal), _multinomial),
    BinomialGivenTotal: _binomial_given_total,
}
