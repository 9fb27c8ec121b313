"""The soft Bellman equation V(s) = log Σ_c w(c) exp(g(c) + Σ_s′ K(c, s′) V(s′)), in nats, and its solution.

The choices c of a state are its actions, with K the dynamics: then V is the soft value over the temperature. Or they
are its actions together with their outcomes: then V is the log-partition function of the trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from kullback.control.tabular.linear_solve import SingularChain, solve_chain
from kullback.control.tabular.reachability import Sparse, never_left, reached

EPS = np.finfo(np.float64).eps
MAX_NEWTON_STEPS = 500
POWER_STEPS = 10
GROWTH = 1e-9  # nats a step: growth that rounding cannot feign
LONGEST = 1e10  # expected steps beyond which a chain that ends is not told from one that does not


class Unbounded(ArithmeticError):
    """The values grow without bound."""


class NeverEnds(ArithmeticError):
    """Rewards are collected for ever in some states, which `states` lists."""

    def __init__(self, states: np.ndarray) -> None:
        super().__init__(states)
        self.states = states


@dataclass(frozen=True, eq=False)
class Choices:
    """What can be chosen in each state, with the choices of one state side by side.

    owner       [n] the state of each choice, ascending
    log_weight  [n] log of the prior weight of the choice, nats
    gain        [n] expected reward over temperature, nats
    onward      [n, S] weight of going on to each state; discounting scales it
    may_end     [n] whether the trajectory may end with the choice
    pays        [n] whether some reward that is not 0 may follow
    label       [n] which action, or which outcome, the choice is
    """

    owner: np.ndarray
    log_weight: np.ndarray
    gain: np.ndarray
    onward: Sparse
    may_end: np.ndarray
    pays: np.ndarray
    label: np.ndarray

    @cached_property
    def states(self) -> np.ndarray:
        """The states that have a choice; the value of every other one is 0."""
        return np.unique(self.owner)

    @cached_property
    def _first(self) -> np.ndarray:
        return np.searchsorted(self.owner, self.states)

    @cached_property
    def _place(self) -> np.ndarray:
        return np.searchsorted(self.states, self.owner)

    def score(self, value: np.ndarray) -> np.ndarray:
        """log w(c) + g(c) + Σ K(c, s′) V(s′) for each choice, [n]."""
        return self.log_weight + self.gain + self.onward @ value

    def soft_max(self, score: np.ndarray) -> np.ndarray:
        """The log-sum-exp of the scores of each state that has a choice."""
        top = np.maximum.reduceat(score, self._first)
        return top + np.log(np.add.reduceat(np.exp(score - top[self._place]), self._first))

    def backup(self, value: np.ndarray) -> np.ndarray:
        """One application of the soft Bellman operator, [S]."""
        out = np.zeros(len(value))
        out[self.states] = self.soft_max(self.score(value))
        return out

    def log_policy(self, value: np.ndarray) -> np.ndarray:
        """log of the optimal probability of each choice given V, [n]."""
        score = self.score(value)
        return score - self.soft_max(score)[self._place]

    def mean(self, policy: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Σ_c π(c) x(c) for each state that has a choice."""
        return np.add.reduceat(policy * x, self._first)

    def chain(self, policy: np.ndarray) -> Sparse:
        """The transition weights among the states that have a choice, under π [n]."""
        bounds = np.append(self._first, len(policy))
        mixing = sp.csr_array((policy, np.arange(len(policy)), bounds), shape=(len(self.states), len(policy)))
        return sp.csr_array((mixing @ self.onward)[:, self.states])

    def only(self, states: np.ndarray) -> Choices:
        """The same without the choices of states where the mask [S] is False."""
        return self._subset(np.flatnonzero(states[self.owner]))

    def outgrows(self) -> bool:
        """Whether the weight that goes on is shown to grow, so that the values have no bound.

        With M the weights e^(w + g) of going on from state to state: where M z ≥ z for a positive z, the weight of the
        trajectories of n steps does not fall with n. A few steps of power iteration look for such a z; False says
        nothing. Only for choices with one successor at most, where the soft Bellman equation is linear in e^V.
        Source: Collatz (1942) and Wielandt (1950) for the bound.
        """
        going = self._subset(np.flatnonzero(np.diff(self.onward.indptr)))
        if not len(going.states) or len(going.states) < len(self.states):
            return False
        z = np.zeros(self.onward.shape[1])
        for _ in range(POWER_STEPS):
            new = going.soft_max(going.score(z))
            if (new - z[going.states]).min() > GROWTH:
                return True
            z[going.states] = new - new.max()
        return False

    def _subset(self, kept: np.ndarray) -> Choices:
        parts = (self.owner, self.log_weight, self.gain, self.onward, self.may_end, self.pays, self.label)
        return Choices(*(part[kept] for part in parts))

    def live(self, start: np.ndarray) -> Choices:
        """The same without states that are never reached, or where nothing is gained or lost any more.

        Raises `NeverEnds` where a class of states is never left and pays: its value is infinite.
        """
        size = self.onward.shape[1]
        graph = sp.csr_array(
            (np.ones(len(self.owner)), (self.owner, np.arange(len(self.owner)))), (size, len(self.owner))
        )
        graph = sp.csr_array(graph @ self.onward)
        found = reached(graph, start > 0)
        has_choice, may_end, pays = np.zeros((3, size), bool)
        has_choice[self.owner] = True
        may_end[self.owner[self.may_end]] = True
        pays[self.owner[self.pays]] = True
        closed, label = never_left(graph, may_end | ~has_choice)
        paying = closed & found & np.isin(label, label[closed & pays])
        if paying.any():
            raise NeverEnds(np.flatnonzero(paying))
        return self.only(found & has_choice & ~closed)


