"""A training by episodes under the driver: calls of about equal time, greedy evaluations, progress, history.

The history is made of running statistics of the episodes that the training has played.
"""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.learning.episodes import Played, play
from kullback.control.learning.policy import Fixed
from kullback.control.learning.running_moments import Running, scale_of
from kullback.control.task import Task
from kullback.errors import EnvironmentFault
from kullback.result import Status
from kullback.training.driver import Iterative, Progress, fingerprint

CURVE = 64  # lines recorded in one call
COLUMNS = ("step", "objective", "return", "kl", "temperature", "episodes", "length")
LEAST = 1e-6  # weight, so that nothing is divided by 0


class Totals(NamedTuple):
    """Sums over episodes.

    playing   of the episodes being played: the return and the discounted soft return so far, and what else a rule
              counts along [k, n]
    recent    of those that finished, the discounted sums of both and of their lengths [3]; `weight`: of ones
    first     the mean return of those that finished in the first look at which any did
    finished  how many there were
    """

    playing: Any
    recent: Any
    weight: Any
    first: Any
    finished: Any


def nothing_played(sums: int, lanes: int, dtype: Any) -> Totals:
    """Before the first step, on the host."""
    zero = np.zeros((), dtype)
    return Totals(np.zeros((sums, lanes), dtype), np.zeros(3, dtype), zero, zero, np.zeros((), np.int32))


def with_ended(totals: Totals, playing: Any, over: Any, ends: Any, memory: float) -> Totals:
    """The totals after more steps.

    playing  sums of the episodes that are being played now
    over     which episodes ended [t, n]; `ends`: return, discounted soft return and length so far [t, 3, n]
    memory   of the mean over finished episodes, for each that finishes
    """
    count, dtype = jnp.sum(over), ends.dtype
    mean = jnp.sum(jnp.where(over[:, None], ends, 0.0), (0, 2)) / jnp.maximum(count, 1)
    fade = (memory ** count.astype(dtype)).astype(dtype)
    return Totals(
        playing,
        fade * totals.recent + (1.0 - fade) * mean,
        fade * totals.weight + (1.0 - fade),
        jnp.where(totals.finished > 0, totals.first, mean[0]),
        totals.finished + count.astype(totals.finished.dtype),
    )


def recent(totals: Totals, playing: Any) -> Any:
    """Return, discounted soft return and length of recent episodes; before any has finished, `playing` [3]."""
    return jnp.where(totals.finished > 0, totals.recent / jnp.maximum(totals.weight, LEAST), playing)


def is_due(totals: Totals, steps: Any, check: Any, until: Any, hopeful: Any) -> Any:
    """Whether returns in training suggest that the greedy policy reaches the one asked for."""
    past = totals.recent[0] / jnp.maximum(totals.weight, LEAST)
    enough = past >= totals.first + hopeful * (until - totals.first)
    return enough & (steps >= check) & (totals.finished > 0)


def line(totals: Totals, steps: Any, playing: Any, kl: Any, alpha: Any) -> Any:
    """A line of history, in the order of `COLUMNS`."""
    returns, soft, length = recent(totals, playing)
    numbers = steps, -soft / alpha, returns, kl, alpha, totals.finished, length
    return jnp.stack([jnp.asarray(number, soft.dtype) for number in numbers])


_SECONDS = 0.3  # that one call should take
_WAIT = 0.1  # of the steps so far, before greedy episodes are played again


@dataclass(frozen=True)
class Goal:
    """What is played, and until when.

    problem   what is fixed of the compiled programs, with `acting` in it; `numbers`: what they are told at each call
    fixed     arrays of the policy and its prior
    start     the parameters to start from: an array or a pytree of them
    settings  of the rule, in words: a checkpoint of others is refused
    """

    title: str
    task: Task
    problem: Any
    numbers: Any
    fixed: Fixed
    start: Any
    settings: str


