"""A training by episodes under the driver: calls of about equal time, greedy evaluations, progress, history, the fit.

The history is made of running statistics of the episodes that the training has played. `PlayingRule` is what the rules
that train so share, from the two sides to the fit.
"""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from kullback.control.envs.simulator import MOST_REWARD, Stepper
from kullback.control.learning.assessment import fit_of
from kullback.control.learning.episodes import Played, play
from kullback.control.learning.policy import Fixed, RunningMoments, scale_of
from kullback.control.task import Task, fills_the_box, remark_on, task_of, wanted, why_no_actor, within_choices
from kullback.errors import EnvironmentFault
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.result import Fit, Status
from kullback.rule import Missing, Request, Rule
from kullback.training.driver import Iterative, Progress, drive, fingerprint
from kullback.training.ravel import on_host

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Sizes = TypeVar("Sizes", bound="DataclassInstance")

# Where a training stands, and statistics of its episodes.

CURVE = 64  # lines recorded in one call
COLUMNS = ("step", "objective", "return", "kl", "temperature", "episodes", "length")
LEAST = 1e-6  # weight, so that nothing is divided by 0
MOST_STEPS = 2**31 - 1


class Stopping(NamedTuple):
    """When a training and a call of it end.

    total      environment steps of the whole training; `budget`: blocks or rounds of this call
    until      the greedy return asked for
    threshold  the share of the way to `until` at which greedy episodes are first played
    """

    total: Int[Array, ""]
    until: Float[Array, ""]
    threshold: Float[Array, ""]
    budget: Int[Array, ""]

    @classmethod
    def after(cls, steps: int, until: float | None, threshold: float) -> Stopping:
        """On the host, for a call of one block or round."""
        number = jnp.result_type(float).type
        return on_host(
            cls,
            total=np.int32(min(steps, MOST_STEPS)),
            until=np.asarray(np.inf if until is None else until, number),
            threshold=np.asarray(threshold, number),
            budget=np.int32(1),
        )


class Counters(NamedTuple):
    """How far a training is, and when its greedy policy is evaluated.

    steps    environment steps so far; `updates`: blocks or rounds learned from
    evaluate_from  the steps from which on greedy episodes may be played (again); `evaluate`: whether they are due now
    greedy   the mean return of those that were played last
    failed   the block or round whose update was not finite, and was not made, negative if already rewards or
             observations were not; or 0
    """

    steps: Int[Array, ""]
    updates: Int[Array, ""]
    evaluate_from: Int[Array, ""]
    evaluate: Bool[Array, ""]
    greedy: Float[Array, ""]
    failed: Int[Array, ""]


class Recording(NamedTuple):
    """Lines of history written in this call [CURVE, columns], and how many."""

    lines: Float[Array, "r c"]
    count: Any  # Int[Array, ""]: the type checker knows the method of tuples

    def cleared(self) -> Recording:
        """No line yet, at the start of a call."""
        return self._replace(count=np.zeros((), np.int32))

    def with_line(self, line: Float[Array, " c"], is_written: Bool[Array, ""] | bool = True) -> Recording:
        """One line more, inside a compiled program; none where it is not written."""
        line = line.astype(self.lines.dtype)
        if is_written is not True:
            line = jnp.where(is_written, line, self.lines[self.count])
        return Recording(self.lines.at[self.count].set(line), self.count + jnp.asarray(is_written, self.count.dtype))


def nothing_counted(dtype: DTypeLike) -> tuple[Counters, Recording]:
    """Before the first step, on the host."""
    zero, lines = np.zeros((), np.int32), np.zeros((CURVE, len(COLUMNS)), dtype)
    counters = on_host(
        Counters,
        steps=zero,
        updates=zero,
        evaluate_from=zero,
        evaluate=np.zeros((), bool),
        greedy=np.full((), -np.inf, dtype),
        failed=zero,
    )
    return counters, on_host(Recording, lines=lines, count=zero)


class EpisodeStatistics(NamedTuple):
    """Sums over episodes.

    playing   of the episodes being played: the return and the discounted soft return so far, and what else a rule
              counts along [k, n]
    recent    of those that finished, the discounted sums of both and of their lengths [3]; `weight`: of ones
    first     the mean return of those that finished in the first call in which any did
    finished  how many there were
    """

    playing: Float[Array, "k n"]
    recent: Float[Array, " 3"]
    weight: Float[Array, ""]
    first: Float[Array, ""]
    finished: Int[Array, ""]


