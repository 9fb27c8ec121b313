"""What fresh episodes say of a policy: returns, soft value and nats, with standard errors and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from kullback.control.envs.table import TableSimulator
from kullback.control.learning.episodes import Episodes, Played, Tell, play, silent
from kullback.control.learning.means import if_all_alike, mean_of
from kullback.control.learning.policy import Acting, Fixed
from kullback.control.task import Task
from kullback.result import Estimate, Guarantee


@dataclass(frozen=True)
class Report:
    """What is known of a policy from fresh episodes; the objective of its fit, and numbers for its diagnostics."""

    objective: Estimate
    numbers: Mapping[str, Any]


def assess(task: Task, acting: Acting, free: Any, fixed: Fixed, temperature: float,
           rng: np.random.Generator, tell: Tell = silent) -> Report:  # fmt: skip
    """Greedy, sampled and soft values with standard errors, from fresh episodes, as many as `task.fresh` says.

    The objective is KL(π‖P_opt) − log Z = −J/α with J = E[Σ γᵗ (r − α KL(π(·∣s)‖π₀(·∣s)))]: unbiased, as the episodes
    took no part in the training. With w = R/α − log π(τ)/π₀(τ), log Z ≥ E[w] and log Z ≈ log mean exp w by
    importance sampling, whose expectation is below log Z: their difference bounds KL(π‖P_opt) from below on average.

    Where a budget of steps decided how many episodes there are, their number goes with their lengths: means are then
    consistent and no more.
    """
    wanted, budget, _ = task.closing
    half = None if budget is None else budget // 2
    greedy = play(task, acting, free, fixed, True, rng, wanted, half, tell)
    sampled = play(task, acting, free, fixed, False, rng, wanted, half, tell)
    greedily, drawn = _worth_of(task, greedy), _worth_of(task, sampled)
    sums = Episodes(*(np.asarray(column, np.float64) for column in sampled.episodes))
    soft = sums.discounted - temperature * sums.kl
    numbers = {
        "greedy_return": greedily.of_counted(greedily.returns, "E[R], greedy", "reward"),
        "sampled_return": drawn.of_counted(drawn.returns, "E[R], sampled", "reward"),
        "soft_value": drawn.of_whole(soft, "soft value", "reward"),
        "prior_kl": drawn.of_whole(sums.kl, "KL(π‖π₀) of an episode"),
        "steps": drawn.of_counted(drawn.steps, "steps of an episode", "steps"),
        "temperature": temperature,
        "episodes": len(soft),
    }
    if task.discount == 1.0 and drawn.is_complete:
        weights = sums.discounted / temperature - sums.log_ratio
        numbers["kl_lower_bound"] = float(np.logaddexp.reduce(weights) - np.log(len(weights)) - weights.mean())
    objective = drawn.of_whole(-soft / temperature, "KL(π‖P_opt) − log Z")
    return Report(replace(objective, dropped=("log Z",)), numbers)


@dataclass(frozen=True)
class _Worth:
    """What means over episodes are worth.

    returns, steps  what the environment counts [n]
    at_most  how long episodes may be, where some were cut; `cut` is how many were
    counted, whole  remarks on means of what it counts, and on means over whole trajectories
    is_complete     whether every trajectory was seen to its end
    """

    guarantee: Guarantee
    is_complete: bool
    returns: Float[np.ndarray, " n"]
    steps: Float[np.ndarray, " n"]
    at_most: str
    cut: int
    counted: str
    whole: str

    def of_counted(self, x: Float[np.ndarray, " n"], quantity: str, unit: str) -> Estimate:
        remark = "; ".join(filter(None, (self.counted, if_all_alike(x))))
        return mean_of(x, quantity + self.at_most, unit, self.guarantee, remark, self.cut)

    def of_whole(self, x: Float[np.ndarray, " n"], quantity: str, unit: str = "nats") -> Estimate:
        return mean_of(x, quantity, unit, self.guarantee, self.whole)


def _worth_of(task: Task, played: Played) -> _Worth:
    """What episodes are worth. Of arrays the return is the discounted one, as there is no environment beside them."""
    of, discount = played.episodes, task.discount
    n, over, steps = len(of.returns), np.asarray(of.finished), np.asarray(of.length, np.float64)
    arrays = isinstance(task.compiled, TableSimulator) and task.compiled.is_arrays
    is_rest_0 = discount**played.longest < np.finfo(np.float64).eps
    fewer = f"only {n} of {played.wanted} episodes were sure to fit into the budget" if n < played.wanted else ""
    truncated = int(np.sum(of.truncated)) if not (task.cut_ends or is_rest_0) else 0
    beyond = f"{truncated} of {n} episodes were cut off by the time limit, beyond which nothing is counted"
    trajectories = _cut(over | is_rest_0, played.longest)
    are_whole = over | (is_rest_0 if arrays else steps >= played.counted)
    episodes = _cut(are_whole, played.longest)
    if arrays and discount < 1.0:
        steps = (1.0 - discount**steps) / (1.0 - discount)
    return _Worth(
        guarantee=Guarantee.UNBIASED if played.settled else Guarantee.CONSISTENT,
        is_complete=not (trajectories or truncated),
        returns=np.asarray(of.discounted if arrays else of.returns, np.float64),
        steps=steps,
        cut=int((~are_whole).sum()),
        at_most=f", of at most {played.longest:,} steps" if episodes else "",
        counted="; ".join(filter(None, (task.caveat, fewer, episodes))),
        whole="; ".join(filter(None, (task.caveat, fewer, trajectories, beyond if truncated else ""))),
    )


def _cut(whole: Bool[np.ndarray, " n"], longest: int) -> str:
    cut = int((~whole).sum())
    return f"{cut} of {len(whole)} episodes had not ended after {longest:,} steps and were cut" if cut else ""
