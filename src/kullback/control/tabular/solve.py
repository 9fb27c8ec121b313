"""Exact solutions of a control problem: the optimal policy, its soft value, and the log-partition function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from kullback.control.problem import Problem
from kullback.control.tabular.soft_bellman import Choices, NeverEnds, Unbounded, solve_soft
from kullback.errors import FitError

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


def solve(problem: Problem, tolerance: float = 1e-9) -> Solution:
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


def _infinite(problem: Problem, tolerance: float) -> Solution:
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


def _infinite_partition(problem: Problem, value: np.ndarray, tolerance: float) -> np.ndarray:
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


def action_choices(problem: Problem) -> Choices:
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


def outcome_choices(problem: Problem) -> Choices:
    """Where to go next, or to end, as the choices of each state: what happens by chance is chosen as well.

    The actions and outcomes that lead from s to s′ are one choice; its weight is their probability under the prior, and
    its gain the log of their mean exp(r/α).
    """
    model, discount = problem.model, problem.discount
    weight = problem.log_prior.reshape(-1)[model.pair] + np.log(model.probability)
    here, there = model.state, np.where(model.ends, model.states, model.successor)  # the end is one state more
    scale, source = np.where(model.ends, 0.0, np.log(discount)), np.arange(len(here))
    if discount < 1.0:
        cut = np.flatnonzero(~model.ends)
        source = np.concatenate([source, cut])
        there = np.concatenate([there, np.full(len(cut), model.states)])
        scale = np.concatenate([scale, np.full(len(cut), np.log1p(-discount))])
    kept = np.flatnonzero(np.isfinite(weight[source]))
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


def _finite(problem: Problem, horizon: int) -> Solution:
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
    return log_z if discount == 1.0 else np.logaddexp(np.log1p(-discount), np.log(discount) + log_z)


def _logsumexp_runs(x: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The log-sum-exp of each run of x that starts at one of `first`."""
    top = np.maximum.reduceat(x, first)
    spread = np.repeat(top, np.diff(first, append=len(x)))
    return top + np.log(np.add.reduceat(np.exp(x - spread), first))
