"""Soft value iteration on transition tables, ours beside a plain loop over NumPy arrays, on one core and one thread.

Both stop where they know the soft value of every state within the same tolerance: the loop where γ/(1 − γ) times its
last change is within it, which is the bound of a contraction. What they return is then compared with a solution of a
thousandth of the tolerance. Our fit gives the return, the KL and log Z of the policy as well; the solver alone gives
the values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import one_thread
from benchmarks.runner import OURS, Case, Contender, measure, timed

TOLERANCE = 1e-6  # nats
STATES, ACTIONS, SUCCESSORS = 100_000, 10, 5


@dataclass(frozen=True)
class Table:
    """A decision process with its terms; `rounds` 0 for a large one, where each contender has one call."""

    make: Callable[[], Any]
    temperature: float
    discount: float
    rounds: int

    def optimal(self) -> Any:
        import kullback as kl

        return kl.Optimal(self.make(), temperature=self.temperature, discount=self.discount)


def random_table() -> Any:
    """A sparse process without structure, made from its list of matrices."""
    import scipy.sparse as sp

    from kullback.control import FiniteMDP

    rng = np.random.default_rng(0)
    successor = rng.integers(STATES, size=(ACTIONS, STATES * SUCCESSORS))
    probability = rng.dirichlet(np.ones(SUCCESSORS), size=(ACTIONS, STATES)).reshape(ACTIONS, -1)
    rows = np.repeat(np.arange(STATES), SUCCESSORS)
    matrices = [
        sp.csr_array(sp.coo_array((p, (rows, there)), shape=(STATES, STATES)))
        for p, there in zip(probability, successor, strict=True)
    ]
    return FiniteMDP(matrices, rng.normal(size=(STATES, ACTIONS)))


TABLES = {
    "FrozenLake 8 × 8": Table(lambda: "FrozenLake8x8-v1", 0.01, 0.99, rounds=15),
    "Taxi": Table(lambda: "Taxi-v4", 0.5, 0.99, rounds=15),
    f"random, {STATES:,} × {ACTIONS}": Table(random_table, 0.5, 0.99, rounds=0),
}


def padded(model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Successors and the probabilities of going on to them, [S, A, most outcomes], and expected rewards [S, A]."""
    shape = (model.states, model.actions)
    first = np.searchsorted(model.pair, model.pair)
    place = np.arange(len(model.pair)) - first
    successor = np.zeros((*shape, place.max() + 1), np.int64)
    going_on = np.zeros(successor.shape)
    successor[model.state, model.action, place] = model.successor
    going_on[model.state, model.action, place] = np.where(model.ends, 0.0, model.probability)
    return successor, going_on, model.expected_reward.reshape(shape)


def loop(arrays: tuple[np.ndarray, np.ndarray, np.ndarray], temperature: float, discount: float) -> np.ndarray:
    """Soft values in nats, by V ← log mean exp((r + γ P V)/α)."""
    successor, going_on, reward = arrays
    value, gain = np.zeros(len(reward)), reward / temperature
    while True:
        scores = gain + discount * (going_on * value[successor]).sum(-1)
        top = scores.max(1)
        new = top + np.log(np.exp(scores - top[:, None]).mean(1))
        change = np.abs(new - value).max()
        value = new
        if change * discount / (1.0 - discount) <= TOLERANCE:
            return value


def times(name: str) -> list[list[Any]]:
    """In the pinned process: of each contender the name, CPU seconds, their ratio to ours, and the largest error."""
    import numpyro.distributions as dist

    import kullback as kl
    from kullback.control.tabular.soft_bellman import action_choices, solve_soft

    case = TABLES[name]
    optimal = case.optimal()
    arrays, start = padded(optimal.model), optimal.model.start
    policy = kl.Conditional(kl.Table(), dist.Categorical)

    def fit() -> Any:
        return kl.KL(policy, optimal).minimize(tolerance=TOLERANCE)

    def values(tolerance: float = TOLERANCE) -> np.ndarray:
        return solve_soft(action_choices(optimal.problem).live(start), tolerance).value

    exact = values(TOLERANCE / 1e3)

    def error(value: np.ndarray) -> str:
        return f"{np.abs(value - exact)[exact != 0].max():.1e}"

    def fit_error(fit: Any) -> str:
        return f"{abs(fit.diagnostics['soft_value'] / case.temperature - start @ exact):.1e}"

    contenders = [
        Contender(OURS, fit, fit_error),
        Contender(f"{OURS}, the solver alone", values, error),
        Contender("NumPy loop", lambda: loop(arrays, case.temperature, case.discount), error),
    ]
    if case.rounds:
        rows = measure(Case(name, "", contenders, case.rounds), time.process_time)
        return [[row.name, row.median, row.ratio, row.quality] for row in rows]
    seen = [(contender, *timed(contender.call, time.process_time)) for contender in contenders]
    ours = seen[0][1]
    return [[contender.name, seconds, seconds / ours, contender.quality(answer)] for contender, seconds, answer in seen]


def table_of(name: str) -> str:
    lines = [f"| {name} | CPU seconds | time ÷ ours | largest error, nats |", "|---|---|---|---|"]
    for contender, seconds, ratio, error in one_thread.call("benchmarks.control_tables:times", name=name):
        lines.append(f"| {contender} | {seconds:.3g} | {ratio:.2f} | {error} |")
    return "\n".join(lines)


def tables() -> Iterator[str]:
    for name in TABLES:
        yield table_of(name)
