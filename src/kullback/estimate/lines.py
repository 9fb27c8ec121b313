"""A line of integration: linear where the mass is, exponential in the tails, up to a finite or an infinite end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FAR = 1e140
RESOLUTION = 64 * np.finfo(float).eps
DOUBLINGS = 2.0 ** np.arange(-1, 12)


@dataclass(frozen=True)
class Line:
    """The map from u to x: the identity between `low` and `high`, and outside, with t the distance from there,

        x = high + s (eᵗᐟˢ − 1)             towards an infinite end,
        x = upper − d e⁻ᵗᐟᵈ, d = upper − high,  towards a finite one,

    so that a power law, whether a tail or a singular end, becomes an exponential in u, and x and dx/du are continuous.

    lower, upper  the ends of the support; `low`, `high` those of the part that holds nearly all of the mass
    scale         s, the width of that part
    """

    lower: float
    upper: float
    low: float
    high: float
    scale: float

    def tail(self, side: int) -> tuple[float, float]:
        """(unit, length): a tail's unit of u and how many of them reach the end that doubles resolve; side is ±1."""
        end, start = (self.lower, self.low) if side < 0 else (self.upper, self.high)
        if np.isinf(end):
            return self.scale, float(np.log(FAR) - np.log(self.scale))
        room = abs(end - start)
        if room == 0:
            return 0.0, 0.0
        finest = max(RESOLUTION * abs(end), np.finfo(float).tiny * 1e8)
        return room, max(0.0, float(np.log(room / finest)))

    def tail_point(self, side: int, t: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(x, log dx/dt) at t units into a tail."""
        unit, _ = self.tail(side)
        end, start = (self.lower, self.low) if side < 0 else (self.upper, self.high)
        with np.errstate(over="ignore"):
            x = start + side * unit * np.expm1(t) if np.isinf(end) else end - side * unit * np.exp(-t)
        return x, np.log(unit) + (t if np.isinf(end) else -t)

    def point(self, u: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """(x, log dx/du) at u."""
        x, log_slope = np.array(u, float), np.zeros(len(u))
        for side, outside in ((-1, u < self.low), (1, u > self.high)):
            if outside.any():
                unit, _ = self.tail(side)
                t = np.abs(u[outside] - (self.low if side < 0 else self.high)) / unit
                x[outside], log_slope[outside] = self.tail_point(side, t)
                log_slope[outside] -= np.log(unit)
        return x, log_slope

    def cuts(self, inside: Float[np.ndarray, " k"]) -> Float[np.ndarray, " m"]:
        """Where to split u: both ends, points `inside` the linear part, and doubling distances into the tails."""
        marks = [self.low, self.high, *inside[(inside > self.low) & (inside < self.high)]]
        for side, start in ((-1, self.low), (1, self.high)):
            unit, length = self.tail(side)
            steps = [*DOUBLINGS[length * 0.75 > DOUBLINGS], length] if length > 0 else []
            marks += [start + side * unit * step for step in steps]
        return np.unique(np.asarray(marks, float))
