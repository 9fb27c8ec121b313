"""What may be said of an estimate from two samples: two sides, a lower bound that still rises, or at least a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kullback.result import Guarantee

if TYPE_CHECKING:
    from kullback.estimate.density_ratio.estimator import ScoredDivergence

MOST_UNSUPPORTED = 5.0  # standard errors


@dataclass(frozen=True)
class Verdict:
    """The value and the standard error that may be stated, of which guarantee, and the reason where it is a bound."""

    value: float
    error: float
    guarantee: Guarantee
    reason: str = ""


def verdict_on(found: ScoredDivergence, value: float, error: float, beyond: bool) -> Verdict:
    """What `value` ± `error`, an estimate that the scores are a part of, is worth.

    beyond  whether more of P lies where Q has no rows than the standard error covers

    Two sides are claimed where the rows of Q carry the ratio and the value does not rise by more than its standard
    error, and what the scores cost, from half of the rows to all of them; a rise below that joins the
    error, and so does what is owed to ratios that next to no row of Q has.
    """
    rising, beyond = found.rise > error + found.cost, beyond or found.overlap.unsupported > MOST_UNSUPPORTED * error
    if found.overlap.enough and not rising and not beyond:
        unknown = np.array([error, max(found.rise, 0.0), found.overlap.unsupported])
        return Verdict(value, float(np.linalg.norm(unknown)), Guarantee.CONSISTENT)
    clipped, of_clipped = found.clipped
    if found.overlap.enough and not beyond:
        reason = (
            f"still rising with the number of rows, by {found.rise:.2g} nats from half of them to all: a lower bound"
        )
        return Verdict(clipped, of_clipped, Guarantee.LOWER_BOUND, reason)
    if found.bound is None:
        reason = f"{_on_overlap(found)}: a lower bound"
        return Verdict(clipped, of_clipped, Guarantee.LOWER_BOUND, reason)
    reason = f"{_on_overlap(found)}: a lower bound that holds with probability 0.975, whatever the laws"
    return Verdict(max(found.bound, 0.0), 0.0, Guarantee.LOWER_BOUND, reason)


def _on_overlap(found: ScoredDivergence) -> str:
    if found.overlap.enough:
        return "part of P lies beyond the rows of Q, which do not tell how small Q is there"
    rows = max(1, round(found.overlap.effective))
    return f"{rows:,} row{'s' if rows > 1 else ''} of Q's sample carr{'y' if rows > 1 else 'ies'} what it says of P"
