"""The tail of the values that are averaged: whether their variance, or their mean, can be finite at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

MOST_WATCHED = 16
LEAST_DRAWS, FEWEST, LEAST_DISTINCT, LEAST_EXCESSES = 4096, 500, 20, 48
MISFIT, MATERIAL = 1.0, 1 / 3


class Tails:
    """The largest values of those strata and elements of the batch that make most of the variance.

    variance  of the answer, by stratum and element [k, *batch]
    counts    the draws that each stratum will have [k]
    """

    def __init__(self, variance: Float[np.ndarray, " k *batch"], counts: Int[np.ndarray, " k"]) -> None:
        enough = (counts >= LEAST_DRAWS).reshape(-1, *(1,) * (variance.ndim - 1))
        table = np.where(enough, variance, 0.0).reshape(len(counts), -1)
        largest = np.argsort(-table, axis=None, kind="stable")[:MOST_WATCHED]
        places = [np.unravel_index(at, table.shape) for at in largest if table.flat[at] > 0]
        self._watched = [_Watched(int(k), int(e), tail_size(int(counts[k])) + 1) for k, e in places]

    def add(self, labels: Int[np.ndarray, " n"], values: Float[np.ndarray, " n *batch"]) -> None:
        """Look at a chunk of values and the strata that they are of."""
        if self._watched:
            flat = np.asarray(values).reshape(len(labels), -1)
            for watched in self._watched:
                watched.add(flat[labels == watched.stratum, watched.element])

    def verdict(self) -> tuple[float, str]:
        """The largest tail index found, −∞ where no tail matters, and what it says to be infinite, if anything:
        "variance", or "mean"."""
        found = [watched.verdict() for watched in self._watched]
        return max(found, key=lambda one: (("", "variance", "mean").index(one[1]), one[0]), default=(-np.inf, ""))


class Seen:
    """All values of a pilot with one stratum. With several strata, which have variances of their own, none are kept."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []

    def add(self, labels: Int[np.ndarray, " n"], values: Float[np.ndarray, " n *batch"]) -> None:
        """Keep a chunk of values, and the strata that they are of."""
        if not np.any(labels):
            self._values.append(np.asarray(values).reshape(len(labels), -1))

    def index(self) -> float:
        """The least tail index over the batch of those that say a variance to be infinite; −∞ where one is not."""
        if not self._values:
            return -np.inf
        values = np.concatenate(self._values)
        found = [verdict_on(column) for column in values.T[:MOST_WATCHED]]
        return min(index if unbounded else -np.inf for index, unbounded in found)


def verdict_on(values: Float[np.ndarray, " n"]) -> tuple[float, str]:
    """The tail index of all values of a sample, and what is infinite; a variance only where the values are many."""
    if len(values) < FEWEST:
        return -np.inf, ""
    watched = _Watched(0, 0, tail_size(len(values)) + 1)
    watched.add(values)
    index, unbounded = watched.verdict()
    return index, unbounded if unbounded == "mean" or len(values) >= LEAST_DRAWS else ""


@dataclass
class _Watched:
    """The `size` largest values of one stratum and element, less the median of the first ones, and sums over all."""

    stratum: int
    element: int
    size: int
    centre: float = np.nan
    kept: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    absolute: float = 0.0
    square: float = 0.0

    def add(self, values: Float[np.ndarray, " n"]) -> None:
        if not len(values):
            return
        if np.isnan(self.centre):
            self.centre = float(np.median(values))
        values = values - self.centre
        self.absolute += float(np.abs(values).sum())
        self.square += float(values @ values)
        values = np.concatenate([self.kept, values])
        self.kept = np.partition(values, len(values) - self.size)[-self.size :] if len(values) > self.size else values

    def verdict(self) -> tuple[float, str]:
        """The tail index where the tail makes enough of the variance to tell, and what is infinite.

        Where a variance is infinite, the largest of many values make most of their sum of squares, and where a mean is,
        of their sum; a few values beyond the bulk's crest do not, whatever law would fit them.
        """
        if not self.kept @ self.kept > MATERIAL * self.square:
            return -np.inf, ""
        index = tail_index(self.kept)
        if index >= 1 and np.abs(self.kept).sum() > MATERIAL * self.absolute:
            return index, "mean"
        return index, "variance" if index >= 0.5 else ""


def tail_size(n: int) -> int:
    """How many of n values the tail consists of. Source: Vehtari et al. (2024), section 3.2."""
    return int(min(0.2 * n, 3 * np.sqrt(n)))


def tail_index(largest: Float[np.ndarray, " m"]) -> float:
    """k̂ of the generalised Pareto law of the excesses of the largest values over the least of them.

    Moments of order 1/k and above are infinite: the variance where k ≥ 1/2, the mean where k ≥ 1. Where the excesses
    do not follow such a law, half as many of them are tried, and so on: the least of the values may be the crest of
    the values' bulk rather than their tail. −∞ where the values are too few, or too few different ones, to say.
    Source: Pickands (1975), theorem 7, for the law; Bader, Yan and Zhang (2018), for its test at several thresholds.
    """
    values = _untied(np.sort(largest))
    return -np.inf if values is None else following(values)[0]


def following(values: Float[np.ndarray, " m"]) -> tuple[float, int]:
    """k̂ of the largest of sorted values that follow the law, and how many they are beside the least of them."""
    while True:
        shape, distance = _fitted(values[1:] - values[0])
        if distance <= MISFIT or len(values) < 2 * LEAST_EXCESSES:
            return shape, len(values) - 1
        values = values[len(values) // 2 :]


def _fitted(excess: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """k̂, and √n times the distance of Kolmogorov and Smirnov between the excesses and the law fitted."""
    n = len(excess)
    shape, logs = pareto_fit(excess)
    below = -np.expm1(-logs / logs.mean())
    gap = np.maximum(np.abs(below - np.arange(n) / n), np.abs(below - np.arange(1, n + 1) / n))
    return shape, float(np.sqrt(n) * gap.max())


def pareto_fit(excess: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """k̂ of the generalised Pareto law of sorted excesses, and log(1 − b x) of each at the b fitted.

    Source: Zhang and Stephens (2009), with the prior of Vehtari et al. (2024), appendix G.
    """
    n = len(excess)
    m = 30 + int(np.sqrt(n))
    grid = (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(1)
    profile = n * (np.log(-grid / shapes) - shapes - 1)
    posterior = np.exp(profile - np.logaddexp.reduce(profile))
    b = float(grid @ posterior)
    logs = np.log1p(-b * excess)
    return (n * float(logs.mean()) + 5.0) / (n + 10), logs


def _untied(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"] | None:
    """Sorted values of which equal ones are spread over half the way to their neighbours, as counts give them.

    None where there are too few different ones, or their differences are rounding.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < LEAST_DISTINCT or distinct[-1] - distinct[0] <= 1e-9 * np.abs(distinct).max():
        return None
    if len(distinct) == len(values):
        return values
    middles = 0.5 * (distinct[1:] + distinct[:-1])
    low, high = np.concatenate([distinct[:1], middles]), np.concatenate([middles, distinct[-1:]])
    place = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (place + 0.5) / np.repeat(counts, counts)
    return np.repeat(low, counts) + share * np.repeat(high - low, counts)
