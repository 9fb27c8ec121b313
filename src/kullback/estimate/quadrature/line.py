"""∫ P and ∫ P log(P/Q) over a line, by adaptive Gauss–Kronrod panels, with an error estimate.

Beyond the last point that double precision resolves, `examine` decides whether nothing is left, a remainder that can be
stated, or a divergent integral.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kullback.errors import EstimateError
from kullback.estimate.log_density import Guarded, guarded
from kullback.estimate.quadrature.cubature import adaptive
from kullback.estimate.quadrature.mass import LogDensity1D, Mass
from kullback.rule import Request

# The tails

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
    remainder: Float[np.ndarray, " 2"]
    error: Float[np.ndarray, " 2"]
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


# The integrals

MASS = 1e-6  # of the unit: a weight that counts as mass


@dataclass(frozen=True)
class Settings:
    """tolerance: nats; panels: the most subdivisions of a panel or box; draw: whether to look for mass by draws."""

    tolerance: float
    panels: int
    request: Request
    draw: bool = False


@dataclass(frozen=True)
class Integrals:
    """[∫ P, ∫ P log(P/Q)] in units of exp(`log_unit`), with the errors of both; `reason` says why where it is ∞.

    deficit  how much more ∫ P log(P/Q) may be where log Q underflows to −∞ (`deepest`, its last value before that)
    extent   the largest |log(P/Q)| met where P has mass
    """

    value: Float[np.ndarray, " 2"]
    error: Float[np.ndarray, " 2"]
    log_unit: float
    panels: int
    reason: str = ""
    deficit: float = 0.0
    deepest: float = 0.0
    extent: float = 0.0

    @property
    def log_mass(self) -> float:
        """log ∫ P."""
        if not self.value[0] > 0:
            raise EstimateError("p and q: quadrature found no mass; give the side a sampler, or another unit")
        return float(np.log(self.value[0])) + self.log_unit

    @property
    def log_mass_error(self) -> float:
        return float(self.error[0] / self.value[0])


def infinite(reason: str, log_unit: float = 0.0, panels: int = 0) -> Integrals:
    """∫ P log(P/Q) = ∞, and why."""
    value = np.array([1.0, np.inf])
    return Integrals(value=value, error=np.zeros(2), log_unit=log_unit, panels=panels, reason=reason)


@dataclass
class Weighted:
    """The integrand [w, w (log P − log Q), w deficit] with w = P / exp(log_unit), and where Q = 0 < w was met."""

    log_p: Callable[[np.ndarray], np.ndarray]
    log_q: Guarded | None
    log_unit: float
    extent: float = 0.0

    @property
    def escaped(self) -> np.ndarray | None:
        return None if self.log_q is None else self.log_q.edge

    @property
    def deepest(self) -> float:
        return 0.0 if self.log_q is None else self.log_q.deepest

    def parts(
        self, x: Float[np.ndarray, " n *d"], log_slope: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """(log w in the measure of integration, log-ratio where w > 0)."""
        return self._parts(x, log_slope)[:2]

    def _parts(self, x: np.ndarray, log_slope: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        log_p = self.log_p(x)
        weight = np.where(log_p < np.inf, log_p + log_slope - self.log_unit, -np.inf)
        ratio, deficit = np.zeros(len(x)), np.zeros(len(x))
        counted = weight > NEVER
        if self.log_q is not None and counted.any():
            log_q, deficit[counted] = self.log_q(x[counted])
            ratio[counted] = log_p[counted] - log_q
        return weight, ratio, deficit

    def escape_reason(self) -> str:
        """Where Q is 0 and P is not, in words."""
        shown = np.array2string(np.asarray(self.escaped), precision=6)
        return f"Q's log-density is −∞ at x = {shown}, where P's is not"

    def __call__(self, x: np.ndarray, log_slope: np.ndarray) -> np.ndarray:
        weight, ratio, deficit = self._parts(x, log_slope)
        ratio = np.where(np.isfinite(ratio), ratio, 0.0)
        w = np.where(weight > NEVER, np.exp(np.clip(weight, NEVER, 700.0)), 0.0)
        self.extent = max(self.extent, float(np.max(np.abs(ratio), where=w > MASS, initial=0.0)))
        return np.stack([w, w * ratio, w * deficit], -1)


def along_line(
    log_p: LogDensity1D,
    log_q: LogDensity1D | None,
    mass: Mass,
    inside: Float[np.ndarray, " k"],
    tolerance: float,
    panels: int,
) -> Integrals:
    """[∫ P, ∫ P log(P/Q)] over a line split at `inside`; without log_q, the first alone.

    tolerance  the error aimed at, in units of the rough mass; panels: the most subdivisions
    """
    guard = None if log_q is None else guarded(log_q, inside)
    line, integrand = mass.line, Weighted(log_p, guard, mass.peak + mass.log_mass)

    def profile(side: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        return lambda t: integrand.parts(*line.tail_point(side, t))

    ends = {-1: line.lower, 1: line.upper}
    rooms = {side: line.tail(side)[0] if np.isfinite(end) else 0.0 for side, end in ends.items()}
    tails = {side: examine(profile(side), line.tail(side)[1], rooms[side]) for side in ends}
    log_unit = integrand.log_unit
    for side, tail in tails.items():
        if tail.diverges:
            return infinite(_divergence(mass, side), log_unit)
    cuts = _kept(mass, inside, tails)
    boxes = [(cuts[at : at + 1], cuts[at + 1 : at + 2]) for at in range(len(cuts) - 1)]
    value, error, used = adaptive(lambda u: integrand(*line.point(u[:, 0])), boxes, tolerance, panels * len(boxes))
    deficit = float(value[2])
    if integrand.deepest < 0 and any(tail.remainder[0] > 0 for tail in tails.values()):
        deficit = np.inf  # P falls like a power, and what log Q does there cannot be seen
    value, error = value[:2], error[:2]
    for tail in tails.values():
        value, error = value + tail.remainder, error + tail.error
    reason = ""
    if integrand.escaped is not None:
        value = np.array([value[0], np.inf])
        reason = integrand.escape_reason()
    return Integrals(
        value=value,
        error=error,
        log_unit=log_unit,
        panels=used,
        reason=reason,
        deficit=deficit,
        deepest=integrand.deepest,
        extent=integrand.extent,
    )


def _divergence(mass: Mass, side: int) -> str:
    end = mass.line.lower if side < 0 else mass.line.upper
    where = f"{'−' if side < 0 else ''}∞" if np.isinf(end) else f"{end:g}"
    return f"log P − log Q grows so fast towards x = {where} that its mean under P diverges there"


def _kept(mass: Mass, inside: np.ndarray, tails: dict[int, Tail]) -> np.ndarray:
    """The cuts, without those beyond the last point of a tail that matters."""
    line = mass.line
    cuts = line.cuts(np.concatenate([mass.inside, inside]))
    first = line.low - line.tail(-1)[0] * tails[-1].length
    last = line.high + line.tail(1)[0] * tails[1].length
    return np.unique(np.concatenate([[first, last], cuts[(cuts > first) & (cuts < last)]]))
