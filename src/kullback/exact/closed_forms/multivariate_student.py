"""The multivariate Student t distribution, whose divergences have no closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.multivariate import diagonal
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.log_gamma import HALF_LOG_2PI, binet_slope, log_beta


def multivariate_student_entropy(p: Any) -> Array:
    """H = Σ log Lᵢᵢ + (d/2) log νπ + log B(ν/2, d/2) − log Γ(d/2) + T (digamma(T) − digamma(ν/2)), T = (ν + d)/2.

    Source: Kotz and Nadarajah (2004), Multivariate t distributions and their applications, section 1.9.
    """
    df, loc, factor = floats(p.df, p.loc, p.scale_tril)
    half = jnp.asarray(0.5 * factor.shape[-1], df.dtype)
    t, total = 0.5 * df, 0.5 * df + half
    # digamma(t) = log t − 1/2t + a part that is small where t is large.
    slope = jnp.log1p(half / t) + 0.5 * half / (t * total) + binet_slope(total) - binet_slope(t)
    norm = half * (jnp.log(df) + 2.0 * HALF_LOG_2PI - jnp.log(2.0)) + log_beta(t, half) - jax.lax.lgamma(half)
    value = jnp.log(jnp.abs(diagonal(factor))).sum(-1) + norm + total * slope
    return jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, loc.shape[:-1]))


ENTROPY = {dist.MultivariateStudentT: multivariate_student_entropy}
