"""The Kumaraswamy distribution, the beta and the uniform against each other, and powers of x on the unit interval.

Under P = Kumaraswamy(a, b) the power y = xᵃ is Beta(1, b), and under Kumaraswamy(a', b') it is Kumaraswamy(r, b') with
r = a'/a. What has no closed form is the mean of log(1 − yʳ). Of its parts log(1 − y) and log (1 − yʳ)/(1 − y) the
first has mean −1/b. For the second, and its second-order remainder in r − 1, the trapezoidal rule is used in σ, where
y = 1/(1 + e^σ): there the integrand is analytic and bounded for |Im σ| < π/2 whatever the parameters, and falls off
like e^−|σ|, so that the rule is right to the last digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.closed_forms.beta import dirichlet_kl
from kullback.exact.closed_forms.power_law import PowerLaw, log_mean_and_variance, power_law
from kullback.numerics.double_precision import floats, in_double, non_negative
from kullback.numerics.log_gamma import EULER_GAMMA, gamma_gap, log_beta
from kullback.numerics.quadrature import trapezoidal
from kullback.numerics.ratios import gap, phi, psi, scale_gap


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
    (dist.Kumaraswamy, dist.Kumaraswamy): kumaraswamy_kl,
    (dist.Kumaraswamy, dist.Beta): kumaraswamy_beta_kl,
    (dist.Kumaraswamy, dist.BetaProportion): kumaraswamy_beta_kl,
    **{(p, dist.DoublyTruncatedPowerLaw): to_power_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(p, dist.Uniform): to_uniform_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(dist.Uniform, q): from_uniform_kl for q in _BETAS},
}

ENTROPY = {dist.Kumaraswamy: kumaraswamy_entropy}
