"""The log-probabilities of counts and labels to the last digit, and with finite derivatives where a chance is 0.

NumPyro's own use `betaln`, which is right to 1e-6 only, and clip the logarithm of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import discrete

from kullback.exact.closed_forms.count_parameters import (
    BERNOULLI,
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    counts_of,
    shape,
)
from kullback.exact.composite.disjoint_support import is_mixture, weights_of
from kullback.exact.numerics.categorical import normalised
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.log_gamma import log_beta
from kullback.exact.type_keys import by_probs

CATEGORICAL = (discrete.CategoricalProbs, discrete.CategoricalLogits, dist.OrderedLogistic)


def log_mass(d: Any, low: int, high: int) -> Array:
    """log P at the integers from `low` to `high`, both included, as [*batch, K]; −∞ outside the support,
    which must not reach beyond them where it is a list of labels, or that of a beta-binomial."""
    if is_mixture(d):
        return _mixture(d, low, high)
    if type(d) in _MASSES:
        return _MASSES[type(d)](d, jnp.arange(low, high + 1))
    rows = _ROWS[type(d)](d, high)
    before, after = ((*rows.shape[:-1], size) for size in (max(-low, 0), high + 1 - rows.shape[-1]))
    return jnp.concatenate([jnp.full(before, -jnp.inf), rows, jnp.full(after, -jnp.inf)], -1)


def _mixture(d: Any, low: int, high: int) -> Array:
    """log Σₖ wₖ fₖ, of which a component without weight or mass is no part."""
    if type(d) is dist.MixtureSameFamily:
        parts = log_mass(d.component_distribution, low, high)
    else:
        shape = (*d.batch_shape, high + 1 - low)
        parts = [jnp.broadcast_to(log_mass(f, low, high), shape) for f in d.component_distributions]
        parts = jnp.stack(parts, -2)
    logs = _log(floats(weights_of(d))[0])[..., None] + parts
    live = logs > -jnp.inf
    top = jax.lax.stop_gradient(logs.max(-2, keepdims=True))
    top = jnp.where(top > -jnp.inf, top, 0.0)
    total = jnp.where(live, jnp.exp(jnp.where(live, logs - top, 0.0)), 0.0).sum(-2)
    return _log(total) + top[..., 0, :]


def _labels(d: Any, high: int) -> Array:
    return label_log_probs(d)


def _beta_binomial(d: Any, high: int) -> Array:
    a, b = floats(d.concentration1, d.concentration0)
    return urn_log_mass(a, b, d.total_count, max(high, 0))[0]


def urn_log_mass(a: Array, b: Array, n: Any, size: int) -> tuple[Array, Array, Array]:
    """log P(k) of a beta-binomial for k = 0, ..., size [..., size + 1], and a + k and b + n − 1 − k for the k below it.

    By the sums of log P(k + 1)/P(k): differences of log Γ would lose the digits of a great concentration.
    """
    k = jnp.arange(size, dtype=a.dtype)
    left = jnp.asarray(n, a.dtype)[..., None] - k
    live = left > 0
    above, below = a[..., None] + k, b[..., None] + jnp.where(live, left - 1.0, 0.0)
    steps = jnp.log(above) - jnp.log(below) + jnp.log(jnp.where(live, left, 1.0) / (k + 1.0))
    log_p = running_sum(jnp.where(live, steps, 0.0))
    reached = jnp.concatenate([jnp.ones_like(live[..., :1]), live], -1) if size else jnp.ones((1,), bool)
    return jax.nn.log_softmax(jnp.where(reached, log_p, -jnp.inf)), above, below


def running_sum(steps: Array) -> Array:
    """0 and the sums of the first steps."""
    return jnp.concatenate([jnp.zeros_like(steps, shape=(*steps.shape[:-1], 1)), jnp.cumsum(steps, -1)], -1)


def label_log_probs(d: Any) -> Array:
    """log P of each label [..., K]; of a Bernoulli, or a trial of a binomial, those of 0 and 1."""
    if type(d) in (*BERNOULLI, *BINOMIAL):
        if by_probs(d):
            (p,) = floats(d.probs)
            return jnp.stack([_log(1.0 - p), _log(p)], -1)
        (logit,) = floats(d.logits)
        return jnp.stack([-jax.nn.softplus(logit), -jax.nn.softplus(-logit)], -1)
    return normalised(floats(d.probs if by_probs(d) else d.logits)[0], by_probs(d))[1]


def _binomial(d: Any, k: Array) -> Array:
    """log n!/(k! (n − k)!) + k log p + (n − k) log (1 − p)."""
    n = floats(d.total_count)[0][..., None]
    logs = label_log_probs(d)
    return _inside(k, n, lambda k: _ways(n, k) + _times(n - k, logs[..., :1]) + _times(k, logs[..., 1:]))


def _ways(n: Array, k: Array) -> Array:
    return -jnp.log1p(n) - log_beta(n - k + 1.0, k + 1.0)


def _inside(k: Array, n: Array, value: Callable[[Array], Array]) -> Array:
    inside = (k >= 0) & (k <= n)
    return jnp.where(inside, value(jnp.where(inside, k, 0).astype(n.dtype)), -jnp.inf)


def _uniform(d: Any, k: Array) -> Array:
    low, high = (x[..., None] for x in floats(d.low, d.high))
    return jnp.where((k >= low) & (k <= high), -jnp.log(high - low + 1.0), -jnp.inf)


def _poisson(d: Any, k: Array) -> Array:
    """k log λ − λ − log k!."""
    rate = floats(d.rate)[0][..., None]
    k = k.astype(rate.dtype)
    return _times(k, _log(rate)) - rate - jax.lax.lgamma(k + 1.0)


def _negative_binomial(d: Any, k: Array) -> Array:
    """log Γ(k + a)/(Γ(a) k!) + k log r − (k + a) log (1 + r)."""
    (counts, _), (a,) = counts_of(d), floats(shape(d))
    a, odds = a[..., None], counts.ratio[..., None]
    k = k.astype(odds.dtype)
    ways = -log_beta(a, k + 1.0) - jnp.log(a + k)
    return ways + _times(k, _log(odds)) - (k + a) * jnp.log1p(odds)


def _log(x: Array) -> Array:
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def _times(k: Array, log: Array) -> Array:
    """k log p, 0 where k = 0."""
    live = log > -jnp.inf
    return jnp.where(k == 0, 0.0, jnp.where(live, k * jnp.where(live, log, 0.0), -jnp.inf))


_MASSES = {
    **dict.fromkeys(BINOMIAL, _binomial),
    **dict.fromkeys((*NEGATIVE_BINOMIAL, *GEOMETRIC), _negative_binomial),
    dist.DiscreteUniform: _uniform,
    dist.Poisson: _poisson,
}
# Those of which all the log-probabilities of 0, 1, ... are computed together.
_ROWS = {**dict.fromkeys((*CATEGORICAL, *BERNOULLI), _labels), dist.BetaBinomial: _beta_binomial}

COUNTABLE = (dist.Poisson, *NEGATIVE_BINOMIAL, *GEOMETRIC)
