"""log Γ without its leading terms: Binet's function, and the difference between log Γ and its tangent."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kullback.numerics.ratios import (
    in_own_precision,
    is_normal,
    log_ratio,
    phi_and_log,
    rule_in_own_precision,
    unequal,
)

EULER_GAMMA = 0.57721566490153286061
HALF_LOG_2PI = 0.91893853320467274178

# The Binet function μ: log Γ(t) = (t − ½) log t − t + ½ log 2π + μ(t). Its asymptotic series has coefficients
# B₂ₖ/(2k(2k−1)) in t^(1−2k), for B₂ₖ the Bernoulli numbers.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def _shift(dtype: jnp.dtype, single: bool = False) -> int:
    """From here on the asymptotic series holds."""
    return 4 if single or dtype == jnp.float32 else 12


def _terms(dtype: jnp.dtype, single: bool) -> int:
    return 5 if single or dtype == jnp.float32 else len(_BERNOULLI)


def _series(t: Array, coefficients: list[float]) -> Array:
    """Σₖ cₖ t⁻²ᵏ."""
    inverse, total = 1.0 / (t * t), jnp.zeros_like(t)
    for c in reversed(coefficients):
        total = total * inverse + c
    return total


@jax.custom_jvp
@in_own_precision
def binet(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ(t) = log Γ(t) − (t − ½) log t + t − ½ log 2π, for t > 0."""
    large = t > _shift(t.dtype)
    high, low = jnp.where(large, t, 12.0), jnp.where(large, 1.0, t)
    series = _series(high, [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(_BERNOULLI)]) / high
    return jnp.where(large, series, jax.lax.lgamma(low) - (low - 0.5) * jnp.log(low) + low - HALF_LOG_2PI)


