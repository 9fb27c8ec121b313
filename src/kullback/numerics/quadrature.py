"""Fixed nodes and weights of quadrature, for the integrals that forms need to full precision."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float
from numpy.polynomial.legendre import leggauss


@cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = leggauss(count)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def gauss_legendre(count: int, dtype: DTypeLike) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The nodes [n] and weights [n] of Gauss and Legendre on (0, 1), exact for polynomials up to degree 2n − 1."""
    nodes, weights = _legendre(count)
    return jnp.asarray(nodes, dtype), jnp.asarray(weights, dtype)


def trapezoidal(
    low: Float[Array, "*s"], high: Float[Array, "*s"], count: int
) -> tuple[Float[Array, "*s n"], Float[Array, "*s 1"]]:
    """Equally spaced points [..., n] from low to high and their spacing [..., 1], for the trapezoidal rule.

    On the whole line it converges like exp(−2πd/h) for an integrand analytic within a distance d of it.
    Source: Trefethen and Weideman (2014), theorem 5.1.
    """
    steps = jnp.asarray(np.linspace(0.0, 1.0, count), low.dtype)
    length = (high - low)[..., None]
    return low[..., None] + length * steps, length / (count - 1)
