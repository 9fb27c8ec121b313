"""What the estimators ask of q(y∣x), as functions of it: at module level, so that compiled programs are shared."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from kullback.errors import InputError


def log_probabilities(d: Any) -> jax.Array:
    """log q(k∣x) of each class [n, k]; for several labels a row, log q(label∣x) of each."""
    if isinstance(d, dist.MixtureSameFamily):
        mixing: Any = d.mixing_distribution
        shares = jax.nn.log_softmax(mixing.logits, -1)
        return jax.nn.logsumexp(shares[..., None] + log_probabilities(d.component_distribution), -2)
    base = _without_wrappers(d)
    independent = isinstance(base, dist.BernoulliLogits | dist.BernoulliProbs)
    logits: Any = base.logits
    return jax.nn.log_sigmoid(logits) if independent else jax.nn.log_softmax(logits, -1)


def mean(d: Any) -> jax.Array:
    """E[y∣x] [n, *event]; the location where there is no mean (Cauchy, Student's t with df ≤ 1)."""
    if (ordered := _ordered(d)) is not None:
        return ordered
    location = _location(d)
    try:
        value = d.mean
    except NotImplementedError as error:
        raise InputError(
            f"distribution: {type(_without_wrappers(d)).__name__} states no mean, so there is none to predict; use "
            "predict_quantile, predict_dist or sample"
        ) from error
    return value if location is None else jnp.where(jnp.isfinite(value), value, location)


def _ordered(d: Any) -> Any:
    """Σ k P(k) of ordered categories 0, 1, …, which NumPyro calls NaN."""
    base = _without_wrappers(d)
    probs: Any = getattr(base, "probs", None)
    return jnp.sum(probs * jnp.arange(probs.shape[-1]), -1) if isinstance(base, dist.OrderedLogistic) else None


def _location(d: Any) -> Any:
    if isinstance(d, dist.MixtureSameFamily):
        parts = _location(d.component_distribution)
        if parts is None:
            return None
        mixing: Any = d.mixing_distribution
        shares = mixing.probs
        return jnp.sum(jnp.reshape(shares, shares.shape + (1,) * len(d.event_shape)) * parts, shares.ndim - 1)
    base = _without_wrappers(d)
    return base.loc if isinstance(base, dist.Cauchy | dist.StudentT) else None


def _without_wrappers(d: Any) -> Any:
    while isinstance(d, dist.Independent | dist.ExpandedDistribution):
        d = d.base_dist
    return d
