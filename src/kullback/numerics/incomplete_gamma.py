"""The incomplete gamma function, the exponential integral, and the quantiles of the gamma law.

JAX has the first two, but not within a program that is evaluated in double precision while single is the setting; and
these have derivatives in every argument.

Draws of the gamma law by rejection jump where a proposal is first rejected, so at fixed noise they are no smooth
function of the concentration. The quantile x(a, u), with P(a, x) = u, is: dx/da = −(∂P/∂a)/(∂P/∂x) by the implicit
function theorem (Figurnov, Mohamed and Mnih 2018, equation 5). It is given as log x, since x itself underflows at small
concentrations, where P(a, x) = xᵃ/Γ(a + 1) to a relative error of x.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from kullback.numerics.log_gamma import EULER_GAMMA, HALF_LOG_2PI, binet
from kullback.numerics.quadrature import gauss_legendre
from kullback.numerics.ratios import gap

# Sums and integrals of positive terms.


_SERIES_UP_TO = 60.0
_TERMS = np.arange(1, 161)
_LOG_FACTORIALS = np.cumsum(np.log(_TERMS))
_HARMONIC = np.cumsum(1.0 / _TERMS)


def lower_gamma(a: Float[Array, "*s"], x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """P(a, x) = γ(a, x)/Γ(a), for a > 0 and x ≥ 0.

    With w = xᵃ e^−x/Γ(a + 1): up to x = 60 it is w Σ xⁿ/((a+1)...(a+n)). Beyond, the integrals
    γ(a, x) = xᵃ e^−x ∫ (1 − u)^(a−1) e^xu du over (0, 1) for x < a, and Γ(a, x) = xᵃ e^−x ∫ (1 + u)^(a−1) e^−xu du over
    (0, ∞) for x ≥ a, fall off from u = 0 on, and are taken as far as they matter by Gauss and Legendre.
    Source: DLMF, 8.7.1, 8.6.3 and 8.6.5.
    """
    nothing, small, below = x <= 0, x < _SERIES_UP_TO, x < a
    near = jnp.where(small & ~nothing, x, 1.0)[..., None]
    logs = jnp.asarray(_TERMS, x.dtype) * jnp.log(near)
    start = jax.lax.lgamma(a + 1.0)[..., None]
    terms = jnp.exp(logs - jax.lax.lgamma(a[..., None] + jnp.asarray(_TERMS + 1.0, x.dtype)) + start)
    series = _weight(a, near[..., 0]) * (1.0 + terms.sum(-1))
    far = jnp.where(small, 2.0 * _SERIES_UP_TO, x)
    tail = _weight(a, far) * a * _tail(jnp.where(small, _SERIES_UP_TO, a), far)
    return jnp.where(nothing, 0.0, jnp.where(small, series, jnp.where(below, tail, 1.0 - tail)))


def _weight(a: Array, x: Array) -> Array:
    """xᵃ e^−x/Γ(a + 1), without the difference of large numbers."""
    return jnp.exp(-gap(a, x, x - a) - binet(a) - HALF_LOG_2PI) / jnp.sqrt(a)


def _tail(a: Array, x: Array) -> Array:
    """∫ (1 ∓ u)^(a−1) e^±xu du from 0 on, with the upper sign for x < a."""
    sign = jnp.where(x < a, -1.0, 1.0)
    # The exponent is at least |x − a + 1| u + c u², with a reach of 40.
    slope, bend = jnp.abs(x - a + 1.0), jnp.maximum(a - 1.0, 0.0) * jnp.where(x < a, 0.5, 0.25)
    reach = jax.lax.stop_gradient(80.0 / (slope + jnp.sqrt(jnp.square(slope) + 160.0 * bend)))
    reach = jnp.where(x < a, jnp.minimum(reach, 1.0), reach)
    nodes, weights = gauss_legendre(96, x.dtype)
    u = reach[..., None] * nodes
    sign, power = sign[..., None], (a - 1.0)[..., None]
    return reach * (weights * jnp.exp(power * jnp.log1p(sign * u) - sign * x[..., None] * u)).sum(-1)


def exponential_integral(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """E₁(x) = −γ − log x + e^−x Σ Hₙ xⁿ/n!, to the digits of its larger terms; 0 beyond x = 40. Source: DLMF, 6.6.6."""
    inside = (x > 0) & (x < 40.0)
    safe = jnp.where(inside, x, 1.0)
    logs = jnp.asarray(_TERMS, x.dtype) * jnp.log(safe)[..., None] - jnp.asarray(_LOG_FACTORIALS, x.dtype)
    total = (jnp.exp(logs - safe[..., None]) * jnp.asarray(_HARMONIC, x.dtype)).sum(-1)
    return jnp.where(inside, total - EULER_GAMMA - jnp.log(safe), jnp.where(x > 0, 0.0, jnp.inf))


# Quantiles.


_DERIVATIVE: Any = lax.random_gamma_grad  # dx/da at a quantile
_SERIES = -30.0  # log x below which the first term of the series is the whole of it in double precision
_STEPS = 12  # of Newton's iteration at most; it doubles the digits, and three or four are usual


@jax.custom_jvp
def log_gamma_quantile(a: Float[Array, "*s"], u: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log x with P(a, x) = u, for concentrations a > 0 and shares 0 < u < 1.

    Newton's iteration on log P(a, eᵗ) = log u, which is concave in t, from the cube of Wilson and Hilferty (1931) or,
    where the law is steep at 0, from the first term of the series or of the tail.
    """
    series = _first_term(a, u)
    root = 1.0 - 1.0 / (9.0 * a) + ndtri(u) / (3.0 * jnp.sqrt(a))
    cube = jnp.log(a) + 3.0 * jnp.log(jnp.maximum(root, 0.1))
    tail = -jnp.log1p(-u) - lax.lgamma(a)  # of 1 − P = xᵃ⁻¹ e⁻ˣ/Γ(a), nearly, far out
    far = jnp.maximum(tail, 2.0)
    small = jnp.where(tail > 2.0, jnp.log(far + (a - 1.0) * jnp.log(far)), jnp.minimum(series, jnp.log1p(a)))
    t = jnp.where((a > 0.5) & (root > 0.1), cube, small)

    enough = 64 * jnp.finfo(t.dtype).eps

    def improved(carry: tuple[ArrayLike, Array, Array]) -> tuple[ArrayLike, Array, Array]:
        i, t, _ = carry
        x = jnp.exp(t)
        share = lax.igamma(a, x)
        log_slope = a * t - x - lax.lgamma(a)  # of P in t
        step = (jnp.log(share) - jnp.log(u)) * share * jnp.exp(-log_slope)
        step = jnp.where(jnp.isfinite(step) & (series >= _SERIES), jnp.clip(step, -2.0, 2.0), 0.0)
        # Steps shrink as their squares: what a small one leaves is beyond rounding.
        return i + 1, t - step, jnp.max(jnp.square(step))

    going = lambda carry: (carry[0] < _STEPS) & (carry[2] > enough)  # noqa: E731
    _, t, _ = lax.while_loop(going, improved, (0, t, jnp.asarray(jnp.inf, t.dtype)))
    return jnp.where(series < _SERIES, series, t)


@log_gamma_quantile.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, u = primals
    t = log_gamma_quantile(a, u)
    in_series = t < _SERIES
    x = jnp.where(in_series, 1.0, jnp.exp(t))
    by_concentration = jnp.where(in_series, (lax.digamma(a + 1.0) - t) / a, _DERIVATIVE(a, x) / x)
    return t, by_concentration * tangents[0]


def _first_term(a: Float[Array, "*s"], u: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return (jnp.log(u) + lax.lgamma(a + 1.0)) / a
