"""How far a binomial is from one of more trials and the same mean, and from the Poisson of that mean.

By the integral of `log_factorial.py` with t turned round: a binomial is a negative binomial of shape −n, whose shortfall
at that shape is the divergence. Where failures are very rare, that integral is long, and they are counted instead.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from kullback.exact.log_factorial import Counts, log_parts, log_step, nodes, second, shortfall, stirling_rest, unit
from kullback.exact.special import psi

_RARE = 1e-4  # the chance of a failure below which failures are counted


def binomial_excess(n: Array, p: Array, rest: Array, more: Array) -> Array:
    """KL(Binomial(n, p) ‖ Binomial(n + d, np/(n + d))) for d = `more` trials, and from the Poisson where d = ∞.

    `rest` is 1 − p.
    """
    n, p, rest, more = jnp.broadcast_arrays(n, p, rest, more)
    live, small = n > 0, rest > _RARE
    trials = jnp.where(live, n, 1.0)
    near = _backward(trials, jnp.where(small, p, 0.25), more)
    far = _by_failures(trials, jnp.where(small, 1.0, p), jnp.where(small, 0.0, rest), more)
    return jnp.where(live, jnp.where(small, near, far), 0.0)


def _by_failures(n: Array, p: Array, rest: Array, more: Array) -> Array:
    """E log n!/(n − K)! against E log (n + d)!/(n + d − K)!, from the mean of log Γ(n − K + c) at c = 1 and 1 + d."""
    failures = Counts(n * rest, -rest, p)
    own = stirling_rest(n) - log_step(failures.mean) + shortfall(failures, jnp.ones_like(n))
    finite = jnp.isfinite(more)
    d = jnp.where(finite, more, 1.0)
    other = stirling_rest(n + d) - stirling_rest(d) - log_step(d + failures.mean) + log_step(d)
    return own - jnp.where(finite, other + shortfall(failures, d + 1.0), 0.0)


def _backward(trials: Array, chance: Array, more: Array) -> Array:
    """∫₀^∞ (1 − e⁻ᵈᵗ) V(t) dt/t for a binomial of n trials and chance p < 1, with d = `more` and
    V(t) = (e⁻ⁿ⁽¹⁻ᵖ⁾ᵗ − e⁻ⁿᵗ)/t − (G(e⁻ᵗ) − e⁻ⁿᵗ)/(eᵗ − 1), with G the generating function of the n − K.

    It is the divergence from the binomial of n + d trials and equal mean; from the Poisson for d = ∞.
    """
    t, weight = nodes(jnp.maximum(trials, jnp.where(jnp.isfinite(more), more, 1.0)), jnp.minimum(trials * (1.0 - chance), 1.0))
    left = -jnp.expm1(-jnp.where(jnp.isfinite(more), more, 0.0)[..., None] * t)
    left = jnp.where(jnp.isfinite(more)[..., None], left, 1.0)
    return (weight * left * _backward_kernel(trials[..., None], chance[..., None], t)).sum(-1)


def _backward_kernel(n: Array, p: Array, t: Array) -> Array:
    """V(t): as `_kernel` at −t while p (eᵗ − 1) < 1, and after that as it stands."""
    y = jnp.expm1(t)
    near = p * y < 1.0
    u, m, s = jnp.where(near, p * y, 1.0), n * p, jnp.where(near, t, 1.0)
    slope, part = log_parts(u, 1.0 + u)
    exponent, excess = n * u * slope, n * (p * psi(s) - u * part)
    first = m * s
    above = excess * (second(excess) + jnp.exp(-excess) * psi(-first) / jnp.where(first > 0, first, 1.0))
    above = above / jnp.where(first > 0, exponent, 1.0)
    close = m * jnp.exp(exponent - n * t) * (part * unit(exponent) - above)
    none = jnp.exp(-n * t)
    back = jnp.exp(n * jnp.log(p + (1.0 - p) * jnp.exp(-t)))
    return jnp.where(near, close, (jnp.exp(-n * (1.0 - p) * t) - none) / t - (back - none) / y)
