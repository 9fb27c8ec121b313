"""The normal distribution of one dimension, and what is normal after a change of variable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.special import HALF_LOG_2PI, floats, scale_gap


def normal_kl(p: Any, q: Any) -> Array:
    """KL = φ(u) + ½u² + ½((μp − μq)/σq)² with u = (σp − σq)/σq."""
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _scale_kl(scale_p, scale_q) + 0.5 * jnp.square((mean_p - mean_q) / scale_q)


def half_normal_kl(p: Any, q: Any) -> Array:
    """As for two normals of mean 0: |x| loses the sign, which says nothing of the scale."""
    return _scale_kl(*floats(p.scale, q.scale))


def _scale_kl(scale_p: Array, scale_q: Array) -> Array:
    return scale_gap(scale_p, scale_q) + 0.5 * jnp.square((scale_p - scale_q) / scale_q)


def normal_entropy(p: Any) -> Array:
    """H = log σ + ½ log 2πe."""
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 + jnp.zeros_like(loc)


def log_normal_entropy(p: Any) -> Array:
    """H(eˣ) = H(x) + E x."""
    return normal_entropy(p) + floats(p.loc)[0]


def half_normal_entropy(p: Any) -> Array:
    """H(|x|) = H(x) − log 2."""
    (scale,) = floats(p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 - jnp.log(2.0)


KL = {
    (dist.Normal, dist.Normal): normal_kl,
    (dist.LogNormal, dist.LogNormal): normal_kl,
    (dist.HalfNormal, dist.HalfNormal): half_normal_kl,
}

ENTROPY = {
    dist.Normal: normal_entropy,
    dist.LogNormal: log_normal_entropy,
    dist.HalfNormal: half_normal_entropy,
}
