"""Relabelled imitation, a rule that reaches goals: play, relabel, learn from all episodes so far, again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree
from numpyro.distributions import BernoulliLogits, CategoricalLogits

from kullback.arguments import positive, share, whole
from kullback.control.envs.simulator import Stepper
from kullback.control.goals.episodes import (
    Actor,
    Block,
    Learner,
    Program,
    Reached,
    at_start,
    attempts,
    learn,
    practice,
    relabelled_losses,
)
from kullback.control.goals.goals import GoalInputs, GoalTask
from kullback.control.learning.assessment import if_all_alike, mean_of, message_of, telling
from kullback.control.learning.episodes import Tell
from kullback.control.learning.policy import RunningMoments, merged
from kullback.control.learning.policy import at_start as moments_at_start
from kullback.control.task import EPISODES, within_choices
from kullback.errors import FitError, InputError
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.learnable import Learnable
from kullback.families.networks import Rows
from kullback.known import Known
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.training.driver import Iterative, Outcome, Progress, drive, fingerprint
from kullback.training.optimiser import checked, settings_in_words

NEAR = 0.25  # how far below `until` the share reached in practice may be when the greedy policy is looked at
LOOKS = 4  # rounds from one look to the next
PRACTICE, LEARN, LOOK, FRESH = range(4)  # streams of random numbers
LINE = ("step", "train_nll", "heldout_nll", "reached")


class ReachingState(NamedTuple):
    """Everything that changes: environments are reset at the start of each round, and so are not part of it.

    line    the numbers of the last round, as `LINE` names them
    solved  whether the greedy policy has reached the share that was asked for
    """

    learner: Learner
    seen: RunningMoments
    memory: Block
    rounds: Any
    line: Any
    solved: Any


class RelabelledLearning(Iterative):
    """Rounds of practice and learning, from the learnable's start."""

    def __init__(
        self,
        title: str,
        task: GoalTask,
        stepper: Stepper,
        learnable: Learnable,
        program: Program,
        rate: float,
        blocks: int,
        explore: float,
        until: float | None,
        seed: int,
        start: PyTree,
        fresh: int,
    ) -> None:
        self.title, self.task, self.stepper, self.learnable = title, task, stepper, learnable
        self.program, self.rate, self.blocks, self.until = program, rate, blocks, until
        self.explore, self.seed, self.start, self.fresh = explore, seed, start, fresh

    def init(self) -> ReachingState:
        facts, goals = self.task.env.facts, self.task.goals
        shape = (self.blocks, self.task.horizon, self.stepper.lanes)
        width = () if self.task.inputs.joined else (self.task.inputs.width,)
        memory = Block(
            np.zeros((*shape, *goals.observation.shape), np.float32 if goals.observation.labels is None else np.int32),
            np.zeros((*shape, *facts.actions.shape), np.int32 if facts.actions.is_discrete else np.float32),
            np.zeros((*shape, *goals.goal.shape), np.float32 if goals.goal.labels is None else np.int32),
            np.zeros(shape, np.int32),
        )
        fixed = self.learnable.fixed
        mean, scale = (np.broadcast_to(fixed[name], width) for name in ("x_mean", "x_scale"))
        line = np.array([0.0, np.inf, np.inf, 0.0])
        return ReachingState(
            at_start(self.start, self.program.descent),
            moments_at_start(mean, scale),
            memory,
            np.int32(0),
            line,
            np.bool_(False),
        )

    def step(self, state: ReachingState) -> ReachingState:
        n = int(state.rounds)
        fixed = self.fixed(state)
        actor = self._actor(state, self._number(n, PRACTICE), self.explore)
        played = practice(self.task, self.stepper, actor, self.pool(state), (self.seed, n, PRACTICE))
        new = _block(played.block)
        key = jax.random.key(self._number(n, LEARN))
        if not self.task.inputs.joined:
            state = state._replace(seen=_merged(self.task.inputs, state.seen, new))
            fixed = self.fixed(state)
        heldout = self._loss(fixed, state.learner.average, new, jax.random.fold_in(key, 0))
        memory = _stored(state.memory, new, np.int32(n % self.blocks))
        filled = np.int32(min(n + 1, self.blocks))
        learner, loss = learn(
            self.program,
            fixed,
            memory,
            filled,
            state.learner,
            np.asarray(self.rate, np.float32),
            jax.random.fold_in(key, 1),
        )
        steps = state.line[0] + (played.block.left > 0).sum()
        share = played.reached / max(played.commanded, 1)
        line = np.array([steps, loss, heldout, share])
        state = ReachingState(learner, state.seen, memory, np.int32(n + 1), line, state.solved)
        return state._replace(solved=np.bool_(self._is_solved(state)))

    def progress(self, state: ReachingState) -> Progress:
        steps, loss, heldout, share = (float(x) for x in state.line)
        words = f"{heldout:.4g} nats · {share:.0%} reached · {int(steps):,} steps"
        if not np.isfinite(loss) and state.rounds > 0:
            return Progress(heldout, int(steps), Status.DIVERGED, words=words)
        if state.solved:
            message = f"the greedy policy reached at least {self.until:.0%} of {self.fresh} commanded goals"
            return Progress(heldout, int(steps), Status.CONVERGED, message, words)
        return Progress(heldout, int(steps), words=words)

    def history(self, state: ReachingState) -> tuple[dict[str, float], ...]:
        return ({name: float(x) for name, x in zip(LINE, state.line, strict=True)},)

    def fingerprint(self) -> str:
        return self._fingerprint

    def fixed(self, state: ReachingState) -> Any:
        """The policy's fixed parameters, with inputs standardised by what was seen so far."""
        if self.task.inputs.joined:
            return self.learnable.fixed
        measured = self.task.inputs.measured
        mean, scale = np.asarray(state.seen.mean, np.float64), np.asarray(state.seen.scale, np.float64)
        return {
            **self.learnable.fixed,
            "x_mean": np.where(measured, mean, 0.0),
            "x_scale": np.where(measured, scale, 1.0),
        }

    def pool(self, state: ReachingState) -> np.ndarray | None:
        """The goals achieved so far: each once where they can be told apart, else all that the memory holds."""
        if self.task.law.kind not in ("achieved", "wanted"):
            return None
        filled = min(int(state.rounds), self.blocks)
        there = np.asarray(state.memory.left[:filled]) > 0
        achieved = np.asarray(state.memory.achieved[:filled])[there]
        return achieved if self.task.goals.within > 0 else np.unique(achieved, axis=0)

    def attempts(self, state: ReachingState, greedy: bool, stream: int) -> Reached:
        """Fresh episodes of the policy as it stands."""
        seed = (self.seed, int(state.rounds), stream, int(greedy))
        return attempts(
            self.task,
            self.program.structure,
            state.learner.average,
            self.fixed(state),
            greedy,
            seed,
            self.fresh,
            pool=self.pool(state),
        )

    def fresh_losses(self, state: ReachingState, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Of lanes of fresh practice, at least so many: the sums of weighted losses at the policy, and of weights."""
        fixed, parts = self.fixed(state), []
        for k in range(-(-episodes // self.stepper.lanes)):
            seed = (self.seed, int(state.rounds), FRESH, k)
            number = int(np.random.SeedSequence(seed).generate_state(1)[0])
            actor = self._actor(state, number, self.explore)
            block = practice(self.task, self.stepper, actor, self.pool(state), seed).block
            parts.append(self._sums(fixed, state.learner.average, _block(block), jax.random.key(number)))
        losses, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        return losses, weights

    def _actor(self, state: ReachingState, seed: int, explore: float) -> Actor:
        free, fixed = state.learner.average, self.fixed(state)
        return Actor(self.task, self.program.structure, free, fixed, seed, explore=explore)

    def _is_solved(self, state: ReachingState) -> bool:
        if self.until is None or int(state.rounds) % LOOKS or state.line[3] < self.until - NEAR:
            return False
        return bool(self.attempts(state, True, LOOK).reached.mean() >= self.until)

    def _loss(self, fixed: PyTree, free: PyTree, block: Block, key: jax.Array) -> float:
        losses, weights = self._sums(fixed, free, block, key)
        return float(losses.sum() / weights.sum())

    def _sums(self, fixed: PyTree, free: PyTree, block: Block, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        losses, weights = relabelled_losses(self.program, fixed, free, block, key)
        return np.asarray(losses, np.float64), np.asarray(weights, np.float64)

    def _number(self, *stream: int) -> int:
        return int(np.random.SeedSequence((self.seed, *stream)).generate_state(1)[0])

    @cached_property
    def _fingerprint(self) -> str:
        task = self.task
        program = settings_in_words(replace(self.program, structure=None))
        about = (self.title, program, repr(self.program.structure), repr(task.env.facts), str(task), repr(task.inputs))
        listed = () if task.law.listed is None else (task.law.listed,)
        numbers = (self.rate, self.blocks, self.explore, self.until or -1.0, self.seed, self.stepper.lanes)
        return fingerprint(*about, *listed, *numbers, self.learnable.fixed, self.start)


def _block(block: Block) -> Block:
    """A memory of one block."""
    return Block(*(leaf[None] for leaf in block))


@jax.jit
def _stored(memory: Block, block: Block, at: Int[Array, ""]) -> Block:
    return jax.tree.map(
        lambda whole, one: jax.lax.dynamic_update_slice_in_dim(whole, one.astype(whole.dtype), at, 0), memory, block
    )


@partial(jax.jit, static_argnums=0)
def _merged(inputs: GoalInputs, seen: RunningMoments, block: Block) -> RunningMoments:
    """The moments of inputs, with those of a block: its observations beside the goals achieved after them."""
    flat = lambda leaf, tail: leaf.reshape(-1, *tail)  # noqa: E731
    observation = flat(block.observation, inputs.observation.shape)
    achieved = flat(block.achieved, inputs.goal.shape)
    left = block.left.reshape(-1)
    rows = inputs.join(observation, achieved, left, jnp)
    return merged(seen, rows, (left > 0).astype(jnp.result_type(float)))


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
        task, q = p.facts, within_choices(q, p.facts.env.facts.actions)
        learnable = q.learnable
        assert learnable is not None and isinstance(learnable.structure, ConditionalStructure)
        assert task.env.stepper is not None
        stepper = task.env.stepper(self.episodes)
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
            algorithm = RelabelledLearning(
                self.name,
                task,
                stepper,
                learnable,
                program,
                rate,
                blocks,
                self.explore,
                self.until,
                seed,
                start,
                self.fresh,
            )
            outcome = drive(algorithm, request, self.steps)
            with telling(request.quiet) as tell:
                return _fit(q, algorithm, outcome, tell)
        finally:
            stepper.close()


def _fit(q: Known, algorithm: RelabelledLearning, outcome: Outcome, tell: Tell) -> Fit:
    state: ReachingState = jax.tree.map(np.asarray, outcome.state)
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


def _why_no_actor(structure: object, members: int, task: GoalTask) -> str:
    """Why a conditional cannot act in the environment, or nothing."""
    if not isinstance(structure, ConditionalStructure):
        return "Q does not depend on the observation and the goal, and a policy does"
    cls, wanted = structure.form.cls, CHOOSERS.get(task.env.facts.actions.kind)
    if members > 1 or (structure.components and wanted is not None):
        return "Q is a mixture, which does not act"
    if wanted is not None:
        return "" if cls is wanted else f"Q is {cls.__name__}, which does not choose among {task.env.facts.actions}"
    return ""