class Playing(Iterative):
    """What every rule that learns by playing shares, however it learns and whether it plays on the device or the host.

    Its state has the fields steps, check, look, greedy, failed, recorded, curve and inputs; `goal.numbers` has until,
    seed, total and budget.

    most      units of work in one call, at most: blocks or rounds
    screened  greedy episodes that say whether a hundred are worth stepping through
    cheap     how many steps of greedy episodes cost as much as one of training, roughly: they should take a small part
    """

    most: ClassVar[int]
    screened: ClassVar[int]
    cheap: ClassVar[int]
    note: str = ""  # what is to be said of how it went
    looked: str = ""  # at which greedy episodes the last look was

    def __init__(self, goal: Goal, budget: int) -> None:
        self.goal, self.title = goal, goal.title
        self.budget, self.speed = budget, 0.0

    @abc.abstractmethod
    def played(self, state: Any) -> Any:
        """The state after as much work as the budget says."""

    @abc.abstractmethod
    def free(self, state: Any) -> Any:
        """The policy's parameters, on the host."""

    def close(self) -> None:
        """Let the environments go."""

    def step(self, state: Any) -> Any:
        start, before = time.monotonic(), int(state.steps)
        state = jax.block_until_ready(self.played(state._replace(recorded=np.zeros((), np.int32))))
        took = max(time.monotonic() - start, 1e-4)
        # How much is done between two looks changes nothing but the time between them.
        self.speed = (int(state.steps) - before) / took
        self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
        self.budget = min(max(self.budget, 1), self.most)
        if int(state.failed) < 0:
            raise EnvironmentFault(f"env: {self.goal.task.facts.name} gave a reward or an observation that is NaN or "
                                   f"infinite within {int(state.steps):,} steps; let it give finite ones")  # fmt: skip
        return self._looked(state) if bool(state.look) else state

    def _looked(self, state: Any) -> Any:
        """The state with what greedy episodes returned, and when to play some again."""
        steps, until, task = int(state.steps), float(self.goal.numbers.until), self.goal.task
        episodes, budget, _ = task.closing
        played = self._greedy(state, min(episodes, self.screened) if task.compiled is None else episodes, 0, budget)
        if np.mean(played.episodes.returns) >= until:
            # The best of many looks is luck in part: what counts are episodes that did not choose it.
            played = self._greedy(state, episodes, 1, budget)
        returns, length = played.episodes.returns, played.episodes.length
        self.looked = looked_at(len(returns), None if played.episodes.finished.all() else played.longest)
        # Part of an episode says nothing of whether the whole returns enough.
        mean = -np.inf if is_cut_short(task, played) else float(np.mean(returns))
        wait = _WAIT * steps + float(np.sum(length)) / self.cheap
        return state._replace(greedy=np.asarray(mean, jnp.result_type(float)), look=np.zeros((), bool),
                              check=np.asarray(min(steps + wait, 2**31 - 1), np.int32))  # fmt: skip

    def _greedy(self, state: Any, episodes: int, stream: int, budget: int | None = None) -> Any:
        rng = np.random.default_rng([*self.goal.numbers.seed.tolist(), int(state.steps), stream])
        return play(self.goal.task, self.goal.problem.acting, *self.policy(state), True, rng, episodes, budget)

    def policy(self, state: Any) -> tuple[Any, Fixed]:
        """The policy's parameters, and its arrays with the scales of its inputs, on the host."""
        inputs: Running = jax.tree.map(np.asarray, state.inputs)
        fixed = {**self.goal.fixed.policy, "x_mean": inputs.mean, "x_scale": scale_of(inputs.variance, np)}
        return self.free(state), self.goal.fixed._replace(policy=fixed)

    def progress(self, state: Any) -> Progress:
        steps, until = int(state.steps), float(self.goal.numbers.until)
        line = self._line(state, max(int(state.recorded) - 1, 0))
        words = (f"return {line['return']:,.1f} · {line['kl']:.2g} nats/step · α {line['temperature']:.3g} · "
                 f"{self.speed:,.0f} steps/s")  # fmt: skip
        if int(state.failed):
            message = (f"the parameters became NaN or infinite after {steps:,} steps, and those before are returned; "
                       "check the rewards, or pass a rule with a smaller rate=")  # fmt: skip
            return Progress(line["objective"], steps, Status.DIVERGED, message, words)
        if float(state.greedy) >= until:
            # A checkpoint of a training that had ended does not say how many it was.
            looked = self.looked or looked_at(self.goal.task.closing.episodes, None)
            message = f"the greedy policy returned {float(state.greedy):,.4g} on average over {looked}"
            return Progress(line["objective"], steps, Status.CONVERGED, message, words)
        return Progress(line["objective"], steps, words=words)

    def _line(self, state: Any, row: int) -> dict[str, float]:
        return dict(zip(COLUMNS, np.asarray(state.curve, np.float64)[row].tolist(), strict=True))

    def history(self, state: Any) -> tuple[dict[str, float], ...]:
        return tuple(self._line(state, row) for row in range(int(state.recorded)))

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        goal = self.goal
        numbers = goal.numbers._replace(total=0, budget=0)
        simulator = None if goal.task.compiled is None else goal.task.compiled.parameters
        return fingerprint(goal.title, goal.settings, repr(goal.task.facts), goal.start, goal.fixed, numbers, simulator)


def looked_at(episodes: int, longest: int | None) -> str:
    """Which episodes a mean is of, in words; `longest`: steps after which they are cut."""
    return f"{episodes} fresh episodes" + ("" if longest is None else f" of at most {longest:,} steps")


def is_cut_short(task: Task, played: Played) -> bool:
    """Whether a budget cut episodes before the environment's time limit would have."""
    limit, over = task.facts.limit, np.asarray(played.episodes.finished)
    return limit is not None and played.longest < limit and not over.all()
