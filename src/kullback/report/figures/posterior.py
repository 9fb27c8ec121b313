"""The picture of inference: an exact posterior, the normal fitted to it, and what both say of new cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from kullback.report.record import Picture
from kullback.report.style import EDGE, INK, REVERSE, SOFT, as_svg, drawing


@dataclass(frozen=True)
class Posterior:
    """An exact posterior on a grid, and the fitted one.

    intercepts [a], slopes [b], exact and fitted: log-densities [b, a] up to a constant.
    """

    intercepts: np.ndarray
    slopes: np.ndarray
    exact: np.ndarray
    fitted: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The probability of the outcome along an input: the data, and 5, 50 and 95 per cent of each posterior, [3, n]."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    exact: np.ndarray
    fitted: np.ndarray


def posterior_and_curve(posterior: Posterior, curve: Curve, name: str = "posterior") -> Picture:
    """The two posteriors over the parameters on the left, the curves that they allow on the right."""
    with drawing(8.2, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        _contours(left, posterior)
        _curves(right, curve)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Left: contours of the exact posterior, slightly skewed, under those of the fitted normal. Right: the "
        "probability of a malignant tumour against its radius, with 90 per cent bands.",
        caption="The regions that hold 50 and 95 per cent of the exact posterior (grey) and of the fitted normal "
        "(orange), and the curves they allow. A normal cannot be skewed; that is the gap in the table.",
    )


def _contours(axes: Axes, posterior: Posterior) -> None:
    over = posterior.intercepts, posterior.slopes
    outer, inner = _regions(posterior.exact, (0.95, 0.5))
    for level, alpha in ((outer, 0.28), (inner, 0.4)):
        axes.contourf(*over, posterior.exact, levels=[level, np.inf], colors=[EDGE], alpha=alpha)
    levels = _regions(posterior.fitted, (0.95, 0.5))
    axes.contour(*over, posterior.fitted, levels=levels, colors=REVERSE, linewidths=1.5, linestyles="solid")
    inside = posterior.exact > _regions(posterior.exact, (0.985,))[0]
    _focus(axes.set_xlim, posterior.intercepts[inside.any(0)])
    _focus(axes.set_ylim, posterior.slopes[inside.any(1)])
    axes.set_xlabel("intercept")
    axes.set_ylabel("slope")
    axes.set_title("Posterior of a logistic regression")


def _focus(set_limits: Callable[[float, float], object], values: np.ndarray) -> None:
    margin = 0.04 * float(np.ptp(values))
    set_limits(float(values.min()) - margin, float(values.max()) + margin)


def _regions(log_density: np.ndarray, contents: tuple[float, ...]) -> list[float]:
    """The levels above which the density holds these parts of its mass, in the order given."""
    order = np.sort(log_density.ravel())[::-1]
    mass = np.cumsum(np.exp(order - order[0]))
    return [float(order[np.searchsorted(mass, content * mass[-1])]) for content in contents]


def _curves(axes: Axes, curve: Curve) -> None:
    axes.fill_between(curve.grid, curve.exact[0], curve.exact[2], color=EDGE, alpha=0.35, linewidth=0)
    axes.plot(curve.grid, curve.exact[1], color=SOFT, linewidth=1.3)
    for line, width in zip(curve.fitted, (0.9, 1.8, 0.9), strict=True):
        axes.plot(curve.grid, line, color=REVERSE, linewidth=width)
    axes.plot(curve.x, curve.y, "|", color=INK, markersize=7, markeredgewidth=0.9, alpha=0.75)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlim(curve.grid[0], curve.grid[-1])
    axes.set_xlabel("mean radius, standard deviations")
    axes.set_title("Probability that a tumour is malignant")
