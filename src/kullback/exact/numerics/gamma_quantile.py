"""Logarithms of quantiles of the gamma law, smooth in its concentration.

Draws of the gamma law by rejection jump where a proposal is first rejected, so that at fixed noise they are no function
to descend on. The quantile x(a, u), with P(a, x) = u, is: dx/da = −(∂P/∂a)/(∂P/∂x) follows from the implicit function
theorem (Figurnov, Mohamed and Mnih 2018, equation 5). It is given as log x, since x itself is below all numbers at
small concentrations, where P(a, x) = xᵃ/Γ(a + 1) to a relative error of x.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import ndtri
from jaxtyping import Float

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

    def improved(carry: Any) -> Any:
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
def _(primals: Any, tangents: Any) -> Any:
    a, u = primals
    t = log_gamma_quantile(a, u)
    in_series = t < _SERIES
    x = jnp.where(in_series, 1.0, jnp.exp(t))
    by_concentration = jnp.where(in_series, (lax.digamma(a + 1.0) - t) / a, _DERIVATIVE(a, x) / x)
    return t, by_concentration * tangents[0]


def _first_term(a: Any, u: Any) -> Any:
    return (jnp.log(u) + lax.lgamma(a + 1.0)) / a
