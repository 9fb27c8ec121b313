"""The picture of a regressor: bands of q(y∣x) along one input."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from kullback.errors import InputError
from kullback.report.record import Picture
from kullback.report.style import FORWARD, INK, apart, as_svg, drawing, label


def predictive_bands(
    grid: Float[np.ndarray, " n"],
    quantiles: Float[np.ndarray, "n levels"],
    x: Float[np.ndarray, " rows"] | None = None,
    y: Float[np.ndarray, " rows"] | None = None,
    *,
    levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
    labels: tuple[str, str] = ("x", "y"),
    title: str = "",
    name: str = "predictive",
) -> Picture:
    """Bands of q(y∣x) along one input, over the data.

    grid       the input [n], increasing
    quantiles  quantiles of q(y∣x) along it [n, levels], as `predict_quantile` returns them
    x, y       data, if there are any
    levels     the quantiles' levels, increasing and in pairs about ½, which may be among them
    labels     the names of the two axes

    Raises `InputError` for levels that do not come in pairs, and shapes that do not match.
    """
    quantiles = np.asarray(quantiles, np.float64)
    paired = np.allclose(np.add(levels, levels[::-1]), 1.0) and (np.diff(levels) > 0).all()
    if not paired or quantiles.shape != (len(grid), len(levels)):
        raise InputError(
            f"quantiles: shape {quantiles.shape} at levels {levels}; pass [{len(grid)}, levels], the levels increasing "
            "and in pairs about ½"
        )
    pairs = len(levels) // 2
    with drawing(6.0, 3.2) as figure:
        axes = figure.subplots()
        for k in range(pairs):
            axes.fill_between(grid, quantiles[:, k], quantiles[:, -1 - k], color=FORWARD, alpha=0.13, linewidth=0)
        if len(levels) % 2:
            axes.plot(grid, quantiles[:, pairs], color=FORWARD)
        if x is not None and y is not None:
            axes.scatter(x, y, s=8, color=INK, alpha=0.5, linewidth=0)
        axes.set_xlim(grid[0], grid[-1])
        _name_bands(axes, quantiles[-1], levels, float(grid[-1]))
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.set_title(title)
        svg = as_svg(figure, name)
    shares = " and ".join(f"{_percent(levels[-1 - k] - levels[k])}" for k in reversed(range(pairs)))
    return Picture(
        svg,
        alt=f"{labels[1]} against {labels[0]}, with the bands of q(y∣x) that hold {shares}.",
        caption=f"q(y∣x) along {labels[0]}: its median, and the bands that should hold {shares} of the outcomes.",
    )


def _name_bands(axes: Axes, ends: np.ndarray, levels: tuple[float, ...], right: float) -> None:
    """The bands' names at their upper right ends, kept apart."""
    low, high = axes.get_ylim()
    gap, pairs = 0.075 * (high - low), len(levels) // 2
    texts = [_percent(levels[-1 - k] - levels[k]) for k in reversed(range(pairs))]
    heights = [float(ends[-1 - k]) for k in reversed(range(pairs))]
    if len(levels) % 2:
        texts, heights = ["median", *texts], [float(ends[pairs]), *heights]
    for text, height in zip(texts, apart(heights, gap), strict=True):
        label(axes, right, height, f"  {text}", FORWARD, va="center")


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
