"""Reinforcement learning as reverse KL: policies against the optimal trajectories of three environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist

import kullback as kl
from kullback.report.figures import lake_policies
from kullback.report.figures.control import Lake, Returns
from kullback.report.record import Picture, Section, Table

CODE = """\
policy = kl.Conditional(kl.Table(), dist.Categorical)
kl.KL(policy, kl.Optimal("FrozenLake-v1", temperature=0.001)).minimize()"""

LAKE = "FrozenLake-v1"
WARM, COLD = 0.02, 0.001
COLDEST = {LAKE: 0.001, "CliffWalking-v1": 0.5, "Taxi-v4": 0.1}


def policy(environments: tuple[str, ...] = tuple(COLDEST), temperatures: int = 21, hidden: int = 32) -> Section:
    """Solve each environment cold, as a table and as a network, and follow the first one's return from warm to cold."""
    asked, rows, numbers = [], [], {}
    for name in environments:
        target = kl.Optimal(name, temperature=COLDEST[name])
        exact = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target)
        network = kl.KL(kl.Conditional(kl.MLP(hidden=(hidden,)), dist.Categorical), target)
        table, projected = exact.minimize(quiet=True), network.minimize(quiet=True)
        best = ordinary_optimum(name)
        if not asked:
            asked = [("A table", f"{exact}"), ("A network", f"{network}")]
        found = (
            table.diagnostics["greedy_value"],
            table.diagnostics["sampled_value"],
            projected.diagnostics["sampled_value"],
        )
        rows.append((name, f"{COLDEST[name]:g}", *(_number(x) for x in (best, *found)), _excess(projected)))
        numbers |= {f"{name}_gap": found[0] - best, f"{name}_network_excess": projected.diagnostics["kl_excess"]}
    return Section(
        key="policy",
        title="Reinforcement learning is a reverse KL",
        lead="P_opt gives a trajectory a probability that grows with its return: the trajectories of a prior policy, "
        "each weighted by exp(return / temperature). The dynamics are the environment's on both sides, so only the "
        "policy is fitted, and the answer is maximum-entropy control. It is the classifier's object again, as the "
        "first argument.",
        code=CODE,
        plans=tuple(asked),
        pictures=(_picture(temperatures),),
        tables=(
            Table(
                ("environment", "temp.", "ordinary", "greedy", "sampled", "network", "excess KL"),
                tuple(rows),
                "Expected returns: the optimum of ordinary value iteration, the soft-optimal policy made greedy, the "
                "same as it is, and a network onto which it was projected, with the KL that the projection left, in "
                "nats a trajectory. All are computed from the transition tables, without sampling or time limits.",
            ),
        ),
        numbers=numbers,
    )


def ordinary_optimum(name: str, sweeps: int = 100_000) -> float:
    """The best expected return, by value iteration without any temperature on the environment's own table."""
    env: Any = gym.make(name).unwrapped
    outcomes = [(s, a, *each) for s, actions in env.P.items() for a, listed in actions.items() for each in listed]
    s, a, p, after, reward, ends = (np.array(column) for column in zip(*outcomes, strict=True))
    states, actions = int(s.max()) + 1, int(a.max()) + 1
    value = np.zeros(states)
    for _ in range(sweeps):
        gain = p * (reward + np.where(ends, 0.0, value[after.astype(int)]))
        new = np.bincount(s * actions + a, gain, states * actions).reshape(states, actions).max(1)
        if np.abs(new - value).max() < 1e-12:
            break
        value = new
    return float(env.initial_state_distrib @ value)


def _picture(count: int) -> Picture:
    env: Any = gym.make(LAKE).unwrapped
    letters = np.asarray(env.desc).astype(str)
    lakes = tuple(_lake(f"Temperature {temperature:g}", temperature, letters) for temperature in (WARM, COLD))
    temperature = np.geomspace(0.3, 3e-4, count)
    fits = [_table(t) for t in temperature]
    sampled, greedy = (np.array([fit.diagnostics[f"{how}_value"] for fit in fits]) for how in ("sampled", "greedy"))
    return lake_policies((lakes[0], lakes[1]), Returns(temperature, sampled, greedy, ordinary_optimum(LAKE)))


def _table(temperature: float) -> kl.Fit:
    target = kl.Optimal(LAKE, temperature=temperature)
    return kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(quiet=True)


def _lake(title: str, temperature: float, letters: np.ndarray) -> Lake:
    fit = _table(temperature)
    probabilities = np.asarray(fit.q(np.arange(letters.size)).probs, np.float64)
    return Lake(title, letters, probabilities, np.asarray(fit.diagnostics["occupancy"], np.float64).reshape(-1))


def _number(x: float) -> str:
    return f"{x:.4g}".replace("-", "−")


def _excess(fit: kl.Fit) -> str:
    return f"{fit.diagnostics['kl_excess']:.4f}"
