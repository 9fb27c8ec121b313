"""Families of location and scale, and what they become after a change of variable.

The normal, log-normal and half normal; the Laplace and the asymmetric Laplace in both parametrisations; Cauchy, Gumbel,
Weibull, Pareto, uniform; and Student's t against the normal that it tends to and the Cauchy that it is at one degree of
freedom. Between two multivariate t distributions there is no closed form; each has an entropy.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.closed_forms.multivariate import diagonal
from kullback.exact.type_keys import Form, every_pair, known_equal
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_gamma import EULER_GAMMA, HALF_LOG_2PI, binet, binet_slope, gamma_gap, log_beta
from kullback.numerics.ratios import (
    gap,
    in_own_precision,
    is_normal,
    log_ratio,
    phi,
    psi,
    rule_in_own_precision,
    scale_gap,
    scale_terms,
    unequal,
)


def normal_kl(p: dist.Normal | dist.LogNormal, q: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """KL = φ(u) + ½u² + ½((μp − μq)/σq)² with u = (σp − σq)/σq.

    Source: Kullback (1959), chapter 9, section 1, for one dimension, written as a sum of non-negative terms.
    """
    loc_p, scale_p, loc_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _kl(loc_p - loc_q, scale_p, scale_q)


def half_normal_kl(p: dist.HalfNormal, q: dist.HalfNormal) -> Float[Array, "*batch"]:
    """KL = φ(u) + ½u² with u = (σp − σq)/σq: the sign of a normal x carries no information about the scale.

    Source: as for two normals of mean 0.
    """
    scale_p, scale_q = floats(p.scale, q.scale)
    return _kl(jnp.zeros_like(scale_q), scale_p, scale_q)


@jax.custom_jvp
@in_own_precision
def _kl(distance: Array, scale_p: Array, scale_q: Array) -> Array:
    gap, u, inverse = scale_terms(scale_p, scale_q)
    value = gap + 0.5 * (jnp.square(u) + jnp.square(distance * inverse))
    # At scale 0 both are points, which are equal (0) or not (∞).
    edge = unequal(scale_p, scale_q) + unequal(distance, jnp.zeros_like(distance))
    return jnp.where(is_normal(scale_p) & is_normal(scale_q), value, edge)


@_kl.defjvp
@rule_in_own_precision
def _(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    distance, scale_p, scale_q = primals
    inverse = jnp.where(is_normal(scale_p) & is_normal(scale_q), 1.0 / scale_q, 0.0)
    u, z = (scale_p - scale_q) * inverse, distance * inverse
    both = u * (2.0 + u)
    along_p = both / jnp.where(inverse > 0, scale_p, 1.0)
    along_q = -inverse * (both + z * z)
    return _kl(*primals), z * inverse * tangents[0] + along_p * tangents[1] + along_q * tangents[2]


def normal_entropy(p: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """H = log σ + ½ log 2πe.

    Source: Shannon (1948), section 20.
    """
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 + jnp.zeros_like(loc)


def log_normal_entropy(p: dist.LogNormal) -> Float[Array, "*batch"]:
    """H = μ + log σ + ½ log 2πe: that of the normal log x, and its mean.

    Source: Cover and Thomas (2006), table 17.1.
    """
    return normal_entropy(p) + floats(p.loc)[0]


def half_normal_entropy(p: dist.HalfNormal) -> Float[Array, "*batch"]:
    """H = log σ + ½ log 2πe − log 2, since the sign of a normal x of mean 0 has the entropy log 2.

    Source: as for a normal of mean 0.
    """
    (scale,) = floats(p.scale)
    return jnp.log(scale) + HALF_LOG_2PI + 0.5 - jnp.log(2.0)


LaplaceLaw = dist.Laplace | dist.AsymmetricLaplace | dist.AsymmetricLaplaceQuantile


def laplace_kl(p: dist.Laplace, q: dist.Laplace) -> Float[Array, "*batch"]:
    """KL = φ(u) + (1 + u) ψ(−|μp − μq|/bp), with u = (bp − bq)/bq.

    Source: Gil, Alajaji and Linder (2013), Laplace, written as a sum of non-negative terms.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    distance = jnp.abs(mean_p - mean_q) / scale_p
    return scale_gap(scale_p, scale_q) + scale_p / scale_q * psi(-distance)


