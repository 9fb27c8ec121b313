"""The soft Bellman equation V(s) = log Σ_c w(c) exp(g(c) + Σ_s′ K(c, s′) V(s′)), in nats, and its solutions.

The choices c of a state are its actions, with K the dynamics: then V is the soft value over the temperature. Or they
are its actions together with their outcomes: then V is the log-partition function of the trajectories. Read from the
top: linear systems of a chain that ends, the equation and its Newton iteration, and the solution of a control problem.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from kullback.control.tabular.mdp import Sparse, never_left, reached
from kullback.control.task import TableProblem
from kullback.errors import FitError

SMALL = 4_000  # states up to which a factorisation is cheap whatever the graph
RELATIVE = 1e-10  # residual asked of one Krylov solve; Newton's method corrects what it leaves
BACKWARD = 1e-12  # residual over the solution that is as good as rounding allows on a chain that hardly ends
RESTART, CYCLES = 40, 10


# Linear systems x = Kx + b of a chain K that ends: factorised while small, by Krylov iteration when large.


class SingularChain(ArithmeticError):
    """The chain does not end, so the system has no finite solution."""


def solve_chain(chain: Sparse, b: np.ndarray) -> np.ndarray:
    """x = (I − chain)⁻¹ b for a non-negative chain [S, S] with spectral radius below 1, and b [S].

    Krylov iteration is tried first on large chains, because a factorisation of a random sparse graph fills in;
    where it stalls (long thin graphs, such as mazes) the factorisation is cheap and takes over.
    Raises `SingularChain` where the solution is not finite.
    """
    system = sp.csc_array(sp.eye_array(chain.shape[0]) - chain)
    x = None if chain.shape[0] <= SMALL else _krylov(system, b)
    if x is None:
        x = _factorised(system, b)
    if not np.isfinite(x).all():
        raise SingularChain
    return x


def _krylov(system: sp.csc_array, b: np.ndarray) -> np.ndarray | None:
    x, failed = spla.gmres(sp.csr_array(system), b, rtol=RELATIVE, atol=0.0, restart=RESTART, maxiter=CYCLES)
    stalled = failed and np.abs(b - system @ x).max() > BACKWARD * np.abs(x).max()
    return None if stalled else x


def _factorised(system: sp.csc_array, b: np.ndarray) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            return spla.splu(system).solve(b)
    except (RuntimeError, spla.MatrixRankWarning) as error:
        raise SingularChain from error


# The soft Bellman equation, by Newton's method.

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


# Control problems as choices, and their solutions.

REMEDY = "pass discount= below 1, or horizon="


@dataclass(frozen=True, eq=False)
class Solution:
    """The optimum of a control problem, in nats.

    log_policy  log π*(a∣s), [S, A], or [horizon, S, A]; the prior where no trajectory goes
    value       V(s)/α at the first step, [S]
    log_z       log E[exp(R/α)] over the prior's trajectories from s, [S]; infinite where the expectation is
    start       the law of the first state
    error       a bound on the numerical error of `value`
    """

    log_policy: np.ndarray
    value: np.ndarray
    log_z: np.ndarray
    start: np.ndarray
    error: float
    steps: int

    @property
    def soft_value(self) -> float:
        """E[V(s₀)]/α over the law of the first state."""
        return float(self.start @ np.where(self.start > 0, self.value, 0.0))

    @property
    def log_partition(self) -> float:
        """log Z of P_opt(τ) ∝ prior(τ) exp(R(τ)/α), the first state included."""
        return float(np.logaddexp.reduce(self.log_z[self.start > 0] + np.log(self.start[self.start > 0])))

    @property
    def least_kl(self) -> float:
        """The least KL(Q‖P_opt) that a policy attains: log Z − E[V(s₀)]/α."""
        return self.log_partition - self.soft_value


def solve(problem: TableProblem, tolerance: float = 1e-9) -> Solution:
    """The policy that minimises KL(Q‖P_opt), where P_opt(τ) ∝ prior(τ) exp(R(τ)/α) shares the dynamics with Q.

    For a policy Q, KL(Q‖P_opt) = log Z − E_Q[R]/α + KL(Q‖prior), so the best policy has soft value
    V(s) = α log Σ_a π₀(a∣s) exp(Q(s, a)/α), and the least KL is log Z − E[V(s₀)]/α. It is 0 only where chance plays
    no part: P_opt may condition the dynamics and the first state on a high return, and Q may not. Log Z obeys the same
    equation with every outcome a choice of its own. Discounting ends a trajectory with probability 1 − γ after each
    step, for Q and P_opt alike.

    Raises `FitError` where the soft value has no bound. Source: Todorov (2007); Ziebart (2010), chapter 5;
    Levine (2018), arXiv:1805.00909, sections 2 and 3.
    """
    return _infinite(problem, tolerance) if problem.horizon is None else _finite(problem, problem.horizon)


def _infinite(problem: TableProblem, tolerance: float) -> Solution:
    model = problem.model
    try:
        choices = action_choices(problem).live(model.start)
        solved = solve_soft(choices, tolerance)
    except NeverEnds as error:
        listed = ", ".join(map(str, error.states[:5])) + (", …" if len(error.states) > 5 else "")
        raise FitError(
            f"env: rewards are collected for ever in states that are never left ({listed}), "
            f"so the value is infinite; {REMEDY}"
        ) from error
    except Unbounded as error:
        raise FitError(
            f"env: the soft value grows without bound at temperature {problem.temperature:g}; {REMEDY}"
        ) from error
    log_policy = np.array(problem.log_prior, np.float64).reshape(-1)
    log_policy[choices.owner * model.actions + choices.label] = choices.log_policy(solved.value)
    log_z = _infinite_partition(problem, solved.value, tolerance)
    shaped = log_policy.reshape(model.states, model.actions)
    return Solution(shaped, solved.value, log_z, model.start, solved.error, solved.steps)


def _infinite_partition(problem: TableProblem, value: np.ndarray, tolerance: float) -> np.ndarray:
    if problem.model.deterministic and problem.discount == 1.0:
        return value
    infinite = np.full(problem.model.states, np.inf)
    choices = outcome_choices(problem).live(problem.model.start)
    if choices.outgrows():
        return infinite
    try:
        return solve_soft(choices, tolerance).value
    except Unbounded:
        return infinite


def action_choices(problem: TableProblem) -> Choices:
    """The actions that the prior allows, as choices: the dynamics are chance."""
    model = problem.model
    allowed = np.isfinite(problem.log_prior) & model.acting[:, None]
    pair = np.flatnonzero(allowed)
    return Choices(
        owner=pair // model.actions,
        log_weight=problem.log_prior.reshape(-1)[pair],
        gain=model.expected_reward[pair] / problem.temperature,
        onward=sp.csr_array(problem.discount * model.going_on)[pair],
        may_end=model.may_end[pair] | (problem.discount < 1.0),
        pays=model.pays[pair],
        label=pair % model.actions,
    )


def outcome_choices(problem: TableProblem) -> Choices:
    """Where to go next, or to end, as the choices of each state: what happens by chance is chosen as well.

    The actions and outcomes that lead from s to s′ are one choice; its weight is their probability under the prior, and
    its gain the log of their mean exp(r/α).
    """
    model, discount = problem.model, problem.discount
    weight = problem.log_prior.reshape(-1)[model.pair] + np.log(model.probability)
    here, there = model.state, np.where(model.ends, model.states, model.successor)  # the end is one state more
    onward = np.log(discount) if discount > 0 else -np.inf
    scale, source = np.where(model.ends, 0.0, onward), np.arange(len(here))
    if discount < 1.0:
        cut = np.flatnonzero(~model.ends)
        source = np.concatenate([source, cut])
        there = np.concatenate([there, np.full(len(cut), model.states)])
        scale = np.concatenate([scale, np.full(len(cut), np.log1p(-discount))])
    kept = np.flatnonzero(np.isfinite(weight[source] + scale))
    edge = here[source[kept]] * (model.states + 1) + there[kept]
    order = np.argsort(edge, kind="stable")
    edge, kept = edge[order], kept[order]
    first = np.flatnonzero(np.diff(edge, prepend=-1))
    log_weight, reward = weight[source[kept]] + scale[kept], model.reward[source[kept]]
    total = _logsumexp_runs(log_weight, first)
    owner, successor = np.divmod(edge[first], model.states + 1)
    going = np.flatnonzero(successor < model.states)
    entries = (np.ones(len(going)), (going, successor[going]))
    return Choices(
        owner=owner,
        log_weight=total,
        gain=_logsumexp_runs(log_weight + reward / problem.temperature, first) - total,
        onward=sp.csr_array(sp.coo_array(entries, shape=(len(owner), model.states))),
        may_end=successor == model.states,
        pays=np.maximum.reduceat(reward != 0, first),
        label=successor,
    )


def _finite(problem: TableProblem, horizon: int) -> Solution:
    """Backward induction: V_n = 0, and V_t is the soft Bellman backup of V_{t+1}."""
    model, discount = problem.model, problem.discount
    log_prior = problem.prior_by_time
    shape = (model.states, model.actions)
    gain = model.expected_reward / problem.temperature
    log_policy = np.array(log_prior, np.float64)
    value, log_z = np.zeros(model.states), np.zeros(model.states)
    first = np.flatnonzero(np.diff(model.pair, prepend=-1))
    pairs, outcome = model.pair[first], np.log(model.probability) + model.reward / problem.temperature
    for t in reversed(range(horizon)):
        score = log_prior[t] + (gain + discount * (model.going_on @ value)).reshape(shape)
        new = np.logaddexp.reduce(score, axis=1)
        log_policy[t][model.acting] = (score - new[:, None])[model.acting]
        value = np.where(model.acting, new, 0.0)
        after = np.where(model.ends, 0.0, _cut_short(log_z[model.successor], discount))
        ahead = np.zeros(model.states * model.actions)
        ahead[pairs] = _logsumexp_runs(outcome + after, first)
        log_z = np.where(model.acting, np.logaddexp.reduce(log_prior[t] + ahead.reshape(shape), axis=1), 0.0)
    if model.deterministic and discount == 1.0:
        log_z = value
    rounding = 8 * np.finfo(np.float64).eps * horizon * (1.0 + np.abs(value).max() + np.abs(gain).max())
    return Solution(log_policy, value, log_z, model.start, float(rounding), horizon)


def _cut_short(log_z: np.ndarray, discount: float) -> np.ndarray:
    """log(1 − γ + γ Z): the trajectory ends here, or goes on."""
    if discount in (0.0, 1.0):
        return discount * log_z
    return np.logaddexp(np.log1p(-discount), np.log(discount) + log_z)


def _logsumexp_runs(x: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The log-sum-exp of each run of x that starts at one of `first`."""
    top = np.maximum.reduceat(x, first)
    spread = np.repeat(top, np.diff(first, append=len(x)))
    return top + np.log(np.add.reduceat(np.exp(x - spread), first))
