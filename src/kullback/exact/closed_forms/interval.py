"""Laws on an interval: powers of x (Pareto, power laws, log-uniform, uniform), beta and Dirichlet, Kumaraswamy.

With y = log x the density of a power is ∝ e^θy on an interval: θ is −α for Pareto, α + 1 for a power law xᵅ, 0 for
log-uniform and 1 for uniform.

Under P = Kumaraswamy(a, b) the power y = xᵃ is Beta(1, b), and under Kumaraswamy(a', b') it is Kumaraswamy(r, b') with
r = a'/a. What has no closed form is the mean of log(1 − yʳ). Of its parts log(1 − y) and log (1 − yʳ)/(1 − y) the
first has mean −1/b. For the second, and its second-order remainder in r − 1, the trapezoidal rule is used in σ, where
y = 1/(1 + e^σ): there the integrand is analytic and bounded for |Im σ| < π/2 whatever the parameters, and falls off
like e^−|σ|, so that the rule is right to the last digits.
"""

from __future__ import annotations

from functools import partial
from math import e
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from scipy.special import zeta

from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats, in_double, non_negative
from kullback.numerics.log_gamma import EULER_GAMMA, gamma_entropy, gamma_gap, log_beta
from kullback.numerics.quadrature import gauss_legendre, trapezoidal
from kullback.numerics.ratios import gap, log_ratio, phi, psi, scale_gap

PowerLaw = dist.Pareto | dist.LowerTruncatedPowerLaw | dist.DoublyTruncatedPowerLaw | dist.LogUniform | dist.Uniform


class Interval(NamedTuple):
    """The exponent θ − 1 of x in its density, and the bounds of x."""

    power: Float[Array, "*s"]
    low: Float[Array, "*s"]
    high: Float[Array, "*s"]

    @property
    def slope(self) -> Array:
        """θ, the exponent of x in the density of log x."""
        return self.power + 1.0


def power_law(d: PowerLaw) -> Interval:
    """The exponent and the interval of a distribution of this kind."""
    if isinstance(d, dist.Pareto):
        low, alpha = floats(d.scale, d.alpha)
        power, high = -alpha - 1.0, jnp.full_like(low, jnp.inf)
    elif isinstance(d, dist.LowerTruncatedPowerLaw):
        low, power = floats(d.low, d.alpha)
        high = jnp.full_like(low, jnp.inf)
    elif isinstance(d, dist.DoublyTruncatedPowerLaw):
        low, high, power = floats(d.low, d.high, d.alpha)
    else:
        low, high = floats(d.low, d.high)
        power = -jnp.ones_like(low) if isinstance(d, dist.LogUniform) else jnp.zeros_like(low)
    return Interval(*jnp.broadcast_arrays(power, low, high))


