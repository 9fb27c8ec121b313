"""The two-peaked target: what each direction of the divergence makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from kullback.report.record import Picture
from kullback.report.style import EDGE, FILL, FORWARD, INK, PAPER, REVERSE, SOFT, as_svg, bare_y, drawing, label


@dataclass(frozen=True)
class Curves:
    """Densities on a grid x: the target, the forward fit, and the optima of the reverse KL, best first."""

    x: np.ndarray
    target: np.ndarray
    forward: np.ndarray
    reverse: tuple[np.ndarray, ...]


def two_directions(curves: Curves, name: str = "directions") -> Picture:
    """The target with the forward fit on the left and the reverse fits on the right."""
    top = 1.18 * max(curves.target.max(), *(density.max() for density in curves.reverse))
    with drawing(8.2, 2.75) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes in (left, right):
            _target(axes, curves, top)
        left.plot(curves.x, curves.forward, color=FORWARD)
        left.set_title("Forward: least KL(P‖Q). Q covers P")
        _name_peak(left, curves.x, curves.forward, "Q", FORWARD)
        for density in curves.reverse[1:]:
            right.plot(curves.x, density, color=REVERSE, linewidth=1.3, linestyle=(0, (4, 2.5)), dash_capstyle="butt")
            _name_peak(right, curves.x, density, "Q, a local optimum", REVERSE)
        right.plot(curves.x, curves.reverse[0], color=REVERSE)
        _name_peak(right, curves.x, curves.reverse[0], "Q", REVERSE)
        right.set_title("Reverse: least KL(Q‖P). Q seeks a peak")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="A two-peaked density P, twice. The forward fit is one wide normal over both peaks; the reverse fit is a "
        "narrow normal on one peak, with a second local optimum on the other.",
        caption="The same P and the same family of normals. Only the order of the two arguments differs.",
    )


@dataclass(frozen=True)
class Landscape:
    """Divergences in nats over a grid of means and scales, [scales, means], and the optima as (mean, scale)."""

    means: np.ndarray
    scales: np.ndarray
    forward: np.ndarray
    reverse: np.ndarray
    forward_optimum: tuple[float, float]
    reverse_optima: tuple[tuple[float, float], ...]


def landscapes(land: Landscape, name: str = "landscapes") -> Picture:
    """Both divergences as maps over the parameters of Q: one basin, and one for each peak."""
    with drawing(8.2, 3.0) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _contours(left, land, land.forward, FORWARD)
        _optimum(left, land.forward_optimum, FORWARD, solid=True)
        left.set_title("KL(P‖Q): one optimum")
        _contours(right, land, land.reverse, REVERSE)
        for i, optimum in enumerate(land.reverse_optima):
            _optimum(right, optimum, REVERSE, solid=i == 0)
        right.set_title("KL(Q‖P): an optimum for each peak")
        left.set_ylabel("scale of Q")
        for axes in (left, right):
            axes.set_xlabel("mean of Q")
            axes.set_yscale("log")
            axes.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
            axes.minorticks_off()
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Contour maps of the forward and the reverse divergence over the mean and scale of Q. The forward map has "
        "one basin, the reverse map has two.",
        caption="Each divergence as a landscape over the parameters of Q, its contours denser towards the optimum. "
        "Minimisation starts from several places and keeps every distinct optimum that it finds.",
    )


def _target(axes: Axes, curves: Curves, top: float) -> None:
    axes.fill_between(curves.x, curves.target, color=FILL, linewidth=0)
    axes.plot(curves.x, curves.target, color=EDGE, linewidth=1.0)
    axes.set_xlim(curves.x[0], curves.x[-1])
    axes.set_ylim(0, top)
    bare_y(axes)
    right = curves.x > 0
    peak = int(np.argmax(np.where(right, curves.target, 0.0)))
    label(axes, curves.x[peak], curves.target[peak] + 0.02 * top, "P", SOFT, ha="center")


def _name_peak(axes: Axes, x: np.ndarray, density: np.ndarray, text: str, colour: str) -> None:
    peak = int(np.argmax(density))
    axes.annotate(text, (x[peak], density[peak]), (0, 4), textcoords="offset points", color=colour, ha="center",
                  fontsize=9.0)  # fmt: skip


def _contours(axes: Axes, land: Landscape, nats: np.ndarray, colour: str) -> None:
    levels = float(nats.min()) + np.geomspace(0.03, 12.0, 15)
    axes.contour(
        land.means, land.scales, nats, levels=levels, colors=colour, linewidths=np.geomspace(1.2, 0.4, len(levels))
    )
    axes.set_xlim(land.means[0], land.means[-1])
    axes.set_ylim(land.scales[0], land.scales[-1])


def _optimum(axes: Axes, at: tuple[float, float], colour: str, solid: bool) -> None:
    axes.plot(*at, "o", markersize=7, color=colour if solid else PAPER, markeredgecolor=colour, markeredgewidth=1.6)
    axes.annotate(
        f"({at[0]:.2f}, {at[1]:.2f})".replace("-", "−"),
        at,
        (9, 7),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
        gid="halo",
    )
