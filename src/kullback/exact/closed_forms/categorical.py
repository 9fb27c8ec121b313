"""Distributions over finitely many labels, given by probabilities or by logits in any mix."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import discrete

from kullback.exact.numerics.categorical import (
    labels_entropy,
    log_probabilities_kl,
    mixed_kl,
    normalised,
    probabilities_kl,
)
from kullback.exact.numerics.double_precision import floats, in_double
from kullback.exact.numerics.ratios import gap
from kullback.exact.type_keys import by_probs, every_pair


def categorical_kl(p: Any, q: Any) -> Array:
    """KL = Σ p log(p/q): from probabilities Σ gap(p, q); from logits log(1 + Σ p ψ(D)), with D = log(q/p) less its
    mean under p.

    Source: Kullback and Leibler (1951), eq. 2.4; that E_p D = 0 makes Σ p e^D = e^KL.
    """
    (x, x_probs), (y, y_probs) = _parameters(p), _parameters(q)
    x, y = floats(x, y)
    size = max(x.shape[-1], y.shape[-1])
    x, y = jnp.broadcast_arrays(_padded(x, size, x_probs), _padded(y, size, y_probs))
    return _kl(x, y, x_probs, y_probs)


def _kl(x: Array, y: Array, x_probs: bool, y_probs: bool) -> Array:
    """KL between parameters [..., K], each weights or logits."""
    if x_probs and y_probs:
        return probabilities_kl(x, y)
    if not (x_probs or y_probs):
        return log_probabilities_kl(x, y)
    # The logarithm of a weight, or the weight of a logit, is rounded before it is compared.
    return in_double(partial(mixed_kl, weights_first=x_probs))(*((x, y) if x_probs else (y, x)))


def _padded(x: Array, size: int, is_probs: bool) -> Array:
    """The parameters with labels of probability 0 added, up to `size` of them."""
    widths = [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]
    return jnp.pad(x, widths, constant_values=0.0 if is_probs else -jnp.inf)


def bernoulli_kl(p: Any, q: Any) -> Array:
    """KL = p log(p/q) + (1 − p) log((1 − p)/(1 − q)), as gap(p, q) + gap(1 − p, 1 − q); from logits as for two labels.

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    if by_probs(p) and by_probs(q):
        x, y = floats(p.probs, q.probs)
        return gap(x, y, y - x) + gap(1.0 - x, 1.0 - y, x - y)
    x, y = jnp.broadcast_arrays(*floats(_two_labels(p), _two_labels(q)))
    return _kl(x, y, by_probs(p), by_probs(q))


def _parameters(d: Any) -> tuple[Any, bool]:
    return (d.probs, True) if by_probs(d) else (d.logits, False)


def label_probs(d: Any) -> Array | None:
    """The probabilities [..., K] of the labels 0, ..., K − 1; None for a distribution of another kind."""
    if type(d) not in ENTROPY:
        return None
    two = type(d) in (discrete.BernoulliProbs, discrete.BernoulliLogits)
    (x,) = floats(_two_labels(d) if two else _parameters(d)[0])
    return normalised(x, by_probs(d))[0]


def _two_labels(d: Any) -> Array:
    """The parameters of the outcomes 0 and 1, [..., 2]."""
    if by_probs(d):
        (p,) = floats(d.probs)
        return jnp.stack([1.0 - p, p], -1)
    (logit,) = floats(d.logits)
    return jnp.stack([jnp.where(logit > 0, -logit, 0.0), jnp.where(logit > 0, 0.0, logit)], -1)


def categorical_entropy(p: Any) -> Array:
    """H = −Σ p log p, with 0 log 0 = 0.

    Source: Shannon (1948), section 6.
    """
    x, is_probs = _parameters(p)
    return labels_entropy(floats(x)[0], is_probs)


def bernoulli_entropy(p: Any) -> Array:
    """H = −p log p − (1 − p) log(1 − p).

    Source: Shannon (1948), section 6.
    """
    return labels_entropy(_two_labels(p), by_probs(p))


_LABELS = (discrete.CategoricalProbs, discrete.CategoricalLogits, dist.OrderedLogistic)

KL = {
    **{
        pair: form
        for pair, form in every_pair(categorical_kl, *_LABELS).items()
        if pair != (dist.OrderedLogistic, dist.OrderedLogistic)  # from its own parameters instead
    },
    **every_pair(bernoulli_kl, discrete.BernoulliProbs, discrete.BernoulliLogits),
}

ENTROPY = {
    discrete.CategoricalProbs: categorical_entropy,
    discrete.CategoricalLogits: categorical_entropy,
    dist.OrderedLogistic: categorical_entropy,
    discrete.BernoulliProbs: bernoulli_entropy,
    discrete.BernoulliLogits: bernoulli_entropy,
}
