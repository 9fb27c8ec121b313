"""∫ P and ∫ P log(P/Q) over a line, by adaptive Gauss–Kronrod panels, with an error estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kullback.errors import EstimateError
from kullback.estimate.cubature import adaptive
from kullback.estimate.modes import Mass
from kullback.estimate.tails import NEVER, Tail, examine
from kullback.estimate.underflow import Guarded, guarded
from kullback.rule import Request

MASS = 1e-6  # of the unit: a weight that counts as mass
LogDensity1D = Callable[[np.ndarray], np.ndarray]


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

    def parts(self, x: np.ndarray, log_slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    log_p: LogDensity1D, log_q: LogDensity1D | None, mass: Mass, inside: np.ndarray, tolerance: float, panels: int
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
            return Integrals(np.array([1.0, np.inf]), np.zeros(2), log_unit, 0, _divergence(mass, side))
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
    return Integrals(value, error, log_unit, used, reason, deficit, integrand.deepest, integrand.extent)


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
