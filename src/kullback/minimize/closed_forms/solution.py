"""What a closed form of maximum likelihood takes and gives: expectations over weighted outcomes, and a `Solution`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kullback.families.initialisation.location_scale import FEW
from kullback.families.initialisation.scaling import blocks_of, quantiles
from kullback.families.units import Units

# Solutions, and what they say where the likelihood has no maximum


Fixed = Mapping[str, Any]

LOG_2PI = float(np.log(2.0 * np.pi))
POINT = 1e-6  # how wide a law that stands for a point is, in the units of the outcomes
ROUNDING = 1e-14  # of outcomes in their own units: a spread up to it is none


@dataclass(frozen=True)
class Solution:
    """Constrained parameters, and −E_P[log q] in nats at them.

    unbounded  why the likelihood has no maximum, if it has none: the parameters then stand for the limit, a law that
               is `POINT` times as wide as its units, and the cross entropy is its infimum, −∞
    boundary   which parameter lies at the end of its range, if one does, and what stands for it
    """

    values: Mapping[str, Any]
    cross_entropy: float
    unbounded: str = ""
    boundary: str = ""


def solution(values: Mapping[str, Any], cross_entropy: Any, unbounded: str = "", boundary: str = "") -> Solution:
    """A `Solution` whose cross entropy is the sum over coordinates."""
    return Solution(
        values=values,
        cross_entropy=-np.inf if unbounded else float(np.sum(cross_entropy)),
        unbounded=unbounded,
        boundary=boundary,
    )


def at_least(width: Any, parameter: str, end: str = "0", what: str = "all one number") -> tuple[Any, str]:
    """Widths of which none is 0, and why there is no maximum where one was."""
    flat = np.asarray(width) <= ROUNDING
    return (np.where(flat, POINT, width), no_maximum(flat, parameter, end, what)) if flat.any() else (width, "")


def at_most(
    concentration: Any, flat: Any, parameter: str, largest: float = POINT**-2, end: str = "∞"
) -> tuple[Any, str]:
    """Concentrations of which none is infinite, and why there is no maximum where the outcomes are one number."""
    flat = np.asarray(flat)
    if not flat.any():
        return concentration, ""
    return np.where(flat, largest, concentration), no_maximum(flat, parameter, end)


def no_maximum(flat: Any, parameter: str, end: str, what: str = "all one number") -> str:
    """The sentence for coordinates that are one number."""
    return (
        f"{which(flat)} {what}, so that the likelihood grows without bound as {parameter} goes to {end}; "
        f"leave them out, or hold {parameter} fixed"
    )


def which(flat: Any) -> str:
    """How a message names some of the coordinates of an outcome."""
    flat = np.asarray(flat)
    if flat.ndim == 0:
        return "the outcomes are"
    at = [str(int(i[0]) if flat.ndim == 1 else tuple(map(int, i))) for i in np.argwhere(flat)[:3]]
    more = ", …" if flat.sum() > len(at) else ""
    return f"column {at[0]} is" if flat.sum() == 1 else f"columns {', '.join(at)}{more} are"


# Expectations, a block of rows at a time


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
        for block, w in blocks_of(self.y, self.weights, own=self.units is not None):
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
