"""The temperature at which an exact solution spends a given divergence a step: the multiplier of that constraint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.optimize import root_scalar

from kullback.control.evaluate import evaluate
from kullback.control.learning.temperature import Temperature
from kullback.control.problem import Problem
from kullback.control.tabular.solve import solve
from kullback.errors import FitError

ACCURACY = 1e-8  # of log α
REACH = 16  # times that the bracket around the first temperature is widened tenfold


def settled(problem: Problem, tolerance: float) -> Problem:
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


def _nats_a_step(problem: Problem, tolerance: float) -> float:
    solution = solve(problem, tolerance)
    played = evaluate(problem, solution.log_policy)
    nats = played.trajectory_kl(problem.prior_by_time.reshape(played.log_policy.shape))
    if not (np.isfinite(nats) and np.isfinite(played.steps)):
        raise FitError(
            "env: episodes of the policy may not end, so nats a step mean nothing; pass discount= or horizon="
        )
    return nats / played.steps
