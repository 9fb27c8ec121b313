"""What the von Mises distribution needs of the Bessel functions I₀ and I₁, as means over the circle.

Under the density ∝ e^(−κv) with v = 1 − cos θ, the trapezoidal rule in θ converges like the Fourier series of an entire
function: 33 points of a half circle are exact up to κ ≈ 36, and beyond, points 0.6/√κ apart reach all of the mass.
Source: Trefethen and Weideman (2014), sections 3 and 5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kullback.exact.numerics.ratios import psi

_COUNT = 32
_STEPS = np.arange(_COUNT + 1)
_ENDS = np.where((_STEPS == 0) | (_STEPS == _COUNT), 0.5, 1.0)


class Circle(NamedTuple):
    """1 − cos θ and cos θ at points of the half circle, and their probabilities [..., 33]; 2π I₀(κ) e^(−κ) [...]."""

    rest: Array
    cosine: Array
    weight: Array
    mass: Array


def circle(kappa: Float[Array, "*s"]) -> Circle:
    """The von Mises law of mean 0 and concentration κ as points and weights."""
    spacing = jnp.minimum(np.pi / _COUNT, 0.6 / jnp.sqrt(jnp.maximum(kappa, 1.0)))
    spacing = jax.lax.stop_gradient(spacing)[..., None]
    theta = spacing * jnp.asarray(_STEPS, kappa.dtype)
    rest = 2.0 * jnp.square(jnp.sin(0.5 * theta))
    density = jnp.asarray(_ENDS, kappa.dtype) * jnp.exp(-kappa[..., None] * rest)
    total = density.sum(-1, keepdims=True)
    return Circle(rest, jnp.cos(theta), density / total, 2.0 * (spacing * total)[..., 0])


def mean_cosine(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """A(κ) = I₁(κ)/I₀(κ) = E cos θ, also to its digits near κ = 0."""
    at = circle(kappa)
    small = kappa < 1.0
    # The points of the half circle have mean cosine 0 for κ = 0, which is taken off.
    tilt = jnp.asarray(_ENDS, kappa.dtype) * jnp.expm1(jnp.where(small, kappa, 0.0)[..., None] * at.cosine)
    tilted = (at.cosine * tilt).sum(-1) / (_COUNT + tilt.sum(-1))
    return jnp.where(small, tilted, 1.0 - mean_rest(kappa))


def mean_rest(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """1 − A(κ) = E[1 − cos θ], also to its digits for large κ."""
    at = circle(kappa)
    return (at.weight * at.rest).sum(-1)


def log_bessel(kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log I₀(κ) − κ."""
    return jnp.log(circle(kappa).mass / (2.0 * np.pi))


@jax.custom_jvp
def bessel_gap(a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The Bregman difference log I₀(b) − log I₀(a) − (b − a) A(a) ≥ 0, which is log(1 + E_a ψ((b − a)(cos θ − A)))."""
    at, step = circle(a), b - a
    near = _is_near(a, b)
    mean = (at.weight * at.rest).sum(-1, keepdims=True)
    tilt = jnp.where(near, step, 0.0)[..., None] * (mean - at.rest)
    close = jnp.log1p((at.weight * psi(tilt)).sum(-1))
    return jnp.where(near, close, log_bessel(b) - log_bessel(a) + step * mean[..., 0])


@bessel_gap.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, b = primals
    at, step = circle(a), b - a
    near = _is_near(a, b)
    mean = (at.weight * at.rest).sum(-1, keepdims=True)
    centred = mean - at.rest
    grown = at.weight * jnp.expm1(jnp.where(near, step, 0.0)[..., None] * centred)
    change = jnp.where(near, (grown * centred).sum(-1) / (1.0 + grown.sum(-1)), mean[..., 0] - mean_rest(b))
    variance = (at.weight * jnp.square(centred)).sum(-1)
    return bessel_gap(a, b), change * tangents[1] - step * variance * tangents[0]


def _is_near(a: Array, b: Array) -> Array:
    """Whether the points for a serve the law for b: both on the fixed points, or concentrations within a factor 2."""
    return (jnp.maximum(a, b) < 30.0) | (jnp.abs(b - a) < 0.5 * a)
