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
WORST, EXACT_POWER = 0.05, 1e-4  # of a remainder: its error at most, and where the tail is a power law
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


def examine(
    profile: Callable[[Float[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray]], length: float, room: float = 0.0
) -> Tail:
    """Look along a tail. `profile(t)` is (log weight in the measure dt, log-ratio log P − log Q).

    A power law is an exponential in t. With w ~ e^{−at} and a log-ratio that grows like e^{kt}, the integral
    diverges where k ≥ a > 0; slopes are extrapolated as s(T) → 2s(T) − s(T/2), which removes powers of t. A log-ratio
    that grows slower than a power leaves the remainder ∫_T^∞ w r dt = w(T) (r(T)/a + r'(T)/a²).

    room  the distance to a finite end at t = 0. Slopes are then taken between points whose distances from the end are
          powers of 2, since those of others are rounded, by a percent near an end that is not 0
    """
    if length <= 0:
        return NO_TAIL
    far = np.linspace(length / 2, length, SAMPLES)
    if room > 0:
        steps = (np.log(room) - far) / np.log(2.0)
        far = np.unique(np.log(room) - np.log(2.0) * np.ceil(steps))
        far = far[far <= length] if (far <= length).sum() > 2 else np.linspace(length / 2, length, SAMPLES)
    t = np.concatenate([NEAR[far[0] > NEAR], far])
    weight, ratio = profile(t)
    half = len(far)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(weight > NEVER, weight + np.log1p(np.abs(ratio)), -np.inf)
    matters = np.flatnonzero(size > NEGLIGIBLE)
    reach = float(t[min(matters[-1] + 1, len(t) - 1)]) if len(matters) else float(t[1])
    if size[-1] <= NEVER / 2:
        return Tail(reach, np.zeros(2), np.zeros(2))
    if np.isinf(ratio[-1]):
        return Tail(reach, np.zeros(2), np.zeros(2), diverges=True)
    decay = -_slope(weight[-half:], far)
    growth = _slope(np.log(ratio[-half:]), far) if (ratio[-half:] > 0).all() else 0.0
    if growth > max(EXPONENTIAL, SEEN / length) and growth - decay > -1e-4:
        return Tail(reach, np.zeros(2), np.zeros(2), diverges=True)
    if size[-1] <= NEGLIGIBLE:
        return Tail(reach, np.zeros(2), np.zeros(2))
    return _remainder(weight, ratio, decay, growth, far)


def _slope(y: np.ndarray, t: np.ndarray) -> float:
    """The slope as t → ∞, from those at the end and half way there."""
    return float(2 * (y[-1] - y[-2]) / (t[-1] - t[-2]) - (y[1] - y[0]) / (t[1] - t[0]))


def _remainder(weight: np.ndarray, ratio: np.ndarray, decay: float, growth: float, far: np.ndarray) -> Tail:
    length = float(far[-1])
    if decay <= 0 or growth >= decay:
        return Tail(length, np.zeros(2), np.full(2, np.inf))
    last = float(np.exp(weight[-1]))
    rise = float(ratio[-1] - ratio[-2]) / float(far[-1] - far[-2])
    if growth > EXPONENTIAL:
        of_ratio = last * ratio[-1] / (decay - growth)
    else:
        of_ratio = last * (ratio[-1] / decay + rise / decay**2)
    rest = np.array([last / decay, of_ratio])
    # Of a power law the slope at the end is that half way there.
    bend = abs((weight[-1] - weight[-2]) / (far[-1] - far[-2]) / _first_slope(weight[-len(far) :], far) - 1.0)
    share = min(WORST, EXACT_POWER + 4.0 * bend) if growth <= EXPONENTIAL else WORST
    return Tail(length, rest, share * (np.abs(rest) + np.array([0.0, last / decay])))


def _first_slope(y: np.ndarray, t: np.ndarray) -> float:
    return float((y[1] - y[0]) / (t[1] - t[0])) or np.inf
