"""Means and scales of what is seen while learning, block after block, inside compiled programs."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from kullback.families.initialisation.scaling import SMALLEST
from kullback.training.ravel import on_host

KNOWN = 1e4  # rows that a scaling counts as which comes with a policy learned elsewhere


class RunningMoments(NamedTuple):
    """The rows seen so far: how many, their mean, and their mean squared deviation, each [*shape] but the count."""

    count: Any  # Float[Array, ""]: the type checker knows the method of tuples
    mean: Float[Array, ...]
    variance: Float[Array, ...]

    @property
    def scale(self) -> Float[Array, ...]:
        """Standard deviations [*shape]; 1 where nothing has varied yet."""
        return scale_of(self.variance)


def scale_of(variance: Float[Array, ...], xp: ModuleType = jnp) -> Float[Array, ...]:
    """The standard deviation, or 1 where there is none; by NumPy (`xp=np`) on the host."""
    scale = xp.sqrt(variance)
    return xp.where(scale > SMALLEST, scale, 1.0)


def at_start(mean: Float[np.ndarray, ...] | float, scale: Float[np.ndarray, ...] | float) -> RunningMoments:
    """A scaling as it is given: nothing seen yet where it is the trivial one, else as `KNOWN` rows would make it."""
    mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
    known = bool(mean.any() or (scale != 1.0).any())
    dtype = jnp.result_type(float)
    count = np.asarray(KNOWN if known else 0.0, dtype)
    return on_host(RunningMoments, count=count, mean=mean.astype(dtype), variance=np.square(scale).astype(dtype))


def merged(
    seen: RunningMoments, rows: Float[Array, "n ..."], weights: Float[Array, " n"], most: float = np.inf
) -> RunningMoments:
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
    return RunningMoments(count=past + new, mean=seen.mean + share * difference, variance=spread)


def merged_inputs(
    inputs: RunningMoments, observation: Shaped[Array, "n ..."], weight: Float[Array, " n"]
) -> RunningMoments:
    """The moments with more observations; labels have none."""
    if is_label(observation):
        return inputs
    return merged(inputs, observation.astype(weight.dtype), weight)


def is_label(observation: Shaped[Array, "n ..."]) -> bool:
    """Whether observations are labels, which have no moments."""
    return bool(jnp.issubdtype(observation.dtype, jnp.integer))
