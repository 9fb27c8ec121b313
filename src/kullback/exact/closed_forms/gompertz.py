"""The Gompertz distribution: x = log(1 + E/η)/b for an exponential variable E of rate 1.

Means of functions of E are taken by the trapezoidal rule in log E, where the integrands are analytic for |Im| < π/2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.incomplete_gamma import lower_gamma
from kullback.numerics.quadrature import trapezoidal
from kullback.numerics.ratios import phi, psi


class ExponentialNodes(NamedTuple):
    """L = log(1 + E/η) and e^L at points, and their probabilities."""

    log: Float[Array, "*s n"]
    value: Float[Array, "*s n"]
    weight: Float[Array, "*s n"]


def exponential_nodes(eta: Float[Array, "*s"], reach: Float[Array, "*s"]) -> ExponentialNodes:
    """The points, up to where e^(reach·L) times the density is negligible."""
    low = jnp.full_like(eta, -20.0)
    high = jax.lax.stop_gradient(jnp.log(60.0 + 14.0 * jnp.sqrt(jnp.maximum(reach, 1.0))))
    at, spacing = trapezoidal(low, high, 256)
    ratio = jnp.exp(at) / eta[..., None]
    return ExponentialNodes(jnp.log1p(ratio), 1.0 + ratio, spacing * jnp.exp(at - jnp.exp(at)))


@in_double
def gompertz_kl(p: dist.Gompertz, q: dist.Gompertz) -> Float[Array, "*batch"]:
    """KL = φ(ρ − 1) + φ(δ) + (ρ − 1) δ (1 + E L) + η' E[e^L ψ(δL)], with ρ = η'/η, b'/b = 1 + δ and L = bx.

    Source: the density; E e^L = 1 + 1/η and η E[L e^L] = 1 + E L by parts, which leaves terms of second order. Far
    apart E e^((1+δ)L) is an incomplete gamma function: Lenart (2014), The moments of the Gompertz distribution, eq. 5.
    """
    eta, rate, eta_q, rate_q = jnp.broadcast_arrays(*floats(p.concentration, p.rate, q.concentration, q.rate))
    delta, excess = (rate_q - rate) / rate, (eta_q - eta) / eta
    kappa = 1.0 + delta
    # A sharp peak within the range of E.
    far = (kappa > 8.0) & (kappa > eta)
    step = jnp.where(far, 0.0, delta)
    points = exponential_nodes(eta, jnp.where(far, 1.0, kappa))
    mean = (points.weight * points.log).sum(-1)
    close = (points.weight * points.value * psi(step[..., None] * points.log)).sum(-1)
    at, shape = jnp.where(far, eta, 1.0), jnp.where(far, kappa, 8.0)
    upper = jnp.log1p(-lower_gamma(shape + 1.0, at))
    power = jnp.exp(at - shape * jnp.log(at) + jax.lax.lgamma(shape + 1.0) + upper)
    apart = power - (1.0 + 1.0 / eta) - delta * (1.0 + mean) / eta
    return phi(excess) + phi(delta) + excess * delta * (1.0 + mean) + eta_q * jnp.where(far, apart, close)


@in_double
def gompertz_entropy(p: dist.Gompertz) -> Float[Array, "*batch"]:
    """H = 1 − log ηb − E L, with L = bx. Source: the density, whose exponent η(e^L − 1) has mean 1."""
    eta, rate = jnp.broadcast_arrays(*floats(p.concentration, p.rate))
    points = exponential_nodes(eta, jnp.ones_like(eta))
    return 1.0 - jnp.log(eta * rate) - (points.weight * points.log).sum(-1)


KL = {(dist.Gompertz, dist.Gompertz): gompertz_kl}

ENTROPY = {dist.Gompertz: gompertz_entropy}
