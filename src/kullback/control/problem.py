"""The control problem as numbers: a model, a temperature, a prior policy, a discount and a horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kullback.control.learning.policy import TIE
from kullback.control.learning.temperature import Temperature
from kullback.control.tabular.mdp import Model
from kullback.control.task import Task


@dataclass(frozen=True, eq=False)
class Problem:
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
