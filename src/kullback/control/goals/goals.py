"""Goals: where observations show which one was achieved, when it is reached, which are commanded, and the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.spaces.utils import flatdim
from jaxtyping import Bool, Shaped
from numpy.typing import ArrayLike

from kullback.control.data import as_one_label, labels_among, side_by_side
from kullback.control.envs.simulator import Facts
from kullback.control.envs.spec import EnvSpec
from kullback.errors import InputError
from kullback.families.dense import InputSizes

KEYS = ("observation", "achieved_goal", "desired_goal")  # of the environments of Gymnasium-Robotics
Read = Callable[[np.ndarray], np.ndarray]
MOST_LABELS = 2_000_000
EXACT = gym.spaces.Discrete | gym.spaces.MultiDiscrete | gym.spaces.MultiBinary
ONE_LABEL = "labels=True joins labels, and the observations and goals are not both labels; leave it out"


@dataclass(frozen=True)
class GoalInputs:
    """How an observation and a goal become a policy's input. Hashable.

    observation, goal  their sizes: labels or arrays
    horizon            the most steps left, where the policy is told them; else 0
    joined             whether the input is one label and not the parts side by side: s · G + g with G goals, or
                       ((h − 1) · S + s) · G + g with h steps left
    """

    observation: InputSizes
    goal: InputSizes
    horizon: int = 0
    joined: bool = False

    @property
    def sizes(self) -> tuple[InputSizes, ...]:
        time = (InputSizes((), self.horizon) if self.joined else InputSizes((1,)),) if self.horizon else ()
        return (*time, self.observation, self.goal)

    @property
    def width(self) -> int:
        """How many numbers an input has, where it is no label."""
        return sum(size.width for size in self.sizes)

    @property
    def measured(self) -> Bool[np.ndarray, " width"]:
        """Which of them are measurements, to be standardised, and not parts of a label or the steps left."""
        time = [np.zeros(1, bool)] if self.horizon else []
        parts = [np.full(size.width, size.labels is None) for size in (self.observation, self.goal)]
        return np.concatenate([*time, *parts])

    @property
    def example(self) -> np.ndarray:
        """A few inputs, from which sizes are taken."""
        labels = labels_among(self.sizes) if self.joined else None
        if self.joined and (labels is None or labels > MOST_LABELS):
            what = ONE_LABEL if labels is None else f"{labels:,} inputs are too many for a table; use labels=False"
            raise InputError(f"labels: {what}, and a kl.MLP")
        return np.zeros((2, self.width), np.float32) if labels is None else np.arange(labels)

    def join(self, observation: Any, goal: Any, left: Any, xp: ModuleType = np) -> Any:
        """Observations [n, ...], goals [n, ...] and steps left [n] as inputs: labels [n], or numbers [n, width]."""
        if self.joined:
            return as_one_label(self.sizes, (*((left - 1,) if self.horizon else ()), observation, goal))
        # Steps left enter as a share of the horizon, from −1 to 1.
        time = ((2.0 * left / self.horizon - 1.0)[:, None],) if self.horizon else ()
        return side_by_side(self.sizes, (*time, observation, goal), xp)


@dataclass(frozen=True, eq=False)
class Goals:
    """Reads goals out of observations, and tells whether one is reached.

    seen      rows of a stepper [n, ...] -> what the policy sees of them
    achieved  the same -> the goals achieved there
    wanted    the same -> the goals that the environment wants; None where it wants none
    within    the distance at which an array counts as reached; 0 asks for equality
    """

    observation: InputSizes
    goal: InputSizes
    seen: Read
    achieved: Read
    wanted: Read | None
    within: float

    def reached(
        self, achieved: Shaped[np.ndarray, "n ..."], goal: Shaped[np.ndarray, "n ..."]
    ) -> Bool[np.ndarray, " n"]:
        """Whether what was achieved is the goal."""
        if self.goal.labels is not None:
            return achieved == goal
        distance = np.linalg.norm((achieved - goal).reshape(len(goal), -1).astype(np.float64), axis=1)
        return distance <= self.within

    def as_goals(self, goals: ArrayLike, argument: str = "goals") -> np.ndarray:
        """Goals of a user's [n, ...], checked; raises `InputError`."""
        return _checked(goals, self.goal, argument)

    def as_observations(self, observations: ArrayLike) -> np.ndarray:
        """What a policy sees, of a user's [n, ...], checked; raises `InputError`."""
        return _checked(observations, self.observation, "observation")


