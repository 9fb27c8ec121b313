"""The von Mises distribution on the circle, and what it needs of the Bessel functions I₀ and I₁.

Under the density ∝ e^(−κv) with v = 1 − cos θ, the trapezoidal rule in θ converges like the Fourier series of an entire
function: 33 points of a half circle are exact up to κ ≈ 36, and beyond, points 0.6/√κ apart reach all of the mass.
Source: Trefethen and Weideman (2014), sections 3 and 5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.numerics.double_precision import floats
from kullback.numerics.ratios import psi

_COUNT = 32
_STEPS = np.arange(_COUNT + 1)
_ENDS = np.where((_STEPS == 0) | (_STEPS == _COUNT), 0.5, 1.0)


# Bessel functions, as means over the circle.


class CircleNodes(NamedTuple):
    """Points of the half circle: 1 − cos θ, cos θ and their probabilities; and the integral 2π I₀(κ) e^(−κ)."""

    rest: Float[Array, "*s n"]
    cosine: Float[Array, "*s n"]
    weight: Float[Array, "*s n"]
    mass: Float[Array, "*s"]


def circle_nodes(kappa: Float[Array, "*s"]) -> CircleNodes:
    """The von Mises law of mean 0 and concentration κ as points and weights."""
    spacing = jnp.minimum(np.pi / _COUNT, 0.6 / jnp.sqrt(jnp.maximum(kappa, 1.0)))
    spacing = jax.lax.stop_gradient(spacing)[..., None]
    theta = spacing * jnp.asarray(_STEPS, kappa.dtype)
    rest = 2.0 * jnp.square(jnp.sin(0.5 * theta))
    density = jnp.asarray(_ENDS, kappa.dtype) * jnp.exp(-kappa[..., None] * rest)
    total = density.sum(-1, keepdims=True)
    mass = 2.0 * (spacing * total)[..., 0]
    return CircleNodes(rest=rest, cosine=jnp.cos(theta), weight=density / total, mass=mass)


def mean_cosine(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """A(κ) = I₁(κ)/I₀(κ) = E cos θ, also to its digits near κ = 0."""
    at = circle_nodes(kappa)
    small = kappa < 1.0
    # At κ = 0 the mean cosine of the points is 0, so only the difference from there is summed.
    tilt = jnp.asarray(_ENDS, kappa.dtype) * jnp.expm1(jnp.where(small, kappa, 0.0)[..., None] * at.cosine)
    tilted = (at.cosine * tilt).sum(-1) / (_COUNT + tilt.sum(-1))
    return jnp.where(small, tilted, 1.0 - one_minus_mean_cosine(kappa))


def one_minus_mean_cosine(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """1 − A(κ) = E[1 − cos θ], also to its digits for large κ."""
    at = circle_nodes(kappa)
    return (at.weight * at.rest).sum(-1)


def log_bessel(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log I₀(κ) − κ."""
    return jnp.log(circle_nodes(kappa).mass / (2.0 * np.pi))


@jax.custom_jvp
def bessel_gap(a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The Bregman difference log I₀(b) − log I₀(a) − (b − a) A(a) ≥ 0, which is log(1 + E_a ψ((b − a)(cos θ − A)))."""
    at, step = circle_nodes(a), b - a
    near = _is_near(a, b)
    mean = (at.weight * at.rest).sum(-1, keepdims=True)
    tilt = jnp.where(near, step, 0.0)[..., None] * (mean - at.rest)
    close = jnp.log1p((at.weight * psi(tilt)).sum(-1))
    return jnp.where(near, close, log_bessel(b) - log_bessel(a) + step * mean[..., 0])


@bessel_gap.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, b = primals
    at, step = circle_nodes(a), b - a
    near = _is_near(a, b)
    mean = (at.weight * at.rest).sum(-1, keepdims=True)
    centred = mean - at.rest
    grown = at.weight * jnp.expm1(jnp.where(near, step, 0.0)[..., None] * centred)
    change = jnp.where(near, (grown * centred).sum(-1) / (1.0 + grown.sum(-1)), mean[..., 0] - one_minus_mean_cosine(b))
    variance = (at.weight * jnp.square(centred)).sum(-1)
    return bessel_gap(a, b), change * tangents[1] - step * variance * tangents[0]


def _is_near(a: Array, b: Array) -> Array:
    """Whether the points for a serve the law for b: both on the fixed points, or concentrations within a factor 2."""
    return (jnp.maximum(a, b) < 30.0) | (jnp.abs(b - a) < 0.5 * a)


# The forms.


def von_mises_kl(p: dist.VonMises, q: dist.VonMises) -> Float[Array, "*batch"]:
    """KL = g(κp, κq) + 2 κq A(κp) sin²((μp − μq)/2), with A = I₁/I₀ and g the Bregman difference of log I₀.

    Source: Mardia and Jupp (2000), Directional Statistics, section 3.5.4: E cos(θ − μp) = A(κp).
    """
    loc_p, kappa_p, loc_q, kappa_q = floats(p.loc, p.concentration, q.loc, q.concentration)
    turned = jnp.square(jnp.sin(0.5 * (loc_p - loc_q)))
    kappa_p, kappa_q = jnp.broadcast_arrays(kappa_p, kappa_q)
    return bessel_gap(kappa_p, kappa_q) + 2.0 * kappa_q * mean_cosine(kappa_p) * turned


def von_mises_uniform_kl(p: dist.VonMises, q: dist.Uniform) -> Float[Array, "*batch"]:
    """KL = g(κ, 0) + log((high − low)/2π), and ∞ unless Q covers the circle.

    Source: a uniform law on the circle is von Mises with κ = 0.
    """
    loc, kappa, low, high = floats(p.loc, p.concentration, q.low, q.high)
    inside = (low <= -np.pi) & (high >= np.pi)
    excess = jnp.where(inside, (high - np.pi) - (low + np.pi), 0.0)
    value = bessel_gap(kappa, jnp.zeros_like(kappa)) + jnp.log1p(excess / (2.0 * np.pi)) + jnp.zeros_like(loc)
    return jnp.where(inside, value, jnp.inf)


def von_mises_entropy(p: dist.VonMises) -> Float[Array, "*batch"]:
    """H = log 2πI₀(κ) − κ A(κ). Source: Mardia and Jupp (2000), section 3.5.4."""
    loc, kappa = floats(p.loc, p.concentration)
    own = log_bessel(kappa) + kappa * one_minus_mean_cosine(kappa)
    return jnp.log(2.0 * np.pi) + own + jnp.zeros_like(loc)


KL = {(dist.VonMises, dist.VonMises): von_mises_kl, (dist.VonMises, dist.Uniform): von_mises_uniform_kl}

ENTROPY = {dist.VonMises: von_mises_entropy}
