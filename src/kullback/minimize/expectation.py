"""Expectations under weighted outcomes, in double precision on the host, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kullback.families.initialisation.location_scale import FEW
from kullback.families.initialisation.scaling import blocks_of, quantiles
from kullback.families.units import Units


@dataclass(frozen=True)
class Expectation:
    """E[f(z)] over outcomes y [n, *event] with positive weights [n] that sum to 1, in units where there are any.

    Rows are read in blocks of doubles, so that a memory-mapped array is never copied whole.
    """

    y: np.ndarray
    weights: np.ndarray
    units: Units | None = None

    def __call__(self, f: Callable[[np.ndarray], Any] = lambda z: z) -> Any:
        """E[f(z)], for f from rows [b, *event] to [b, ...]."""
        total = 0.0
        for z, w in self.blocks():
            total = total + np.tensordot(w, np.asarray(f(z), np.float64), 1)
        return np.asarray(total)

    def blocks(self) -> Any:
        """Rows z [b, *event] with their weights [b], block by block."""
        for block, w in blocks_of(self.y, self.weights):
            yield (block if self.units is None else self.units.standardized(block)), w

    def covariance(self, centre: Any) -> np.ndarray:
        """E[(z − c)(z − c)ᵀ] of vectors z."""
        total = 0.0
        for z, w in self.blocks():
            total = total + (z - centre).T @ ((z - centre) * w[:, None])
        return np.asarray(total)

    def root(self, centre: Any) -> np.ndarray:
        """The lower triangular root of the covariance, by QR of the rows themselves: to 1e-16 of each column's spread,
        where that of the covariance matrix is right to 1e-8. Blocks are joined as Demmel et al. (2012), section 3."""
        factor = np.zeros((0, self.y.shape[1]))
        for z, w in self.blocks():
            factor = np.linalg.qr(np.concatenate([factor, (z - centre) * np.sqrt(w)[:, None]]), mode="r")
        lacking = self.y.shape[1] - len(factor)
        factor = np.concatenate([factor, np.zeros((lacking, self.y.shape[1]))])
        sign = np.where(np.diagonal(factor) < 0, -1.0, 1.0)
        return (factor * sign[:, None]).T

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest outcome of each coordinate."""
        found = [(z.min(0), z.max(0)) for z, _ in self.blocks()]
        return np.min([low for low, _ in found], 0), np.max([high for _, high in found], 0)

    def quantile(self, level: float) -> np.ndarray:
        """The weighted quantile of each coordinate, over all rows."""
        return quantiles(self.rows(), self.weights, (level,))[0]

    def rows(self) -> np.ndarray:
        """All rows in double precision."""
        return np.concatenate([z for z, _ in self.blocks()])


def some_rows(y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `FEW` rows evenly far apart, with their weights."""
    every = slice(None, None, -(-len(y) // FEW))
    return y[every], weights[every]
