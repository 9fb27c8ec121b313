"""The parts of a log-density in saddle-point form, which keeps its digits where the parameters are large.

The log-densities of gammas, betas and counts are sums of t log t − t − log Γ(t) over parameters and outcomes: terms of
the size of t log t whose sum is of the size of 1. Here log Γ(t) = t log t − t + s(t), with s of the size of log t, and
what is left of the sum is a sum of deviances D(p, q) = p log(p/q) − p + q ≥ 0 between what is observed and what is
expected, each computed from the difference q − p, which is taken without rounding.
Source: Loader (2000), Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from kullback.numerics.log_gamma import HALF_LOG_2PI, binet
from kullback.numerics.ratios import gap as deviance

__all__ = ["cross_difference", "deviance", "factorial_rest", "gamma_rest", "product_less", "rising"]


def gamma_rest(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """s(t) = log Γ(t) − t log t + t, for t > 0."""
    return HALF_LOG_2PI - 0.5 * jnp.log(t) + binet(t)


def factorial_rest(k: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log k! − k log k + k, for k ≥ 0."""
    some = jnp.where(k > 0, k, 1.0)
    return jnp.where(k > 0, HALF_LOG_2PI + 0.5 * jnp.log(some) + binet(some), 0.0)


def rising(x: Float[Array, "*s"], c: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log Γ(c + x) − log Γ(c) − x log c, for x ≥ 0 and c > 0: about x²/2c where c is large.

    By Binet's formula it is (c + x) log(1 + u) − x − ½ log(1 + u) + μ(c + x) − μ(c), with u = x/c.
    """
    u = x / c
    log = jnp.log1p(u)
    return (c + x) * log - x - 0.5 * log + binet(c + x) - binet(c)


def product_less(x: Float[Array, "*s"], y: Float[Array, "*s"], z: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x y − z, without the rounding of the product."""
    product = x * y
    return (product - z) + _product_error(x, y, product)


def cross_difference(
    a: Float[Array, "*s"], d: Float[Array, "*s"], b: Float[Array, "*s"], c: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """a d − b c, without the rounding of the products."""
    first, second = a * d, b * c
    return (first - second) + (_product_error(a, d, first) - _product_error(b, c, second))


def _product_error(x: Array, y: Array, product: Array) -> Array:
    """What the product lacks of x y (Dekker, 1971); 0 where halves of the numbers are beyond the range."""
    (a, b), (c, d) = _halves(x), _halves(y)
    error = ((a * c - product) + (a * d + b * c)) + b * d
    return jnp.where(jnp.isfinite(error), error, 0.0)


def _halves(x: Array) -> tuple[Array, Array]:
    """A number as the sum of two of half as many digits, whose products are exact."""
    scaled = x * ((1 << (jnp.finfo(x.dtype).nmant // 2 + 1)) + 1.0)
    high = scaled - (scaled - x)
    return high, x - high
