"""Pictures of calibration: how often what was predicted came, and where outcomes fell within their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from kullback.report.record import Picture
from kullback.report.style import EDGE, FILL, FORWARD, SOFT, as_svg, bare_y, drawing, label

if TYPE_CHECKING:
    from kullback.supervised.calibration import CalibrationCurve, PITHistogram

LEVEL = 0.95


def reliability(curve: CalibrationCurve, what: str = "the top label", name: str = "reliability") -> Picture:
    """The share of the time that predictions came, by predicted probability, over how many there were.

    curve  what `calibration_curve` returns
    what   whose probability is predicted, in words

    The grey bar at each point is where 95 % of the shares lie if the predictions are right (binomial). Source: Bröcker
    and Smith (2007).
    """
    with drawing(4.4, 4.3) as figure:
        upper, lower = figure.subplots(2, 1, height_ratios=(3.6, 1.0), sharex=True)
        _diagonal(upper, curve)
        _how_many(lower, curve)
        lower.set_xlabel(f"predicted probability of {what}")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt=f"The share of the time that a prediction came against its probability, near the diagonal within "
        f"{curve.error:.3g} on average; below, how many predictions lie in each of {len(curve.counts)} bins.",
        caption="On the diagonal a predictor is calibrated; below it, too sure. The grey bars hold 95 % of what chance "
        "would show of a calibrated one.",
    )


def reliabilities(curves: Mapping[str, CalibrationCurve], name: str = "reliabilities") -> Picture:
    """Several calibration curves of the top label side by side, each under its title."""
    with drawing(8.2, 3.7) as figure:
        grid = figure.subplots(2, len(curves), height_ratios=(3.4, 1.0), sharex=True, squeeze=False)
        for (upper, lower), (title, curve) in zip(grid.T, curves.items(), strict=True):
            _diagonal(upper, curve)
            _how_many(lower, curve)
            upper.set_title(title)
            lower.set_xlabel("predicted probability of the top label")
        svg = as_svg(figure, name)
    errors = ", ".join(f"{title}: {curve.error:.3g} off on average" for title, curve in curves.items())
    return Picture(
        svg,
        alt=f"How often the top label came against its predicted probability. {errors}.",
        caption="How often the label held most probable came, and below, how many predictions there are. On the "
        "diagonal a predictor is calibrated; below it, too sure. The grey bars hold 95 % of what chance would show of "
        "a calibrated one.",
    )


def _diagonal(axes: Axes, curve: CalibrationCurve) -> None:
    axes.plot([0, 1], [0, 1], color=EDGE, linewidth=0.9, linestyle=(0, (4, 3)))
    low, high = _consistent(curve)
    axes.vlines(curve.predicted, low, high, color=FILL, linewidth=7.0, zorder=0, capstyle="butt")
    axes.plot(curve.predicted, curve.observed, color=FORWARD, marker="o", markersize=4.5, linewidth=1.3, clip_on=False)
    label(axes, 0.03, 0.95, f"expected calibration error {curve.error:.3f}", FORWARD, va="top")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_title("How often it came")


def _consistent(curve: CalibrationCurve) -> tuple[np.ndarray, np.ndarray]:
    ends = [stats.binom.ppf(p, curve.counts, curve.predicted) for p in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)]
    return ends[0] / curve.counts, ends[1] / curve.counts


def _how_many(axes: Axes, curve: CalibrationCurve) -> None:
    place = np.searchsorted(curve.edges, curve.predicted, "left").clip(1, len(curve.edges) - 1)
    left, right = curve.edges[place - 1], curve.edges[place]
    axes.bar(left, curve.counts, right - left, align="edge", color=FILL, edgecolor=EDGE, linewidth=0.5)
    most = int(np.argmax(curve.counts))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_ylim(0, 1.35 * float(curve.counts[most]))
    middle = (left[most] + right[most]) / 2
    side = "right" if middle > 0.85 else "left" if middle < 0.15 else "center"
    at = {"right": right[most], "left": left[most], "center": middle}[side]
    label(
        axes,
        at,
        1.04 * float(curve.counts[most]),
        f"{int(curve.counts[most]):,} of {int(curve.counts.sum()):,}",
        SOFT,
        ha=side,
        va="bottom",
    )
    bare_y(axes)


def pit_bars(histogram: PITHistogram, name: str = "pit") -> Picture:
    """A PIT histogram with the band that holds 95 % of a bin's counts if the predictions are right.

    histogram  what `pit_histogram` returns
    """
    with drawing(4.4, 2.9) as figure:
        axes = figure.subplots()
        outside = _bars(axes, histogram)
        axes.set_title("Where outcomes fell")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt=f"A histogram of {int(histogram.counts.sum()):,} PIT values in {len(histogram.counts)} bins, {outside} of "
        f"them outside the band of 95 %; the test of uniformity has p = {histogram.p_value:.2g}.",
        caption=_PIT,
    )


def pit_panels(histograms: Mapping[str, PITHistogram], name: str = "pits") -> Picture:
    """Several PIT histograms side by side, each under its title."""
    with drawing(8.2, 2.5) as figure:
        row = figure.subplots(1, len(histograms), squeeze=False)[0]
        outside = {}
        for axes, (title, histogram) in zip(row, histograms.items(), strict=True):
            outside[title] = _bars(axes, histogram)
            axes.set_title(title)
        svg = as_svg(figure, name)
    said = ", ".join(f"{title}: {n} bars outside it" for title, n in outside.items())
    return Picture(
        svg, alt=f"PIT histograms with the band that holds 95 % of the bars of a right q. {said}.", caption=_PIT
    )


_PIT = (
    "If q is right, F(y∣x) is uniform and 95 % of the bars end in the grey band. Two heaps at the ends say that q is "
    "too narrow, one in the middle that it is too wide, a slope that it is biased."
)


def _bars(axes: Axes, histogram: PITHistogram) -> int:
    """The bars, the band and the verdict; how many bars end outside the band is returned."""
    low, high = histogram.band(LEVEL)
    inside = (histogram.counts >= low) & (histogram.counts <= high)
    widths = np.diff(histogram.edges)
    axes.axhspan(low, high, color=FILL, linewidth=0, zorder=0)
    colours = np.where(inside, EDGE, FORWARD)
    axes.bar(histogram.edges[:-1] + 0.08 * widths, histogram.counts, 0.84 * widths, align="edge", color=colours)
    axes.axhline(histogram.counts.sum() / len(histogram.counts), color=SOFT, linewidth=0.9, zorder=3)
    top = 1.3 * max(float(histogram.counts.max()), high)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, top)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("F(y∣x)")
    verdict = f"uniform? p = {histogram.p_value:.2g}" if histogram.p_value >= 1e-3 else "not uniform: p < 0.001"
    label(axes, 0.02, 0.97 * top, verdict, SOFT, va="top")
    label(axes, 1.0, (low + high) / 2, " 95 %", SOFT, va="center")
    bare_y(axes)
    return int((~inside).sum())
