"""Log-probabilities of counts and labels to the last digit, and sums of them over finite supports.

NumPyro's own log-probabilities use `betaln`, which is right to 1e-6 only, and clip the logarithm of 0. These are right
to the last digit and have finite derivatives where a probability is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from kullback.exact.closed_forms.categorical import (
    CATEGORICAL,
    BernoulliLaw,
    CategoricalLaw,
    TrialLaw,
    normalised,
    safe_log,
    weights_or_logits,
)
from kullback.exact.closed_forms.counts import (
    BERNOULLI,
    BINOMIAL,
    GEOMETRIC,
    NEGATIVE_BINOMIAL,
    BinomialLaw,
    NegativeBinomialLaw,
    counts_of,
    shape,
)
from kullback.exact.composite.mixtures import Mixture, is_mixture, weights_of
from kullback.exact.type_keys import UNKNOWN, Form, by_probs
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_gamma import log_beta
from kullback.numerics.ratios import psi

# Log-probabilities.


def log_pmf(d: dist.Distribution, low: int, high: int) -> Float[Array, "*batch k"]:
    """log P at the integers from `low` to `high`, both included, as [*batch, K]; −∞ outside the support.

    The support of labels, and of a beta-binomial, must lie within them.
    """
    if is_mixture(d):
        return _mixture(d, low, high)
    if type(d) in _MASSES:
        return _MASSES[type(d)](d, jnp.arange(low, high + 1))
    rows = _ROWS[type(d)](d, high)
    before, after = ((*rows.shape[:-1], size) for size in (max(-low, 0), high + 1 - rows.shape[-1]))
    return jnp.concatenate([jnp.full(before, -jnp.inf), rows, jnp.full(after, -jnp.inf)], -1)


def _mixture(d: Mixture, low: int, high: int) -> Array:
    """log Σₖ wₖ fₖ; components of no weight or mass have a gradient of 0."""
    if isinstance(d, dist.MixtureSameFamily):
        parts = log_pmf(d.component_distribution, low, high)
    else:
        shape = (*d.batch_shape, high + 1 - low)
        parts = [jnp.broadcast_to(log_pmf(f, low, high), shape) for f in d.component_distributions]
        parts = jnp.stack(parts, -2)
    logs = safe_log(floats(weights_of(d))[0])[..., None] + parts
    live = logs > -jnp.inf
    top = jax.lax.stop_gradient(logs.max(-2, keepdims=True))
    top = jnp.where(top > -jnp.inf, top, 0.0)
    total = jnp.where(live, jnp.exp(jnp.where(live, logs - top, 0.0)), 0.0).sum(-2)
    return safe_log(total) + top[..., 0, :]


def _labels(d: CategoricalLaw | BernoulliLaw, high: int) -> Array:
    return label_log_probs(d)


def _beta_binomial(d: dist.BetaBinomial, high: int) -> Array:
    a, b = floats(d.concentration1, d.concentration0)
    total_count: Any = d.total_count
    return urn_log_pmf(a, b, total_count, max(high, 0))[0]


def urn_log_pmf(
    a: Float[Array, "*batch"], b: Float[Array, "*batch"], n: ArrayLike, size: int
) -> tuple[Array, Array, Array]:
    """log P(k) of a beta-binomial for k = 0, ..., size [..., size + 1], and a + k and b + n − 1 − k for the k below it.

    From sums of log P(k + 1)/P(k), since differences of log Γ lose digits where a concentration is large.
    """
    k = jnp.arange(size, dtype=a.dtype)
    left = jnp.asarray(n, a.dtype)[..., None] - k
    live = left > 0
    above, below = a[..., None] + k, b[..., None] + jnp.where(live, left - 1.0, 0.0)
    steps = jnp.log(above) - jnp.log(below) + jnp.log(jnp.where(live, left, 1.0) / (k + 1.0))
    log_p = running_sum(jnp.where(live, steps, 0.0))
    reached = jnp.concatenate([jnp.ones_like(live[..., :1]), live], -1) if size else jnp.ones((1,), bool)
    return jax.nn.log_softmax(jnp.where(reached, log_p, -jnp.inf)), above, below


def running_sum(steps: Float[Array, "*batch k"]) -> Float[Array, "*batch k+1"]:
    """The sums of the first 0, 1, 2, ... steps."""
    return jnp.concatenate([jnp.zeros_like(steps, shape=(*steps.shape[:-1], 1)), jnp.cumsum(steps, -1)], -1)


def label_log_probs(d: CategoricalLaw | TrialLaw) -> Float[Array, "*batch k"]:
    """log P of each label [..., K]; of a Bernoulli, or a trial of a binomial, those of 0 and 1."""
    if type(d) in (*BERNOULLI, *BINOMIAL):
        if by_probs(d):
            (p,) = floats(d.probs)
            return jnp.stack([safe_log(1.0 - p), safe_log(p)], -1)
        (logit,) = floats(d.logits)
        return jnp.stack([-jax.nn.softplus(logit), -jax.nn.softplus(-logit)], -1)
    return normalised(floats(d.probs if by_probs(d) else d.logits)[0], by_probs(d))[1]


def _binomial(d: BinomialLaw, k: Array) -> Array:
    """log n!/(k! (n − k)!) + k log p + (n − k) log (1 − p)."""
    n = floats(d.total_count)[0][..., None]
    logs = label_log_probs(d)
    return _inside(k, n, lambda k: _ways(n, k) + _times(n - k, logs[..., :1]) + _times(k, logs[..., 1:]))


def _ways(n: Array, k: Array) -> Array:
    return -jnp.log1p(n) - log_beta(n - k + 1.0, k + 1.0)


def _inside(k: Array, n: Array, value: Callable[[Array], Array]) -> Array:
    inside = (k >= 0) & (k <= n)
    return jnp.where(inside, value(jnp.where(inside, k, 0).astype(n.dtype)), -jnp.inf)


def _uniform(d: dist.DiscreteUniform, k: Array) -> Array:
    low, high = (x[..., None] for x in floats(d.low, d.high))
    return jnp.where((k >= low) & (k <= high), -jnp.log(high - low + 1.0), -jnp.inf)


def _poisson(d: dist.Poisson, k: Array) -> Array:
    """k log λ − λ − log k!."""
    rate = floats(d.rate)[0][..., None]
    k = k.astype(rate.dtype)
    return _times(k, safe_log(rate)) - rate - jax.lax.lgamma(k + 1.0)


def _negative_binomial(d: NegativeBinomialLaw, k: Array) -> Array:
    """log Γ(k + a)/(Γ(a) k!) + k log r − (k + a) log (1 + r)."""
    (counts, _), (a,) = counts_of(d), floats(shape(d))
    a, odds = a[..., None], counts.ratio[..., None]
    k = k.astype(odds.dtype)
    ways = -log_beta(a, k + 1.0) - jnp.log(a + k)
    return ways + _times(k, safe_log(odds)) - (k + a) * jnp.log1p(odds)


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
# Families whose log-probabilities of 0, 1, ... are computed together.
_ROWS = {**dict.fromkeys((*CATEGORICAL, *BERNOULLI), _labels), dist.BetaBinomial: _beta_binomial}

COUNTABLE = (dist.Poisson, *NEGATIVE_BINOMIAL, *GEOMETRIC)


# Sums over finitely many counts or labels, for pairs without a form of their own.


MOST_ATOMS = 2**16


def finite_kl(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """KL = log(1 + Σ p ψ(D)) over the atoms of both, for D = log(q/p) less its mean under p.

    It needs finite supports that can be read; Q may be countable. Source: Kullback and Leibler (1951), eq. 2.4.
    """
    own, others = _atoms(p), _atoms(q)
    if own is not None and type(q) in COUNTABLE:
        return partial(_sum, p, q, *own)
    if own is None or others is None:
        return None
    return partial(_shared_sum, p, q, min(own[0], others[0]), max(own[1], others[1]))


@partial(jax.jit, static_argnums=(2, 3))
@in_double
def _shared_sum(p: dist.Distribution, q: dist.Distribution, low: int, high: int) -> Array:
    log_p, log_q = jnp.broadcast_arrays(log_pmf(p, low, high), log_pmf(q, low, high))
    live, reached = log_p > -jnp.inf, log_q > -jnp.inf
    both = live & reached
    ratio = jnp.where(both, jnp.where(both, log_q, 0.0) - jnp.where(both, log_p, 0.0), 0.0)
    value = log_ratio_kl(log_p, ratio, jnp.where(live, -jnp.inf, log_q))
    return jnp.where((live & ~reached).any(-1), jnp.inf, value)


@partial(jax.jit, static_argnums=(2, 3))
@in_double
def _sum(p: dist.Distribution, q: dist.Distribution, low: int, high: int) -> Array:
    """The plain sum, for Q with mass outside the support of P."""
    log_p, log_q = jnp.broadcast_arrays(log_pmf(p, low, high), log_pmf(q, low, high))
    live, reached = log_p > -jnp.inf, log_q > -jnp.inf
    both = live & reached
    ratio = jnp.where(both, log_p, 0.0) - jnp.where(both, log_q, 0.0)
    value = jnp.where(both, jnp.exp(jnp.where(both, log_p, 0.0)) * ratio, 0.0).sum(-1)
    return jnp.where((live & ~reached).any(-1), jnp.inf, value)


def finite_entropy(p: dist.Distribution) -> Form | None:
    """H = −Σ p log p over the atoms, where they can be read. Source: Shannon (1948), section 6."""
    atoms = _atoms(p)
    return None if atoms is None else partial(_entropy, p, *atoms)


@partial(jax.jit, static_argnums=(1, 2))
@in_double
def _entropy(p: dist.Distribution, low: int, high: int) -> Array:
    log_p = log_pmf(p, low, high)
    live = log_p > -jnp.inf
    logs = jnp.where(live, log_p, 0.0)
    return -jnp.where(live, jnp.exp(logs) * logs, 0.0).sum(-1)


def log_ratio_kl(
    log_p: Float[Array, "*batch k"], ratio: Float[Array, "*batch k"], unseen: Float[Array, "*batch k"] | None = None
) -> Float[Array, "*batch"]:
    """KL = log(1 + Σ p ψ(D)), for D = log(q/p) less its mean under p, which keeps its digits where P is near Q.

    ratio   log(q/p), up to a constant if there is no `unseen`
    unseen  log q where p = 0, and −∞ elsewhere
    """
    live = log_p > -jnp.inf
    p = jnp.where(live, jnp.exp(jnp.where(live, log_p, 0.0)), 0.0)
    # Centred about the most likely atom first, so that its weight is not subtracted from 1.
    weights = jax.lax.stop_gradient(p)
    peak = (weights == weights.max(-1, keepdims=True)).astype(p.dtype)
    first = (peak * ratio).sum(-1, keepdims=True) / peak.sum(-1, keepdims=True)
    second = jnp.where(live, p * (ratio - first), 0.0).sum(-1, keepdims=True)
    centred = jnp.where(live, ratio - first - second, 0.0)
    far = jax.lax.stop_gradient(centred).max(-1) > 1.0
    terms = p * psi(jnp.where(far[..., None], 0.0, centred))
    whole = jnp.where(live, p * jnp.exp(jnp.where(far[..., None], centred, 0.0)), 0.0)
    if unseen is not None:
        seen = unseen > -jnp.inf
        new = jnp.where(seen, jnp.exp(jnp.where(seen, unseen, 0.0) - first - second), 0.0)
        terms, whole = terms + new, whole + new
    return jnp.where(far, jnp.log(jnp.where(far[..., None], whole, p).sum(-1)), jnp.log1p(terms.sum(-1)))


def _atoms(d: dist.Distribution) -> tuple[int, int] | None:
    """The least and the greatest of the support, if they can be read and are not too far apart."""
    if is_mixture(d):
        one = isinstance(d, dist.MixtureSameFamily)
        parts = [_atoms(f) for f in ([d.component_distribution] if one else d.component_distributions)]
        found = [ends for ends in parts if ends is not None]
        return (min(e[0] for e in found), max(e[1] for e in found)) if len(found) == len(parts) else None
    if type(d) in CATEGORICAL:
        assert isinstance(d, CategoricalLaw)
        return 0, weights_or_logits(d)[0].shape[-1] - 1
    if type(d) in BERNOULLI:
        return 0, 1
    if type(d) is dist.DiscreteUniform:
        low, high = d.low, d.high
    elif type(d) is dist.BetaBinomial or type(d) in BINOMIAL:
        assert isinstance(d, dist.BetaBinomial | BinomialLaw)
        low, high = 0, d.total_count
    else:
        return None
    if isinstance(low, UNKNOWN) or isinstance(high, UNKNOWN) or not np.size(low) or not np.size(high):
        return None
    least, most = int(np.min(low)), int(np.max(high))
    return (least, most) if most - least < MOST_ATOMS else None
