"""What the scores see of the rows of two samples: measured columns on two scales, and indicators of the labels.

Every transformation is by the pooled rows, whatever their sample, so that one serves all folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

_CLIP = 30.0
_FEWEST_OF_LABEL, _MOST_LABELS = 20, 40
_NORMAL_QUARTILES = 1.349  # the distance of the quartiles of a normal law of variance 1


@dataclass(frozen=True)
class Features:
    """Rows on two scales.

    scaled  columns less their pooled median, over their pooled interquartile range, clipped at ±30
    rank    pooled ranks, in (0, 1)
    label   indicators of the frequent labels of the rows' cells, without columns where there is one cell
    """

    scaled: Float[np.ndarray, "n d"]
    rank: Float[np.ndarray, "n d"]
    label: Float[np.ndarray, "n l"]

    @classmethod
    def of(cls, point: Float[np.ndarray, "n d"], cell: Int[np.ndarray, " n"]) -> Features:
        low, middle, high = np.quantile(point, [0.25, 0.5, 0.75], axis=0)
        spread = np.where(high > low, (high - low) / _NORMAL_QUARTILES, point.std(0))
        scaled = np.clip((point - middle) / np.where(spread > 0, spread, 1.0), -_CLIP, _CLIP)
        return cls(scaled=scaled, rank=(rankdata(point, axis=0) - 0.5) / len(point), label=_indicators(cell))

    @property
    def normal(self) -> Float[np.ndarray, "n d"]:
        """Normal scores, Φ⁻¹ of the ranks."""
        return ndtri(self.rank)

    def take(self, rows: slice | Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> Features:
        return Features(self.scaled[rows], self.rank[rows], self.label[rows])


def _indicators(cell: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n l"]:
    """A column of 0 and 1 for each of the most frequent cells; none where there is one cell."""
    cells, counts = np.unique(cell, return_counts=True)
    if len(cells) == 1:
        return np.zeros((len(cell), 0))
    frequent = cells[np.argsort(-counts, kind="stable")][:_MOST_LABELS]
    frequent = frequent[np.sort(-counts)[: len(frequent)] <= -_FEWEST_OF_LABEL]
    return (cell[:, None] == frequent).astype(np.float64)
