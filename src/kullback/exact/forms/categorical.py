"""Distributions over finitely many labels, given by probabilities or by logits in any mix."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import discrete

from kullback.exact.kinds import every_pair
from kullback.exact.special import floats, gap, log_ratio, psi


class Pieces(NamedTuple):
    """p and q normalised, log q, and log(q/p) less its mean under p (0 where p = 0), [..., K]; the plain sum, and
    whether it is infinite, [...].
    """

    p: Array
    q: Array
    log_q: Array
    centred: Array
    plain: Array
    escapes: Array


def _pieces(x: Array, y: Array, x_probs: bool, y_probs: bool) -> Pieces:
    x, y = (x if x_probs else _peaked(x)), (y if y_probs else _peaked(y))
    p, log_p = _normalised(x, x_probs)
    q, log_q = _normalised(y, y_probs)
    live, reached = p > 0, log_q > -jnp.inf
    both = live & reached
    difference = jnp.where(both, jnp.where(both, log_q, 0.0) - jnp.where(both, log_p, 0.0), 0.0)
    plain = -(p * difference).sum(-1)
    # An additive constant is lost in centring, so raw parameters do, whose difference is exact where it is small.
    if x_probs and y_probs:
        raw = log_ratio(x, y, y - x)
    elif x_probs or y_probs:
        raw = difference
    else:
        raw = jnp.where(both, y, 0.0) - jnp.where(both, x, 0.0)
    # Centred about the likeliest label first, whose own weight is then not subtracted from 1.
    raw = raw - jnp.take_along_axis(raw, p.argmax(-1, keepdims=True), -1)
    mean = jnp.where(both, p * raw, 0.0).sum(-1, keepdims=True)
    return Pieces(p, q, log_q, jnp.where(both, raw - mean, 0.0), plain, (live & ~reached).any(-1))


def _normalised(x: Array, is_probs: bool) -> tuple[Array, Array]:
    """Probabilities and their logarithms."""
    if is_probs:
        p = x / x.sum(-1, keepdims=True)
        return p, jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)
    log_p = jax.nn.log_softmax(_peaked(x))
    return jnp.exp(log_p), log_p


def _peaked(logits: Array) -> Array:
    """The logits, where one of +∞ takes all."""
    top = logits == jnp.inf
    return jnp.where(top.any(-1, keepdims=True), jnp.where(top, 0.0, -jnp.inf), logits)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _kl(x: Array, y: Array, x_probs: bool, y_probs: bool) -> Array:
    p, _, log_q, centred, plain, escapes = _pieces(x, y, x_probs, y_probs)
    # Near: log(1 + Σ p ψ(D)), where p e^D = q e^KL says the term for a probability of 0, or for a great ratio.
    far = plain > 1.0
    shift = jnp.where(far, 0.0, plain)[..., None]
    grown = jnp.exp(log_q + shift)
    small = centred < 1.0
    terms = jnp.where(small & (p > 0), p * psi(jnp.where(small, centred, 0.0)), grown - p * (1.0 + centred))
    near = jnp.log1p(terms.sum(-1))
    return jnp.where(escapes, jnp.inf, jnp.where(far, plain, near))


@_kl.defjvp
def _(x_probs: bool, y_probs: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    kl = _kl(x, y, x_probs, y_probs)
    p, q, _, centred, _, escapes = _pieces(x, y, x_probs, y_probs)
    finite = ~escapes[..., None]
    ratio = centred - jnp.where(escapes, 0.0, kl)[..., None]
    live = (p > 0) & finite
    tame = jnp.abs(ratio) < 1.0
    along_x = -centred / x.sum(-1, keepdims=True) if x_probs else -p * centred
    if y_probs:
        along_y = jnp.where(live, -jnp.expm1(-jnp.where(live, ratio, 0.0)), 1.0) / y.sum(-1, keepdims=True)
    else:
        along_y = jnp.where(live & tame, p * jnp.expm1(jnp.where(tame, ratio, 0.0)), q - p)
    slopes = jnp.where(finite, along_x, 0.0) * dx + jnp.where(finite, along_y, 0.0) * dy
    return kl, slopes.sum(-1)


def probabilities_kl(p: Float[Array, "*b k"], q: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """KL between weights that need not sum to 1, taken over their sums."""
    return _kl(*jnp.broadcast_arrays(p, q), True, True)


def log_probabilities_kl(p: Float[Array, "*b k"], q: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """KL from the logarithms of weights that need not sum to 1, taken over their sums."""
    return _kl(*jnp.broadcast_arrays(p, q), False, False)


def categorical_kl(p: Any, q: Any) -> Array:
    """KL = log(1 + Σ p ψ(D)), for D = log(q/p) less its mean under p; the plain sum where it exceeds 1 nat."""
    (x, x_probs), (y, y_probs) = _parameters(p), _parameters(q)
    x, y = floats(x, y)
    size = max(x.shape[-1], y.shape[-1])
    x, y = jnp.broadcast_arrays(_padded(x, size, x_probs), _padded(y, size, y_probs))
    return _kl(x, y, x_probs, y_probs)


def _padded(x: Array, size: int, is_probs: bool) -> Array:
    """The parameters with labels of probability 0 added, up to `size` of them."""
    widths = [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]
    return jnp.pad(x, widths, constant_values=0.0 if is_probs else -jnp.inf)


def bernoulli_kl(p: Any, q: Any) -> Array:
    """As for two labels; from two probabilities, gap(p, q) + gap(1 − p, 1 − q)."""
    if by_probs(p) and by_probs(q):
        x, y = floats(p.probs, q.probs)
        return gap(x, y, y - x) + gap(1.0 - x, 1.0 - y, x - y)
    x, y = jnp.broadcast_arrays(*floats(_two_labels(p), _two_labels(q)))
    return _kl(x, y, by_probs(p), by_probs(q))


def by_probs(d: Any) -> bool:
    """Whether a distribution over labels is given by probabilities rather than logits."""
    return "logits" not in d.arg_constraints


def _parameters(d: Any) -> tuple[Any, bool]:
    return (d.probs, True) if by_probs(d) else (d.logits, False)


def label_probs(d: Any) -> Array | None:
    """The probabilities [..., K] of the labels 0, ..., K − 1; None for a distribution of another kind."""
    if type(d) not in ENTROPY:
        return None
    two = type(d) in (discrete.BernoulliProbs, discrete.BernoulliLogits)
    (x,) = floats(_two_labels(d) if two else _parameters(d)[0])
    return _normalised(x, by_probs(d))[0]


def _two_labels(d: Any) -> Array:
    """The parameters of the outcomes 0 and 1, [..., 2]."""
    if by_probs(d):
        (p,) = floats(d.probs)
        return jnp.stack([1.0 - p, p], -1)
    (logit,) = floats(d.logits)
    return jnp.stack([jnp.where(logit > 0, -logit, 0.0), jnp.where(logit > 0, 0.0, logit)], -1)


def categorical_entropy(p: Any) -> Array:
    """H = −Σ p log p, with 0 log 0 = 0."""
    x, is_probs = _parameters(p)
    return labels_entropy(floats(x)[0], is_probs)


def bernoulli_entropy(p: Any) -> Array:
    """H = −p log p − (1 − p) log(1 − p)."""
    return labels_entropy(_two_labels(p), by_probs(p))


def labels_entropy(x: Array, is_probs: bool) -> Array:
    """The entropy of probabilities or logits [..., K]; a probability of 0 counts nothing, in value and gradient."""
    probs, log_p = _normalised(x, is_probs)
    live = probs > 0
    return -jnp.where(live, probs * jnp.where(live, log_p, 0.0), 0.0).sum(-1)


KL = {
    **every_pair(categorical_kl, discrete.CategoricalProbs, discrete.CategoricalLogits, dist.OrderedLogistic),
    **every_pair(bernoulli_kl, discrete.BernoulliProbs, discrete.BernoulliLogits),
}

ENTROPY = {
    discrete.CategoricalProbs: categorical_entropy,
    discrete.CategoricalLogits: categorical_entropy,
    dist.OrderedLogistic: categorical_entropy,
    discrete.BernoulliProbs: bernoulli_entropy,
    discrete.BernoulliLogits: bernoulli_entropy,
}