def two_sided(d: LaplaceLaw) -> tuple[Array, Array, Array]:
    """The location, and the mean distances l to its left and r to its right of a Laplace distribution of any kind."""
    if isinstance(d, dist.AsymmetricLaplace):
        loc, scale, asymmetry = floats(d.loc, d.scale, d.asymmetry)
        return loc, scale * asymmetry, scale / asymmetry
    if isinstance(d, dist.AsymmetricLaplaceQuantile):
        loc, scale, quantile = floats(d.loc, d.scale, d.quantile)
        return loc, scale / (1.0 - quantile), scale / quantile
    loc, scale = floats(d.loc, d.scale)
    return loc, scale, scale


def _steps(p: LaplaceLaw, q: LaplaceLaw) -> tuple[Array, Array]:
    """lq − lp and rq − rp, from differences of the parameters themselves where both have the same ones."""
    if isinstance(p, dist.AsymmetricLaplace) and isinstance(q, dist.AsymmetricLaplace):
        s, k, t, j = floats(p.scale, p.asymmetry, q.scale, q.asymmetry)
        return (t - s) * k + t * (j - k), ((t - s) * k - s * (j - k)) / (j * k)
    if isinstance(p, dist.AsymmetricLaplaceQuantile) and isinstance(q, dist.AsymmetricLaplaceQuantile):
        s, k, t, j = floats(p.scale, p.quantile, q.scale, q.quantile)
        left = ((t - s) * (1.0 - k) + s * (j - k)) / ((1.0 - j) * (1.0 - k))
        return left, ((t - s) * k - s * (j - k)) / (j * k)
    (_, left_p, right_p), (_, left_q, right_q) = two_sided(p), two_sided(q)
    return left_q - left_p, right_q - right_p


def asymmetric_kl(p: LaplaceLaw, q: LaplaceLaw) -> Float[Array, "*batch"]:
    """KL = KL(w ‖ w') + Σ w φ((s − s')/s') + (1/l' + 1/r') (d (v' − v) + v s ψ(−d/s)), d = |μ − μ'|.

    The sum is over the sides s = l, r of P with weights w = l/(l + r), r/(l + r), and v, s in the last term are those
    of the side of P's location where Q's location is. Source: the means of (x − μ')₊ and (μ' − x)₊ are elementary; then
    the part at d = 0 is split by the chain rule over the side.
    """
    (mean_p, left_p, right_p), (mean_q, left_q, right_q) = two_sided(p), two_sided(q)
    step_left, step_right = _steps(p, q)
    size_p, size_q = left_p + right_p, left_q + right_q
    weight_left, weight_right = left_p / size_p, right_p / size_p
    change = (step_left * right_p - left_p * step_right) / (size_p * size_q)
    sides = gap(weight_left, left_q / size_q, change) + gap(weight_right, right_q / size_q, -change)
    scales_left = weight_left * gap(left_q, left_p, -step_left) / left_q
    scales_right = weight_right * gap(right_q, right_p, -step_right) / right_q
    is_left = mean_p >= mean_q
    distance, scale = jnp.abs(mean_p - mean_q), jnp.where(is_left, left_p, right_p)
    tilt = distance * jnp.where(is_left, change, -change)
    moved = tilt + jnp.where(is_left, weight_left, weight_right) * scale * psi(-distance / scale)
    return sides + scales_left + scales_right + size_q / (left_q * right_q) * moved