def nothing_played(sums: int, lanes: int, dtype: DTypeLike) -> EpisodeStatistics:
    """Before the first step, on the host."""
    zero = np.zeros((), dtype)
    return on_host(
        EpisodeStatistics,
        playing=np.zeros((sums, lanes), dtype),
        recent=np.zeros(3, dtype),
        weight=zero,
        first=zero,
        finished=np.zeros((), np.int32),
    )


def with_ended(
    statistics: EpisodeStatistics,
    playing: Float[Array, "k n"],
    over: Bool[Array, "t n"],
    ends: Float[Array, "t 3 n"],
    memory: float,
) -> EpisodeStatistics:
    """The statistics after more steps.

    playing  sums of the episodes that are being played now
    over     which episodes ended [t, n]; `ends`: return, discounted soft return and length so far [t, 3, n]
    memory   of the mean over finished episodes, for each that finishes
    """
    count, dtype = jnp.sum(over), ends.dtype
    mean = jnp.sum(jnp.where(over[:, None], ends, 0.0), (0, 2)) / jnp.maximum(count, 1)
    fade = (memory ** count.astype(dtype)).astype(dtype)
    return EpisodeStatistics(
        playing=playing,
        recent=fade * statistics.recent + (1.0 - fade) * mean,
        weight=fade * statistics.weight + (1.0 - fade),
        first=jnp.where(statistics.finished > 0, statistics.first, mean[0]),
        finished=statistics.finished + count.astype(statistics.finished.dtype),
    )


