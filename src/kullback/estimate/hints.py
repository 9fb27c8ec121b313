"""Points near which a side has mass, from whatever is known of it: draws, moments, components of a mixture."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.estimate.batch import spread
from kullback.estimate.logs import LogDensity
from kullback.known import Known

DRAWS = 2048


def hints_of(side: Known, log: LogDensity, request: Any, draw: bool) -> Float[np.ndarray, "n d"]:
    """Points [n, d] near the mass of one element of a side's batch; none where nothing is known.

    draw  whether to take draws as well, which costs a compilation of the sampler
    """
    size = int(np.prod(log.event_shape))
    found = [np.zeros((0, size))]
    if draw and side.sampler is not None:
        draws = draws_of(side, log, request)
        low, high = np.quantile(draws, [0.005, 0.995], axis=0)
        found.append(draws[((draws >= low) & (draws <= high)).all(1)])
    found.append(_around_mean(side, log))
    if isinstance(side.distribution, dist.MixtureSameFamily) and not log.batch:
        found.append(_components(side.distribution, size))
    points = np.concatenate(found)
    return points[np.isfinite(points).all(1)]


def draws_of(side: Known, log: LogDensity, request: Any) -> Float[np.ndarray, "n d"]:
    """Draws [n, d] of one element of a side's batch, in double precision."""
    assert side.sampler is not None
    with jax.enable_x64(True):
        draws = np.asarray(side.sampler(jax.random.fold_in(request.key, 1), DRAWS), np.float64)
    rank, own = len(log.event_shape), len(side.batch_shape)
    draws = spread(draws, own, len(log.batch), rank)
    draws = np.broadcast_to(draws, (DRAWS, *log.batch, *log.event_shape))[(slice(None), *log.index)]
    return draws.reshape(DRAWS, -1)


def _around_mean(side: Known, log: LogDensity) -> np.ndarray:
    """The mean and points at one and three standard deviations from it, where there are moments."""
    size = int(np.prod(log.event_shape))
    if side.moments is None:
        return np.zeros((0, size))
    try:
        moments = side.moments()
    except NotImplementedError:
        return np.zeros((0, size))
    mean = np.broadcast_to(moments.mean, (*log.batch, *log.event_shape))[log.index].reshape(size)
    covariance = np.broadcast_to(moments.covariance, (*log.batch, size, size))[log.index]
    deviation = np.sqrt(np.diagonal(covariance))
    deviation = np.where(np.isfinite(deviation), deviation, 0.0)
    return mean + np.array([-3.0, -1.0, 0.0, 1.0, 3.0])[:, None] * deviation


def centres_of(side: Known, log: LogDensity) -> Float[np.ndarray, "n d"]:
    """The means of a mixture's components, or the mean, [n, d]; none where nothing is known."""
    size = int(np.prod(log.event_shape))
    if isinstance(side.distribution, dist.MixtureSameFamily) and not log.batch:
        points = _components(side.distribution, size)[: side.distribution.mixture_size]
    else:
        points = _around_mean(side, log)[2:3]
    return points[np.isfinite(points).all(1)]


def _components(mixture: Any, size: int) -> np.ndarray:
    """The mean of every component, and a standard deviation to both sides, where there are moments."""
    inside = mixture.component_distribution
    try:
        moments = inside.mean, np.sqrt(inside.variance)
    except NotImplementedError:
        return np.zeros((0, size))
    mean, deviation = (np.asarray(m, np.float64).reshape(-1, size) for m in moments)
    return np.concatenate([mean, mean - deviation, mean + deviation])
