"""What the rule of goals is asked to solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kullback.control.envs.simulator import Facts, Stepper
from kullback.control.goals.goals import GoalInputs, Goals
from kullback.control.goals.law import Law


@dataclass(frozen=True, eq=False)
class GoalTask:
    """An environment whose observations achieve goals, which of them are commanded, and how a policy reads them.

    facts     what is known of the environment; `stepper(lanes)` steps it
    horizon   the most steps of an episode
    discount  an example that took h steps counts discountʰ
    """

    facts: Facts
    stepper: Callable[[int], Stepper]
    goals: Goals
    law: Law
    inputs: GoalInputs
    horizon: int
    discount: float

    def __str__(self) -> str:
        labels = self.goals.goal.labels
        among = "" if labels is None else f" among {labels:,}"
        within = f" within {self.goals.within:g}" if self.goals.within else ""
        discount = "" if self.discount == 1.0 else f", discount {self.discount:g}"
        return f"{self.facts.actions}, horizon {self.horizon:,}, {self.law}{among}{within}{discount}"
