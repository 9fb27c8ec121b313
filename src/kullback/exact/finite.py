"""Sums over finitely many counts or labels, for pairs without a form of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from kullback.exact.closed_forms.count_parameters import BERNOULLI, BINOMIAL
from kullback.exact.composite.disjoint_support import is_mixture
from kullback.exact.log_pmf import CATEGORICAL, COUNTABLE, log_mass
from kullback.exact.numerics.double_precision import in_double
from kullback.exact.numerics.ratios import psi
from kullback.exact.type_keys import UNKNOWN, Form, by_probs

MOST_ATOMS = 2**16


def finite_kl(p: Any, q: Any) -> Form | None:
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
def _shared_sum(p: Any, q: Any, low: int, high: int) -> Array:
    log_p, log_q = jnp.broadcast_arrays(log_mass(p, low, high), log_mass(q, low, high))
    live, reached = log_p > -jnp.inf, log_q > -jnp.inf
    both = live & reached
    ratio = jnp.where(both, jnp.where(both, log_q, 0.0) - jnp.where(both, log_p, 0.0), 0.0)
    value = log_ratio_kl(log_p, ratio, jnp.where(live, -jnp.inf, log_q))
    return jnp.where((live & ~reached).any(-1), jnp.inf, value)


@partial(jax.jit, static_argnums=(2, 3))
@in_double
def _sum(p: Any, q: Any, low: int, high: int) -> Array:
    """The plain sum, where Q has mass elsewhere."""
    log_p, log_q = jnp.broadcast_arrays(log_mass(p, low, high), log_mass(q, low, high))
    live, reached = log_p > -jnp.inf, log_q > -jnp.inf
    both = live & reached
    ratio = jnp.where(both, log_p, 0.0) - jnp.where(both, log_q, 0.0)
    value = jnp.where(both, jnp.exp(jnp.where(both, log_p, 0.0)) * ratio, 0.0).sum(-1)
    return jnp.where((live & ~reached).any(-1), jnp.inf, value)


def finite_entropy(p: Any) -> Form | None:
    """H = −Σ p log p over the atoms, where they can be read. Source: Shannon (1948), section 6."""
    atoms = _atoms(p)
    return None if atoms is None else partial(_entropy, p, *atoms)


@partial(jax.jit, static_argnums=(1, 2))
@in_double
def _entropy(p: Any, low: int, high: int) -> Array:
    log_p = log_mass(p, low, high)
    live = log_p > -jnp.inf
    logs = jnp.where(live, log_p, 0.0)
    return -jnp.where(live, jnp.exp(logs) * logs, 0.0).sum(-1)


def log_ratio_kl(log_p: Array, ratio: Array, unseen: Array | None = None) -> Array:
    """KL from log p and log(q/p) [..., K], the latter but for a constant; `unseen` is log q where p = 0, else −∞, and
    then log(q/p) is to be whole.

    log(1 + Σ p ψ(D)) for D = log(q/p) less its mean under p: no digits are lost where P is near Q.
    """
    live = log_p > -jnp.inf
    p = jnp.where(live, jnp.exp(jnp.where(live, log_p, 0.0)), 0.0)
    # Centred about the likeliest first, whose own weight is then not subtracted from 1.
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


def _atoms(d: Any) -> tuple[int, int] | None:
    """The least and the greatest of the support, if they can be read and are not too far apart."""
    if is_mixture(d):
        one = type(d) is dist.MixtureSameFamily
        parts = [_atoms(f) for f in ([d.component_distribution] if one else d.component_distributions)]
        found = [ends for ends in parts if ends is not None]
        return (min(e[0] for e in found), max(e[1] for e in found)) if len(found) == len(parts) else None
    if type(d) in CATEGORICAL:
        return 0, (d.probs if by_probs(d) else d.logits).shape[-1] - 1
    if type(d) in BERNOULLI:
        return 0, 1
    if type(d) is dist.DiscreteUniform:
        low, high = d.low, d.high
    elif type(d) is dist.BetaBinomial or type(d) in BINOMIAL:
        low, high = 0, d.total_count
    else:
        return None
    if isinstance(low, UNKNOWN) or isinstance(high, UNKNOWN) or not np.size(low) or not np.size(high):
        return None
    least, most = int(np.min(low)), int(np.max(high))
    return (least, most) if most - least < MOST_ATOMS else None
