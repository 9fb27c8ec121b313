"""The functions that stable forms are made of: each keeps its relative accuracy where plain differences lose it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial.legendre import leggauss

from kullback.exact.ratios import gap as gap
from kullback.exact.ratios import log_ratio as log_ratio
from kullback.exact.ratios import phi as phi
from kullback.exact.ratios import psi as psi
from kullback.exact.ratios import scale_gap as scale_gap

EULER_GAMMA = 0.57721566490153286061
HALF_LOG_2PI = 0.91893853320467274178


def floats(*xs: Any) -> tuple[Array, ...]:
    """The arguments as JAX arrays of one floating type."""
    arrays = [jnp.asarray(x) for x in xs]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return tuple(a.astype(dtype) for a in arrays)


def in_double(form: Callable[..., Array]) -> Callable[..., Array]:
    """The form evaluated in double precision and rounded to that of its arguments, also inside compiled programs.

    For what single precision cannot give: differences of special functions. It costs the width of the numbers, so it
    is used only where there is no form that keeps its digits. The global setting is untouched.
    """

    @wraps(form)
    def run(*args: Any) -> Array:
        dtype = floats(*jax.tree.leaves(args))[0].dtype
        with jax.enable_x64(True):
            value = form(*jax.tree.map(_widened, args))
        return value.astype(dtype)

    return run


def _widened(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf


# The Binet function μ: log Γ(t) = (t − ½) log t − t + ½ log 2π + μ(t). Its asymptotic series has coefficients
# B₂ₖ/(2k(2k−1)) in t^(1−2k), for B₂ₖ the Bernoulli numbers.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_SHIFT = 8


def _series(t: Array, coefficients: list[float]) -> Array:
    """Σₖ cₖ t⁻²ᵏ."""
    inverse, total = 1.0 / (t * t), jnp.zeros_like(t)
    for c in reversed(coefficients):
        total = total * inverse + c
    return total


def _is_large(t: Array) -> Array:
    return t > (4.0 if t.dtype == jnp.float32 else 12.0)


@jax.custom_jvp
def binet(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ(t) = log Γ(t) − (t − ½) log t + t − ½ log 2π, for t > 0."""
    large = _is_large(t)
    high, low = jnp.where(large, t, 12.0), jnp.where(large, 1.0, t)
    series = _series(high, [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(_BERNOULLI)]) / high
    return jnp.where(large, series, jax.lax.lgamma(low) - (low - 0.5) * jnp.log(low) + low - HALF_LOG_2PI)


@jax.custom_jvp
def binet_slope(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ′(t) = digamma(t) − log t + 1/(2t), for t > 0."""
    large = _is_large(t)
    high, low = jnp.where(large, t, 12.0), jnp.where(large, 1.0, t)
    series = -_series(high, [b / (2 * k + 2) for k, b in enumerate(_BERNOULLI)]) / (high * high)
    return jnp.where(large, series, jax.lax.digamma(low) - jnp.log(low) + 0.5 / low)


binet.defjvps(lambda tangent, _, t: tangent * binet_slope(t))


def binet_curvature(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ″(t) = trigamma(t) − 1/t − 1/(2t²) > 0, for t > 0."""
    # μ″(t) = μ″(t + 1) + 1/(2 t² (t+1)²): only positive terms.
    shifted = t + _SHIFT
    total = _series(shifted, list(_BERNOULLI)) / shifted**3
    for k in range(_SHIFT - 1, -1, -1):
        total = total + 0.5 / jnp.square((t + k) * (t + k + 1))
    return total


binet_slope.defjvps(lambda tangent, _, t: tangent * binet_curvature(t))

_NODES, _WEIGHTS = leggauss(12)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


@jax.custom_jvp
def gamma_gap(a: Float[Array, "*s"], b: Float[Array, "*s"], step: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The Bregman difference g(b) − g(a) − step g′(a) ≥ 0 of g(t) = log Γ(t) − t log t + t, for step = b − a.

    With it that of log Γ is gap(b, a, −step) + gamma_gap(a, b, step). Near, it is step² ∫₀¹ (1−s) g″(a + s step) ds
    by Gauss–Legendre quadrature, the part −½ log t of g aside, which gives gap(a, b, step)/2a.
    The integrand is analytic but at t = 0, so 12 nodes give 1e-16 while b is within a factor 2 of a.
    """
    far = _is_far(a, step)
    near_step = jnp.where(far, 0.0, step)
    near = jnp.square(near_step) * _mean_curvature(a, near_step, 1.0 - _NODES)
    end = jnp.where(far, b, a)
    plain = binet(end) - binet(a) - (end - a) * binet_slope(a)
    return 0.5 * gap(a, b, step) / a + jnp.where(far, plain, near)


@gamma_gap.defjvp
def _(primals, tangents):
    (a, b, step), (da, db, _) = primals, tangents
    far = _is_far(a, step)
    near_step = jnp.where(far, 0.0, step)
    near = near_step * _mean_curvature(a, near_step, np.ones_like(_NODES))
    plain = binet_slope(jnp.where(far, b, a)) - binet_slope(a)
    along_b = 0.5 * step / a / b + jnp.where(far, plain, near)
    along_a = -step * (binet_curvature(a) + 0.5 / jnp.square(a))
    return gamma_gap(a, b, step), along_b * db + along_a * da


def _is_far(a: Array, step: Array) -> Array:
    return (step > a) | (step < -0.5 * a)


def _mean_curvature(a: Array, step: Array, weights: np.ndarray) -> Array:
    """∫₀¹ w(s) μ″(a + s step) ds, for the `weights` w at the nodes."""
    nodes, scaled = jnp.asarray(_NODES, a.dtype), jnp.asarray(_WEIGHTS * weights, a.dtype)
    return (scaled * binet_curvature(a[..., None] + nodes * step[..., None])).sum(-1)


def gamma_entropy(a: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log Γ(a) + (1 − a) digamma(a) + a, the entropy of Gamma(a, 1), without differences of large numbers."""
    return 0.5 * jnp.log(a) + HALF_LOG_2PI + 0.5 + binet(a) - 0.5 / a + (1.0 - a) * binet_slope(a)


def log_beta(a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log B(a, b), without differences of large numbers; `jax.scipy.special.betaln` is right to 1e-6 only."""
    small, large = jnp.minimum(a, b), jnp.maximum(a, b)
    total = a + b
    binets = binet(small) + binet(large) - binet(total)
    powers = (small - 0.5) * jnp.log(small / total) + large * jnp.log1p(-small / total)
    return HALF_LOG_2PI + binets + powers - 0.5 * jnp.log(large)
