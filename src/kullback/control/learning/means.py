"""A mean over a few episodes, and an error that is honest about how few they are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from kullback.control.task import EPISODES
from kullback.result import Estimate, Guarantee

LEVEL = 0.975


def mean_of(
    x: Float[np.ndarray, " n"],
    quantity: str,
    unit: str,
    guarantee: Guarantee = Guarantee.UNBIASED,
    remark: str = "",
    cut: int = 0,
) -> Estimate:
    """The mean of n ≥ 2 independent numbers, with a standard error s so that ±1.96 s is Student's interval at 95 %.

    cut  how many of them are of episodes that were cut before their end
    """
    values = np.asarray(x, np.float64)
    n, spread = len(values), values.std(ddof=1) if np.ptp(values) else 0.0
    error = float(spread / np.sqrt(n) * stdtrit(n - 1, LEVEL) / ndtri(LEVEL))
    return Estimate(float(values.mean()), error, guarantee, quantity, reason=remark, unit=unit,
                    diagnostics={"cut": cut, "episodes": n})  # fmt: skip


def if_all_alike(x: Float[np.ndarray, " n"]) -> str:
    """What is to be said of few episodes that all gave the same: a standard error of 0 takes that for certain."""
    n = len(x)
    if n >= EPISODES or np.ptp(x):
        return ""
    return f"all {n} episodes gave the same: at 95 %, at most {1 - 0.05 ** (1 / n):.2g} of all do otherwise"
