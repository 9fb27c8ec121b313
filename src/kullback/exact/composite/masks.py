"""Parameters of masked elements, which are not to reach a gradient."""

from __future__ import annotations

import copy
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from numpyro.distributions.distribution import ExpandedDistribution

# Bounds depend on each other, so that NumPyro's constraints offer no value for them.
_BOUNDS = {"low": 0.0, "high": 1.0}


def guarded(d: Any, mask: Array) -> Any:
    """The distribution with harmless parameters where `mask` [*batch] is false; what is masked may be NaN.

    A `where` on values alone passes 0 · NaN to the gradient.
    """
    if type(d) is ExpandedDistribution:
        return guarded(d.base_dist, mask)
    changed = copy.copy(d)
    for name, value in list(d.__dict__.items()):
        if isinstance(value, dist.Distribution):
            own = len(value.batch_shape) - len(d.batch_shape)
            if own < 0:
                continue
            inner = jnp.broadcast_to(
                _widened(mask, own), mask.shape + value.batch_shape[len(value.batch_shape) - own :]
            )
            setattr(changed, name, guarded(value, inner))
        elif name in d.arg_constraints and value is not None:
            setattr(changed, name, _chosen(value, d.arg_constraints[name], name, mask))
    changed._batch_shape = mask.shape
    return changed


def _chosen(value: Any, constraint: Any, name: str, mask: Array) -> Any:
    if name in _BOUNDS:
        return jnp.where(mask, value, _BOUNDS[name])
    if constraints.is_dependent(constraint) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        return value
    harmless = constraint.feasible_like(jnp.asarray(value))
    return jnp.where(_widened(mask, constraint.event_dim), value, harmless)


def _widened(mask: Array, axes: int) -> Array:
    return mask.reshape(mask.shape + (1,) * axes)