def laplace_entropy(p: LaplaceLaw) -> Float[Array, "*batch"]:
    """H = 1 + log(l + r), for the mean distances l and r to either side; they are b for Laplace.

    Source: Cover and Thomas (2006), table 17.1, for equal sides; −log p is log(l + r) and an exponential variable.
    """
    loc, left, right = two_sided(p)
    return 1.0 + jnp.log(left + right) + jnp.zeros_like(loc)


_KINDS = (dist.Laplace, dist.AsymmetricLaplace, dist.AsymmetricLaplaceQuantile)


def cauchy_kl(p: dist.Cauchy, q: dist.Cauchy) -> Float[Array, "*batch"]:
    """KL = log(1 + ((γp − γq)² + (μp − μq)²)/(4 γp γq)).

    Source: Chyzak and Nielsen (2019), theorem 1.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    distance = jnp.square(mean_p - mean_q) / (4.0 * scale_p * scale_q)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q) + distance)


def half_cauchy_kl(p: dist.HalfCauchy, q: dist.HalfCauchy) -> Float[Array, "*batch"]:
    """KL = log(1 + (γp − γq)²/(4 γp γq)).

    Source: as for two Cauchy distributions about 0, since the sign of x carries no information about the scale.
    """
    scale_p, scale_q = floats(p.scale, q.scale)
    return jnp.log1p(jnp.square(scale_p - scale_q) / (4.0 * scale_p * scale_q))


def gumbel_kl(p: dist.Gumbel, q: dist.Gumbel) -> Float[Array, "*batch"]:
    """KL = ψ(w) + G, with u = (βp − βq)/βq, G the Bregman difference of log Γ from 1 to 1 + u, and
    w = (μq − μp)/βq + log Γ(2 + u).

    Source: Gil, Alajaji and Linder (2013), Gumbel, written as a sum of non-negative terms.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    return _extreme_kl(scale_p, scale_q, (mean_q - mean_p) / scale_q)


def weibull_kl(p: dist.Weibull, q: dist.Weibull) -> Float[Array, "*batch"]:
    """As for the Gumbel variables −log x, of location −log λ and scale 1/k.

    Source: Bauckhage (2013), Computing the Kullback–Leibler divergence between two Weibull distributions, eq. 13.
    """
    scale_p, power_p, scale_q, power_q = floats(p.scale, p.concentration, q.scale, q.concentration)
    return _extreme_kl(power_q, power_p, power_q * log_ratio(scale_q, scale_p, scale_p - scale_q))


def _extreme_kl(scale_p: Array, scale_q: Array, shift: Array) -> Array:
    u, ratio = (scale_p - scale_q) / scale_q, scale_p / scale_q
    one = jnp.ones_like(u)
    convex = gap(ratio, one, -u) + gamma_gap(one, ratio, u)
    w = shift + log_ratio(scale_q, scale_p, scale_p - scale_q) - EULER_GAMMA * u + convex
    # Beyond the range of the type, where the derivative is ∞ times 0 for some parameter.
    beyond = w > np.log(np.finfo(w.dtype).max)
    return jnp.where(beyond, jnp.inf, psi(jnp.where(beyond, 0.0, w)) + convex)


def pareto_kl(p: dist.Pareto, q: dist.Pareto) -> Float[Array, "*batch"]:
    """KL = φ((αq − αp)/αp) + αq log(mp/mq), and ∞ where mp < mq.

    Source: Gil, Alajaji and Linder (2013), Pareto; log(x/m) is exponential of rate α.
    """
    low_p, power_p, low_q, power_q = floats(p.scale, p.alpha, q.scale, q.alpha)
    inside = low_p >= low_q
    excess = log_ratio(low_q, jnp.where(inside, low_p, low_q), jnp.where(inside, low_p - low_q, 0.0))
    return jnp.where(inside, scale_gap(power_q, power_p) + power_q * excess, jnp.inf)


