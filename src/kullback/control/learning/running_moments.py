"""Means and scales of what is seen while learning, block after block, inside compiled programs."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kullback.families.initialisation.scaling import SMALLEST

KNOWN = 1e4  # rows that a scaling counts as which comes with a policy learned elsewhere


class Running(NamedTuple):
    """The rows seen so far: how many, their mean, and their mean squared deviation, each [*shape] but the count."""

    count: Any
    mean: Any
    variance: Any

    @property
    def scale(self) -> Any:
        """Standard deviations [*shape]; 1 where nothing has varied yet."""
        return scale_of(self.variance)


def scale_of(variance: Any, xp: Any = jnp) -> Any:
    """The standard deviation, or 1 where there is none; by NumPy (`xp=np`) on the host."""
    scale = xp.sqrt(variance)
    return xp.where(scale > SMALLEST, scale, 1.0)


def at_start(mean: Any, scale: Any) -> Running:
    """A scaling as it is given: nothing seen yet where it is the trivial one, else as `KNOWN` rows would make it."""
    mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
    known = bool(mean.any() or (scale != 1.0).any())
    dtype = jnp.result_type(float)
    return Running(np.asarray(KNOWN if known else 0.0, dtype), mean.astype(dtype), np.square(scale).astype(dtype))


def merged(seen: Running, rows: Float[Array, "n ..."], weights: Float[Array, " n"], most: float = np.inf) -> Running:
    """The moments of what was seen and of new rows, which count by their weights.

    most  rows that the past counts as at most, so that moments follow what changes

    Source: Chan, Golub and LeVeque (1983), equation 2.1.
    """
    past, new = jnp.minimum(seen.count, most), jnp.sum(weights)
    total = jnp.maximum(past + new, 1.0)
    mean = jnp.tensordot(weights, rows, 1) / jnp.maximum(new, 1.0)
    variance = jnp.tensordot(weights, jnp.square(rows - mean), 1) / jnp.maximum(new, 1.0)
    share, difference = new / total, mean - seen.mean
    # Of nothing seen before, the variance is 0 and not what stood in its place.
    before = jnp.where(past > 0, seen.variance, 0.0)
    spread = before + share * (variance - before) + share * (1.0 - share) * jnp.square(difference)
    return Running(past + new, seen.mean + share * difference, spread)


def is_label(observation: Any) -> bool:
    """Whether observations are labels, which have no moments."""
    return bool(jnp.issubdtype(observation.dtype, jnp.integer))