@dataclass(frozen=True, eq=False)
class SoftSolution:
    """value [S] in nats; `error` bounds its distance from the solution; `steps` of Newton's method."""

    value: np.ndarray
    error: float
    steps: int


def solve_soft(choices: Choices, tolerance: float = 1e-9) -> SoftSolution:
    """The least solution of the soft Bellman equation, by Newton's method, in nats.

    Newton's method is policy iteration here: the tangent of the log-sum-exp at V is the evaluation of the policy
    that is optimal for V. Starting from the prior's own value, every iterate is the value of some policy, so it is a
    lower bound, and they ascend. Value iteration converges to the same point, at the rate at which the chain
    ends, which is slow where trajectories are long.

    It stops where an upper bound is within the tolerance, or where rounding (relative 10⁻¹⁶ of the values) hides
    more. The upper bound: with δ the largest increase T V − V and τ(s) the expected steps to the end under the policy
    for V, W = V + 2δτ is checked to satisfy T W ≤ W; then no policy does better than W, because along any policy
    whose KL to the prior is finite the trajectory ends. Discounting is one way to end.

    Raises `Unbounded` where the values have no bound. Source: Puterman and Brumelle (1979) for Newton's method;
    Todorov (2007), Ziebart (2010), chapter 5, for the equation.
    """
    states = choices.states
    value = np.zeros(choices.onward.shape[1])
    if not len(states):
        return SoftSolution(value, 0.0, 0)
    prior = np.exp(choices.log_weight)
    try:
        value[states] = solve_chain(choices.chain(prior), choices.mean(prior, choices.gain))
        for step in range(1, MAX_NEWTON_STEPS + 1):
            increase = choices.backup(value) - value
            policy = np.exp(choices.log_policy(value))
            chain = choices.chain(policy)
            rounding = 8 * EPS * (1.0 + np.abs(value).max() + np.abs(choices.gain).max())
            settled = np.abs(increase).max() <= max(rounding, 1e-3 * tolerance)
            if settled:
                error = _upper_bound_gap(choices, value, increase, chain, rounding)
                if error <= tolerance or np.abs(increase).max() <= rounding:
                    return SoftSolution(value, error, step)
            change = solve_chain(chain, increase[states])
            if np.abs(change).max() > LONGEST * np.abs(increase).max():
                raise Unbounded
            value[states] += change
    except SingularChain as error:
        raise Unbounded from error
    raise Unbounded


def _upper_bound_gap(
    choices: Choices, value: np.ndarray, increase: np.ndarray, chain: Sparse, rounding: float
) -> float:
    """How far an upper bound on the solution lies above `value`; infinite where the bound cannot be shown."""
    steps = np.zeros(len(value))
    steps[choices.states] = solve_chain(chain, np.ones(len(choices.states)))
    if steps.min() < 0 or steps.max() > LONGEST:
        raise Unbounded
    largest = max(float(np.abs(increase).max()), rounding)
    upper = value + 2.0 * largest * steps
    shown = (choices.backup(upper) <= upper).all()
    return float(2.0 * largest * steps.max()) if shown else np.inf
