"""The rule that reaches goals by imitating what the policy itself did, relabelled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
import optax
from numpyro.distributions import BernoulliLogits, CategoricalLogits

from kullback.arguments import positive, share, whole
from kullback.control.goals.episodes import Reached
from kullback.control.goals.learning import FRESH, RelabelledLearning, State
from kullback.control.goals.program import Program
from kullback.control.goals.task import GoalTask
from kullback.control.learning.checks import within_choices
from kullback.control.learning.episodes import Tell
from kullback.control.learning.fits import message_of
from kullback.control.learning.means import if_all_alike, mean_of
from kullback.control.learning.telling import telling
from kullback.control.task import EPISODES
from kullback.errors import FitError, InputError
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.networks import Rows
from kullback.known import Known
from kullback.result import Estimate, Fit, Guarantee
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.training.driver import Outcome, drive
from kullback.training.optimiser import checked

CHOOSERS = {"choice": CategoricalLogits, "choices": CategoricalLogits, "switches": BernoulliLogits}
RATE, RATE_OF_TABLES = 3e-3, 0.03
BATCH, BATCH_OF_TABLES = 256, 4096  # a step of a table is cheap, and learns of few inputs
MOST_UPDATES = 1000  # in one round, so that progress shows
AVERAGED = 100  # steps of learning over which parameters are averaged; all of a round where that has more


@dataclass(frozen=True)
class RelabelledImitation(Rule):
    """Play towards commanded goals, take what was achieved for what was wanted, imitate all of it, and again.

    Beyond the source, a goal that is reached is followed by another in the same episode, since staying at one is no
    example of the way to the next, and a share of actions is random: without either, greedy policies get stuck.

    episodes  how many begin side by side in each round (fewer where the environment cannot be made again); every
              lane of them is played for one horizon
    updates   steps of learning in a round; None takes one for every step played (for a Table, every 8), up to 1000
    batch     examples a step, each a pair of a step played and a goal achieved later in its trajectory; None takes 256,
              and 4096 for a Table
    rate      step size; None takes 0.003, and 0.03 for a Table
    explore   share of actions drawn uniformly while learning (not from a box without bounds), so that each is tried
    memory    steps played that are kept to learn from, the oldest forgotten first
    until     stop as soon as the greedy policy reaches this share of commanded goals; None goes on to `steps`
    fresh     episodes that show at the end what was learned: so many greedy ones, as drawn, and of practice
    steps     of the environment, where `minimize` is not told otherwise
    optimiser an Optax transformation in the place of Adam with adaptive clipping; its updates are multiplied by `rate`,
              which is then 1 unless given
    """

    episodes: int = 16
    updates: int | None = None
    batch: int | None = None
    rate: float | None = None
    explore: float = 0.1
    memory: int = 200_000
    until: float | None = None
    fresh: int = EPISODES
    steps: int = 100_000
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    name: ClassVar[str] = "relabelled imitation"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = H(P, Q) − H(P) with P(a∣s, g) ∝ π(a∣s) P(g achieved later∣s, a), π the last Q"
    needs_p: ClassVar[str] = "an environment whose observations achieve goals"
    needs_q: ClassVar[str] = "a Conditional over its actions"
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Ghosh, Gupta, Reddy, Fu, Devin, Eysenbach and Levine (2021), arXiv:1912.06088, algorithm 1"
    aliases: ClassVar[tuple[str, ...]] = ("GCSL", "hindsight", "hindsight relabelling")

    def __post_init__(self) -> None:
        super().__post_init__()
        checked(self.optimiser)
        whole("memory", self.memory)
        whole("fresh", self.fresh, least=2)
        if self.rate is not None:
            positive("rate", self.rate)
        share("explore", self.explore)
        if self.until is not None and not 0 < self.until <= 1:
            raise InputError(f"until: {self.until} is no share of goals above 0 and up to 1")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if not isinstance(p.facts, GoalTask):
            return Missing("the first side is not Reaching", "kl.control.Reaching(env) as the first side")
        assert q.learnable is not None
        reason = _why_no_actor(q.learnable.structure, q.learnable.members, p.facts)
        if reason:
            return Missing(reason, "a kl.Conditional over the environment's actions")
        return Applies(dropped=("H(P)",), note="P moves with Q; the share of goals reached is reported")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        assert isinstance(p.facts, GoalTask)
        task, q = p.facts, within_choices(q, p.facts.facts.actions)
        learnable = q.learnable
        assert learnable is not None and isinstance(learnable.structure, ConditionalStructure)
        stepper = task.stepper(self.episodes)
        try:
            played = task.horizon * stepper.lanes
            is_table = isinstance(learnable.structure.network, Rows)
            usual = 1.0 if self.optimiser is not None else RATE_OF_TABLES if is_table else RATE
            rate = self.rate or usual
            batch = self.batch or (BATCH_OF_TABLES if is_table else BATCH)
            updates = self.updates or min(max(1, played // (8 if is_table else 1)), MOST_UPDATES)
            program = Program(
                structure=learnable.structure,
                inputs=task.inputs,
                discount=task.discount,
                updates=updates,
                batch=batch,
                span=float(max(updates, AVERAGED)),
                optimiser=self.optimiser,
            )
            seed = int(request.host_rng(0).integers(2**31))
            start = learnable.initial(request.host_rng(1), 0)
            blocks = max(1, self.memory // played)
            algorithm = RelabelledLearning(self.name, task, stepper, learnable, program, rate, blocks, self.explore,
                                           self.until, seed, start, self.fresh)  # fmt: skip
            outcome = drive(algorithm, request, self.steps)
            with telling(request.quiet) as tell:
                return _fit(q, algorithm, outcome, tell)
        finally:
            stepper.close()


def _fit(q: Known, algorithm: RelabelledLearning, outcome: Outcome, tell: Tell) -> Fit:
    state: State = jax.tree.map(np.asarray, outcome.state)
    free, fixed = state.learner.average, algorithm.fixed(state)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((free, fixed["x_mean"], fixed["x_scale"]))):
        raise FitError("q: the policy's parameters became NaN or infinite; pass a rule with a smaller rate=")
    assert q.learnable is not None and isinstance(q.learnable.structure, ConditionalStructure)
    learnable = replace(q.learnable, fixed=fixed)
    numbers: dict[str, Any] = {"episodes": algorithm.fresh, "train_nll": float(state.line[1])}
    for is_greedy, name in ((True, "greedy"), (False, "sampled")):
        tell(f"{algorithm.fresh:,} fresh episodes, {name}")
        numbers |= _shares(algorithm.attempts(state, is_greedy, FRESH), name)
    return Fit(
        FittedConditional(q.learnable.structure, fixed, q.name, free),
        _objective(*algorithm.fresh_losses(state, algorithm.fresh)),
        outcome.status,
        trace=outcome.trace,
        diagnostics=numbers,
        history=outcome.history,
        message=message_of(outcome),
        record=learnable.record(q.name, free),
    )


def _objective(losses: np.ndarray, weights: np.ndarray) -> Estimate:
    """H(P, Q) of the policy's own fresh trajectories, relabelled: a ratio of sums over lanes, with its error."""
    value = losses.sum() / weights.sum()
    n = len(losses)
    error = np.sqrt(np.square(losses - value * weights).sum() * n / max(n - 1, 1)) / weights.sum()
    return Estimate(float(value), float(error), Guarantee.CONSISTENT, "H(P, Q)", ("H(P)",))


def _shares(shown: Reached, name: str) -> dict[str, Estimate]:
    """The share of commanded goals that were reached, and the mean steps to those."""
    reached, taken = shown.reached.astype(float), shown.steps[shown.reached].astype(float)
    share = mean_of(reached, f"share of goals reached, {name}", "of 1", remark=if_all_alike(reached))
    numbers = {f"{name}_reached": share}
    if len(taken) > 1:
        numbers[f"{name}_steps"] = mean_of(taken, f"steps to goals reached, {name}", "steps")
    return numbers


def _why_no_actor(structure: Any, members: int, task: GoalTask) -> str:
    """Why a conditional cannot act in the environment, or nothing."""
    if not isinstance(structure, ConditionalStructure):
        return "Q does not depend on the observation and the goal, and a policy does"
    cls, wanted = structure.form.cls, CHOOSERS.get(task.facts.actions.kind)
    if members > 1 or (structure.components and wanted is not None):
        return "Q is a mixture, which does not act"
    if wanted is not None:
        return "" if cls is wanted else f"Q is {cls.__name__}, which does not choose among {task.facts.actions}"
    return ""
