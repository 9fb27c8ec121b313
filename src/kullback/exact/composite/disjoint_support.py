"""What is known of a mixture's weights and of where its components lie; traced numbers say nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from kullback.exact.type_keys import UNKNOWN
from kullback.known.constraints import constraint_of
from kullback.known.support import from_constraint

KINDS = (dist.MixtureSameFamily, dist.MixtureGeneral)


def is_mixture(d: Any) -> bool:
    return type(d) in KINDS


def has_support(d: Any) -> bool:
    """Whether its support can be relied on: a mixture of several kinds gives that of its first component."""
    return type(d) is not dist.MixtureGeneral or d._support is not None


def weights_of(d: Any) -> Array:
    return d.mixing_distribution.probs if is_mixture(d) else jnp.ones((1,))


def _numbers(x: Any) -> bool:
    return not any(isinstance(leaf, UNKNOWN) for leaf in jax.tree.leaves(x))


def one_hot(d: Any) -> bool:
    if d.mixture_size == 1 or not _numbers(d.mixing_distribution):
        return d.mixture_size == 1
    return bool(((np.asarray(weights_of(d)) > 0).sum(-1) == 1).all())


def comes_in_parts(d: Any) -> bool:
    """Whether the components are distributions of their own, whose supports may lie apart."""
    return type(d) is not dist.MixtureSameFamily or type(d.component_distribution) is dist.Delta


def live(d: Any) -> tuple[list[int], list[Any]]:
    """The components whose weight is not known to be 0 throughout the batch, after their numbers."""
    if type(d) is dist.MixtureSameFamily:
        parts = [_point(d.component_distribution, k) for k in range(d.mixture_size)]
    else:
        parts = d.component_distributions if is_mixture(d) else [d]
    if not is_mixture(d) or not _numbers(d.mixing_distribution):
        return list(range(len(parts))), parts
    weights = np.asarray(weights_of(d))
    labels = [k for k in range(len(parts)) if (weights[..., k] > 0).any()]
    return labels, [parts[k] for k in labels]


def _point(d: Any, k: int) -> Any:
    """The k-th of a batch of points."""
    event = len(d.event_shape)
    v = jnp.broadcast_to(d.v, (*d.batch_shape, *d.event_shape))
    v = jnp.moveaxis(v, v.ndim - event - 1, 0)[k]
    log_density = jnp.broadcast_to(d.log_density, d.batch_shape)[..., k]
    return dist.Delta(v, log_density, event_dim=event, validate_args=False)


def disjoint(a: Any, b: Any) -> bool:
    """Whether two distributions are known to share no set of positive probability."""
    if is_discrete(a) != is_discrete(b):
        return True
    box_a, box_b = _box(a), _box(b)
    if box_a is None or box_b is None:
        return False
    (low_a, high_a), (low_b, high_b) = box_a, box_b
    beyond = np.less if is_discrete(a) else np.less_equal
    apart = np.asarray(beyond(high_a, low_b) | beyond(high_b, low_a))
    event = min(len(a.event_shape), apart.ndim)
    return bool(apart.any(tuple(range(apart.ndim - event, apart.ndim))).all())


def mutually_disjoint(parts: list[Any]) -> bool:
    return all(disjoint(f, g) for f, g in combinations(parts, 2))


def is_discrete(d: Any) -> bool:
    return type(d) is dist.Delta or bool(d.support is not None and d.support.is_discrete)


def _box(d: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the greatest outcome, coordinate by coordinate, where the support is a box of known bounds."""
    if type(d) is dist.Delta:
        return (np.asarray(d.v), np.asarray(d.v)) if _numbers(d.v) else None
    constraint = None if is_mixture(d) or not _numbers(d) else constraint_of(d)
    if constraint is None:
        return None
    support = from_constraint(constraint)
    return (np.asarray(support.lower), np.asarray(support.upper)) if support.bounded else None
