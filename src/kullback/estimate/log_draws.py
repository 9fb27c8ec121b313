"""Draws of gamma-like laws of small concentration by their logarithms.

A gamma law of concentration a puts mass e^(−745 a) below the least double, so that draws of small concentrations round
to 0, where a log-ratio is no number. A divergence is the same in every coordinate: both log-densities are written here
in log x, which `jax.random.loggamma` draws. A share of the unit interval becomes (log x, log(1 − x)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln
from jax.tree_util import Partial

SMALL = 0.2  # the concentration from which on no draw of double precision is rounded to 0: (1e-308)^0.2 is nothing


class LogLaw(NamedTuple):
    """Draws t = log x of a law, its log-density of x at t, and what t is the logarithm of."""

    draw: Callable[..., Array]
    log_density: Callable[..., Array]
    space: str


def _gamma(d: Any) -> tuple[Array, Array]:
    return jnp.asarray(d.concentration, jnp.float64), jnp.asarray(d.rate, jnp.float64)


def _draw_gamma(d: Any, key: Any, n: int) -> Array:
    a, rate = _gamma(d)
    return jax.random.loggamma(key, a, (n, *d.batch_shape), jnp.float64) - jnp.log(rate)


def _log_gamma(d: Any, t: Array) -> Array:
    a, rate = _gamma(d)
    return a * jnp.log(rate) - gammaln(a) + (a - 1.0) * t - rate * jnp.exp(t)


def _draw_inverse_gamma(d: Any, key: Any, n: int) -> Array:
    a, rate = _gamma(d)
    return jnp.log(rate) - jax.random.loggamma(key, a, (n, *d.batch_shape), jnp.float64)


def _log_inverse_gamma(d: Any, t: Array) -> Array:
    a, rate = _gamma(d)
    return a * jnp.log(rate) - gammaln(a) - (a + 1.0) * t - rate * jnp.exp(-t)


def _shares(d: Any) -> Array:
    """Concentrations [*batch, k] of a Dirichlet law, and of a beta law as one of two shares."""
    if type(d) is dist.Dirichlet:
        return jnp.asarray(d.concentration, jnp.float64)
    a, b = (jnp.broadcast_to(jnp.asarray(x, jnp.float64), d.batch_shape) for x in (d.concentration1, d.concentration0))
    return jnp.stack([a, b], -1)


def _draw_shares(d: Any, key: Any, n: int) -> Array:
    a = _shares(d)
    t = jax.random.loggamma(key, a, (n, *a.shape), jnp.float64)
    return t - jax.nn.logsumexp(t, -1, keepdims=True)


def _log_shares(d: Any, t: Array) -> Array:
    a = _shares(d)
    return gammaln(a.sum(-1)) - gammaln(a).sum(-1) + ((a - 1.0) * t).sum(-1)


LOG_LAWS: dict[type, LogLaw] = {
    dist.Gamma: LogLaw(_draw_gamma, _log_gamma, "positive"),
    dist.Chi2: LogLaw(_draw_gamma, _log_gamma, "positive"),
    dist.InverseGamma: LogLaw(_draw_inverse_gamma, _log_inverse_gamma, "positive"),
    dist.Beta: LogLaw(_draw_shares, _log_shares, "unit"),
    dist.Dirichlet: LogLaw(_draw_shares, _log_shares, "simplex"),
}


class InLogs(NamedTuple):
    """A sampler of t, log P and log Q at t, and the shape of one t."""

    sampler: Any
    log_p: Any
    log_q: Any
    event: tuple[int, ...]


def in_logs(p: Any, q: Any) -> InLogs | None:
    """Both laws in log x, where draws of P may round to an end of its support; None elsewhere."""
    first, second = LOG_LAWS.get(type(p)), LOG_LAWS.get(type(q))
    if first is None or second is None or first.space != second.space:
        return None
    least = np.min([np.min(np.asarray(x)) for x in jax.tree.leaves(_concentrations(p))])
    if not least < SMALL:
        return None
    event = (2,) if type(p) is dist.Beta else tuple(p.event_shape)
    return InLogs(Partial(_draw, p), Partial(_log_density, p), Partial(_log_density, q), event)


def _concentrations(d: Any) -> Any:
    return (d.concentration1, d.concentration0) if type(d) is dist.Beta else d.concentration


def _draw(d: Any, key: Any, n: int) -> Array:
    return LOG_LAWS[type(d)].draw(d, key, n)


def _log_density(d: Any, t: Any) -> Array:
    return LOG_LAWS[type(d)].log_density(d, t)
