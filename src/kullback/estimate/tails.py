"""What happens beyond the last point that doubles reach: nothing, a remainder, or a divergent integral."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEGLIGIBLE = -60.0
NEVER = -690.0
EXPONENTIAL, SEEN = 0.01, 5.0  # a growth at least so fast, and by so many factors of e over the whole tail
SAMPLES = 33
NEAR = np.concatenate([[0.0], 2.0 ** np.arange(-3, 9, 0.5)])


@dataclass(frozen=True)
class Tail:
    """A tail in units t: how many `length` of them matter, what is left beyond, and whether the integral diverges.

    `remainder` and its `error` are of [∫ P, ∫ P log(P/Q)], on the scale of the weights.
    """

    length: float
    remainder: np.ndarray
    error: np.ndarray
    diverges: bool = False


NO_TAIL = Tail(0.0, np.zeros(2), np.zeros(2))


def examine(profile: Callable[[Float[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray]], length: float) -> Tail:
    """Look along a tail. `profile(t)` is (log weight in the measure dt, log-ratio log P − log Q).

    A power law is an exponential in t. With w ~ e^{−at} and a log-ratio that grows like e^{kt}, the integral
    diverges where k ≥ a > 0; slopes are extrapolated as s(T) → 2s(T) − s(T/2), which removes powers of t. A log-ratio
    that grows slower than a power leaves the remainder ∫_T^∞ w r dt = w(T) (r(T)/a + r'(T)/a²).
    """
    if length <= 0:
        return NO_TAIL
    t = np.concatenate([NEAR[length / 2 > NEAR], np.linspace(length / 2, length, SAMPLES)])
    weight, ratio = profile(t)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(weight > NEVER, weight + np.log1p(np.abs(ratio)), -np.inf)
    matters = np.flatnonzero(size > NEGLIGIBLE)
    reach = float(t[min(matters[-1] + 1, len(t) - 1)]) if len(matters) else float(t[1])
    if size[-1] <= NEVER / 2:
        return Tail(reach, np.zeros(2), np.zeros(2))
    if np.isinf(ratio[-1]):
        return Tail(reach, np.zeros(2), np.zeros(2), diverges=True)
    decay = -_slope(weight, t)
    growth = _slope(np.log(ratio[-SAMPLES:]), t) if (ratio[-SAMPLES:] > 0).all() else 0.0
    if growth > max(EXPONENTIAL, SEEN / length) and growth - decay > -1e-4:
        return Tail(reach, np.zeros(2), np.zeros(2), diverges=True)
    if size[-1] <= NEGLIGIBLE:
        return Tail(reach, np.zeros(2), np.zeros(2))
    return _remainder(weight, ratio, decay, growth, length)


def _slope(y: np.ndarray, t: np.ndarray) -> float:
    """The slope as t → ∞, from those at the end and half way there."""
    step = t[-1] - t[-2]
    return float(2 * (y[-1] - y[-2]) - (y[1 - SAMPLES] - y[-SAMPLES])) / step


def _remainder(weight: np.ndarray, ratio: np.ndarray, decay: float, growth: float, length: float) -> Tail:
    if decay <= 0 or growth >= decay:
        return Tail(length, np.zeros(2), np.full(2, np.inf))
    last = float(np.exp(weight[-1]))
    rise = float(ratio[-1] - ratio[-2]) * 2 * (SAMPLES - 1) / length
    if growth > EXPONENTIAL:
        of_ratio = last * ratio[-1] / (decay - growth)
    else:
        of_ratio = last * (ratio[-1] / decay + rise / decay**2)
    rest = np.array([last / decay, of_ratio])
    return Tail(length, rest, 0.05 * np.abs(rest) + 0.05 * np.array([0.0, last / decay]))
