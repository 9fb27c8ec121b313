"""What fresh episodes say of a policy, with standard errors and guarantees; and the `Fit` of a training by episodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, PyTree
from scipy.special import ndtri, stdtrit

from kullback.control.envs.table import TableSimulator
from kullback.control.learning.episodes import Episodes, Played, Tell, play, silent
from kullback.control.learning.policy import Acting, Fixed
from kullback.control.task import EPISODES, Task
from kullback.errors import FitError
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.known import Known
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Request
from kullback.training.driver import Outcome

# Means over episodes, and a line on a terminal while they are played.

LEVEL = 0.975


def mean_of(
    x: Float[np.ndarray, " n"],
    quantity: str,
    unit: str,
    guarantee: Guarantee = Guarantee.UNBIASED,
    remark: str = "",
    cut: int = 0,
) -> Estimate:
    """The mean of n ≥ 2 independent numbers, with a standard error s so that ±1.96 s is Student's interval at 95 %.

    cut  how many of them are of episodes that were cut before their end
    """
    values = np.asarray(x, np.float64)
    n, spread = len(values), values.std(ddof=1) if np.ptp(values) else 0.0
    error = float(spread / np.sqrt(n) * stdtrit(n - 1, LEVEL) / ndtri(LEVEL))
    return Estimate(
        float(values.mean()),
        error,
        guarantee,
        quantity,
        reason=remark,
        unit=unit,
        diagnostics={"cut": cut, "episodes": n},
    )


def if_all_alike(x: Float[np.ndarray, " n"]) -> str:
    """What is to be said of few episodes that all gave the same: a standard error of 0 takes that for certain."""
    n = len(x)
    if n >= EPISODES or np.ptp(x):
        return ""
    return f"all {n} episodes gave the same: at 95 %, at most {1 - 0.05 ** (1 / n):.2g} of all do otherwise"


@contextmanager
def telling(quiet: bool) -> Iterator[Tell]:
    """What shows a line while the block runs: on a terminal, and nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console

    with Console(stderr=True).status("fresh episodes") as status:
        yield status.update


# What fresh episodes say of a policy.


@dataclass(frozen=True)
class Report:
    """What is known of a policy from fresh episodes; the objective of its fit, and numbers for its diagnostics."""

    objective: Estimate
    numbers: Mapping[str, Any]


def assess(
    task: Task,
    acting: Acting,
    free: PyTree,
    fixed: Fixed,
    temperature: float,
    rng: np.random.Generator,
    tell: Tell = silent,
) -> Report:
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
    arrays = isinstance(task.env.compiled, TableSimulator) and task.env.compiled.is_arrays
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
        counted="; ".join(filter(None, (task.env.caveat, fewer, episodes))),
        whole="; ".join(filter(None, (task.env.caveat, fewer, trajectories, beyond if truncated else ""))),
    )


def _cut(whole: Bool[np.ndarray, " n"], longest: int) -> str:
    cut = int((~whole).sum())
    return f"{cut} of {len(whole)} episodes had not ended after {longest:,} steps and were cut" if cut else ""


# From the outcome of a training to its fit.

ASSESSMENT = 7_001  # the stream of random numbers of fresh episodes
UNPLAYED = "its fresh episodes were interrupted; kl.KL(fit.q, optimal).estimate() plays them"


def fit_of(
    p: Known,
    task: Task,
    free: PyTree,
    fixed: PyTree,
    outcome: Outcome,
    temperature: float,
    request: Request,
    extra: Mapping[str, Any] | None = None,
) -> Fit:
    """The fit of a policy with parameters `free` and `fixed` (its scales as the training left them).

    Raises `FitError` where the parameters are not finite.
    """
    assert p.learnable is not None and isinstance(p.learnable.structure, ConditionalStructure)
    # What is fixed may be infinite: the reach of an output is where it has no limit.
    lost = any(not np.isfinite(leaf).all() for leaf in jax.tree.leaves(free))
    if lost or any(np.isnan(leaf).any() for leaf in jax.tree.leaves(fixed)):
        raise FitError("q: the policy's parameters became NaN or infinite; pass a smaller rate=")
    learnable = replace(p.learnable, fixed=fixed)
    try:
        with telling(request.quiet) as tell:
            report = assess(
                task,
                task.acting(learnable.structure),
                free,
                task.fixed(fixed),
                temperature,
                request.host_rng(ASSESSMENT),
                tell,
            )
    except KeyboardInterrupt:
        if not len(outcome.trace):
            raise
        report = _of_training(float(outcome.trace[-1]), temperature)
        outcome = replace(outcome, status=Status.INTERRUPTED, message=UNPLAYED)
    q = FittedConditional(p.learnable.structure, fixed, p.name, free)
    exact = task.truth(q, temperature) if task.truth is not None else {}
    return Fit(
        q,
        report.objective,
        outcome.status,
        trace=outcome.trace,
        diagnostics={**report.numbers, **exact, **(extra or {})},
        history=outcome.history,
        message=message_of(outcome),
        record=learnable.record(p.name, free),
    )


def _of_training(objective: float, temperature: float) -> Report:
    """All that is known of a policy of which no fresh episodes were played."""
    last = Estimate(
        objective,
        np.inf,
        Guarantee.CONSISTENT,
        "KL(π‖P_opt) − log Z",
        ("log Z",),
        "of recent episodes in training, in which the policy changed",
    )
    return Report(last, {"temperature": temperature, "episodes": 0})


def message_of(outcome: Outcome) -> str:
    """How a training ended, in words, where there is more to say than its status."""
    if not outcome.message and outcome.status is Status.STEP_LIMIT:
        return "all environment steps were used; a larger steps= goes on learning"
    return outcome.message
