"""The rule that evaluates a given policy by playing it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from kullback.control.learning.assessment import assess, telling
from kullback.control.task import Fresh, Task, task_of, why_no_actor
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Question, Request, Rule


@dataclass(frozen=True)
class FreshEpisodes(Rule):
    """KL(Q‖P_opt) up to log Z of a policy that is given, from episodes that it plays.

    episodes  how many are played greedily, and how many as the policy draws; at least 2
    budget    the most environment steps of all of them

    What is None is as `kl.Optimal` says.
    """

    episodes: int | None = None
    budget: int | None = None

    name: ClassVar[str] = "fresh episodes"
    question: ClassVar[Question] = "estimate"
    identity: ClassVar[str] = "KL(π‖P_opt) = log Z − E_π[R]/α + KL(π‖π₀)"
    needs_p: ClassVar[str] = "a fitted policy"
    needs_q: ClassVar[str] = "Optimal"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 5.0
    source: ClassVar[str] = "Levine (2018), arXiv:1805.00909, section 2"
    aliases: ClassVar[tuple[str, ...]] = ("rollouts", "Monte Carlo evaluation")

    def __post_init__(self) -> None:
        super().__post_init__()
        Fresh(self.episodes, self.budget)

    def _task(self, q: Known) -> Task | None:
        """The environment, to be played as this rule says."""
        task = task_of(q)
        if task is None or (self.episodes is None and self.budget is None):
            return task
        return replace(task, fresh=Fresh(self.episodes, self.budget))

    def check(self, p: Known, q: Known) -> Applies | Missing:
        task = self._task(q)
        if task is None:
            return Missing("the second side is not Optimal", "kl.Optimal(env) as the second side")
        if p.origin is None:
            return Missing("the first side is not a fitted policy", "the q of a fit to Optimal")
        if task.temperature.is_adapted:
            return Missing("the temperature is to be found, and a given policy is judged at one", "a number for it")
        reason = why_no_actor(p.origin.structure, p.origin.members, task)
        return Missing(reason) if reason else Applies(dropped=("log Z",), note=str(task.closing))

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        task = self._task(q)
        assert task is not None and p.origin is not None
        acting = task.acting(p.origin.structure)
        alpha, rng = task.temperature.last, request.host_rng()
        with telling(request.quiet) as tell:
            report = assess(task, acting, p.origin.free, task.fixed(p.origin.fixed), alpha, rng, tell)
        return replace(report.objective, diagnostics=report.numbers)
