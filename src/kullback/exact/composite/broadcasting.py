"""Distributions with an axis of length 1 inserted into their batch, to compare each of some with each of others."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro.distributions import MaskedDistribution, constraints
from numpyro.distributions.distribution import ExpandedDistribution

_INTERVALS = (
    constraints.interval | constraints.integer_interval | constraints.greater_than | constraints.integer_greater_than
)


def unsqueezed(d: dist.Distribution, right: int = 0) -> dist.Distribution | None:
    """The distribution with a batch axis of length 1 before the last `right` ones; None where it cannot be inserted.

    Fewer batch axes than that broadcast as they are.
    """
    rank = len(d.batch_shape)
    if rank <= right:
        return d
    shape = (*d.batch_shape[: rank - right], 1, *d.batch_shape[rank - right :])
    if type(d) is ExpandedDistribution:
        base = unsqueezed(d.base_dist, right)
        return None if base is None else base.expand(shape)
    if type(d) is MaskedDistribution:
        return None
    names, (fields, about) = type(d).gather_pytree_data_fields(), d.tree_flatten()
    moved = [_field(d, name, value, right) for name, value in zip(names, fields, strict=True)]
    if any(new is None and old is not None for new, old in zip(moved, fields, strict=True)):
        return None
    wider = type(d).tree_unflatten(about, tuple(moved))
    wider._batch_shape = shape
    return wider


def _field(d: dist.Distribution, name: str, value: Any, right: int) -> Any | None:
    """One field of a distribution with the axis inserted; None where it is unknown which of its axes are the batch."""
    if isinstance(value, dist.Distribution):
        return unsqueezed(value, right + _own_axes(d, name, value))
    if name == "_component_distributions":
        parts = [unsqueezed(part, right) for part in value]
        return None if any(part is None for part in parts) else parts
    if name in d.arg_constraints and not isinstance(value, list):
        return _array(value, right, d.arg_constraints[name].event_dim)
    if isinstance(value, _INTERVALS):
        return jax.tree.map(lambda leaf: _array(leaf, right, 0), value)
    return value if all(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(value)) else None


def _own_axes(d: dist.Distribution, name: str, part: dist.Distribution) -> int:
    """How many batch axes of the part belong to the whole's event, or to the components of a mixture."""
    if name == "_component_distribution":
        return 1
    return max(len(part.batch_shape) - len(d.batch_shape), 0)


def _array(x: ArrayLike, right: int, event: int) -> Any:
    place = jnp.ndim(x) - event - right
    return jnp.expand_dims(x, place) if place > 0 else x
