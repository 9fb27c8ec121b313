"""Reinforcement learning as reverse KL: policies against the optimal trajectories of three environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import kullback as kl
from kullback.report.page import Picture, Section, Table
from kullback.report.style import EDGE, FILL, FORWARD, INK, PAPER, REVERSE, SOFT, as_svg, drawing, label

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
    lakes = tuple(_at_temperature(f"Temperature {temperature:g}", temperature, letters) for temperature in (WARM, COLD))
    temperature = np.geomspace(0.3, 3e-4, count)
    fits = [_table(t) for t in temperature]
    sampled, greedy = (np.array([fit.diagnostics[f"{how}_value"] for fit in fits]) for how in ("sampled", "greedy"))
    returns = Returns(temperature=temperature, sampled=sampled, greedy=greedy, ordinary=ordinary_optimum(LAKE))
    return lake_policies((lakes[0], lakes[1]), returns)


def _table(temperature: float) -> kl.Fit:
    target = kl.Optimal(LAKE, temperature=temperature)
    return kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize(quiet=True)


def _at_temperature(title: str, temperature: float, letters: np.ndarray) -> Lake:
    fit = _table(temperature)
    probabilities = np.asarray(fit.q(np.arange(letters.size)).probs, np.float64)
    visits = np.asarray(fit.diagnostics["occupancy"], np.float64).reshape(-1)
    return Lake(title=title, letters=letters, policy=probabilities, visits=visits)


def _number(x: float) -> str:
    return f"{x:.4g}".replace("-", "−")


def _excess(fit: kl.Fit) -> str:
    return f"{fit.diagnostics['kl_excess']:.4f}"


# The pictures: a lake with a policy's arrows, and returns against temperature


# Gymnasium's order of the actions: left, down, right, up; the picture's second axis points down.
STEPS = np.array([(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)])


@dataclass(frozen=True)
class Lake:
    """A policy on a lake: the map's letters [rows, columns], π(a∣s) and how often each state is visited, per state."""

    title: str
    letters: Shaped[np.ndarray, "rows columns"]
    policy: Float[np.ndarray, "states actions"]
    visits: Float[np.ndarray, " states"]


@dataclass(frozen=True)
class Returns:
    """Expected returns by temperature, of the optimal policy sampled and made greedy, and of ordinary control."""

    temperature: Float[np.ndarray, " n"]
    sampled: Float[np.ndarray, " n"]
    greedy: Float[np.ndarray, " n"]
    ordinary: float


def lake_policies(lakes: tuple[Lake, Lake], returns: Returns, name: str = "lake") -> Picture:
    """Two lakes side by side, and the returns on the right."""
    with drawing(8.2, 2.85) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.35))
        for axes, lake in zip((left, middle), lakes, strict=True):
            _draw_lake(axes, lake)
        _draw_returns(right, returns)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="FrozenLake as a grid at two temperatures. Warm, the arrows point every way; cold, one arrow a cell "
        "keeps away from the holes. On the right, the return rises to the ordinary optimum as the temperature falls.",
        caption="Each arrow is as long as its action is probable, and a cell the darker the more often it is "
        "visited; H is a hole, G the goal. The ice is slippery: the agent goes where it wants to one time in three, "
        "else to a side, so the cold policy steers away from the holes. As the temperature goes to 0, its return "
        "goes to the ordinary optimum.",
    )


def _draw_lake(axes: Axes, lake: Lake) -> None:
    rows, columns = lake.letters.shape
    shade = np.sqrt(lake.visits / lake.visits.max())
    for state, letter in enumerate(lake.letters.ravel()):
        row, column = divmod(state, columns)
        corner = (column - 0.5, row - 0.5)
        if letter == "H":
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=EDGE, edgecolor=PAPER, linewidth=2.5))
        else:
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=FILL, edgecolor=PAPER, linewidth=2.5))
            axes.add_patch(
                Rectangle(corner, 1, 1, facecolor=REVERSE, alpha=0.5 * shade[state], edgecolor=PAPER, linewidth=2.5)
            )
        if letter in "GH":
            axes.text(column, row, letter, ha="center", va="center", color=PAPER if letter == "H" else SOFT, fontsize=9)
            continue
        for step, probability in zip(STEPS, lake.policy[state], strict=True):
            tip = np.array([column, row]) + 0.44 * probability * step
            if probability > 0.3:
                axes.annotate("", tip, (column, row), arrowprops=_ARROW)
            else:
                axes.plot(*zip((column, row), tip, strict=True), color=INK, linewidth=1.0, solid_capstyle="butt")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(lake.title)


_ARROW = {
    "arrowstyle": "-|>,head_width=0.12,head_length=0.22",
    "color": INK,
    "linewidth": 1.0,
    "shrinkA": 0,
    "shrinkB": 0,
}


def _draw_returns(axes: Axes, returns: Returns) -> None:
    axes.axhline(returns.ordinary, color=EDGE, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.plot(returns.temperature, returns.greedy, color=FORWARD, linewidth=1.5)
    axes.plot(returns.temperature, returns.sampled, color=REVERSE, linewidth=1.5)
    warmest, coldest = returns.temperature.max(), returns.temperature.min()
    axes.set_xscale("log")
    axes.set_xlim(warmest, coldest)
    axes.set_ylim(0, 1.08 * returns.ordinary)
    label(axes, warmest, 1.02 * returns.ordinary, f" ordinary optimum {returns.ordinary:.4f}", SOFT, va="bottom")
    half = int(np.argmin(np.abs(returns.sampled - 0.4 * returns.ordinary)))
    label(axes, returns.temperature[half] * 0.85, returns.sampled[half] - 0.05, "sampled", REVERSE, va="top")
    early = len(returns.greedy) // 6
    label(axes, returns.temperature[early], returns.greedy[early] - 0.03, "greedy", FORWARD, va="top")
    axes.set_xlabel("temperature, reward per nat")
    axes.set_title("Expected return")
