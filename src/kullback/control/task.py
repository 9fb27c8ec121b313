"""What a control rule is asked to solve: an environment to play, or a transition table, and the divergence's terms.

And what every rule that plays asks first: whether a side can act in the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpyro.distributions import BernoulliLogits, CategoricalLogits

from kullback.arguments import whole
from kullback.control.envs.spaces import Actions
from kullback.control.envs.spec import EnvSpec
from kullback.control.envs.table import TableSimulator
from kullback.control.learning.policy import NEVER, TIE, Acting, Fixed, Policy
from kullback.control.learning.temperature import Temperature
from kullback.control.tabular.mdp import Model
from kullback.distributions import TanhNormal
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.known import Known

EPISODES = 100
BUDGET = 200_000  # steps of 200 episodes of 1,000
BUDGET_COMPILED = 1_000_000  # of an environment without end: 200 episodes of 5,000
LONGEST, SHORTEST = 20_000, 1_000  # steps after which an episode that no limit ends is cut, and the report says so


class Closing(NamedTuple):
    """The fresh episodes at the end of a training.

    episodes  of either kind, at most
    budget    the most steps of both kinds together, or None
    longest   steps after which an episode is cut that no limit ends
    """

    episodes: int
    budget: int | None
    longest: int = LONGEST

    def __str__(self) -> str:
        cut = "" if self.longest == LONGEST else f" of at most {self.longest:,} steps"
        within = "" if self.budget is None else f", or as many as fit into {self.budget:,} steps"
        return f"{self.episodes} fresh episodes of either kind{cut}{within}"

    @property
    def note(self) -> str:
        """What a plan says of them, where they are not simply as many as usual."""
        return "" if self.budget is None and self.longest == LONGEST else f"; then {self}"


@dataclass(frozen=True)
class Fresh:
    """How many fresh episodes say what a policy is worth.

    episodes  as many played greedily, and as many as the policy draws; None for 100
    budget    the most environment steps of all of them, which fewer episodes then keep to; None for 200,000 where the
              environment is stepped on the host, has a time limit, and `episodes` is None as well (more if two whole
              ones of either kind take more), and else for no bound

    Without a budget, episodes of an environment that states no time limit are cut so that all together take 1,000,000
    steps at most where it is compiled, and 200,000 where it is stepped; but not before 1,000 steps.

    Raises `InputError` for fewer than 2 episodes, and for a budget that is no positive number.
    """

    episodes: int | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("episodes", 2), ("budget", 4)):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, whole(name, value, least))

    def settled(self, is_stepped: bool, is_endless: bool = False) -> Closing:
        """What they come to in an environment that is stepped or compiled, and with or without a time limit."""
        episodes = self.episodes or EPISODES
        if self.budget is not None or not is_endless:
            usual = BUDGET if is_stepped and self.episodes is None else None
            return Closing(episodes, self.budget or usual)
        share = (BUDGET if is_stepped else BUDGET_COMPILED) // (2 * episodes)
        return Closing(episodes, None, min(LONGEST, max(SHORTEST, share)))


@dataclass(frozen=True, eq=False)
class Task:
    """An environment, a temperature, a discount and a prior.

    env          the environment; `env.facts.limit` is the horizon where one was asked for
    temperature  reward per nat
    discount     the probability that an episode goes on after a step that does not end it
    cut_ends     whether the time limit ends an episode (a horizon was asked for) and does not merely truncate it
    prior        None for the uniform one, a fitted conditional, or log-probabilities [labels, A]
    truth        (a fitted policy, temperature) -> numbers that are known exactly of it, where a table is known
    fresh        how many fresh episodes say what a policy is worth
    """

    env: EnvSpec
    temperature: Temperature
    discount: float
    cut_ends: bool = False
    prior: FittedConditional | np.ndarray | None = None
    truth: Callable[[FittedConditional, float], Mapping[str, Any]] | None = None
    fresh: Fresh = Fresh()

    @property
    def closing(self) -> Closing:
        """The fresh episodes at the end. The trajectories of a table end by themselves or are few to compute."""
        is_endless = self.env.facts.limit is None and not isinstance(self.env.compiled, TableSimulator)
        return self.fresh.settled(self.env.compiled is None, is_endless)

    def acting(self, structure: Policy) -> Acting:
        """How a policy of this structure acts beside the prior."""
        prior = self.prior.structure if isinstance(self.prior, FittedConditional) else None
        return Acting(structure, self.env.facts.actions, prior)

    def fixed(self, policy: Mapping[str, Any]) -> Fixed:
        """The arrays of the prior beside the policy's own."""
        if isinstance(self.prior, FittedConditional):
            return Fixed(policy, (self.prior.free, self.prior.fixed))
        return Fixed(policy, None if self.prior is None else np.asarray(self.prior))

    def __str__(self) -> str:
        facts = self.env.facts
        how = "a compiled simulator" if self.env.compiled is not None else "a simulator that steps"
        limit = "" if facts.limit is None else f", {'horizon' if self.cut_ends else 'time limit'} {facts.limit}"
        discount = "" if self.discount == 1.0 else f", discount {self.discount:g}"
        return f"{self.env.remark or how}, {facts.actions}{limit}, {self.temperature}{discount}"


