"""What a closed form of maximum likelihood gives, and what it says where the likelihood has no maximum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    return Solution(values, -np.inf if unbounded else float(np.sum(cross_entropy)), unbounded, boundary)


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
