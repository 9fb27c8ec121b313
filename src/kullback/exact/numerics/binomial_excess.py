"""How far a binomial is from one of more trials and the same mean, and from the Poisson of that mean.

By the integral of `log_factorial.py` with t turned round: a binomial is a negative binomial of shape −n, whose
shortfall at that shape is the divergence.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from kullback.exact.numerics.log_factorial import log_parts, nodes, second, unit
from kullback.exact.numerics.ratios import psi

_NODES, _SLOWEST = 192, 1e-13  # beyond which the value is that of no failures, to the last digit


def binomial_excess(n: Array, p: Array, rest: Array, more: Array) -> Array:
    """KL(Binomial(n, p) ‖ Binomial(n + d, np/(n + d))) for d = `more` trials, and from the Poisson where d = ∞: the
    integral ∫₀^∞ (1 − e⁻ᵈᵗ) V(t) dt/t with V(t) = (e⁻ⁿ⁽¹⁻ᵖ⁾ᵗ − e⁻ⁿᵗ)/t − (G(e⁻ᵗ) − e⁻ⁿᵗ)/(eᵗ − 1), for G the
    generating function of the failures n − K. `rest` is 1 − p.
    """
    n, p, rest, more = jnp.broadcast_arrays(n, p, rest, more)
    finite, trials = jnp.isfinite(more), jnp.where(n > 0, n, 1.0)
    d = jnp.where(finite, more, 1.0)
    t, weight = nodes(jnp.maximum(trials, d), jnp.clip(trials * rest, _SLOWEST, 1.0), _NODES)
    kept = jnp.where(finite[..., None], -jnp.expm1(-d[..., None] * t), 1.0)
    value = (weight * kept * _backward_kernel(trials[..., None], p[..., None], rest[..., None], t)).sum(-1)
    return jnp.where(n > 0, value, 0.0)


def _backward_kernel(n: Array, p: Array, rest: Array, t: Array) -> Array:
    """V(t): as `_kernel` at −t while p (eᵗ − 1) < 1, and after that as it stands."""
    y = jnp.expm1(t)
    near = p * y < 1.0
    u, m, s = p * jnp.where(near, y, 1.0), n * p, jnp.where(near, t, 1.0)
    slope, part = log_parts(u, 1.0 + u)
    exponent, excess = n * u * slope, n * (p * psi(s) - u * part)
    first = m * s
    above = excess * (second(excess) + jnp.exp(-excess) * psi(-first) / jnp.where(first > 0, first, 1.0))
    above = above / jnp.where(first > 0, exponent, 1.0)
    close = m * jnp.exp(exponent - n * t) * (part * unit(exponent) - above)
    none = jnp.exp(-n * t)
    back = jnp.exp(n * jnp.log(p + rest * jnp.exp(-t)))
    return jnp.where(near, close, (jnp.exp(-n * rest * t) - none) / t - (back - none) / y)
