"""Divergences and entropies of finitely many labels from arrays [..., K]: weights, or their logarithms."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kullback.exact.numerics.ratios import gap, psi, rule_in_own_precision


def probabilities_kl(p: Float[Array, "*b k"], q: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """KL between weights that need not sum to 1, taken over their sums: Σ gap(p, q), of which each term is positive.

    Source: Csiszár (1991), the I-divergence of two positive vectors.
    """
    p, q = jnp.broadcast_arrays(p, q)
    sum_p, sum_q, step = (x.sum(-1, keepdims=True) for x in (p, q, q - p))
    share = p / sum_p
    # q/Σq − p/Σp from the step of the weights, which is not lost where the two are near.
    return gap(share, q / sum_q, (q - p - share * step) / sum_q).sum(-1)


class _Rows(NamedTuple):
    """log Σeˣ, log Σeʸ and E_p(x − y), each [..., 1]."""

    sum_x: Array
    sum_y: Array
    mean: Array

    @property
    def plain(self) -> Array:
        return self.mean + (self.sum_y - self.sum_x)


def _rows(x: Array, y: Array) -> _Rows:
    sum_x, sum_y = (_log_sum(v) for v in (x, y))
    return _Rows(sum_x, sum_y, (jnp.exp(x - sum_x) * (x - y)).sum(-1, keepdims=True))


def _log_sum(x: Array) -> Array:
    """log Σeˣ, ∞ where some x is."""
    top = jax.lax.stop_gradient(x).max(-1, keepdims=True)
    top = jnp.where(jnp.abs(top) < jnp.inf, top, 0.0)
    return jnp.log(jnp.exp(x - top).sum(-1, keepdims=True)) + top


def _left(x: Array, y: Array, rows: _Rows) -> Array:
    """What rounding leaves of the mean of y − x + E_p(x − y), [..., 1]; it matters where the two are near."""
    return (jnp.exp(x - rows.sum_x) * ((y - x) + rows.mean)).sum(-1, keepdims=True)


def _guarded(x: Array, y: Array) -> tuple[_Rows, Array]:
    """Both where a logarithm may be infinite."""
    x, y = peaked(x), peaked(y)
    sum_x, sum_y = (_log_sum(v) for v in (x, y))
    p, step = jnp.exp(x - sum_x), _difference(x, y)
    mean = -(p * step).sum(-1, keepdims=True)
    left = jnp.where(_both_reached(x, y), p * (step + mean), 0.0).sum(-1, keepdims=True)
    return _Rows(sum_x, sum_y, mean), left


def _both_reached(x: Array, y: Array) -> Array:
    return (x > -jnp.inf) & (y > -jnp.inf)


def _difference(x: Array, y: Array) -> Array:
    """y − x, and 0 where either is infinite."""
    both = _both_reached(x, y)
    return jnp.where(both, jnp.where(both, y, 0.0) - jnp.where(both, x, 0.0), 0.0)


@jax.custom_jvp
def log_probabilities_kl(x: Float[Array, "*b k"], y: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """KL from the logarithms of weights that need not sum to 1, taken over their sums.

    The plain sum, E_p(x − y) + log Σeʸ − log Σeˣ, is right where it exceeds what rounding makes of its terms. The
    costly forms are computed only if some element needs them: where the two are near, or a logarithm is infinite.
    """
    x, y = jnp.broadcast_arrays(x, y)
    if x.size == 0:
        return jnp.zeros(x.shape[:-1], x.dtype)
    rows = _rows(x, y)
    plain = rows.plain[..., 0]
    size = jnp.abs(rows.mean) + jnp.abs(rows.sum_y - rows.sum_x) + 8.0
    doubtful = ~(plain > size[..., 0] / 64.0)

    def careful() -> Array:
        near, widest = _near(x, y, rows)
        return jax.lax.cond(jnp.where(doubtful, widest, 0.0).max() < 0.5, lambda: near, lambda: _careful(x, y))

    return jax.lax.cond(doubtful.any(), lambda: jnp.where(doubtful, careful(), plain), lambda: plain)


def _near(x: Array, y: Array, rows: _Rows) -> tuple[Array, Array]:
    """log(1 + δ + Σ p ψ(D)) − δ, for D = y − x less its mean under p and δ what rounding leaves of its mean; max |D|.

    ψ is the series D²/2 + D³/6 + ..., which has the digits up to |D| = ½ and compiles to products and sums alone.
    """
    p, centred = jnp.exp(x - rows.sum_x), (y - x) + rows.mean
    series = jnp.zeros_like(centred)
    for k in reversed(range(7 if x.dtype == jnp.float32 else 13)):
        series = (series * centred + 1.0) * (1.0 / (k + 2))
    left = _left(x, y, rows)[..., 0]
    return jnp.log1p((p * (centred * centred * series)).sum(-1) + left) - left, jnp.abs(centred).max(-1)


def _careful(x: Array, y: Array) -> Array:
    """log(1 + Σ p ψ(D)); the plain sum where it exceeds 1 nat; ∞ where q = 0 < p."""
    rows, left = _guarded(x, y)
    x, y = peaked(x), peaked(y)
    both, plain = _both_reached(x, y), rows.plain
    p, centred = jnp.exp(x - rows.sum_x), jnp.where(both, _difference(x, y) + rows.mean - left, 0.0)
    # p e^D = q e^KL says the term for a probability of 0, or for a great ratio.
    far = plain > 1.0
    grown = jnp.exp(y - rows.sum_y + jnp.where(far, 0.0, plain))
    small = centred < 1.0
    terms = jnp.where(small & (p > 0), p * psi(jnp.where(small, centred, 0.0)), grown - p * (1.0 + centred))
    value = jnp.where(far[..., 0], plain[..., 0], jnp.log1p(terms.sum(-1)))
    return jnp.where(((x > -jnp.inf) & (y == -jnp.inf)).any(-1), jnp.inf, value)


@log_probabilities_kl.defjvp
@rule_in_own_precision
def _(primals, tangents):
    x, y = jnp.broadcast_arrays(*primals)
    value = log_probabilities_kl(x, y)
    along_x, along_y, _ = _slopes(x, y, value)
    return value, (along_x * tangents[0] + along_y * tangents[1]).sum(-1)


def _slopes(x: Array, y: Array, value: Array) -> tuple[Array, Array, Array]:
    """The derivatives in x and in y, and log(q/p); 0 where the divergence is infinite."""
    raw = _rows(x, y)
    tame = jnp.isfinite(raw.plain).all()
    rows, left = jax.lax.cond(tame, lambda: (raw, _left(x, y, raw)), lambda: _guarded(x, y))
    x = jnp.where(raw.sum_x == jnp.inf, jnp.where(x == jnp.inf, 0.0, -jnp.inf), x)
    y = jnp.where(raw.sum_y == jnp.inf, jnp.where(y == jnp.inf, 0.0, -jnp.inf), y)
    finite = (value < jnp.inf)[..., None]
    p, both = jnp.exp(x - rows.sum_x), _both_reached(x, y)
    centred = jnp.where(both & finite, _difference(x, y) + rows.mean - left, 0.0)
    ratio = centred - jnp.where(finite, value[..., None], 0.0)
    near = (jnp.abs(ratio) < 1.0) & both
    along_y = jnp.where(near, p * jnp.expm1(jnp.where(near, ratio, 0.0)), jnp.exp(y - rows.sum_y) - p)
    return -p * centred, jnp.where(finite, along_y, 0.0), jnp.where(finite, ratio, 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def mixed_kl(weights: Float[Array, "*b k"], logits: Float[Array, "*b k"], weights_first: bool) -> Float[Array, "*b"]:
    """KL between weights and logits, or between logits and weights; its derivative in a weight of 0 is the limit."""
    return log_probabilities_kl(*_as_logs(weights, logits, weights_first))


@mixed_kl.defjvp
@rule_in_own_precision
def _(weights_first, primals, tangents):
    weights, logits = jnp.broadcast_arrays(*primals)
    x, y = _as_logs(weights, logits, weights_first)
    value = log_probabilities_kl(x, y)
    along_x, along_y, ratio = _slopes(x, y, value)
    total, some = weights.sum(-1, keepdims=True), weights > 0
    if weights_first:
        along_weights, along_logits = jnp.where(some, along_x / jnp.where(some, weights, 1.0), 0.0), along_y
    else:
        # (q − p)/q, which is 1 − p/q, and 1 where p = 0.
        known = some & (x > -jnp.inf)
        along_weights, along_logits = jnp.where(known, -jnp.expm1(-jnp.where(known, ratio, 0.0)), 1.0) / total, along_x
        along_weights = jnp.where(jnp.isinf(value)[..., None], 0.0, along_weights)
    return value, (along_weights * tangents[0] + along_logits * tangents[1]).sum(-1)


def _as_logs(weights: Array, logits: Array, weights_first: bool) -> tuple[Array, Array]:
    logs = jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), -jnp.inf)
    return (logs, logits) if weights_first else (logits, logs)


def peaked(logits: Array) -> Array:
    """The logits, where one of +∞ takes all."""
    top = logits == jnp.inf
    return jnp.where(top.any(-1, keepdims=True), jnp.where(top, 0.0, -jnp.inf), logits)


def labels_entropy(x: Float[Array, "*b k"], is_probs: bool) -> Float[Array, "*b"]:
    """−Σ p log p of weights or logits [..., K]; a probability of 0 counts nothing, in value and gradient."""
    probs, log_p = normalised(x, is_probs)
    live = probs > 0
    return -jnp.where(live, probs * jnp.where(live, log_p, 0.0), 0.0).sum(-1)


def normalised(x: Float[Array, "*b k"], is_probs: bool) -> tuple[Array, Array]:
    """Probabilities and their logarithms, from weights or logits."""
    if is_probs:
        p = x / x.sum(-1, keepdims=True)
        return p, jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)
    x = peaked(x)
    log_p = x - _log_sum(x)
    return jnp.exp(log_p), log_p
