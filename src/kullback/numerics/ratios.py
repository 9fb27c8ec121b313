"""Functions of the ratio of two positive numbers that keep their relative accuracy where the two are near.

A ratio is decomposed as x/y = 2ᵏ (1 + f), with k an integer and −⅓ ≤ f ≤ ½, from the bits of the two numbers: x/2ᵏ is
then exact, and so is its difference from y, which is f y. Where x and y are near, k is 0, and only terms of second
order in f are left. There are no branches, so that a compiled loop runs at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

_LOG2 = 0.69314718055994530942


class _Ratio(NamedTuple):
    """x/y = 2ᵏ (1 + f), with k as a floating number; r = f/(2 + f), 2ᵏ, and 1/y."""

    k: Float[Array, "*s"]
    f: Float[Array, "*s"]
    r: Float[Array, "*s"]
    power: Float[Array, "*s"]
    inverse: Float[Array, "*s"]


def in_own_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Half precisions widened to single; doubles with 64-bit integers at hand, whatever the global setting."""

    @wraps(function)
    def run(*args: Any) -> Any:
        dtype = np.result_type(*(a.dtype for a in args if hasattr(a, "dtype")))
        wide = np.result_type(dtype, np.float32)
        with _doubles(wide):
            value = function(*(a.astype(wide) if hasattr(a, "dtype") else a for a in args))
            return jax.tree.map(lambda v: v.astype(dtype), value)

    return run


