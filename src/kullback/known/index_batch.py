"""Some of the distributions of a batch, by their numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

# A multivariate normal holds its covariance three times; one of them says it.
_ENOUGH: dict[Any, tuple[str, ...]] = {dist.MultivariateNormal: ("loc", "scale_tril")}


def rows_of(d: Any, rows: Any) -> Any:
    """The distributions at `rows` [m] of a batch [n]: one of batch shape [m], also inside compiled programs.

    d  a NumPyro distribution of batch shape [n]: of a class whose parameters are its attributes, independent
       coordinates of one, or a mixture of components of one class

    Returns None for other distributions.
    """
    if len(d.batch_shape) != 1:
        return None
    try:
        taken = _rows(d, rows)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None
    fits = taken is not None and taken.batch_shape == jnp.shape(rows) and taken.event_shape == d.event_shape
    return taken if fits else None


def _rows(d: Any, rows: Any) -> Any:
    if type(d) is dist.Independent:
        base = _rows(d.base_dist, rows)
        return None if base is None else base.to_event(d.reinterpreted_batch_ndims)
    if type(d) is dist.MixtureSameFamily:
        parts = _rows(d.mixing_distribution, rows), _rows(d.component_distribution, rows)
        return None if None in parts else dist.MixtureSameFamily(*parts, validate_args=False)
    plain = d.base_dist if type(d) is dist.ExpandedDistribution else d
    cls = type(plain)
    names = _ENOUGH.get(cls, tuple(cls.arg_constraints))
    if not names:
        return None
    taken = {n: _taken(getattr(plain, n), d.batch_shape, cls.arg_constraints[n].event_dim, rows) for n in names}
    return cls(**taken, validate_args=False)


def _taken(parameter: Any, batch: tuple[int, ...], event_ndim: int, rows: Any) -> jax.Array:
    parameter = jnp.asarray(parameter)
    own = parameter.shape[parameter.ndim - event_ndim :]
    return jnp.broadcast_to(parameter, (*batch, *own))[rows]
