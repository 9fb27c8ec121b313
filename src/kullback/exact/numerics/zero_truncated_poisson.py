"""The Poisson distribution given that it is not 0."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import bernoulli, factorial

from kullback.exact.numerics.nodes import unit_interval
from kullback.exact.numerics.ratios import gap, psi

# f(λ) = log((e^λ − 1)/λ) has f″(λ) = Σ B₂ₖ (2k − 1)/(2k)! λ²ᵏ⁻², for B₂ₖ the Bernoulli numbers and λ < 2π.
_SERIES = (bernoulli(22) * (np.arange(23) - 1) / factorial(np.arange(23)))[2::2]
_NODES = 12


def positive_poisson_kl(p: Array, q: Array) -> Array:
    """KL = ν φ((μ − λ)/λ) + f(μ) − f(λ) − (μ − λ) f′(λ), for rates λ of P and μ of Q, given that the counts are not 0.

    ν is the mean of P less 1, and f(λ) = log((e^λ − 1)/λ), which is convex. Where λ is 0, P is all at 1.
    Source: the log-partition of the family, log(e^λ − 1), whose Bregman difference in log λ is taken in two parts.
    """
    live, lost = p > 0, (p > 0) & (q <= 0)
    rate, q = jnp.where(live, p, 1.0), jnp.where(lost, 1.0, q)
    excess = psi(-rate) / -jnp.expm1(-rate)
    part = jnp.where(live, excess * gap(rate, q, q - rate) / rate, 0.5 * q)
    return jnp.where(lost, jnp.inf, part + _bregman(p, q))


def _bregman(p: Array, q: Array) -> Array:
    step = q - p
    far = jnp.abs(step) > jnp.maximum(2.0, 0.5 * p)
    near_step = jnp.where(far, 0.0, step)
    nodes, weights = unit_interval(_NODES, p.dtype)
    curvature = _curvature(p[..., None] + near_step[..., None] * nodes)
    near = jnp.square(near_step) * (weights * (1.0 - nodes) * curvature).sum(-1)
    end = jnp.where(far, q, p)
    return jnp.where(far, _log_mean(end) - _log_mean(p) - (end - p) * _slope(p), near)


def _log_mean(x: Array) -> Array:
    """f."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, safe + jnp.log(-jnp.expm1(-safe) / safe), 0.0)


def _slope(x: Array) -> Array:
    """f′."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, psi(-safe) / (-jnp.expm1(-safe) * safe), 0.5)


def _curvature(x: Array) -> Array:
    """f″."""
    small = x < 1.0
    square, series = jnp.square(jnp.where(small, x, 0.0)), jnp.zeros_like(x)
    for c in reversed(_SERIES):
        series = series * square + float(c)
    large = jnp.where(small, 1.0, x)
    return jnp.where(small, series, 1.0 / jnp.square(large) - jnp.exp(-large) / jnp.square(jnp.expm1(-large)))
