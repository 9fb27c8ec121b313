"""Pictures of control: a lake with a policy's arrows, and returns against temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from kullback.report.record import Picture
from kullback.report.style import EDGE, FILL, FORWARD, INK, PAPER, REVERSE, SOFT, as_svg, drawing, label

# Gymnasium's order of the actions: left, down, right, up; the picture's second axis points down.
STEPS = np.array([(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)])


@dataclass(frozen=True)
class Lake:
    """A policy on a lake: the map's letters [rows, columns], π(a∣s) and how often each state is visited, per state."""

    title: str
    letters: np.ndarray
    policy: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class Returns:
    """Expected returns by temperature, of the optimal policy sampled and made greedy, and of ordinary control."""

    temperature: np.ndarray
    sampled: np.ndarray
    greedy: np.ndarray
    ordinary: float


def lake_policies(lakes: tuple[Lake, Lake], returns: Returns, name: str = "lake") -> Picture:
    """Two lakes side by side, and the returns on the right."""
    with drawing(8.2, 2.85) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.35))
        for axes, lake in zip((left, middle), lakes, strict=True):
            _lake(axes, lake)
        _returns(right, returns)
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


def _lake(axes: Axes, lake: Lake) -> None:
    rows, columns = lake.letters.shape
    shade = np.sqrt(lake.visits / lake.visits.max())
    for state, letter in enumerate(lake.letters.ravel()):
        row, column = divmod(state, columns)
        corner = (column - 0.5, row - 0.5)
        if letter == "H":
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=EDGE, edgecolor=PAPER, linewidth=2.5))
        else:
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=FILL, edgecolor=PAPER, linewidth=2.5))
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=REVERSE, alpha=0.5 * shade[state], edgecolor=PAPER,
                                     linewidth=2.5))  # fmt: skip
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


def _returns(axes: Axes, returns: Returns) -> None:
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
