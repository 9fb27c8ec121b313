"""Probability integral transforms: where outcomes fall within what was predicted, which is uniform if q is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from kullback.errors import InputError
from kullback.supervised.rowwise import outcomes
from kullback.supervised.scipy_laws import line_of


def pit(y: Any, q: Any, seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """F(y∣x) of each outcome, uniform on [0, 1] where q is right.

    For counts it is F(y − 1) + v (F(y) − F(y − 1)) with v uniform, from `seed`: without it the values of a right q are
    not uniform.

    y  outcomes [n], or [n, outputs]
    q  a NumPyro distribution of batch shape [n] with a distribution function, mixtures and ensembles of such, counts

    Returns [n] or [n, outputs]. Raises `InputError` as `crps` does.
    Source: Dawid (1984); Czado, Gneiting and Held (2009), section 2.1, for counts.
    """
    line = line_of(q)
    y = outcomes(y, line.shape)
    if not line.discrete:
        return line.cdf(y)
    below, upto = line.cdf(y - 1.0), line.cdf(y)
    return below + np.random.default_rng(seed).uniform(size=y.shape) * (upto - below)


@dataclass(frozen=True)
class PITHistogram:
    """How many PIT values lie in each of equal bins, and whether that is uniform.

    counts   [bins], with `edges` [bins + 1]
    p_value  of Pearson's chi-square test that the values are uniform, which says how often a right q would look worse;
             `statistic` is that of the test
    """

    counts: np.ndarray
    edges: np.ndarray
    statistic: float
    p_value: float

    def band(self, level: float = 0.95) -> tuple[float, float]:
        """The counts between which one bin lies with probability `level` (or a little more) if q is right: binomial."""
        n, bins = int(self.counts.sum()), len(self.counts)
        low, high = stats.binom.ppf([0.5 - level / 2, 0.5 + level / 2], n, 1.0 / bins)
        return float(low), float(high)

    def __str__(self) -> str:
        verdict = "no sign against" if self.p_value >= 0.05 else "they speak against"
        return (
            f"{int(self.counts.sum()):,} PIT values in {len(self.counts)} bins: χ² = {self.statistic:.4g}, "
            f"p = {self.p_value:.2g}: {verdict} uniform"
        )


def pit_histogram(values: Any, bins: int = 20) -> PITHistogram:
    """PIT values [n] in equal bins, with a chi-square test of uniformity.

    A heap in the middle says that q is too wide, two heaps at the ends that it is too narrow, a slope that it is
    biased. The test takes the values as independent and q as not fitted to them: use held-out outcomes.

    Raises `InputError` for values outside [0, 1], and for fewer than 5 values a bin, where the test is not valid.
    Source: Diebold, Gunther and Tay (1998); Pearson (1900).
    """
    values = np.ravel(np.asarray(values, np.float64))
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise InputError("values: PIT values lie in [0, 1]; pass those of pit(y, q)")
    if bins < 2 or len(values) < 5 * bins:
        raise InputError(f"bins: {bins} for {len(values)} values; pass at least 2 bins, and 5 values for each")
    counts, edges = np.histogram(values, bins, (0.0, 1.0))
    statistic, p_value = stats.chisquare(counts)
    return PITHistogram(counts, edges, float(statistic), float(p_value))
