"""Student's t, against the normal that it tends to and the Cauchy that it is at one degree of freedom.

Between two multivariate t distributions there is no closed form; each has an entropy.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.closed_forms.location import cauchy_kl
from kullback.exact.closed_forms.multivariate import diagonal
from kullback.exact.closed_forms.normal import normal_kl
from kullback.exact.type_keys import Form, known_equal
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_gamma import HALF_LOG_2PI, binet, binet_slope, gamma_gap, log_beta
from kullback.numerics.ratios import gap, phi


def _half_step(t: Array) -> tuple[Array, Array]:
    """D(t) = log Γ(t + ½)/Γ(t) − ½ log t and its derivative, both small for large t."""
    h = 0.5 / t
    value = binet(t + 0.5) - binet(t) - t * phi(h)
    slope = binet_slope(t + 0.5) - binet_slope(t) + jnp.square(h) / (1.0 + h) - phi(h)
    return value, slope


# D(t) = Σ cₖ t^(1−2k), by Stirling's series. Source: Tricomi and Erdélyi (1951).
_SERIES = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224)


def _negentropy(t: Array) -> Array:
    """½ log(2πe ν/(ν − 2)) − H(t_ν) ≥ 0 with ν = 2t > 2: −½ log(1 − 1/t) − 1/(4t) − (t + ½) D′(t) + D(t)."""
    large = t > 16.0
    high, low = jnp.where(large, t, 16.0), jnp.where(large, 2.0, t)
    value, slope = _half_step(low)
    plain = -0.5 * jnp.log1p(-1.0 / low) - 0.25 / low - (low + 0.5) * slope + value
    # Term by term in x = 1/t, where the terms of first order cancel.
    x = 1.0 / high
    total = 0.5 * phi(-x) - jnp.square(x) / 16.0
    for k, c in enumerate(_SERIES[1:], 2):
        total = total + c * x ** (2 * k - 1) * ((2 * k - 1) * (1.0 + 0.5 * x) + 1.0)
    return jnp.where(large, total, plain)


@in_double
def student_normal_kl(p: dist.StudentT, q: dist.Normal) -> Float[Array, "*batch"]:
    """KL = KL(N(μ, v) ‖ Q) + ½ log 2πev − H(P), with v = s² ν/(ν − 2) the variance of P; ∞ for ν ≤ 2.

    Source: Cover and Thomas (2006), theorem 8.6.5: the normal of P's moments splits the divergence from any normal.
    """
    df, loc, scale = floats(p.df, p.loc, p.scale)
    finite = df > 2
    safe = jnp.where(finite, df, 4.0)
    middle = dist.Normal(loc, scale * jnp.sqrt(safe / (safe - 2.0)), validate_args=False)
    return jnp.where(finite, normal_kl(middle, q) + _negentropy(0.5 * safe), jnp.inf)


@in_double
def cauchy_student_kl(p: dist.Cauchy, q: dist.StudentT) -> Float[Array, "*batch"]:
    """KL = ½(ν + 1) KL(P ‖ Cauchy(m, S)) + ½(ν − 1) log(γ/S) + G(½, ½ν) − G(1, ½(ν + 1)), with S = s√ν.

    G is the Bregman difference of log Γ. Source: E_P log(1 + ((x − m)/S)²) by Chyzak and Nielsen (2019), section 2.
    """
    df, loc, scale = floats(q.df, q.loc, q.scale)
    wide = scale * jnp.sqrt(df)
    near = cauchy_kl(p, dist.Cauchy(loc, wide, validate_args=False))
    tilt = 0.5 * (df - 1.0) * jnp.log(jnp.asarray(p.scale) / wide)
    return (
        0.5 * (df + 1.0) * near + tilt + (_gap_of_log_gamma(0.5, 0.5 * df) - _gap_of_log_gamma(1.0, 0.5 * (df + 1.0)))
    )


def _gap_of_log_gamma(a: float, b: Array) -> Array:
    start, step = jnp.full_like(b, a), b - a
    return gap(b, start, -step) + gamma_gap(start, b, step)


def student_kl(p: dist.StudentT, q: dist.StudentT | dist.Cauchy) -> Form | None:
    """As for two Cauchy distributions, where P and Q are known to have one degree of freedom.

    Source: Chyzak and Nielsen (2019), theorem 1. Other degrees of freedom have no closed form.
    """
    is_cauchy = all(known_equal(getattr(d, "df", 1.0), 1.0) for d in (p, q))
    return partial(_cauchy_kl, p, q) if is_cauchy else None


_cauchy_kl = jax.jit(cauchy_kl)


def student_entropy(p: dist.StudentT) -> Float[Array, "*batch"]:
    """H = ½(ν + 1)(digamma(½(ν + 1)) − digamma(½ν)) + log(√ν B(½ν, ½)) + log s.

    Source: Lazo and Rathie (1978), table I.
    """
    df, loc, scale = floats(p.df, p.loc, p.scale)
    t = 0.5 * df
    value, slope = _half_step(t)
    standard = (t + 0.5) * slope + 0.5 + 0.25 / t + HALF_LOG_2PI - value
    return standard + jnp.log(scale) + jnp.zeros_like(loc)


def multivariate_student_entropy(p: dist.MultivariateStudentT) -> Float[Array, "*batch"]:
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


KL = {
    (dist.StudentT, dist.Normal): student_normal_kl,
    (dist.Cauchy, dist.StudentT): cauchy_student_kl,
}

BUILD_KL = {
    (dist.StudentT, dist.StudentT): student_kl,
    (dist.StudentT, dist.Cauchy): student_kl,
}

ENTROPY = {dist.StudentT: student_entropy, dist.MultivariateStudentT: multivariate_student_entropy}
