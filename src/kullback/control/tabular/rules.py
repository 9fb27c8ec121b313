"""The rules for `Optimal` with a transition table: exact solution, its projection onto a network, exact evaluation.

Where a divergence is asked for in place of a temperature, the multiplier of that constraint is found first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import root_scalar

from kullback.control.learning.temperature import Temperature
from kullback.control.tabular.evaluation import episode, evaluate, into_table, log_rows, why_no_policy
from kullback.control.tabular.soft_bellman import Solution, solve
from kullback.control.task import TableProblem, Task, greedy
from kullback.errors import FitError
from kullback.families.networks import Rows
from kullback.known import Known, Pairs, describe
from kullback.minimize.maximum_likelihood import MaximumLikelihood
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

# A divergence asked for in place of a temperature: the multiplier of that constraint.

ACCURACY = 1e-8  # of log α
REACH = 16  # times that the bracket around the first temperature is widened tenfold


def settled(problem: TableProblem, tolerance: float) -> TableProblem:
    """The problem at the temperature that it asks for, found where it asks for nats a step.

    At the optimum for α the policy spends KL(π_α‖π₀) = Σ_s d(s) KL(π_α(·∣s)‖π₀(·∣s)) nats in Σ_s d(s) steps. Their
    ratio falls from that of the greedy policy to 0 as α grows, and the equation ratio = nats is solved by bracketing
    log α. Where no α within the bounds solves it the bound is taken, which the fit's diagnostics show.
    Raises `FitError` where the steps cannot be counted. Source: Boyd and Vandenberghe (2004), section 5.5, for the
    multiplier; Ziebart (2010), section 5.3.
    """
    asked = problem.asked
    if asked is None or not asked.is_adapted:
        return problem

    def excess(log_alpha: float) -> float:
        return _nats_a_step(replace(problem, temperature=float(np.exp(log_alpha))), tolerance) - asked.nats

    low, high = _bracket(excess, asked)
    log_alpha = low if low == high else float(root_scalar(excess, bracket=(low, high), xtol=ACCURACY).root)
    return replace(problem, temperature=float(np.exp(log_alpha)))


def _bracket(excess: Callable[[float], float], asked: Temperature) -> tuple[float, float]:
    """Two values of log α between which the excess changes sign, or a bound of α twice."""
    lowest, highest, middle = np.log(asked.lowest), np.log(asked.highest), np.log(asked.first)
    direction = 1.0 if excess(middle) > 0 else -1.0
    here = middle
    for _ in range(REACH):
        there = float(np.clip(here + direction * np.log(10.0), lowest, highest))
        if direction * excess(there) <= 0:
            return min(here, there), max(here, there)
        if there in (lowest, highest):
            return there, there
        here = there
    return here, here


def _nats_a_step(problem: TableProblem, tolerance: float) -> float:
    solution = solve(problem, tolerance)
    played = evaluate(problem, solution.log_policy)
    nats = played.trajectory_kl(problem.prior_by_time.reshape(played.log_policy.shape))
    if not (np.isfinite(nats) and np.isfinite(played.steps)):
        raise FitError(
            "env: episodes of the policy may not end, so nats a step mean nothing; pass discount= or horizon="
        )
    return nats / played.steps


# The rules.

IDENTITY = "KL(π‖P_opt) = log Z − E_π[R]/α + KL(π‖π₀); V(s) = α log Σ_a π₀(a∣s) exp(Q(s, a)/α)"
NEEDS_P = "a Conditional over Categorical actions"
NEEDS_Q = "a transition table"
POLICY = "kl.Conditional(kl.Table(), dist.Categorical)"
TOLERANCE = 1e-9  # nats
WIDEST = 20_000  # labels that a network can take one-hot


@dataclass(frozen=True)
class SoftValueIteration(Rule):
    """The optimal policy itself, as a table: the soft Bellman equation solved, or gone through backwards."""

    name: ClassVar[str] = "soft value iteration"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = IDENTITY
    needs_p: ClassVar[str] = NEEDS_P + " with a Table"
    needs_q: ClassVar[str] = NEEDS_Q
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 4.0
    source: ClassVar[str] = "Todorov (2007); Ziebart (2010), ch. 5; Levine (2018), arXiv:1805.00909"
    aliases: ClassVar[tuple[str, ...]] = ("soft Bellman backup", "maximum-entropy value iteration")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        missing = _no_policy(p, q)
        if missing is not None:
            return missing
        if not _is_table(p):
            return Missing("the network is not a Table, so it may not hold the solution", POLICY)
        return Applies(note="the policy depends on time" if _table(q).horizon else "")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        problem, learnable = settled(_table(q), TOLERANCE), p.learnable
        assert learnable is not None
        solution = solve(problem, request.tolerance or TOLERANCE)
        rows = solution.log_policy.reshape(problem.labels, problem.model.actions)
        free = into_table(learnable, rows)
        fit = Fit(
            learnable.wrap(free),
            Estimate(0.0),
            Status.CLOSED_FORM if problem.horizon else Status.CONVERGED,
            record=learnable.record(p.name, free),
        )
        return reported(fit, problem, solution)


@dataclass(frozen=True)
class SoftValueIterationProjected(Rule):
    """The optimal policy found exactly, then fitted by forward KL, each state counting as often as it is visited."""

    name: ClassVar[str] = "soft value iteration, projected"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = IDENTITY + "; then min E_{s∼π*}[KL(π*(·∣s)‖π_θ(·∣s))]"
    needs_p: ClassVar[str] = NEEDS_P
    needs_q: ClassVar[str] = NEEDS_Q
    guarantee: ClassVar[Guarantee] = Guarantee.UPPER_BOUND
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Todorov (2007); Levine (2018), arXiv:1805.00909; Rusu et al. (2016) for the projection"
    aliases: ClassVar[tuple[str, ...]] = ("projected soft value iteration",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        missing = _no_policy(p, q)
        if missing is not None:
            return missing
        if _table(q).labels > WIDEST and not _is_table(p):
            return Missing(f"the network would take {_table(q).labels:,} inputs one-hot, more than {WIDEST:,}", POLICY)
        return Applies(note="the network is fitted by forward KL, and what remains is reported")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        problem = settled(_table(q), TOLERANCE)
        solution = solve(problem, TOLERANCE)
        fit = MaximumLikelihood().run(_exact_policy(problem, solution), p, request)
        return reported(fit, problem, solution)


@dataclass(frozen=True)
class PolicyEvaluation(Rule):
    """KL(Q‖P_opt) of a policy that is given: its return and its KL to the prior, from its occupancy."""

    name: ClassVar[str] = "policy evaluation"
    question: ClassVar[Question] = "estimate"
    identity: ClassVar[str] = IDENTITY.split(";")[0]
    needs_p: ClassVar[str] = "a fitted policy"
    needs_q: ClassVar[str] = NEEDS_Q
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 4.0
    source: ClassVar[str] = "Puterman (1994), ch. 6; Levine (2018), arXiv:1805.00909"
    aliases: ClassVar[tuple[str, ...]] = ("dynamic programming",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        missing = _no_table(q)
        if missing is not None:
            return missing
        if np.shape(getattr(p.distribution, "logits", ())) != (_table(q).labels, _table(q).model.actions):
            return Missing("the first side is not a policy over these states and actions", "the q of a fit to Optimal")
        return Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        problem = settled(_table(q), TOLERANCE)
        numbers = _numbers(problem, solve(problem, request.tolerance or TOLERANCE), p.distribution)
        return _objective(numbers)


def exact_numbers(problem: TableProblem, policy: Any, temperature: float) -> dict[str, float]:
    """What is known exactly of a policy that was learned by playing a table, at the temperature where it ended."""
    problem = replace(problem, temperature=temperature)
    numbers = _numbers(problem, solve(problem, TOLERANCE), policy(np.arange(problem.labels)))
    return {name: float(numbers[name]) for name in ("kl", "kl_excess", "least_kl", "log_z")}


def reported(fit: Fit, problem: TableProblem, solution: Solution) -> Fit:
    """The fit with the exact KL of its policy as the objective, and everything else that is known of the policy."""
    numbers = _numbers(problem, solution, fit.q(np.arange(problem.labels)))
    return replace(fit, objective=_objective(numbers), diagnostics=numbers)


def _numbers(problem: TableProblem, solution: Solution, distribution: Any) -> dict[str, Any]:
    shape = solution.log_policy.shape
    log_policy = log_rows(distribution, shape[-1]).reshape(shape)
    sampled, best = evaluate(problem, log_policy), evaluate(problem, greedy(log_policy))
    drawn, played = episode(problem, sampled), episode(problem, best)
    excess = sampled.trajectory_kl(solution.log_policy)
    worth = {
        # as the environment counts it, and as the problem does
        "sampled_return": drawn.expected_return,
        "greedy_return": played.expected_return,
        "steps": drawn.steps,
        "sampled_value": sampled.expected_return,
        "greedy_value": best.expected_return,
    }
    return {
        # A sum of rewards that alternate for ever has no value.
        **{name: number for name, number in worth.items() if not np.isnan(number)},
        "soft_value": problem.temperature * solution.soft_value,
        "temperature": problem.temperature,
        "kl": solution.least_kl + excess,
        "kl_excess": excess,
        "least_kl": solution.least_kl,
        "log_z": solution.log_partition,
        "prior_kl": sampled.trajectory_kl(problem.prior_by_time.reshape(shape)),
        "trajectory_steps": sampled.steps,
        "numerical_error": solution.error,
        "occupancy": sampled.occupancy,
    }


def _objective(numbers: dict[str, Any]) -> Estimate:
    reason = ""
    if np.isinf(numbers["log_z"]):
        reason = (
            "Z is infinite, so P_opt does not exist at this temperature; kl_excess is the part that a policy controls"
        )
    elif np.isinf(numbers["kl_excess"]):
        reason = "the policy takes actions that the prior forbids, or strays from the optimum for ever"
    return Estimate(numbers["kl"], quantity="KL(π‖P_opt)", reason=reason, diagnostics=numbers)


def _exact_policy(problem: TableProblem, solution: Solution) -> Known:
    """Pairs (state, action) weighted by how often the optimal policy visits the state and takes the action."""
    actions = problem.model.actions
    visits = evaluate(problem, solution.log_policy).occupancy.reshape(-1)
    visits = np.where(np.isfinite(visits), visits, visits[np.isfinite(visits)].sum())
    if not visits.any():
        visits = np.ones(problem.labels)
    weights = visits[:, None] * np.exp(solution.log_policy.reshape(-1, actions))
    label, action = np.nonzero(weights > 1e-12 * weights.max())
    return describe(Pairs(label, action, weights[label, action]))


def _is_table(p: Known) -> bool:
    return p.learnable is not None and isinstance(getattr(p.learnable.structure, "network", None), Rows)


def _table(q: Known) -> TableProblem:
    """The transition table to solve, where `_no_table` has found that there is one."""
    assert isinstance(q.facts, TableProblem)
    return q.facts


def _no_table(q: Known) -> Missing | None:
    if isinstance(q.facts, TableProblem):
        return None
    if isinstance(q.facts, Task):
        return Missing(f"no transition table of {q.facts.env.facts.name} is known", "kl.control.FiniteMDP")
    return Missing("the second side is not Optimal", "kl.Optimal(env) as the second side")


def _no_policy(p: Known, q: Known) -> Missing | None:
    missing = _no_table(q)
    if missing is not None:
        return missing
    assert p.learnable is not None
    reason = why_no_policy(p.learnable, _table(q).model.actions)
    return Missing(reason, POLICY) if reason else None