def log_length(low: Float[Array, "*s"], high: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(high/low), and ∞ where low is 0 or high is ∞."""
    whole = (low > 0) & (high < jnp.inf)
    low, high = jnp.where(whole, low, 1.0), jnp.where(whole, high, 1.0)
    return jnp.where(whole, log_ratio(low, high, high - low), jnp.inf)


def log_integral(slope: Float[Array, "*s"], size: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log ∫₀^size e^(slope·u) du, for a size that may be ∞ where slope < 0; −10³⁰ for a size of 0."""
    endless, nothing = size == jnp.inf, size <= 0
    reach = jnp.where(endless | nothing, 1.0, size)
    k = slope * reach
    value = jnp.maximum(k, 0.0) + jnp.log(reach) + jnp.log(relative_rise(jnp.abs(k)))
    steep = jnp.log(jnp.where(endless & (slope < 0), -slope, 1.0))
    return jnp.where(nothing, -1e30, jnp.where(endless, jnp.where(slope < 0, -steep, jnp.inf), value))


def relative_rise(k: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(1 − e^−k)/k for k ≥ 0."""
    tiny = k < 1e-3
    safe = jnp.where(tiny, 1.0, k)
    return jnp.where(
        tiny, 1.0 - k / 2.0 * (1.0 - k / 3.0 * (1.0 - k / 4.0 * (1.0 - k / 5.0))), -jnp.expm1(-safe) / safe
    )


def tilt_gap(start: Float[Array, "*s"], step: Float[Array, "*s"], size: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The Bregman difference of log ∫₀^size e^θu du from θ = start to start + step.

    Near, step² size² ∫₀¹ (1 − s) v(θₛ size) ds with v(k) = 1/k² − 1/(4 sinh² ½k), the variance of u/size; for an
    endless interval φ(step/start), which is the part of 1/k², and all that is left for large k of one sign.
    """
    endless = size == jnp.inf
    reach = jnp.where(endless, 1.0, size)
    k, move = start * reach, step * reach
    sharp = endless | ((jnp.abs(k) > 60.0) & (jnp.abs(k + move) > 60.0) & (k * (k + move) > 0))
    steep = phi(jnp.where(sharp, step / jnp.where(sharp, start, 1.0), 0.0))
    nodes, weights = gauss_legendre(16, k.dtype)
    near = jnp.abs(move) < 4.0
    close = jnp.where(near, move, 0.0)
    at = k[..., None] + nodes * close[..., None]
    curved = jnp.square(close) * (weights * (1.0 - nodes) * tilted_variance(at)).sum(-1)
    apart = jnp.where(near, 1.0, move)
    far = log_integral(k + apart, jnp.ones_like(k)) - log_integral(k, jnp.ones_like(k)) - apart * tilted_mean(k)
    return jnp.where(sharp, steep, jnp.where(near, curved, far))


def tilted_variance(k: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """1/k² − 1/(4 sinh² ½k), the variance of u on (0, 1) with density ∝ e^ku."""
    small = jnp.abs(k) < 2.0
    x, far = jnp.where(small, k, 0.0), jnp.clip(jnp.where(small, 3.0, jnp.abs(k)), 0.0, 80.0)
    series = jnp.zeros_like(x)
    for c in reversed(_VARIANCE):
        series = series * x * x + c
    inverse = 1.0 / jnp.square(jnp.where(small, 3.0, k))
    return jnp.where(small, series, inverse - 0.25 / jnp.square(jnp.sinh(0.5 * far)))


def tilted_mean(k: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """1/(1 − e^−k) − 1/k, the mean of u on (0, 1) with density ∝ e^ku."""
    small = jnp.abs(k) < 2.0
    x, far = jnp.where(small, k, 0.0), jnp.where(small, 3.0, k)
    series = jnp.zeros_like(x)
    for n in range(len(_VARIANCE) - 1, -1, -1):
        series = series * x * x + _VARIANCE[n] / (2 * n + 1)
    size = jnp.abs(far)
    plain = 1.0 / -jnp.expm1(-size) - 1.0 / size
    return jnp.where(small, 0.5 + x * series, jnp.where(far > 0, plain, 1.0 - plain))


# Of k²ⁿ in the variance: (2n + 1) B₂ₙ₊₂/(2n + 2)!, where B₂ₘ/(2m)! = −2 (−1)ᵐ ζ(2m)/(2π)²ᵐ.
_VARIANCE = tuple(-2.0 * (-1) ** m * (2 * m - 1) * float(zeta(2 * m)) / (2.0 * np.pi) ** (2 * m) for m in range(1, 18))


def power_law_kl(p: PowerLaw, q: PowerLaw) -> Float[Array, "*batch"]:
    """KL = KL(P ‖ Q within P's interval) − log Q(P's interval), and ∞ unless that interval lies within Q's.

    The first is the Bregman difference of log ∫ e^θy dy. Source: Nielsen (2022), Statistical divergences between
    densities of truncated exponential families with nested supports, theorem 1, for the exponential family of log x.
    """
    one, two = power_law(p), power_law(q)
    both = jnp.broadcast_arrays(*floats(*one, *two))
    one, two = Interval(*both[:3]), Interval(*both[3:])
    nested = (two.low <= one.low) & (one.high <= two.high)
    # Only a uniform Q has mass below 0.
    below, two = jnp.maximum(-two.low, 0.0), two._replace(low=jnp.maximum(two.low, 0.0))
    left, right = (two.low < one.low) & nested, (one.high < two.high) & nested
    # P's interval, and what Q's has before it and after it, each one as 1 to e where there is none.
    whole, start, end = jnp.ones_like(one.low), jnp.where(left, two.low, 1.0), jnp.where(right, one.high, 1.0)
    lows, highs = jnp.stack([one.low, start, end]), jnp.stack([one.high, whole * e, whole * e])
    highs = highs.at[1].set(jnp.where(left, one.low, e)).at[2].set(jnp.where(right, two.high, e))
    size, before, after = log_length(lows, highs)
    tilt, inner = two.slope, jnp.where(nested, size, 1.0)
    # One call of a costly function instead of four.
    slopes = jnp.stack([-tilt, tilt, tilt, -tilt])
    masses = log_integral(slopes, jnp.stack([before, jnp.where(left, inner, 1.0), after, jnp.where(right, inner, 1.0)]))
    sides = jnp.where(jnp.stack([left, right]), masses[::2] - masses[1::2], -1e30)
    outside = jax.nn.softplus(jnp.logaddexp(sides[0], sides[1]))
    value = tilt_gap(one.slope, two.power - one.power, size) + outside + jnp.log1p(below / (two.high - two.low))
    return jnp.where(nested, value, jnp.inf)


def log_uniform_kl(p: dist.LogUniform, q: dist.LogUniform) -> Float[Array, "*batch"]:
    """KL = log(1 + u), with u the part of Q's length outside P over P's, both of log x; ∞ unless P lies within Q.

    Source: as for two uniform distributions of log x.
    """
    low_p, high_p, low_q, high_q = floats(p.low, p.high, q.low, q.high)
    inside = (low_q <= low_p) & (high_p <= high_q)
    outside = log_ratio(low_q, low_p, low_p - low_q) + log_ratio(high_p, high_q, high_q - high_p)
    size = log_ratio(low_p, high_p, high_p - low_p)
    return jnp.where(inside, jnp.log1p(jnp.where(inside, outside, 0.0) / size), jnp.inf)


def _peak(d: Interval, slope: Array) -> tuple[Array, Array]:
    """The logarithm of the end of the interval that e^(slope·y) favours, and the slope on the way in from there."""
    return jnp.log(jnp.where(slope > 0, d.high, d.low)), -jnp.abs(slope)


def log_mean_and_variance(d: Interval) -> tuple[Array, Array]:
    """The mean and the variance of log x."""
    inner, spread = _beyond_peak(d)
    return _peak(d, d.slope)[0] + inner, spread


def _beyond_peak(d: Interval) -> tuple[Array, Array]:
    """The mean of log x less its likelier end, and the variance; on an infinite interval those of an exponential."""
    _, fall = _peak(d, d.slope)
    size = log_length(d.low, d.high)
    endless = size == jnp.inf
    reach, steep = jnp.where(endless, 1.0, size), jnp.where(endless, fall, -1.0)
    inner = jnp.where(endless, -1.0 / steep, reach * tilted_mean(fall * reach))
    spread = jnp.where(endless, 1.0 / jnp.square(steep), jnp.square(reach) * tilted_variance(fall * reach))
    return jnp.where(d.slope > 0, -inner, inner), spread


def log_power_integral(d: Interval, k: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log of the integral of xᵏ e^θy over y = log x, which may be ∞."""
    slope = d.slope + k
    end, fall = _peak(d, slope)
    flat = slope == 0
    return jnp.where(flat, 0.0, slope * jnp.where(flat, 0.0, end)) + log_integral(fall, log_length(d.low, d.high))


def power_law_entropy(p: PowerLaw) -> Float[Array, "*batch"]:
    """H = log ∫ e^θy dy − (θ − 1) E y, with y = log x, measured from the likelier end of y.

    Source: Cover and Thomas (2006), eq. 8.66, H(eʸ) = H(y) + E y; the density of y is ∝ e^θy.
    """
    d = power_law(p)
    end, fall = _peak(d, d.slope)
    return end + log_integral(fall, log_length(d.low, d.high)) - d.power * _beyond_peak(d)[0]


_KINDS = (dist.DoublyTruncatedPowerLaw, dist.LowerTruncatedPowerLaw, dist.LogUniform, dist.Pareto, dist.Uniform)
_OWN = {(dist.Pareto, dist.Pareto), (dist.Uniform, dist.Uniform)}


DirichletLaw = dist.Dirichlet | dist.Beta  # BetaProportion is a Beta


def concentrations(d: DirichletLaw) -> Float[Array, "*batch k"]:
    """The concentrations [..., K]; a beta is a Dirichlet of two."""
    if isinstance(d, dist.Beta):
        one, zero = floats(d.concentration1, d.concentration0)
        return jnp.stack(jnp.broadcast_arrays(one, zero), axis=-1)
    return floats(d.concentration)[0]


def dirichlet_kl(p: DirichletLaw, q: DirichletLaw) -> Float[Array, "*batch"]:
    """KL = A KL(β/A ‖ α/A') + Σₖ g(αₖ, βₖ) − g(A', A), for α of P with sum A' and β of Q with sum A.

    g is the Bregman difference of log Γ(t) − t log t + t, and the first term that of t log t, whose parts telescope.
    Source: Penny (2001), on Dirichlet densities, of which this is a rearrangement.
    """
    alpha, beta = jnp.broadcast_arrays(*floats(concentrations(p), concentrations(q)))
    if alpha.dtype == jnp.float64:
        return _kl(alpha, beta)
    # The last two terms nearly cancel where one concentration has nearly all of the sum.
    return in_double(partial(_kl, single=True))(alpha, beta)


def _kl(alpha: Array, beta: Array, single: bool = False) -> Array:
    if alpha.shape[-1] == 1:  # a point
        return jnp.zeros_like(alpha[..., 0])
    step = beta - alpha
    sum_p, sum_q, sum_step = alpha.sum(-1), beta.sum(-1), step.sum(-1)
    growth, larger = (sum_step / sum_p)[..., None], (sum_q / sum_p)[..., None]
    parts = gap(beta, alpha * larger, alpha * growth - step) + gamma_gap(alpha, beta, step, single)
    return parts.sum(-1) - gamma_gap(sum_p, sum_q, sum_step, single)


def _with_total(x: Array) -> Array:
    """The parts and then their sum, [..., K + 1], for one call of a costly function instead of two."""
    return jnp.concatenate([x, x.sum(-1, keepdims=True)], axis=-1)


def dirichlet_entropy(p: DirichletLaw) -> Float[Array, "*batch"]:
    """H = log B(α) + (A − K) digamma(A) − Σ (αₖ − 1) digamma(αₖ).

    Source: Cover and Thomas (2006), table 17.1, for two parts; Ebrahimi, Soofi and Zhao (2011) for more.
    """
    alpha = concentrations(p)
    total, parts = alpha.sum(-1), gamma_entropy(_with_total(alpha))
    return parts[..., :-1].sum(-1) - parts[..., -1] - (alpha.shape[-1] - 1) * jax.lax.digamma(total)


class LogRatioMeans(NamedTuple):
    """The mean of log (1 − yʳ)/(1 − y) for y ~ Beta(1, b), and of log p/q for Q = Kumaraswamy(r, b) of y."""

    mean: Float[Array, "*s"]
    curved: Float[Array, "*s"]


def log_ratio_means(b: Float[Array, "*s"], delta: Float[Array, "*s"]) -> LogRatioMeans:
    """The means for r = 1 + δ: log r + E log (1 + v)/r, and bφ(δ) + (b − 1) E[φ(v) − φ(δ) + ψ(−δz)/(eᶻ − 1)].

    With z = −log y and 1 + v = (1 − e^−rz)/(1 − e^−z), where v = −(e^−δz − 1)/(eᶻ − 1) is of first order in δ.
    """
    b, delta = jnp.broadcast_arrays(b, delta)
    single = b.dtype == jnp.float32
    reach = 18.0 if single else 38.0
    low, high = jax.lax.stop_gradient((-reach - jnp.log1p(jnp.abs(delta)), reach + jnp.log1p(b)))
    sigma, spacing = trapezoidal(low, high, 128 if single else 400)
    z, shape, step = jax.nn.softplus(sigma), b[..., None], delta[..., None]
    weight = spacing * shape * jnp.exp(-z - shape * jax.nn.softplus(-sigma))
    grown = jnp.expm1(z)
    v, bend = -jnp.expm1(-step * z) / grown, psi(-step * z) / grown
    near = jnp.abs(step) < 0.5
    far_log = jnp.log(-jnp.expm1(-jnp.where(near, 1.0, 1.0 + step) * z)) - jnp.log(-jnp.expm1(-z))
    log_v = jnp.where(near, jnp.log1p(jnp.where(near, v, 0.0)), far_log)
    phi_v = jnp.where(near, phi(jnp.where(near, v, 0.0)), v - far_log)
    mean = jnp.log1p(delta) + (weight * (log_v - jnp.log1p(step))).sum(-1)
    curved = b * phi(delta) + (b - 1.0) * (weight * (phi_v - phi(step) + bend)).sum(-1)
    return LogRatioMeans(mean, curved)


def kumaraswamy_kl(p: dist.Kumaraswamy, q: dist.Kumaraswamy) -> Float[Array, "*batch"]:
    """KL = φ((b' − b)/b) + D − (b' − b) E log (1 − yʳ)/(1 − y), D that of Kumaraswamy(1, b) from Kumaraswamy(r, b).

    Source: the density of Kumaraswamy (1980), A generalized probability density function; the means of the score of
    y, which vanish, leave second-order terms alone.
    """
    a_p, b_p, a_q, b_q = floats(p.concentration1, p.concentration0, q.concentration1, q.concentration0)
    ratio = log_ratio_means(b_p, (a_q - a_p) / a_p)
    return scale_gap(b_q, b_p) + ratio.curved - (b_q - b_p) * ratio.mean


@in_double
def kumaraswamy_beta_kl(p: dist.Kumaraswamy, q: dist.Beta) -> Float[Array, "*batch"]:
    """KL = KL(Beta(1, b) ‖ Beta(c/a, d)) + log a B(c, d)/B(c/a, d) − (d − 1) E log (1 − y^1/a)/(1 − y).

    For b = 1, where P is Beta(a, 1), that of the two betas. Source: the density of y = xᵃ under Q = Beta(c, d).
    The last two terms are differences, whose error is about 1e-15 of the larger.
    """
    a, b = floats(p.concentration1, p.concentration0)
    c, d = floats(q.concentration1, q.concentration0)
    power, shape = jnp.where(b == 1, 1.0, a), jnp.where(b == 1, a, 1.0)
    near = beta_kl(shape, b, c / power, d)
    mean = log_ratio_means(b, (1.0 - power) / power).mean
    return non_negative(near + (jnp.log(power) + log_beta(c, d) - log_beta(c / power, d) - (d - 1.0) * mean))


def beta_kl(
    a: Float[Array, "*s"], b: Float[Array, "*s"], c: Float[Array, "*s"], d: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """KL(Beta(a, b) ‖ Beta(c, d)), as for Dirichlet, for use within a form in double precision."""
    a, b, c, d = jnp.broadcast_arrays(a, b, c, d)
    # One call of a costly function in place of three.
    signs = jnp.asarray([1.0, 1.0, -1.0], a.dtype).reshape((3,) + (1,) * a.ndim)
    p, q, step_one, step_zero = a + b, c + d, c - a, d - b
    change = (c * step_zero - step_one * d) / (p * q)
    labels = gap(c / q, a / p, change) + gap(d / q, b / p, -change)
    triples = (jnp.stack(x) for x in ((a, b, p), (c, d, q), (step_one, step_zero, step_one + step_zero)))
    return q * labels + (signs * gamma_gap(*triples)).sum(0)


def kumaraswamy_entropy(p: dist.Kumaraswamy) -> Float[Array, "*batch"]:
    """H = (1 − 1/a)(digamma(b + 1) + γ) + 1 − 1/b − log ab, with γ Euler's constant.

    Source: E log xᵃ = −digamma(b + 1) − γ and E log(1 − xᵃ) = −1/b, since xᵃ is Beta(1, b).
    """
    a, b = floats(p.concentration1, p.concentration0)
    return (1.0 - 1.0 / a) * (jax.lax.digamma(b + 1.0) + EULER_GAMMA) + (1.0 - 1.0 / b) - jnp.log(a * b)


# The beta and the Kumaraswamy against the uniform and powers of x, which are members of both families on (0, 1).


def to_power_kl(p: dist.Beta | dist.Kumaraswamy, q: PowerLaw) -> Float[Array, "*batch"]:
    """KL = KL(P ‖ Beta(θ, 1)) + θ log h for Q ∝ x^(θ−1) on (0, h), which must cover (0, 1).

    Source: Q within (0, 1) is Beta(θ, 1), which is Kumaraswamy(θ, 1), and its density is smaller on a longer interval.
    """
    d = power_law(q)
    inside = (d.low <= 0) & (d.high >= 1) & (d.slope > 0)
    theta = jnp.where(inside, d.slope, 1.0)
    if isinstance(p, dist.Kumaraswamy):
        value = kumaraswamy_kl(p, dist.Kumaraswamy(theta, jnp.ones_like(theta), validate_args=False))
    else:
        value = dirichlet_kl(p, dist.Beta(theta, jnp.ones_like(theta), validate_args=False))
    return jnp.where(inside, value + theta * jnp.log1p(jnp.where(inside, d.high - 1.0, 0.0)), jnp.inf)


def to_uniform_kl(p: dist.Beta | dist.Kumaraswamy, q: dist.Uniform) -> Float[Array, "*batch"]:
    """KL = KL(P ‖ Uniform(0, 1)) + log(high − low), for Q that covers (0, 1).

    Source: Uniform(0, 1) is Beta(1, 1) and Kumaraswamy(1, 1); a wider interval has a density smaller throughout.
    """
    low, high = floats(q.low, q.high)
    inside = (low <= 0) & (high >= 1)
    unit = dist.DoublyTruncatedPowerLaw(jnp.zeros_like(low), jnp.zeros_like(low), jnp.ones_like(low))
    excess = jnp.where(inside, (high - 1.0) - low, 0.0)
    return jnp.where(inside, to_power_kl(p, unit) + jnp.log1p(excess), jnp.inf)


@in_double
def from_uniform_kl(p: dist.Uniform, q: dist.Beta) -> Float[Array, "*batch"]:
    """KL = log B(a, b) − log(h − l) − (a − 1) E log x − (b − 1) E log(1 − x), and that of two betas where P is (0, 1).

    Source: the density of the beta, whose statistics have elementary means over an interval.
    """
    low, high = floats(p.low, p.high)
    a, b = floats(q.concentration1, q.concentration0)
    inside, whole = (low >= 0) & (high <= 1), (low == 0) & (high == 1)
    low, high = jnp.where(inside & ~whole, low, 0.25), jnp.where(inside & ~whole, high, 0.75)
    logs, rests = (_mean_log(*bounds) for bounds in ((low, high), (1.0 - high, 1.0 - low)))
    value = log_beta(a, b) - jnp.log(high - low) - (a - 1.0) * logs - (b - 1.0) * rests
    one = jnp.ones_like(a)
    return jnp.where(inside, jnp.where(whole, beta_kl(one, one, a, b), non_negative(value)), jnp.inf)


def _mean_log(low: Array, high: Array) -> Array:
    return log_mean_and_variance(power_law(dist.Uniform(low, high, validate_args=False)))[0]


_BETAS = (dist.Beta, dist.BetaProportion)


KL = {
    **{pair: form for pair, form in every_pair(power_law_kl, *_KINDS).items() if pair not in _OWN},
    (dist.LogUniform, dist.LogUniform): log_uniform_kl,
    **every_pair(dirichlet_kl, dist.Beta, dist.BetaProportion),
    (dist.Dirichlet, dist.Dirichlet): dirichlet_kl,
    (dist.Kumaraswamy, dist.Kumaraswamy): kumaraswamy_kl,
    (dist.Kumaraswamy, dist.Beta): kumaraswamy_beta_kl,
    (dist.Kumaraswamy, dist.BetaProportion): kumaraswamy_beta_kl,
    **{(p, dist.DoublyTruncatedPowerLaw): to_power_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(p, dist.Uniform): to_uniform_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(dist.Uniform, q): from_uniform_kl for q in _BETAS},
}
ENTROPY = {
    **dict.fromkeys(_KINDS[:3], power_law_entropy),
    dist.Beta: dirichlet_entropy,
    dist.BetaProportion: dirichlet_entropy,
    dist.Dirichlet: dirichlet_entropy,
    dist.Kumaraswamy: kumaraswamy_entropy,
}
