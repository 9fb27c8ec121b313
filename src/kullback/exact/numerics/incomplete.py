"""The incomplete gamma function and the exponential integral, of positive terms only.

JAX has both, but not within a program that is evaluated in double precision while single is the setting; and these
have derivatives in every argument.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kullback.exact.numerics.log_gamma import EULER_GAMMA, HALF_LOG_2PI, binet
from kullback.exact.numerics.nodes import unit_interval
from kullback.exact.numerics.ratios import gap

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
    nodes, weights = unit_interval(96, x.dtype)
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
