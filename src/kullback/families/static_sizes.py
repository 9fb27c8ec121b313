"""Whole numbers that a law is built with, not learned: how many trials, or of what dimension."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpyro.distributions as dist

from kullback.distributions import BinomialGivenTotal, DirichletMultinomialGivenTotal, MultinomialGivenTotal
from kullback.errors import InputError
from kullback.known import Known

# Laws that NumPyro builds for a number of trials that is known when a program is compiled.
OF_TRIALS = (dist.MultinomialLogits, dist.MultinomialProbs, dist.DirichletMultinomial)
GIVEN_TOTAL = {
    dist.MultinomialLogits: MultinomialGivenTotal,
    dist.MultinomialProbs: MultinomialGivenTotal,
    dist.DirichletMultinomial: DirichletMultinomialGivenTotal,
}
OF_DIMENSION = (dist.LKJ, dist.LKJCholesky)


def static_sizes(cls: type, fixed: Mapping[str, Any], other: Known) -> dict[str, int]:
    """The numbers that the class takes beside its parameters, from what is held fixed or from the other side.

    Raises `InputError` where the outcomes of the other side do not agree on them.
    """
    if cls in OF_DIMENSION:
        dimension = int((other.event_shape or (0,))[-1])
        if int(fixed.get("dimension", dimension)) != dimension:
            raise InputError(f"dimension: outcomes of {other.name} have {dimension} rows; leave it out, or pass that")
        return {"dimension": dimension}
    if cls not in OF_TRIALS:
        return {}
    stated = np.unique(np.asarray(fixed["total_count"])) if "total_count" in fixed else _totals(other)
    if stated is None:
        raise InputError(f"total_count: {other.name} does not tell how many trials an outcome has; pass total_count=")
    if len(stated) > 1:
        raise InputError(
            f"total_count: outcomes of {stated[0]} to {stated[-1]} trials are of no one {cls.__name__}; fit those of "
            "each total apart, or one kl.Family(dist.Categorical) to the trials"
        )
    return {"total_count": int(stated[0])}


def trials_of(cls: type, fixed: Mapping[str, Any], other: Known) -> tuple[type, dict[str, int]]:
    """The class that a conditional of `cls` learns from these outcomes, and the numbers that it is built with.

    Counts that all have one total are of `cls` with that total. Where each has its own, which is its sum, they are of
    the law given the total; so are successes and failures [2] without a `total_count`.
    Raises `InputError` where totals that are stated are not those of the outcomes.
    """
    if cls in (dist.BinomialLogits, dist.BinomialProbs) and "total_count" not in fixed and other.event_shape == (2,):
        return BinomialGivenTotal, {}
    if cls not in OF_TRIALS:
        return cls, static_sizes(cls, fixed, other)
    totals = _totals(other)
    if totals is None or len(totals) == 1:
        return cls, static_sizes(cls, fixed, other)
    if "total_count" in fixed and not np.array_equal(np.unique(fixed["total_count"]), totals):
        raise InputError(
            f"total_count: the counts of an outcome sum to {totals[0]:g} to {totals[-1]:g}, which is how many trials "
            "it has; leave total_count out"
        )
    return GIVEN_TOTAL[cls], {}


def _totals(other: Known) -> np.ndarray | None:
    sample = other.sample
    if sample is not None and sample.values is not None:
        counted = sample.values if sample.weights is None else sample.values[sample.weights > 0]
        return np.unique(counted.sum(-1))
    total = getattr(other.distribution, "total_count", None)
    return None if total is None else np.unique(np.asarray(total))


def require_parameters(cls: type) -> None:
    """Raise `InputError` for a class that is built of something that is neither a parameter nor a size."""
    known = {*cls.arg_constraints, "self", "total_count", "dimension"}
    needed = [
        name
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    beyond = [name for name in needed if name not in known]
    if beyond and cls.arg_constraints:
        raise InputError(
            f"distribution: {cls.__name__} is built of {', '.join(beyond)}, so it is not a family by itself; use a "
            "class whose parameters are numbers, or kl.Density for a law of your own"
        )
