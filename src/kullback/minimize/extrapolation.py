"""Expectation maximisation in fewer steps: every two of them are extrapolated.

Near an optimum a step F takes what is missing from an error e to M e, and where components overlap M has eigenvalues
close to 1: thousands of steps go the same way. From r = F(θ) − θ and v = (F(F(θ)) − F(θ)) − r the extrapolated point
is θ − 2 a r + a² v with a = −‖r‖/‖v‖, which would remove the error of one eigenvalue, and a step from it follows. Where
its likelihood is not above that of F(θ), it is left for F(F(θ)), so that the likelihood never falls.
Source: Varadhan and Roland (2008), Simple and globally convergent methods for accelerating the convergence of any EM
algorithm, scheme S3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kullback.minimize.normal_components import NormalComponents

_CYCLES = 7  # of three steps each
_MOST_RATIO = 0.999
_QUIET = 2  # cycles in a row of which little is expected


@dataclass(frozen=True)
class Extrapolated:
    """Where some cycles ended, the objective a step before, its last plain decrease, the steps, and whether to stop."""

    at: Any
    value: float
    decrease: float
    steps: int
    ended: bool


def extrapolated(rows: NormalComponents, at: Any, tolerance: float) -> Extrapolated:
    """Cycles from the parameters `at`, until less than `tolerance` nats of decrease are expected of any more."""
    value, decrease, steps, slowest, quiet = np.inf, np.nan, 0, 0.0, 0
    for _ in range(_CYCLES):
        last, (before, *first) = value, _stepped(rows, at)
        value, *second = _stepped(rows, first)
        steps, decrease = steps + 2, before - value
        if not np.isfinite(value):
            return Extrapolated(second, np.inf, np.nan, steps, True)
        start, one, two = (rows.flat(*each) for each in (at, first, second))
        r = one - start
        v = (two - one) - r
        size, bend = np.linalg.norm(r), np.linalg.norm(v)
        # The decrease is of second order in the error, and falls by the square of its ratio. What an extrapolation has
        # just changed falls fast at first, so that the slowest of some cycles counts.
        slowest = max(slowest, min(np.square(np.linalg.norm(two - one) / size), _MOST_RATIO) if size > 0 else 0.0)
        small = decrease / (1.0 - slowest) < tolerance and last - value < tolerance
        quiet = quiet + 1 if small else 0
        rounding = np.finfo(float).eps * max(1.0, abs(value))
        if quiet == _QUIET or decrease <= rounding or not bend > 0:
            return Extrapolated(second, value, decrease, steps, True)
        a = -max(1.0, size / bend)
        tried = rows.unflat(start - 2.0 * a * r + a * a * v, second[1])
        at = second
        if a < -1.0 and not rows.narrowest(tried[1]).any():
            reached, *after = _stepped(rows, tried)
            steps += 1
            if reached <= value:
                at, value = after, reached
    return Extrapolated(at, value, decrease, steps, False)


def _stepped(rows: NormalComponents, at: Any) -> Any:
    """The objective at the parameters, and those after a step."""
    log_q, *after = rows.step(*at)
    return -float(rows.w @ log_q), *after
