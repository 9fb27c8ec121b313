"""The weights of a mixture and the supports of its components, as far as they are known: traced numbers are not."""

from __future__ import annotations

from itertools import combinations
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.type_keys import UNKNOWN
from kullback.known.constraints import constraint_of
from kullback.known.support import from_constraint

Mixture = dist.MixtureSameFamily | dist.MixtureGeneral

KINDS = (dist.MixtureSameFamily, dist.MixtureGeneral)


def is_mixture(d: dist.Distribution) -> TypeGuard[Mixture]:
    return type(d) in KINDS


def has_support(d: dist.Distribution) -> bool:
    """Whether NumPyro's support is right: for a mixture of several kinds it is that of the first component."""
    return type(d) is not dist.MixtureGeneral or d._support is not None


def weights_of(d: dist.Distribution) -> Float[Array, "*batch k"]:
    if not is_mixture(d):
        return jnp.ones((1,))
    probs: Any = d.mixing_distribution.probs
    return probs


def _numbers(x: object) -> bool:
    return not any(isinstance(leaf, UNKNOWN) for leaf in jax.tree.leaves(x))


def one_hot(d: Mixture) -> bool:
    if d.mixture_size == 1 or not _numbers(d.mixing_distribution):
        return d.mixture_size == 1
    return bool(((np.asarray(weights_of(d)) > 0).sum(-1) == 1).all())


def has_separate_components(d: dist.Distribution) -> bool:
    """Whether the components are separate distributions, whose supports may be disjoint."""
    return type(d) is not dist.MixtureSameFamily or type(d.component_distribution) is dist.Delta


def weighted_components(d: dist.Distribution) -> tuple[list[int], list[dist.Distribution]]:
    """The numbers of the components whose weight is not known to be 0 in the whole batch, and these components."""
    if type(d) is dist.MixtureSameFamily:
        points = d.component_distribution
        assert isinstance(points, dist.Delta)
        parts: list[dist.Distribution] = [_point(points, k) for k in range(d.mixture_size)]
    else:
        parts = d.component_distributions if type(d) is dist.MixtureGeneral else [d]
    if not is_mixture(d) or not _numbers(d.mixing_distribution):
        return list(range(len(parts))), parts
    weights = np.asarray(weights_of(d))
    labels = [k for k in range(len(parts)) if (weights[..., k] > 0).any()]
    return labels, [parts[k] for k in labels]


def _point(d: dist.Delta, k: int) -> dist.Delta:
    """The k-th point of a batch."""
    event = len(d.event_shape)
    v = jnp.broadcast_to(d.v, (*d.batch_shape, *d.event_shape))
    v = jnp.moveaxis(v, v.ndim - event - 1, 0)[k]
    log_density = jnp.broadcast_to(jnp.asarray(d.log_density), d.batch_shape)[..., k]
    return dist.Delta(v, log_density, event_dim=event, validate_args=False)


def disjoint(a: dist.Distribution, b: dist.Distribution) -> bool:
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


def mutually_disjoint(parts: list[dist.Distribution]) -> bool:
    return all(disjoint(f, g) for f, g in combinations(parts, 2))


def is_discrete(d: dist.Distribution) -> bool:
    return type(d) is dist.Delta or bool(d.support is not None and d.support.is_discrete)


def _box(d: dist.Distribution) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the greatest outcome, coordinate by coordinate, where the support is a box of known bounds."""
    if type(d) is dist.Delta:
        return (np.asarray(d.v), np.asarray(d.v)) if _numbers(d.v) else None
    constraint = None if is_mixture(d) or not _numbers(d) else constraint_of(d)
    if constraint is None:
        return None
    support = from_constraint(constraint)
    return (np.asarray(support.lower), np.asarray(support.upper)) if support.bounded else None