@dataclass(frozen=True, eq=False)
class TableProblem:
    """What a control rule is asked to solve.

    temperature  reward per nat
    discount     the probability that a trajectory goes on after a step that does not end it
    horizon      steps after which it is cut off, or None
    log_prior    log π₀(a∣s), [S, A]; or log π₀(a∣t, s), [horizon, S, A]
    asked        the temperature as it was asked for, where it is to be found
    playing      () -> the same as an environment to play, for the rules that learn from episodes
    limit        steps after which the environment truncates an episode, or None: what it counts as the return, whereas
                 the trajectories of P_opt go on
    is_arrays    whether it was given as arrays, so that there is no environment to count in another way
    """

    model: Model
    temperature: float
    discount: float
    horizon: int | None
    log_prior: np.ndarray
    asked: Temperature | None = None
    playing: Callable[[], Task] | None = None
    limit: int | None = None
    is_arrays: bool = False

    @cached_property
    def task(self) -> Task | None:
        """The same as an environment to play, if it can be."""
        return None if self.playing is None else self.playing()

    @property
    def labels(self) -> int:
        """How many inputs a policy has: the states, or with a horizon the pairs t · S + s of time and state."""
        return self.model.states * (self.horizon or 1)

    @property
    def prior_by_time(self) -> np.ndarray:
        """log π₀ as [horizon or 1, S, A]."""
        shape = (self.horizon or 1, self.model.states, self.model.actions)
        return np.broadcast_to(self.log_prior, shape)

    def __str__(self) -> str:
        table = f"transition table {self.model.states:,} states × {self.model.actions} actions"
        ahead = "∞" if self.horizon is None else f"{self.horizon:,}"
        discount = "" if self.discount == 1.0 else f", discount {self.discount:g}"
        temperature = self.asked or f"temperature {self.temperature:g}"
        return f"{table}, horizon {ahead}, {temperature}{discount}"


def greedy(log_policy: np.ndarray) -> np.ndarray:
    """The log-policy that takes the most probable action, ties shared evenly, [..., A]."""
    best = log_policy >= log_policy.max(-1, keepdims=True) - TIE
    with np.errstate(divide="ignore"):
        return np.log(best / best.sum(-1, keepdims=True))


def kl_rows(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p‖q) of each row of log-probabilities [..., A], in nats, as a sum of terms that are not negative.

    Each term is q − p + p log(p/q), written with expm1 where p is near q, so that small divergences keep their digits.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.where(p > 0, log_p - log_q, 0.0)
        near = p * (ratio + np.expm1(-ratio))
        far = q - p + np.where(p > 0, p * ratio, 0.0)
    return np.where((np.abs(ratio) < 1.0) & (p > 0), near, far).sum(-1)


WANTED = {
    "choice": "kl.Conditional(kl.MLP(), dist.Categorical)",
    "choices": "kl.Conditional(kl.MLP(), dist.Categorical)",
    "switches": "kl.Conditional(kl.MLP(), dist.Bernoulli)",
    "box": "kl.Conditional(kl.MLP(), kl.TanhNormal)",
}

ON_ALL_NUMBERS = "kl.Conditional(kl.MLP(), dist.Normal)"
PRIOR = "kl.KL(kl.Pairs(observations, actions), kl.Conditional(kl.MLP(), dist.Normal)).minimize().q"

CHOOSERS = {"choice": CategoricalLogits, "choices": CategoricalLogits, "switches": BernoulliLogits}


def task_of(q: Known) -> Task | None:
    """The environment to play behind an `Optimal`."""
    return q.facts if isinstance(q.facts, Task) else getattr(q.facts, "task", None)


def policy_for(actions: Actions) -> str:
    """A policy that would do, as code."""
    return WANTED[actions.kind] if actions.is_discrete or actions.is_bounded else ON_ALL_NUMBERS


def bounded(actions: Actions) -> str:
    """A wrapper that bounds a box of actions, as code."""
    is_open = not np.isfinite([*actions.low, *actions.high]).any()
    box = f"gymnasium.spaces.Box(-1.0, 1.0, {actions.shape})" if is_open else "box"
    return f"gymnasium.wrappers.TransformAction(env, lambda a: a, {box}), with a box as wide as good actions are"


def wanted(task: Task) -> str:
    """A policy that would do, as code."""
    return policy_for(task.env.facts.actions)


def why_no_actor(structure: object, members: int, task: Task) -> str:
    """Why a conditional cannot act in the environment, or nothing."""
    if not isinstance(structure, ConditionalStructure):
        return "P does not depend on the observation, and a policy does"
    if structure.components or members > 1:
        return "P is a mixture, whose KL to the prior has no closed form"
    cls, actions = structure.form.cls, task.env.facts.actions
    if actions.kind in CHOOSERS:
        is_chooser = cls is CHOOSERS[actions.kind]
        return "" if is_chooser else f"P is {cls.__name__}, which does not choose among {actions}"
    if not getattr(cls, "reparametrized_params", None):
        return f"draws of {cls.__name__} are not differentiable in its parameters"
    if task.prior is None and cls is not TanhNormal:
        return f"{cls.__name__} has mass outside the box of actions, where the uniform prior has none"
    return ""


def within_choices(side: Known, actions: Actions) -> Known:
    """The learnable side without mass on choices that are not there, where places have different numbers of them."""
    learnable = side.learnable
    assert learnable is not None
    if not actions.is_discrete or actions.exists.all():
        return side
    offset = np.where(actions.exists.ravel(), learnable.fixed["offset"], NEVER)
    return side.holding(learnable=replace(learnable, fixed={**learnable.fixed, "offset": offset}))


def fills_the_box(fixed: Mapping[str, Any], task: Task) -> bool:
    """Whether the policy's box is the box of actions."""
    low, high = task.env.facts.actions.bounds
    given = fixed["given"]
    return np.allclose(given.get("low", -1.0), low) and np.allclose(given.get("high", 1.0), high)


def remark_on(task: Task, alpha: float) -> str:
    """What is to be said of a temperature that was found, if anything."""
    t = task.temperature
    if t.is_adapted and not t.lowest * 1.001 < alpha < t.highest * 0.999:
        return f"the temperature ended at a bound, {alpha:g}, where the policy does not keep {t.nats:g} nats a step"
    return ""