@jax.custom_jvp
@in_own_precision
def binet_slope(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ′(t) = digamma(t) − log t + 1/(2t), for t > 0."""
    large = t > _shift(t.dtype)
    high, low = jnp.where(large, t, 12.0), jnp.where(large, 1.0, t)
    series = -_series(high, [b / (2 * k + 2) for k, b in enumerate(_BERNOULLI)]) / (high * high)
    return jnp.where(large, series, jax.lax.digamma(low) - jnp.log(low) + 0.5 / low)


@binet.defjvp
@rule_in_own_precision
def _(primals, tangents):
    return binet(*primals), binet_slope(*primals) * tangents[0]


@in_own_precision
def binet_curvature(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """μ″(t) = trigamma(t) − 1/t − 1/(2t²) > 0, for t > 0."""
    # μ″(t) = μ″(t + 1) + 1/(2 t² (t+1)²): only positive terms.
    shifted = t + 8
    total = _series(shifted, list(_BERNOULLI)) / shifted**3
    for k in range(7, -1, -1):
        total = total + 0.5 / jnp.square((t + k) * (t + k + 1))
    return total


@binet_slope.defjvp
@rule_in_own_precision
def _(primals, tangents):
    return binet_slope(*primals), binet_curvature(*primals) * tangents[0]


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def gamma_gap(
    a: Float[Array, "*s"], b: Float[Array, "*s"], step: Float[Array, "*s"], single: bool = False
) -> Float[Array, "*s"]:
    """The Bregman difference g(b) − g(a) − step g′(a) ≥ 0 of g(t) = log Γ(t) − t log t + t, for step = b − a.

    With it that of log Γ is gap(b, a, −step) + gamma_gap(a, b, step). Where a and b are large, log Γ is t log t − t −
    ½ log t + μ(t), which leaves ½ φ(step/a) and the Bregman difference of μ's series, term by term a square times a
    polynomial. Elsewhere log Γ(t) = log Γ(t + n) − Σ log(t + j) moves both to where they are large, for a sum of
    φ(step/(a + j)). No term is a difference of first-order ones, so that none loses digits where a and b are near.
    With `single`, to the precision of single numbers only, whatever that of the arguments.
    Source: Abramowitz and Stegun (1964), 6.1.15 and 6.1.41.
    """
    return _gamma_gap(single, a, b, step)


@in_own_precision
def _gamma_gap(single: bool, a: Array, b: Array, step: Array) -> Array:
    n = _shift(a.dtype, single)
    large = (a > n) & (b > n)
    high_a, high_b = jnp.where(large, a, a + n), jnp.where(large, b, b + n)
    top, top_log = phi_and_log(high_a, high_b, step)
    low, low_log = phi_and_log(a, b, step)
    shifted = low + sum(phi_and_log(a + j, b + j, step)[0] for j in range(1, n))
    x, y = 1.0 / high_a, 1.0 / high_b
    # gap(b, a, −step) = b log(b/a) − step, which is step²/a − b φ(step/a), and that keeps its digits where a is near b.
    near = (step * x * step - high_b * top) - (step / a * step - b * low)
    far = high_b * top_log - b * low_log
    shifted = shifted + jnp.where(jnp.abs(step) < 0.5 * a, near, far)
    value = jnp.where(large, 0.0, shifted) + 0.5 * top + _series_gap(x, y, step, _terms(a.dtype, single))
    return jnp.where(is_normal(a) & is_normal(b), value, unequal(a, b))


@gamma_gap.defjvp
@rule_in_own_precision
def _(single, primals, tangents):
    (a, b, step), (da, db, _) = primals, tangents
    live = is_normal(a) & is_normal(b)
    a, b, step = jnp.where(live, a, 1.0), jnp.where(live, b, 1.0), jnp.where(live, step, 0.0)
    along_a = -step * (binet_curvature(a) + 0.5 / jnp.square(a))
    return gamma_gap(*primals, single), _gap_slope(single, a, b, step) * db + along_a * da


@in_own_precision
def _gap_slope(single: bool, a: Array, b: Array, step: Array) -> Array:
    """g′(b) − g′(a) for a, b > 0, of the same sign as `step` and split in the same way as the gap."""
    n = _shift(a.dtype, single)
    large = (a > n) & (b > n)
    high_a, high_b = jnp.where(large, a, a + n), jnp.where(large, b, b + n)
    x, y = 1.0 / high_a, 1.0 / high_b
    logs = log_ratio(high_a, high_b, step) - log_ratio(a, b, step)
    shifted = sum(step / (a + j) / (b + j) for j in range(n)) + logs
    total, sums, ratio = jnp.zeros_like(x), jnp.ones_like(x), y
    for k in range(_terms(a.dtype, single)):
        # sums = Σ xⁱ yʲ over i + j = 2k + 1, so that y²ᵏ⁺² − x²ᵏ⁺² = (y − x) sums.
        sums, ratio = x * sums + ratio, ratio * y
        total = total + _BERNOULLI[k] / (2 * k + 2) * sums
        sums, ratio = x * sums + ratio, ratio * y
    return jnp.where(large, 0.0, shifted) + (step * x) * y * (0.5 + total)


def _series_gap(x: Array, y: Array, step: Array, terms: int) -> Array:
    """μ(b) − μ(a) − step μ′(a) for x = 1/a and y = 1/b, that of t⁻ᵐ being step² x y Σᵢ (m − i) xᵐ⁻ⁱ yⁱ."""
    total, sums, slope, power = jnp.zeros_like(x), jnp.ones_like(x), x, y
    for k in range(terms):
        total = total + _BERNOULLI[k] / ((2 * k + 2) * (2 * k + 1)) * slope
        for _ in range(2):
            sums, power = x * sums + power, power * y
            slope = x * (sums + slope)
    return (step * x) * (step * y) * total


def gamma_entropy(a: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log Γ(a) + (1 − a) digamma(a) + a, the entropy of Gamma(a, 1), without differences of large numbers."""
    return 0.5 * jnp.log(a) + HALF_LOG_2PI + 0.5 + binet(a) - 0.5 / a + (1.0 - a) * binet_slope(a)


def log_beta(a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log B(a, b), without differences of large numbers; `jax.scipy.special.betaln` is right to 1e-6 only."""
    # Not by minimum and maximum, for whose slopes JAX makes constants outside the double precision.
    ordered = a < b
    small, large = jnp.where(ordered, a, b), jnp.where(ordered, b, a)
    total = a + b
    binets = binet(small) + binet(large) - binet(total)
    powers = (small - 0.5) * jnp.log(small / total) + large * jnp.log1p(-small / total)
    return HALF_LOG_2PI + binets + powers - 0.5 * jnp.log(large)
