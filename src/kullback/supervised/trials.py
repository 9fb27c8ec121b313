"""Counts out of a total for each row: the total is data, the sum of a row's counts, and no parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Num

from kullback.distributions import GivenTotal
from kullback.errors import InputError
from kullback.families.static_sizes import OF_TRIALS
from kullback.known.support import Support, from_constraint

BINOMIAL = (dist.BinomialLogits, dist.BinomialProbs)


def row_totals(cls: type, fixed: Mapping[str, Any]) -> Num[np.ndarray, " n"] | None:
    """The totals of binomial counts that have one each, where the settings say them; None where one is for all."""
    totals = np.asarray(fixed.get("total_count", 0))
    return totals if cls in BINOMIAL and totals.ndim == 1 else None


def successes_and_failures(y: np.ndarray, totals: Num[np.ndarray, " n"] | None) -> np.ndarray:
    """Counts y [n] out of totals [n] as pairs [n, 2]; y itself without totals, or where it is pairs already."""
    if totals is None or y.ndim > 1:
        return y
    if totals.shape != y.shape:
        raise InputError(
            f"total_count: totals of shape {totals.shape} for {len(y)} rows; pass y of shape [n, 2], successes and "
            "failures, and no total_count"
        )
    beyond = (y < 0) | (y > totals) | (y != np.round(y))
    if beyond.any():
        row = int(np.argmax(beyond))
        raise InputError(f"y: row {row}, {y[row]:g}, is no count from 0 to its total of {totals[row]:g}")
    return np.stack([y, totals - y], -1)


def counts_support(cls: type, fixed: Mapping[str, Any], y: np.ndarray) -> Support | None:
    """The support of vectors of counts [k], whatever they sum to; None for outcomes of another kind."""
    pairs = cls in BINOMIAL and y.shape[1:] == (2,) and ("total_count" not in fixed)
    return from_constraint(GivenTotal.support) if y.ndim == 2 and (cls in OF_TRIALS or pairs) else None


def trials_of_fit(q: Any) -> int | None:
    """How many trials a fitted conditional of counts predicts: one where outcomes had totals of their own; None for
    outcomes of another kind."""
    form = q.structure.form
    return 1 if issubclass(form.cls, GivenTotal) else dict(form.sizes).get("total_count")


def require_trials(q: Any, y: np.ndarray) -> None:
    """Raise `InputError` where counts y [n, k] have another total than those that a fit goes on from."""
    total = None if issubclass(q.structure.form.cls, GivenTotal) else trials_of_fit(q)
    if total is not None and (y.sum(-1) != total).any():
        raise InputError(
            f"y: rows of {y.sum(-1).min():g} to {y.sum(-1).max():g} trials, and the fit to go on from has rows of "
            f"{total}; fit all rows at once"
        )
