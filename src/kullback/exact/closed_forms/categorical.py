"""Distributions over finitely many labels, given by probabilities or by logits in any mix.

Divergences and entropies are worked out from arrays [..., K] of weights or of their logarithms, which need not be
normalised. Plain sums of differences lose their digits where P is near Q; the forms here do not.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import discrete

from kullback.exact.type_keys import by_probs, every_pair
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.ratios import gap, psi, rule_in_own_precision

CategoricalLaw = discrete.CategoricalProbs | discrete.CategoricalLogits  # OrderedLogistic is a CategoricalProbs
BernoulliLaw = discrete.BernoulliProbs | discrete.BernoulliLogits
# Trials with one chance of success: all but the count of trials is that of a Bernoulli.
TrialLaw = (
    BernoulliLaw | discrete.BinomialProbs | discrete.BinomialLogits | discrete.GeometricProbs | discrete.GeometricLogits
)


# From arrays of weights or of their logarithms.


def probabilities_kl(p: Float[Array, "*b k"], q: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """KL between weights that need not sum to 1, taken over their sums: Σ gap(p, q), of which each term is positive.

    Source: Csiszár (1991), the I-divergence of two positive vectors.
    """
    p, q = jnp.broadcast_arrays(p, q)
    sum_p, sum_q, step = (x.sum(-1, keepdims=True) for x in (p, q, q - p))
    share = p / sum_p
    # q/Σq − p/Σp from the differences of the weights, which keep their digits where the two are near.
    return gap(share, q / sum_q, (q - p - share * step) / sum_q).sum(-1)


class _Rows(NamedTuple):
    """log Σeˣ, log Σeʸ and E_p(x − y)."""

    sum_x: Float[Array, "*b 1"]
    sum_y: Float[Array, "*b 1"]
    mean: Float[Array, "*b 1"]

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


def _mean_rounding(x: Array, y: Array, rows: _Rows) -> Array:
    """The mean of y − x + E_p(x − y), [..., 1], which is 0 but for rounding; it matters where the two are near."""
    return (jnp.exp(x - rows.sum_x) * ((y - x) + rows.mean)).sum(-1, keepdims=True)


def _guarded(x: Array, y: Array) -> tuple[_Rows, Array]:
    """`_Rows` and `_mean_rounding`, where a logarithm may be infinite."""
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

    The plain sum, E_p(x − y) + log Σeʸ − log Σeˣ, is accurate where it exceeds the rounding of its terms. The costly
    forms are computed only if some element needs them: where the two are near, or a logarithm is infinite.
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
    """log(1 + δ + Σ p ψ(D)) − δ, for D = y − x less its mean under p and δ the rounding of that mean; and max |D|.

    ψ is the series D²/2 + D³/6 + ..., which is accurate up to |D| = ½ and compiles to products and sums alone.
    """
    p, centred = jnp.exp(x - rows.sum_x), (y - x) + rows.mean
    series = jnp.zeros_like(centred)
    for k in reversed(range(7 if x.dtype == jnp.float32 else 13)):
        series = (series * centred + 1.0) * (1.0 / (k + 2))
    left = _mean_rounding(x, y, rows)[..., 0]
    return jnp.log1p((p * (centred * centred * series)).sum(-1) + left) - left, jnp.abs(centred).max(-1)


def _careful(x: Array, y: Array) -> Array:
    """log(1 + Σ p ψ(D)); the plain sum where it exceeds 1 nat; ∞ where q = 0 < p."""
    rows, left = _guarded(x, y)
    x, y = peaked(x), peaked(y)
    both, plain = _both_reached(x, y), rows.plain
    p, centred = jnp.exp(x - rows.sum_x), jnp.where(both, _difference(x, y) + rows.mean - left, 0.0)
    # p e^D = q e^KL gives the term where a probability is 0 or the ratio is large.
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
    rows, left = jax.lax.cond(tame, lambda: (raw, _mean_rounding(x, y, raw)), lambda: _guarded(x, y))
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
    logs = safe_log(weights)
    return (logs, logits) if weights_first else (logits, logs)


def safe_log(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log x for x ≥ 0, −∞ at 0; its slope there is 0."""
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def weighted_sum(weights: Float[Array, "*b k"], values: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Σₖ wₖ xₖ, in which a weight of 0 leaves its value out, be it ∞."""
    live = weights > 0
    return jnp.where(live, weights * jnp.where(live, values, 0.0), 0.0).sum(-1)


def peaked(logits: Float[Array, "*b k"]) -> Float[Array, "*b k"]:
    """The logits, where those of +∞ have all of the probability."""
    top = logits == jnp.inf
    return jnp.where(top.any(-1, keepdims=True), jnp.where(top, 0.0, -jnp.inf), logits)


def labels_entropy(x: Float[Array, "*b k"], is_probs: bool) -> Float[Array, "*b"]:
    """−Σ p log p of weights or logits [..., K]; a probability of 0 adds 0, in value and gradient."""
    probs, log_p = normalised(x, is_probs)
    live = probs > 0
    return -jnp.where(live, probs * jnp.where(live, log_p, 0.0), 0.0).sum(-1)


def normalised(x: Float[Array, "*b k"], is_probs: bool) -> tuple[Float[Array, "*b k"], Float[Array, "*b k"]]:
    """Probabilities and their logarithms, from weights or logits."""
    if is_probs:
        p = x / x.sum(-1, keepdims=True)
        return p, safe_log(p)
    x = peaked(x)
    log_p = x - _log_sum(x)
    return jnp.exp(log_p), log_p


# From distributions.


def categorical_kl(p: CategoricalLaw, q: CategoricalLaw) -> Float[Array, "*batch"]:
    """KL = Σ p log(p/q): from probabilities Σ gap(p, q); from logits log(1 + Σ p ψ(D)), with D = log(q/p) less its
    mean under p.

    Source: Kullback and Leibler (1951), eq. 2.4; that E_p D = 0 makes Σ p e^D = e^KL.
    """
    (x, x_probs), (y, y_probs) = weights_or_logits(p), weights_or_logits(q)
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


def bernoulli_kl(p: TrialLaw, q: TrialLaw) -> Float[Array, "*batch"]:
    """KL = p log(p/q) + (1 − p) log((1 − p)/(1 − q)), as gap(p, q) + gap(1 − p, 1 − q); from logits as for two labels.

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    if by_probs(p) and by_probs(q):
        x, y = floats(p.probs, q.probs)
        return gap(x, y, y - x) + gap(1.0 - x, 1.0 - y, x - y)
    x, y = jnp.broadcast_arrays(*floats(_two_labels(p), _two_labels(q)))
    return _kl(x, y, by_probs(p), by_probs(q))


def weights_or_logits(d: CategoricalLaw) -> tuple[Any, bool]:
    return (d.probs, True) if by_probs(d) else (d.logits, False)


def label_probs(d: dist.Distribution) -> Float[Array, "*batch k"] | None:
    """The probabilities [..., K] of the labels 0, ..., K − 1; None for a distribution of another kind."""
    if type(d) not in ENTROPY:
        return None
    if isinstance(d, BernoulliLaw):
        return normalised(_two_labels(d), by_probs(d))[0]
    assert isinstance(d, CategoricalLaw)
    weights, is_probs = weights_or_logits(d)
    return normalised(floats(weights)[0], is_probs)[0]


def _two_labels(d: TrialLaw) -> Array:
    """The parameters of the outcomes 0 and 1, [..., 2]."""
    if by_probs(d):
        (p,) = floats(d.probs)
        return jnp.stack([1.0 - p, p], -1)
    (logit,) = floats(d.logits)
    return jnp.stack([jnp.where(logit > 0, -logit, 0.0), jnp.where(logit > 0, 0.0, logit)], -1)


def categorical_entropy(p: CategoricalLaw) -> Float[Array, "*batch"]:
    """H = −Σ p log p, with 0 log 0 = 0.

    Source: Shannon (1948), section 6.
    """
    x, is_probs = weights_or_logits(p)
    return labels_entropy(floats(x)[0], is_probs)


def bernoulli_entropy(p: TrialLaw) -> Float[Array, "*batch"]:
    """H = −p log p − (1 − p) log(1 − p).

    Source: Shannon (1948), section 6.
    """
    return labels_entropy(_two_labels(p), by_probs(p))


# Ordered labels: where a logistic variable falls among cut points.


def ordered_logistic_kl(p: dist.OrderedLogistic, q: dist.OrderedLogistic) -> Float[Array, "*batch"]:
    """KL = Σ p ψ(D), with D = log(q/p) from the moves of the edges c − η and of the widths between cut points c.

    As pₖ = σ(cₖ₊₁ − η) σ(η − cₖ) (1 − e^(cₖ − cₖ₊₁)), the ratio of each factor is log1p of what the move changes in it.
    Source: McCullagh (1980), section 2.1; that Σ p e^D = 1 makes −E_p D = Σ p ψ(D).
    """
    place_p, cuts_p, place_q, cuts_q = floats(p.predictor, p.cutpoints, q.predictor, q.cutpoints)
    if cuts_p.shape[-1] != cuts_q.shape[-1]:
        return categorical_kl(p, q)
    beyond = ~(jnp.isfinite(place_p) & jnp.isfinite(place_q))
    place_p, place_q = (jnp.where(beyond, 0.0, place)[..., None] for place in (place_p, place_q))
    edges, moves = cuts_p - place_p, (cuts_q - cuts_p) - (place_q - place_p)
    widths, growths = jnp.diff(cuts_p), jnp.diff(cuts_q - cuts_p)
    log_p = _joined(_log_sigmoid(edges), _log_sigmoid(-edges), jnp.log(-jnp.expm1(-widths)))
    ratio = _joined(_sigmoid_ratio(edges, moves), _sigmoid_ratio(-edges, -moves), _width_ratio(widths, growths))
    small = jnp.where(ratio < 1.0, ratio, 0.0)
    # p e^D = q gives the term where the ratio is large.
    terms = jnp.where(ratio < 1.0, jnp.exp(log_p) * psi(small), jnp.exp(log_p + ratio) - jnp.exp(log_p) * (1.0 + ratio))
    return jnp.where(beyond, categorical_kl(p, q), terms.sum(-1))


def _joined(above: Array, below: Array, within: Array) -> Array:
    """For each label the sum of the terms of its upper edge, its lower edge and its width; end labels have one edge."""
    ends = [(0, 0)] * (above.ndim - 1)
    inner = jnp.pad(jnp.broadcast_to(within, (*above.shape[:-1], within.shape[-1])), [*ends, (1, 1)])
    return jnp.pad(above, [*ends, (0, 1)]) + jnp.pad(below, [*ends, (1, 0)]) + inner


def _log_sigmoid(x: Array) -> Array:
    return -jnp.logaddexp(-x, 0.0)


def _sigmoid_ratio(x: Array, move: Array) -> Array:
    """log σ(x + move) − log σ(x) = −log(1 + σ(−x)(e^(−move) − 1))."""
    near = jnp.abs(move) < 1.0
    small = jnp.where(near, move, 0.0)
    series = -jnp.log1p(jax.nn.sigmoid(-x) * jnp.expm1(-small))
    return jnp.where(near, series, _log_sigmoid(x + move) - _log_sigmoid(x))


def _width_ratio(width: Array, growth: Array) -> Array:
    """log(1 − e^(−width − growth)) − log(1 − e^(−width)) = log(1 + (1 − e^(−growth))/(e^width − 1))."""
    return jnp.log1p(-jnp.expm1(-growth) / jnp.expm1(width))


CATEGORICAL = (discrete.CategoricalProbs, discrete.CategoricalLogits, dist.OrderedLogistic)

KL = {
    **every_pair(categorical_kl, *CATEGORICAL),
    (dist.OrderedLogistic, dist.OrderedLogistic): ordered_logistic_kl,
    **every_pair(bernoulli_kl, discrete.BernoulliProbs, discrete.BernoulliLogits),
}

ENTROPY = {
    discrete.CategoricalProbs: categorical_entropy,
    discrete.CategoricalLogits: categorical_entropy,
    dist.OrderedLogistic: categorical_entropy,
    discrete.BernoulliProbs: bernoulli_entropy,
    discrete.BernoulliLogits: bernoulli_entropy,
}