def rule_in_own_precision(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The same for the derivative of such a function: within `in_double` it is formed when that has ended."""

    @wraps(rule)
    def run(*args: Any) -> Any:
        primals = args[-2]
        with _doubles(primals[0].dtype):
            return rule(*args)

    return run


def _doubles(dtype: DTypeLike) -> AbstractContextManager[Any]:
    return jax.enable_x64(True) if dtype == np.float64 else nullcontext()


def _decompose(x: Array, y: Array) -> _Ratio:
    about = jnp.finfo(x.dtype)
    whole = np.int64 if about.bits == 64 else np.int32
    x_bits, y_bits = (jax.lax.bitcast_convert_type(v, whole) for v in (x, y))
    k = (x_bits - y_bits + whole(1 << (about.nmant - 1))) >> whole(about.nmant)
    near = jax.lax.bitcast_convert_type(x_bits - (k << whole(about.nmant)), x.dtype)
    step, inverse = near - y, 1.0 / y
    # r by a division of its own, which does not wait for f.
    return _Ratio(
        k=k.astype(x.dtype),
        f=step * inverse,
        r=step / (near + y),
        power=_power_of_two(k, x.dtype),
        inverse=inverse,
    )


def _power_of_two(k: Array, dtype: DTypeLike) -> Array:
    """2ᵏ of an integer k: 0 below the range of the type, ∞ above."""
    about = jnp.finfo(dtype)
    bias = (1 << (about.bits - about.nmant - 2)) - 1
    return jax.lax.bitcast_convert_type((jnp.clip(k, -bias, bias + 1) + bias) << about.nmant, dtype)


# φ(f)/f² for −⅓ ≤ f ≤ ½ in powers of f, through the Chebyshev points of degree 11: right to 7e-9.
_PHI = (
    *(0.5000000025, -0.3333332845, 0.2499990233, -0.200004772, 0.1667291226, -0.1427649431),
    *(0.1235834261, -0.1108098624, 0.1126618144, -0.1073617341, 0.05345393634),
)


def _small_phi(f: Array, r: Array) -> Array:
    """φ(f) for −⅓ ≤ f ≤ ½ and r = f/(2 + f)."""
    series = jnp.zeros_like(f)
    if f.dtype == jnp.float32:  # without a division, which would cost a pass through memory
        for coefficient in reversed(_PHI):
            series = series * f + coefficient
        return f * f * series
    # log1p(f) = 2 artanh(r) and f = 2r + rf, so that f − log1p(f) = rf − 2r³(1/3 + r²/5 + ...).
    square = r * r
    for k in reversed(range(10)):
        series = series * square + 2.0 / (2 * k + 3)
    return r * (f - square * series)


def is_normal(x: Float[Array, "*s"]) -> Bool[Array, "*s"]:
    """Whether a number is positive, finite, and not below the range of its type."""
    return (x >= jnp.finfo(x.dtype).tiny) & (x < jnp.inf)


def unequal(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """0 where two numbers at the end of their range are equal, ∞ where they are not; NaN where one is."""
    return jnp.where(x == y, 0.0, jnp.abs(x) + jnp.abs(y) + jnp.inf)


def scale_terms(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> tuple[Array, Array, Array]:
    """φ(u), u and 1/y with u = (x − y)/y, for x and y that are normal numbers."""
    ratio = _decompose(x, y)
    above = (ratio.power - 1.0) * (1.0 + ratio.f)
    return above - ratio.k * _LOG2 + _small_phi(ratio.f, ratio.r), above + ratio.f, ratio.inverse


@jax.custom_jvp
@in_own_precision
def scale_gap(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """φ((x − y)/y) = x/y − 1 − log(x/y) ≥ 0, for x, y ≥ 0; 0 where they are equal, 0 and ∞ included."""
    return jnp.where(is_normal(x) & is_normal(y), scale_terms(x, y)[0], unequal(x, y))


@scale_gap.defjvp
@rule_in_own_precision
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    live = is_normal(x) & is_normal(y)
    u, x, y = jnp.where(live, (x - y) / y, 0.0), jnp.where(live, x, 1.0), jnp.where(live, y, 1.0)
    return scale_gap(*primals), u / x * dx - u / y * dy


def phi(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """φ(x) = x − log(1 + x) ≥ 0, for x ≥ −1."""
    return gap(jnp.ones_like(x), 1.0 + x, x)


@jax.custom_jvp
@in_own_precision
def log_ratio(p: Float[Array, "*s"], q: Float[Array, "*s"], difference: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(q/p) for positive p and q from their `difference` q − p; 0 where either is 0."""
    live = is_normal(p) & is_normal(q)
    p, q = jnp.where(live, p, 1.0), jnp.where(live, q, 1.0)
    return jnp.where(live, _log_ratio(p, q, difference)[1], 0.0)


def _log_ratio(p: Array, q: Array, difference: Array) -> tuple[_Ratio, Array]:
    """q/p decomposed, with f from the `difference` where k is 0; and its logarithm."""
    ratio = _decompose(q, p)
    near = ratio.k == 0
    f = jnp.where(near, difference * ratio.inverse, ratio.f)
    r = jnp.where(near, difference / (2.0 * p + difference), ratio.r)
    return ratio._replace(f=f, r=r), ratio.k * _LOG2 + (f - _small_phi(f, r))


def phi_and_log(p: Float[Array, "*s"], q: Float[Array, "*s"], difference: Float[Array, "*s"]) -> tuple[Array, Array]:
    """φ((q − p)/p) and log(q/p) for normal numbers p and q from their `difference` q − p."""
    ratio, log = _log_ratio(p, q, difference)
    return jnp.where(ratio.k == 0, _small_phi(ratio.f, ratio.r), difference * ratio.inverse - log), log


@log_ratio.defjvp
@rule_in_own_precision
def _(primals, tangents):
    (p, q, _), (dp, dq, _) = primals, tangents
    live = is_normal(p) & is_normal(q)
    along_p, along_q = (jnp.where(live, 1.0 / jnp.where(live, v, 1.0), 0.0) for v in (p, q))
    return log_ratio(*primals), along_q * dq - along_p * dp


@jax.custom_jvp
@in_own_precision
def gap(p: Float[Array, "*s"], q: Float[Array, "*s"], difference: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """p log(p/q) − p + q = p φ((q − p)/p) ≥ 0, from p, q ≥ 0 and their `difference` q − p.

    Its limits: q where p = 0, and inf where q = 0 < p. The derivative in p at p = 0, log 0, is given as 0, so that
    gradients stay finite.
    """
    ratio, log = _log_ratio(p, q, difference)
    value = jnp.where(ratio.k == 0, p * _small_phi(ratio.f, ratio.r), difference - p * log)
    edge = jnp.where((p < jnp.finfo(p.dtype).tiny) | (p == q), q - p, jnp.abs(p) + jnp.abs(q) + jnp.inf)
    return jnp.where(is_normal(p) & is_normal(q), value, edge)


@gap.defjvp
@rule_in_own_precision
def _(primals, tangents):
    (p, q, difference), (dp, dq, _) = primals, tangents
    live = (p > 0) & (q > 0)
    slope = jnp.where(live, difference / jnp.where(q > 0, q, 1.0), jnp.where(p > 0, 0.0, 1.0))
    return gap(*primals), slope * dq - log_ratio(*primals) * dp


@jax.custom_jvp
@in_own_precision
def psi(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """ψ(x) = eˣ − 1 − x ≥ 0."""
    # With x = n log 2 + r: ψ(x) = (2ⁿ − 1)(1 + r) + 2ⁿ ψ(r) − n log 2, where only ψ(r) is left for n = 0.
    single = x.dtype == jnp.float32
    high, low = (0.693359375, -2.12194440e-4) if single else (6.93147180369123816490e-01, 1.90821492927058770002e-10)
    held = jnp.clip(x, -750.0, 750.0)
    n = jnp.round(held / _LOG2)
    r = (held - n * high) - n * low
    series = jnp.zeros_like(r)
    for k in reversed(range(7 if single else 13)):
        series = (series * r + 1.0) / (k + 2)
    power = _power_of_two(n.astype(jnp.int32 if single else jnp.int64), x.dtype)
    value = (power - 1.0) * (1.0 + r) + power * (r * r * series) - n * _LOG2
    return jnp.where(x < -50.0, -1.0 - x, value)


@psi.defjvp
@rule_in_own_precision
def _(primals, tangents):
    return psi(*primals), jnp.expm1(*primals) * tangents[0]
