"""What the other side says of where its outcomes lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpyro.distributions import constraints

from kullback.families.initialisation.scaling import blocks_of, mean_and_scale
from kullback.known import Known, Sample

FEW = 20_000  # rows that are looked at for more than a mean and a scale


@dataclass(frozen=True)
class Hints:
    """A location and a scale of the outcomes, [*event], and the share of each category where they are finite.

    sample         all the outcomes, where they are a sample of labels 0 … categories − 1
    rows, weights  up to `FEW` of the outcomes [m, *event] in float64 with weights that sum to 1; None if there are none
    """

    mean: np.ndarray
    scale: np.ndarray
    sample: Sample | None = None
    categories: int | None = None
    rows: np.ndarray | None = None
    weights: np.ndarray | None = None

    @cached_property
    def counts(self) -> np.ndarray | None:
        """The weight of each category [categories]. It is made only for a family with a parameter for each: of counts
        in the thousand millions, one number for each that is possible would fill the memory."""
        if self.sample is None or self.categories is None or self.sample.values is None:
            return None
        counts = np.zeros(self.categories)
        for block, w in blocks_of(self.sample.values, self.sample.weights):
            counts += np.bincount(block.astype(int), w, minlength=self.categories)
        return counts

    @property
    def shares(self) -> np.ndarray | None:
        """The share of each category [categories], of which none is 0; None where there are no labels."""
        if self.counts is None:
            return None
        return (self.counts / self.counts.sum() + 1e-3 / len(self.counts)) / (1 + 1e-3)

    @cached_property
    def logs(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the scale of log y over positive outcomes; from the moments, as if log-normal, without rows."""
        positive = np.maximum(np.abs(self.mean), 1e-30)
        squared = np.log1p(np.square(self.scale / positive))
        if self.rows is None or self.weights is None:
            return np.log(positive) - squared / 2, np.sqrt(squared)
        inside = (self.rows > 0) * _along(self.weights, self.rows)
        total = np.maximum(inside.sum(0), 1e-30)
        logs = np.log(np.where(self.rows > 0, self.rows, 1.0))
        mean = (inside * logs).sum(0) / total
        scale = np.sqrt((inside * np.square(logs - mean)).sum(0) / total)
        return mean, np.where(scale > 1e-6, scale, 1.0)

    @cached_property
    def direction(self) -> tuple[np.ndarray, np.ndarray]:
        """The circular mean of angles, and the mean resultant length R from 0 to 1."""
        if self.rows is None or self.weights is None:
            return self.mean, np.exp(-np.square(self.scale) / 2)
        cosine, sine = (np.tensordot(self.weights, f(self.rows), 1) for f in (np.cos, np.sin))
        return np.arctan2(sine, cosine), np.hypot(cosine, sine)

    @cached_property
    def zeros(self) -> np.ndarray:
        """The share of outcomes that are 0; that of a Poisson law of this mean without rows."""
        if self.rows is None or self.weights is None:
            return np.exp(-np.abs(self.mean))
        return np.tensordot(self.weights, (self.rows == 0) * 1.0, 1)

    def slices(self, count: int) -> list[Hints]:
        """Hints for the components of a mixture: outcomes between quantiles count ten times as much as others.

        The average of the slices is the whole, so that equal components at them have about the law of the outcomes,
        and no slice is a point unless all of it is.
        """
        if self.rows is None or self.weights is None:
            middles = (np.arange(count) + 0.5) / count * 2 - 1
            return [replace(self, mean=self.mean + 1.5 * middle * self.scale) for middle in middles]
        flat = ((self.rows - self.mean) / self.scale).reshape(len(self.rows), -1)
        along = flat if flat.shape[1] == 1 else flat @ _principal(flat, self.weights)[:, None]
        order = np.argsort(along[:, 0], kind="stable")
        ends = np.cumsum(self.weights[order])
        begins = ends - self.weights[order]
        slices = []
        for k in range(count):
            # The share of each row's weight that lies between the quantiles k/K and (k + 1)/K, ties included.
            inside = np.clip(np.minimum(ends, (k + 1) / count) - np.maximum(begins, k / count), 0.0, None)
            weights = np.empty_like(self.weights)
            weights[order] = 0.9 * count * inside
            weights += 0.1 * self.weights
            mean, scale = mean_and_scale(self.rows, weights)
            slices.append(replace(self, mean=mean, scale=scale, weights=weights / weights.sum()))
        return slices


def hints_from(other: Known, categories: int | None) -> Hints:
    """What the other side says of where its outcomes lie; 0 and 1 where it says nothing."""
    shape = other.event_shape or ()
    if other.sample is not None and other.sample.values is not None:
        return _of_sample(other.sample, categories)
    if other.moments is not None and not other.batch_shape:
        try:
            moments = other.moments()
        except (NotImplementedError, AttributeError, TypeError, ValueError):
            moments = None
        if moments is not None and moments.mean.shape == shape:
            variance = np.diagonal(np.atleast_2d(moments.covariance)).reshape(shape)
            if np.isfinite(moments.mean).all() and (np.isfinite(variance) & (variance > 0)).all():
                return Hints(np.asarray(moments.mean, np.float64), np.sqrt(variance))
    if other.support is not None and other.support.bounded:
        low = np.broadcast_to(np.asarray(other.support.lower, np.float64), shape)
        high = np.broadcast_to(np.asarray(other.support.upper, np.float64), shape)
        if np.isfinite(low).all():
            width = np.where(np.isfinite(high), high - low, 2.0)
            return Hints(low + width / 2, np.where(np.isfinite(high), width / 4, 1.0))
    if other.support is not None and other.support.constraint is constraints.simplex and shape:
        # That of the uniform law on the simplex.
        mean = np.full(shape, 1.0 / shape[-1])
        return Hints(mean, np.sqrt(mean * (1.0 - mean) / (shape[-1] + 1.0)))
    return Hints(np.zeros(shape), np.ones(shape))


def _of_sample(sample: Sample, categories: int | None) -> Hints:
    assert sample.values is not None
    mean, scale = mean_and_scale(sample.values, sample.weights)
    weights = np.ones(len(sample.values)) if sample.weights is None else sample.weights
    counted = np.flatnonzero(weights)
    few = counted[:: -(-len(counted) // FEW)]
    rows = np.asarray(sample.values[few], np.float64)
    labels = (sample, categories) if categories is not None and sample.values.ndim == 1 else (None, None)
    return Hints(mean, scale, *labels, rows, weights[few] / weights[few].sum())


def _along(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return weights.reshape(-1, *(1,) * (rows.ndim - 1))


def _principal(flat: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The direction of most spread of standardised rows [m, d]."""
    return np.linalg.eigh((flat * weights[:, None]).T @ flat)[1][:, -1]
