"""The beta and the Kumaraswamy against the uniform and powers of x, which are among both on (0, 1)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.beta import dirichlet_kl
from kullback.exact.closed_forms.kumaraswamy import beta_kl, kumaraswamy_kl
from kullback.exact.closed_forms.power_law import mean_and_spread, power_law
from kullback.exact.numerics.double_precision import floats, in_double
from kullback.exact.numerics.log_gamma import log_beta
from kullback.exact.numerics.rounding import non_negative


def to_power_kl(p: Any, q: Any) -> Array:
    """KL = KL(P ‖ Beta(θ, 1)) + θ log h for Q ∝ x^(θ−1) on (0, h), which must cover (0, 1).

    Source: Q within (0, 1) is Beta(θ, 1), which is Kumaraswamy(θ, 1), and its density is smaller on a longer interval.
    """
    d = power_law(q)
    inside = (d.low <= 0) & (d.high >= 1) & (d.slope > 0)
    theta = jnp.where(inside, d.slope, 1.0)
    family, kl = (dist.Kumaraswamy, kumaraswamy_kl) if isinstance(p, dist.Kumaraswamy) else (dist.Beta, dirichlet_kl)
    value = kl(p, family(theta, jnp.ones_like(theta), validate_args=False))
    return jnp.where(inside, value + theta * jnp.log1p(jnp.where(inside, d.high - 1.0, 0.0)), jnp.inf)


def to_uniform_kl(p: Any, q: Any) -> Array:
    """KL = KL(P ‖ Uniform(0, 1)) + log(high − low), for Q that covers (0, 1).

    Source: Uniform(0, 1) is Beta(1, 1) and Kumaraswamy(1, 1); a wider interval has a density smaller throughout.
    """
    low, high = floats(q.low, q.high)
    inside = (low <= 0) & (high >= 1)
    unit = dist.DoublyTruncatedPowerLaw(jnp.zeros_like(low), jnp.zeros_like(low), jnp.ones_like(low))
    excess = jnp.where(inside, (high - 1.0) - low, 0.0)
    return jnp.where(inside, to_power_kl(p, unit) + jnp.log1p(excess), jnp.inf)


@in_double
def from_uniform_kl(p: Any, q: Any) -> Array:
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
    return mean_and_spread(power_law(dist.Uniform(low, high, validate_args=False)))[0]


_BETAS = (dist.Beta, dist.BetaProportion)

KL = {
    **{(p, dist.DoublyTruncatedPowerLaw): to_power_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(p, dist.Uniform): to_uniform_kl for p in (*_BETAS, dist.Kumaraswamy)},
    **{(dist.Uniform, q): from_uniform_kl for q in _BETAS},
}