def goals_of(space: gym.Space[Any], facts: Facts, achieved: Callable[[Any], Any] | None, within: float | None) -> Goals:
    """What goals are in an environment of this observation space (None where there is no such space).

    Raises `InputError` where it cannot be told which goal an observation achieves, or when it is reached.
    """
    if achieved is not None and not callable(achieved):
        raise InputError(f"achieved: {type(achieved).__name__} is no function from an observation to a goal")
    if isinstance(space, gym.spaces.Dict) and set(KEYS) <= set(space.spaces) and achieved is None:
        return _of_parts(space, facts, within)
    own = InputSizes(facts.observations.shape, facts.observations.labels)
    if achieved is None:
        return Goals(own, own, _whole, _whole, None, _distance(own.labels is not None, within, facts))
    example = np.asarray(achieved(facts.observations.example[0]))
    if example.dtype.kind not in "iubf":
        raise InputError(f"achieved: it returns {example.dtype}, which is no number or array of numbers")

    def read(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(achieved(row), np.float32).reshape(example.size) for row in rows])

    distance = _distance(example.dtype.kind in "iub", within, facts)
    return Goals(own, InputSizes((example.size,)), _whole, read, None, distance)


def _of_parts(space: Any, facts: Facts, within: float | None) -> Goals:
    """Observations that state what they are, the goal achieved there, and the goal wanted."""
    ends = dict(zip(space.spaces, np.cumsum([flatdim(part) for part in space.spaces.values()]), strict=True))
    parts = {key: (slice(ends[key] - flatdim(space[key]), ends[key]), space[key]) for key in KEYS}
    if flatdim(space["achieved_goal"]) != flatdim(space["desired_goal"]):
        raise InputError(f"env: achieved and desired goals of {facts.name} are of different sizes; make them alike")

    def part(key: str) -> Read:
        where, inner = parts[key]
        # Labels come one among their number.
        return lambda rows: rows[:, where].argmax(1).astype(np.int32) if _is_label(inner) else rows[:, where]

    observation, goal = (_sizes(space[key]) for key in KEYS[:2])
    exact = isinstance(space["achieved_goal"], EXACT) or space["achieved_goal"].dtype.kind in "iub"
    seen, achieved, wanted = map(part, KEYS)
    return Goals(observation, goal, seen, achieved, wanted, _distance(exact, within, facts))


def _whole(rows: np.ndarray) -> np.ndarray:
    return rows


def _sizes(space: Any) -> InputSizes:
    return InputSizes((), int(space.n)) if _is_label(space) else InputSizes((flatdim(space),))


def _is_label(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Discrete)


def _distance(exact: bool, within: float | None, facts: Facts) -> float:
    if within is None:
        if not exact:
            raise InputError(
                f"within: goals of {facts.name} are real numbers, which no episode meets exactly; pass "
                "the distance at which one counts as reached"
            )
        return 0.0
    number = isinstance(within, int | float | np.integer | np.floating) and not isinstance(within, bool)
    if not number or not 0 <= within < np.inf:
        raise InputError(f"within: {within!r} is no distance of at least 0")
    return float(within)


def _checked(values: ArrayLike, sizes: InputSizes, argument: str) -> np.ndarray:
    array = np.asarray(values)
    if sizes.labels is not None:
        if array.ndim != 1 or array.dtype.kind not in "iub" or ((array < 0) | (array >= sizes.labels)).any():
            raise InputError(f"{argument}: pass integers [n] from 0 to {sizes.labels - 1}")
        return array.astype(np.int32)
    if array.ndim != 1 + len(sizes.shape) and array.ndim >= 1:
        array = array.reshape(len(array), *sizes.shape) if array[:1].size == int(np.prod(sizes.shape)) else array
    if array.shape[1:] != sizes.shape or array.dtype.kind not in "iubf" or not np.isfinite(array).all():
        raise InputError(
            f"{argument}: shape {array.shape}, or values that are not finite; pass [n, "
            f"{', '.join(map(str, sizes.shape))}]"
        )
    return array.astype(np.float32)


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
        self,
        rng: np.random.Generator,
        rows: Shaped[np.ndarray, "n ..."],
        pool: Shaped[np.ndarray, "m ..."] | None,
        again: bool = False,
    ) -> Shaped[np.ndarray, "n ..."]:
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


@dataclass(frozen=True, eq=False)
class GoalTask:
    """An environment whose observations achieve goals, which of them are commanded, and how a policy reads them.

    env       the environment, which can be stepped
    horizon   the most steps of an episode
    discount  an example that took h steps counts discountʰ
    """

    env: EnvSpec
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
        return f"{self.env.facts.actions}, horizon {self.horizon:,}, {self.law}{among}{within}{discount}"