def uniform_kl(p: dist.Uniform, q: dist.Uniform) -> Float[Array, "*batch"]:
    """KL = log(1 + u), with u the part of Q's length outside P over P's; ∞ unless P lies within Q.

    Source: Gil, Alajaji and Linder (2013), uniform: the logarithm of the ratio of the lengths.
    """
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = jnp.where(inside, (low_p - low_q) + (high_q - high_p), 0.0)
    return jnp.where(inside, jnp.log1p(outside / (high_p - low_p)), jnp.inf)


def cauchy_entropy(p: dist.Cauchy) -> Float[Array, "*batch"]:
    """H = log 4πγ. Source: Cover and Thomas (2006), table 17.1."""
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(4.0 * jnp.pi * scale) + jnp.zeros_like(loc)


def half_cauchy_entropy(p: dist.HalfCauchy) -> Float[Array, "*batch"]:
    """H = log 2πγ. Source: H(|x|) = H(x) − log 2 for x symmetric about 0."""
    return jnp.log(2.0 * jnp.pi * floats(p.scale)[0])


def gumbel_entropy(p: dist.Gumbel) -> Float[Array, "*batch"]:
    """H = 1 + γ + log β, with γ Euler's constant. Source: as for −log of a Weibull variable."""
    loc, scale = floats(p.loc, p.scale)
    return 1.0 + EULER_GAMMA + jnp.log(scale) + jnp.zeros_like(loc)


def weibull_entropy(p: dist.Weibull) -> Float[Array, "*batch"]:
    """H = 1 + γ (1 − 1/k) + log(λ/k), with γ Euler's constant. Source: Cover and Thomas (2006), table 17.1."""
    scale, power = floats(p.scale, p.concentration)
    return 1.0 + EULER_GAMMA * (1.0 - 1.0 / power) + jnp.log(scale / power)


def pareto_entropy(p: dist.Pareto) -> Float[Array, "*batch"]:
    """H = 1 + 1/α + log(m/α). Source: Cover and Thomas (2006), table 17.1."""
    low, power = floats(p.scale, p.alpha)
    return 1.0 + 1.0 / power + jnp.log(low / power)


def uniform_entropy(p: dist.Uniform) -> Float[Array, "*batch"]:
    """H = log of the length. Source: Cover and Thomas (2006), table 17.1."""
    low, high = floats(p.low, p.high)
    return jnp.log(high - low)


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
    (dist.Normal, dist.Normal): normal_kl,
    (dist.LogNormal, dist.LogNormal): normal_kl,
    (dist.HalfNormal, dist.HalfNormal): half_normal_kl,
    **every_pair(asymmetric_kl, *_KINDS),
    (dist.Laplace, dist.Laplace): laplace_kl,
    (dist.Cauchy, dist.Cauchy): cauchy_kl,
    (dist.HalfCauchy, dist.HalfCauchy): half_cauchy_kl,
    (dist.Gumbel, dist.Gumbel): gumbel_kl,
    (dist.Weibull, dist.Weibull): weibull_kl,
    (dist.Pareto, dist.Pareto): pareto_kl,
    (dist.Uniform, dist.Uniform): uniform_kl,
    (dist.StudentT, dist.Normal): student_normal_kl,
    (dist.Cauchy, dist.StudentT): cauchy_student_kl,
}
BUILD_KL = {
    (dist.StudentT, dist.StudentT): student_kl,
    (dist.StudentT, dist.Cauchy): student_kl,
}
ENTROPY = {
    dist.Normal: normal_entropy,
    dist.LogNormal: log_normal_entropy,
    dist.HalfNormal: half_normal_entropy,
    **dict.fromkeys(_KINDS, laplace_entropy),
    dist.Cauchy: cauchy_entropy,
    dist.HalfCauchy: half_cauchy_entropy,
    dist.Gumbel: gumbel_entropy,
    dist.Weibull: weibull_entropy,
    dist.Pareto: pareto_entropy,
    dist.Uniform: uniform_entropy,
    dist.StudentT: student_entropy,
    dist.MultivariateStudentT: multivariate_student_entropy,
}
