"""Ordered labels: where a logistic variable falls among cut points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.categorical import categorical_kl
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.ratios import psi


def ordered_logistic_kl(p: Any, q: Any) -> Array:
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
    # p e^D = q says the term where the ratio is great.
    terms = jnp.where(ratio < 1.0, jnp.exp(log_p) * psi(small), jnp.exp(log_p + ratio) - jnp.exp(log_p) * (1.0 + ratio))
    return jnp.where(beyond, categorical_kl(p, q), terms.sum(-1))


def _joined(above: Array, below: Array, within: Array) -> Array:
    """For each label the sum of what its upper edge, its lower edge and its width give; the ends have one edge."""
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


KL = {(dist.OrderedLogistic, dist.OrderedLogistic): ordered_logistic_kl}
