"""Powers of x on an interval: Pareto, power laws truncated on one side or both, log-uniform and uniform.

With y = log x the density is ∝ e^θy on an interval: θ is −α for Pareto, α + 1 for a power law xᵅ, 0 for log-uniform
and 1 for uniform.
"""

from __future__ import annotations

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
from kullback.numerics.double_precision import floats
from kullback.numerics.quadrature import gauss_legendre
from kullback.numerics.ratios import log_ratio, phi

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


def entropy(p: PowerLaw) -> Float[Array, "*batch"]:
    """H = log ∫ e^θy dy − (θ − 1) E y, with y = log x, measured from the likelier end of y.

    Source: Cover and Thomas (2006), eq. 8.66, H(eʸ) = H(y) + E y; the density of y is ∝ e^θy.
    """
    d = power_law(p)
    end, fall = _peak(d, d.slope)
    return end + log_integral(fall, log_length(d.low, d.high)) - d.power * _beyond_peak(d)[0]


_KINDS = (dist.DoublyTruncatedPowerLaw, dist.LowerTruncatedPowerLaw, dist.LogUniform, dist.Pareto, dist.Uniform)
_OWN = {(dist.Pareto, dist.Pareto), (dist.Uniform, dist.Uniform)}

KL = {
    **{pair: form for pair, form in every_pair(power_law_kl, *_KINDS).items() if pair not in _OWN},
    (dist.LogUniform, dist.LogUniform): log_uniform_kl,
}

ENTROPY = dict.fromkeys(_KINDS[:3], entropy)