def recent(statistics: EpisodeStatistics, playing: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """Return, discounted soft return and length of recent episodes; before any has finished, `playing` [3]."""
    return jnp.where(statistics.finished > 0, statistics.recent / jnp.maximum(statistics.weight, LEAST), playing)


def is_due(
    statistics: EpisodeStatistics, steps: Int[Array, ""], evaluate_from: Int[Array, ""], stopping: Stopping
) -> Bool[Array, ""]:
    """Whether returns in training suggest that the greedy policy reaches the one asked for."""
    past = statistics.recent[0] / jnp.maximum(statistics.weight, LEAST)
    enough = past >= statistics.first + stopping.threshold * (stopping.until - statistics.first)
    return enough & (steps >= evaluate_from) & (statistics.finished > 0)


def line(
    statistics: EpisodeStatistics,
    steps: Int[Array, ""],
    playing: Float[Array, " 3"],
    kl: Float[Array, ""],
    alpha: Float[Array, ""],
) -> Float[Array, " c"]:
    """A line of history, in the order of `COLUMNS`."""
    returns, soft, length = recent(statistics, playing)
    numbers = steps, -soft / alpha, returns, kl, alpha, statistics.finished, length
    return jnp.stack([jnp.asarray(number, soft.dtype) for number in numbers])


# The training under the driver.

_SECONDS = 0.3  # that one call should take
_WAIT = 0.1  # of the steps so far, before greedy episodes are played again


@dataclass(frozen=True)
class Training:
    """What is played, by which programs, and from where.

    config    what is fixed of the compiled programs, with `acting` in it
    hyper     hyperparameters, which they are told at each call, with `stopping`, `temperature` and `seed` in it
    fixed     arrays of the policy and its prior
    start     the parameters to start from: an array or a pytree of them
    settings  of the rule, in words: a checkpoint of others is refused
    """

    title: str
    task: Task
    config: Any
    hyper: Any
    fixed: Fixed
    start: Any
    settings: str

    def within(self, budget: int) -> Any:
        """The hyperparameters of a call that may do so many blocks or rounds."""
        return self.hyper._replace(stopping=self.hyper.stopping._replace(budget=np.asarray(budget, np.int32)))


class Playing(Iterative):
    """What every rule that learns by playing shares, however it learns and whether it plays on the device or the host.

    Its state has the fields counters, recording and inputs.

    most      units of work in one call, at most: blocks or rounds
    screened  greedy episodes that say whether a hundred are worth stepping through
    cheap     how many steps of greedy episodes cost as much as one of training, roughly: they should take a small part
    """

    most: ClassVar[int]
    screened: ClassVar[int]
    cheap: ClassVar[int]
    note: str = ""  # what is to be said of how it went
    evaluated: str = ""  # on which greedy episodes, the last time

    def __init__(self, training: Training, budget: int, stepper: Stepper | None = None) -> None:
        self.training, self.title, self.stepper = training, training.title, stepper
        self.budget, self.speed = budget, 0.0
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    @abc.abstractmethod
    def played(self, state: PyTree) -> Any:
        """The state after as much work as the budget says."""

    @abc.abstractmethod
    def free(self, state: PyTree) -> Any:
        """The policy's parameters, on the host."""

    @abc.abstractmethod
    def ended(self, state: PyTree) -> tuple[Array, Array]:
        """The logarithm of the temperature, and how many updates the policy's descent has made."""

    def standing(self, lanes: PyTree) -> Any:
        """Where stepped lanes stand, which is remembered so that they go on from there."""
        self._stands = lanes
        return lanes

    def take_up(self, lanes: PyTree, environments: PyTree) -> None:
        """Bring the environments to where a state has them, unless they stand there."""
        assert self.stepper is not None
        if lanes is not self._stands:
            self.note = self.stepper.restore(environments) or self.note

    def close(self) -> None:
        """Let the environments go."""
        if self.stepper is not None:
            self.stepper.close()

    def step(self, state: PyTree) -> Any:
        start, before = time.monotonic(), int(state.counters.steps)
        state = jax.block_until_ready(self.played(state._replace(recording=state.recording.cleared())))
        took = max(time.monotonic() - start, 1e-4)
        # How much is done in a call changes nothing but the time between two evaluations.
        self.speed = (int(state.counters.steps) - before) / took
        self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
        self.budget = min(max(self.budget, 1), self.most)
        if int(state.counters.failed) < 0:
            raise EnvironmentFault(
                f"env: {self.training.task.env.facts.name} gave a reward or an observation that is NaN or infinite, or "
                f"a reward beyond {MOST_REWARD:g}, within {int(state.counters.steps):,} steps; let it give finite "
                "ones, or divide the rewards and the temperature by the same power of 10"
            )
        return self._evaluated(state) if bool(state.counters.evaluate) else state

    def _evaluated(self, state: PyTree) -> Any:
        """The state with what greedy episodes returned, and when to play some again."""
        steps, until, task = int(state.counters.steps), float(self.training.hyper.stopping.until), self.training.task
        episodes, budget, _ = task.closing
        played = self._greedy(state, min(episodes, self.screened) if task.env.compiled is None else episodes, 0, budget)
        if np.mean(played.episodes.returns) >= until:
            # The best of many evaluations is luck in part: what counts are episodes that did not choose it.
            played = self._greedy(state, episodes, 1, budget)
        returns, length = played.episodes.returns, played.episodes.length
        self.evaluated = evaluated_on(len(returns), None if played.episodes.finished.all() else played.longest)
        # Part of an episode says nothing of whether the whole returns enough.
        mean = -np.inf if is_cut_short(task, played) else float(np.mean(returns))
        wait = _WAIT * steps + float(np.sum(length)) / self.cheap
        counters = state.counters._replace(
            greedy=np.asarray(mean, jnp.result_type(float)),
            evaluate=np.zeros((), bool),
            evaluate_from=np.asarray(min(steps + wait, MOST_STEPS), np.int32),
        )
        return state._replace(counters=counters)

    def _greedy(self, state: PyTree, episodes: int, stream: int, budget: int | None = None) -> Any:
        rng = np.random.default_rng([*self.training.hyper.seed.tolist(), int(state.counters.steps), stream])
        return play(self.training.task, self.training.config.acting, *self.policy(state), True, rng, episodes, budget)

    def policy(self, state: PyTree) -> tuple[Any, Fixed]:
        """The policy's parameters, and its arrays with the scales of its inputs, on the host."""
        inputs: RunningMoments = jax.tree.map(np.asarray, state.inputs)
        fixed = {**self.training.fixed.policy, "x_mean": inputs.mean, "x_scale": scale_of(inputs.variance, np)}
        return self.free(state), self.training.fixed._replace(policy=fixed)

    def progress(self, state: PyTree) -> Progress:
        steps, until = int(state.counters.steps), float(self.training.hyper.stopping.until)
        line = self._line(state, max(int(state.recording.count) - 1, 0))
        words = (
            f"return {line['return']:,.1f} · {line['kl']:.2g} nats/step · α {line['temperature']:.3g} · "
            f"{self.speed:,.0f} steps/s"
        )
        if int(state.counters.failed):
            message = (
                f"the parameters became NaN or infinite after {steps:,} steps, and those before are returned; "
                "check the rewards, or pass a rule with a smaller rate="
            )
            return Progress(line["objective"], steps, Status.DIVERGED, message, words)
        if float(state.counters.greedy) >= until:
            # A checkpoint of a training that had ended does not say how many it was.
            episodes = self.evaluated or evaluated_on(self.training.task.closing.episodes, None)
            message = f"the greedy policy returned {float(state.counters.greedy):,.4g} on average over {episodes}"
            return Progress(line["objective"], steps, Status.CONVERGED, message, words)
        return Progress(line["objective"], steps, words=words)

    def _line(self, state: PyTree, row: int) -> dict[str, float]:
        return dict(zip(COLUMNS, np.asarray(state.recording.lines, np.float64)[row].tolist(), strict=True))

    def history(self, state: PyTree) -> tuple[dict[str, float], ...]:
        return tuple(self._line(state, row) for row in range(int(state.recording.count)))

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        of = self.training
        hyper = of.hyper._replace(stopping=of.hyper.stopping._replace(total=0, budget=0))
        simulator = None if of.task.env.compiled is None else of.task.env.compiled.parameters
        return fingerprint(of.title, of.settings, repr(of.task.env.facts), of.start, of.fixed, hyper, simulator)


class PlayingRule(Rule):
    """A rule that learns a policy by playing: what it asks of the two sides, how it runs, and the fit."""

    @abc.abstractmethod
    def sizes(self, task: Task, structure: ConditionalStructure) -> Any:
        """How much is played and learned at a time, with `steps` in it."""

    @abc.abstractmethod
    def algorithm(self, task: Task, learnable: Learnable, request: Request) -> Playing:
        """The training of a policy, for the driver; whoever has it closes it."""

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        task = task_of(q)
        assert task is not None
        p = within_choices(p, task.env.facts.actions)
        learnable = p.learnable
        assert learnable is not None and isinstance(learnable.structure, ConditionalStructure)
        algorithm = self.algorithm(task, learnable, request)
        try:
            outcome = drive(algorithm, request, self.sizes(task, learnable.structure).steps)
        finally:
            algorithm.close()
        free, fixed = algorithm.policy(outcome.state)
        log_alpha, updates = algorithm.ended(outcome.state)
        alpha = float(np.exp(np.float64(log_alpha)))
        message = " ".join(part for part in (outcome.message, remark_on(task, alpha), algorithm.note) if part)
        extra = {"environment_steps": int(outcome.state.counters.steps), "updates": int(updates)}
        return fit_of(p, task, free, fixed.policy, replace(outcome, message=message), alpha, request, extra)


def playable(p: Known, q: Known) -> Task | Missing:
    """The environment that P is to act in, or why it cannot."""
    task = task_of(q)
    if task is None:
        return Missing("the second side is no environment that can be played", "kl.Optimal(env) as the second side")
    assert p.learnable is not None
    if reason := why_no_actor(p.learnable.structure, p.learnable.members, task):
        return Missing(reason, wanted(task))
    return task


def outside_the_box(p: Known, task: Task) -> Missing | None:
    """Why a uniform prior does not do for P's actions in a box, or None."""
    assert p.learnable is not None
    if task.env.facts.actions.is_discrete or task.prior is not None or fills_the_box(p.learnable.fixed, task):
        return None
    return Missing("the box of P is not the box of actions, on which the uniform prior lies", wanted(task))


def asked_or_usual(rule: Any, usual: Sizes, task: Task) -> Sizes:
    """The sizes that a rule's settings ask for, else the usual ones; a vector environment has its own lanes."""
    asked = {size.name: getattr(rule, size.name) for size in fields(usual)}
    if rule.rate is None and rule.optimiser is not None:
        asked["rate"] = 1.0
    if task.env.compiled is None and task.env.lanes is not None:
        asked["lanes"] = task.env.lanes
    return replace(usual, **{name: value for name, value in asked.items() if value is not None})


def stepper_of(task: Task, lanes: int) -> Stepper | None:
    """What steps the environments, and None where they are compiled."""
    if task.env.compiled is not None:
        return None
    assert task.env.stepper is not None
    return task.env.stepper(lanes)


def evaluated_on(episodes: int, longest: int | None) -> str:
    """Which episodes a mean is of, in words; `longest`: steps after which they are cut."""
    return f"{episodes} fresh episodes" + ("" if longest is None else f" of at most {longest:,} steps")


def is_cut_short(task: Task, played: Played) -> bool:
    """Whether a budget cut episodes before the environment's time limit would have."""
    limit, over = task.env.facts.limit, np.asarray(played.episodes.finished)
    return limit is not None and played.longest < limit and not over.all()
