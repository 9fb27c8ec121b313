"""Pictures for a user's own fits, one function each: numbers in, a `Picture` out.

They show calibration (how often what was predicted came, and where outcomes fell within their predictions), a training
(nats per example by epoch) and a regressor (bands of q(y∣x) along one input). Pictures that only the demonstration
draws are in its sections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

from kullback.errors import InputError
from kullback.report.page import Picture
from kullback.report.style import EDGE, FILL, FORWARD, INK, LINE, PAPER, SOFT, apart, as_svg, bare_y, drawing, label

if TYPE_CHECKING:
    from kullback.supervised.calibration import CalibrationCurve, PITHistogram


__all__ = [
    "learning_curve",
    "pit_bars",
    "pit_panels",
    "predictive_bands",
    "reliabilities",
    "reliability",
]


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


Row = Mapping[str, float]
HELD, TRAIN = "heldout_nll", "train_nll"


def learning_curve(history: Any, name: str = "learning") -> Picture:
    """The losses of a training by epoch, in nats per example, with the best epoch marked.

    history  a `kl.Fit` that was trained by epochs, or its `history`: rows with `epoch` (or `step`), `train_nll` and,
             where rows were held out, `heldout_nll`
    name     tells the picture's identifiers from those of others on a page

    The best epoch is that of the least held-out loss, or the least training loss where nothing was held out. A scale
    that the first epochs would fill is cut above what the later ones need.

    Raises `InputError` where there is nothing to draw.
    """
    rows: Sequence[Row] = getattr(history, "history", history)
    curves = {key: _curve(rows, key) for key in (TRAIN, HELD)}
    curves = {key: curve for key, curve in curves.items() if len(curve[0])}
    if not curves:
        raise InputError("history: there are no epochs in it; pass a fit that was trained by epochs (by minibatches)")
    watched = HELD if HELD in curves else TRAIN
    with drawing(8.2, 2.9) as figure:
        axes = figure.subplots()
        for key, (at, nats) in curves.items():
            colour, width = (FORWARD, 1.8) if key == watched else (SOFT, 1.3)
            axes.plot(at, nats, color=colour, linewidth=width, marker="o" if len(at) == 1 else "")
        _scale(axes, list(curves.values()))
        best = _mark_best(axes, *curves[watched])
        _name_ends(axes, curves, watched)
        axes.set_xlabel("epoch" if "epoch" in rows[0] else "step")
        axes.set_title("Nats per example")
        svg = as_svg(figure, name)
    seen = "the held-out rows" if watched == HELD else "the rows trained on (none were held out)"
    return Picture(
        svg,
        alt=f"The loss by epoch, of {' and '.join(_WORDS[key] for key in curves)}; the least is at epoch {best:g}.",
        caption=f"−log q(y∣x), averaged: KL(P‖Q) up to H(P). The circle is the best epoch by {seen}, whose parameters "
        "are returned.",
    )


_WORDS = {TRAIN: "trained on", HELD: "held out"}


def _curve(rows: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and finite losses."""
    points = [(row.get("epoch", row.get("step", i)), row[key]) for i, row in enumerate(rows) if key in row]
    at, nats = np.array(points, np.float64).reshape(-1, 2).T
    finite = np.isfinite(nats)
    return at[finite], nats[finite]


def _scale(axes: Axes, curves: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Limits that show the later epochs, where the first are far above them."""
    nats = np.concatenate([y for _, y in curves])
    later = np.concatenate([y[len(y) // 6 :] for _, y in curves])
    low, high = float(nats.min()), float(nats.max())
    if high - low > 3.0 * (float(later.max()) - low) > 0.0:
        high = low + 1.6 * (float(later.max()) - low)
    room = 0.08 * (high - low) or 0.1 * max(abs(high), 1.0)
    axes.set_ylim(low - 1.5 * room, high + room)
    last = max(float(x[-1]) for x, _ in curves)
    first = min(float(x[0]) for x, _ in curves)
    axes.set_xlim(first, last if last > first else first + 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark_best(axes: Axes, at: np.ndarray, nats: np.ndarray) -> float:
    k = int(np.argmin(nats))
    top = axes.get_ylim()[1]
    axes.axvline(at[k], color=LINE, linewidth=0.9, zorder=0)
    axes.plot(
        at[k],
        nats[k],
        "o",
        markersize=6.5,
        color=PAPER,
        markeredgecolor=FORWARD,
        markeredgewidth=1.5,
        clip_on=False,
        zorder=4,
    )
    late = at[k] > np.mean(axes.get_xlim())
    axes.annotate(
        f"best, epoch {at[k]:g}: {nats[k]:.4g}".replace("-", "−"),
        (at[k], top),
        (-6 if late else 6, -2),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=8.5,
        color=INK,
        gid="halo",
    )
    return float(at[k])


def _name_ends(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], watched: str) -> None:
    """The curves' names at their right ends, kept apart."""
    low, high = axes.get_ylim()
    gap = 0.085 * (high - low)
    ends = {key: float(nats[-1]) for key, (_, nats) in curves.items()}
    order = sorted(ends, key=lambda key: ends[key])
    heights = apart([ends[key] for key in order], gap)
    right = axes.get_xlim()[1]
    for key, height in zip(order, heights, strict=True):
        text = f"   {_WORDS[key]} {ends[key]:.4g}".replace("-", "−")
        label(axes, right, height, text, FORWARD if key == watched else SOFT, va="center")


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
