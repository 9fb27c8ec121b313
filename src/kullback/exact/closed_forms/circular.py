"""The von Mises distribution on the circle."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from kullback.exact.numerics.bessel import bessel_gap, log_bessel, mean_cosine, mean_rest
from kullback.exact.numerics.double_precision import floats


def von_mises_kl(p: Any, q: Any) -> Array:
    """KL = g(κp, κq) + 2 κq A(κp) sin²((μp − μq)/2), with A = I₁/I₀ and g the Bregman difference of log I₀.

    Source: Mardia and Jupp (2000), Directional Statistics, section 3.5.4: E cos(θ − μp) = A(κp).
    """
    loc_p, kappa_p, loc_q, kappa_q = floats(p.loc, p.concentration, q.loc, q.concentration)
    turned = jnp.square(jnp.sin(0.5 * (loc_p - loc_q)))
    kappa_p, kappa_q = jnp.broadcast_arrays(kappa_p, kappa_q)
    return bessel_gap(kappa_p, kappa_q) + 2.0 * kappa_q * mean_cosine(kappa_p) * turned


def von_mises_uniform_kl(p: Any, q: Any) -> Array:
    """KL = g(κ, 0) + log((high − low)/2π), and ∞ unless Q covers the circle.

    Source: a uniform law on the circle is von Mises with κ = 0.
    """
    loc, kappa, low, high = floats(p.loc, p.concentration, q.low, q.high)
    inside = (low <= -np.pi) & (high >= np.pi)
    excess = jnp.where(inside, (high - np.pi) - (low + np.pi), 0.0)
    value = bessel_gap(kappa, jnp.zeros_like(kappa)) + jnp.log1p(excess / (2.0 * np.pi)) + jnp.zeros_like(loc)
    return jnp.where(inside, value, jnp.inf)


def von_mises_entropy(p: Any) -> Array:
    """H = log 2πI₀(κ) − κ A(κ). Source: Mardia and Jupp (2000), section 3.5.4."""
    loc, kappa = floats(p.loc, p.concentration)
    own = log_bessel(kappa) + kappa * mean_rest(kappa)
    return jnp.log(2.0 * np.pi) + own + jnp.zeros_like(loc)


KL = {(dist.VonMises, dist.VonMises): von_mises_kl, (dist.VonMises, dist.Uniform): von_mises_uniform_kl}

ENTROPY = {dist.VonMises: von_mises_entropy}
