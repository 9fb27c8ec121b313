"""Which goals are commanded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from kullback.control.goals.goals import Goals
from kullback.errors import InputError


@dataclass(frozen=True, eq=False)
class Law:
    """The law of commanded goals.

    kind      "wanted" by the environment, "achieved" so far, "listed", or "drawn" by a function of the user's
    listed    [m, ...]; `drawn` (rng, n) -> [n, ...]
    """

    kind: Literal["wanted", "achieved", "listed", "drawn"]
    goals: Goals
    listed: np.ndarray | None = None
    drawn: Callable[[np.random.Generator, int], Any] | None = None

    def draw(
        self, rng: np.random.Generator, rows: Shaped[np.ndarray, "n ..."], pool: Shaped[np.ndarray, "m ..."] | None,
        again: bool = False,
    ) -> Shaped[np.ndarray, "n ..."]:  # fmt: skip
        """Goals to command where these are the observations.

        pool   the goals achieved so far; None or empty takes those that the observations achieve
        again  whether they follow others that were reached in the same episode: an environment wants no new ones there,
               and those achieved so far take their place
        """
        n = len(rows)
        if self.drawn is not None:
            goals = self.goals.as_goals(self.drawn(rng, n))
            if len(goals) != n:
                raise InputError(f"goals: the function returned {len(goals)} goals where {n} were asked for")
            return goals
        if self.listed is not None:
            return self.listed[rng.integers(len(self.listed), size=n)]
        if self.kind == "wanted" and not again:
            assert self.goals.wanted is not None
            return self.goals.wanted(rows)
        achieved = self.goals.achieved(rows) if pool is None or not len(pool) else pool
        return achieved[rng.integers(len(achieved), size=n)]

    def __str__(self) -> str:
        if self.listed is not None:
            return f"{len(self.listed):,} goals"
        return {"wanted": "goals of the environment", "achieved": "goals achieved so far"}.get(self.kind, "goals drawn")


def law_of(given: Any, goals: Goals) -> Law:
    """The law that a user gives: None, an array of goals, or a function (rng, n) -> goals. Raises `InputError`."""
    if given is None:
        return Law("achieved" if goals.wanted is None else "wanted", goals)
    if callable(given):
        return Law("drawn", goals, drawn=given)
    listed = goals.as_goals(given)
    if not len(listed):
        raise InputError("goals: there is none; pass at least one")
    return Law("listed", goals, listed)
