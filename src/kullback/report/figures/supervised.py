"""Pictures of supervised learning: bands of a regressor, counts and what two heads make of them, digits in doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from kullback.errors import InputError
from kullback.report.record import Picture
from kullback.report.style import EDGE, FILL, FORWARD, INK, LINE, REVERSE, SOFT, apart, as_svg, bare_y, drawing, label


@dataclass(frozen=True)
class Doubt:
    """Images [k, side, side] in [0, 1], their true labels [k], and q(y∣x) [k, classes]."""

    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def digits_in_doubt(doubt: Doubt, name: str = "digits") -> Picture:
    """Each image over the probabilities that the classifier gives to the ten digits."""
    count, classes = doubt.probabilities.shape
    with drawing(8.2, 2.0) as figure:
        grid = figure.subplots(2, count, height_ratios=(1.0, 0.75))
        for i in range(count):
            _image(grid[0, i], doubt.images[i])
            below = grid[1, i]
            colours = [FORWARD if digit == doubt.labels[i] else EDGE for digit in range(classes)]
            below.bar(range(classes), doubt.probabilities[i], width=0.72, color=colours)
            below.set_ylim(0, 1)
            bare_y(below)
            below.set_xticks([int(doubt.labels[i])])
            below.tick_params(length=0, labelsize=9, labelcolor=FORWARD)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt=f"{count} handwritten digits, each over bars of the probabilities that the classifier gives to the ten "
        "digits.",
        caption="The test digits on which the fitted q(y∣x) is least certain, and the distribution it returns for "
        "each; the true digit is in blue.",
    )


def _image(axes: Axes, image: np.ndarray) -> None:
    """The image as squares of ink, which follow the page's theme as a bitmap would not."""
    for (row, column), ink in np.ndenumerate(image):
        if ink > 0.03:
            square = Rectangle((column, row), 0.94, 0.94, facecolor=INK, alpha=float(ink), linewidth=0)
            axes.add_patch(square)
    axes.set_xlim(-0.5, image.shape[1] + 0.5)
    axes.set_ylim(image.shape[0] + 0.2, -0.2)
    axes.set_aspect("equal")
    axes.set_axis_off()


@dataclass(frozen=True)
class Bands:
    """A regressor with one input: data, and quantiles of q(y∣x) along a grid, [levels, n], in symmetric order."""

    title: str
    grid: np.ndarray
    quantiles: np.ndarray


def regression_bands(x: np.ndarray, y: np.ndarray, bands: tuple[Bands, ...], name: str = "bands") -> Picture:
    """The data under the bands of each head."""
    with drawing(8.2, 2.9) as figure:
        row = figure.subplots(1, len(bands), sharey=True)
        for axes, band in zip(np.atleast_1d(row), bands, strict=True):
            _bands(axes, band)
            axes.scatter(x, y, s=7, color=INK, alpha=0.45, linewidth=0)
            axes.set_title(band.title)
            axes.set_xlabel("body mass index")
            axes.set_xlim(band.grid[0], band.grid[-1])
        np.atleast_1d(row)[0].set_ylabel("disease progression")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Disease progression against body mass index with the median and the 50 and 90 per cent bands of q(y∣x).",
        caption="Held-out patients, with the median of q(y∣x) and the bands that should hold 50 and 90 per cent of "
        "them.",
    )


def _bands(axes: Axes, band: Bands) -> None:
    low, lower, middle, upper, high = band.quantiles
    axes.fill_between(band.grid, low, high, color=FORWARD, alpha=0.13, linewidth=0)
    axes.fill_between(band.grid, lower, upper, color=FORWARD, alpha=0.2, linewidth=0)
    axes.plot(band.grid, middle, color=FORWARD)


def predictive_bands(
    grid: np.ndarray,
    quantiles: np.ndarray,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
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


@dataclass(frozen=True)
class Score:
    """One model's held-out negative log-likelihood; `kind` is its output distribution, `ours` whose it is."""

    name: str
    nats: float
    kind: int
    ours: bool


def counts_and_heads(counts: np.ndarray, expected: tuple[np.ndarray, ...], scores: tuple[Score, ...],
                     name: str = "counts") -> Picture:  # fmt: skip
    """Left: how often each count occurs and how often each head expects it. Right: held-out scores, best at the top."""
    with drawing(8.2, 2.9) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.05, 1.0))
        shown = np.arange(len(counts))
        left.bar(shown, counts, width=0.84, color=FILL)
        for pmf, colour in zip(expected, (REVERSE, FORWARD), strict=True):
            left.plot(shown, pmf, color=colour, marker="o", markersize=3.2, linewidth=1.1)
        words = ("observed", "expected, Poisson head", "expected, negative binomial head")
        for i, (text, colour) in enumerate(zip(words, (SOFT, REVERSE, FORWARD), strict=True)):
            label(left, len(counts) - 0.5, counts.max() * (0.93 - 0.11 * i), text, colour, ha="right")
        left.set_xticks(range(0, len(counts), 5))
        left.set_title("Visits to a doctor in a year")
        bare_y(left)
        _dots(right, scores)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Left: a histogram of doctor visits; a Poisson head expects far too few zeros, a negative binomial one "
        "fits. Right: held-out scores of seven models, all negative binomial ones better than all Poisson ones.",
        caption="A line under a negative binomial beats gradient boosting under a Poisson: here the output "
        "distribution matters more than the model.",
    )


def _dots(axes: Axes, scores: tuple[Score, ...]) -> None:
    ordered = sorted(scores, key=lambda score: -score.nats)
    for height, score in enumerate(ordered):
        colour = (REVERSE, FORWARD)[score.kind]
        axes.plot([0, score.nats], [height, height], color=LINE, linewidth=0.8, zorder=0)
        axes.plot(score.nats, height, "o", markersize=6.5, color=colour if score.ours else "none",
                  markeredgecolor=colour, markeredgewidth=1.4)  # fmt: skip
        axes.annotate(f"{score.nats:.3f}", (score.nats, height), (8, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=INK)  # fmt: skip
    axes.set_yticks(range(len(ordered)), [score.name for score in ordered])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    low, high = ordered[-1].nats, ordered[0].nats
    axes.set_xlim(low - 0.12 * (high - low), high + 0.22 * (high - low))
    axes.set_title("Held-out nats per person")
