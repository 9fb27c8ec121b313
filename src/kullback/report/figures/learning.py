"""The picture of a training: nats per example by epoch, of the rows trained on and of those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kullback.errors import InputError
from kullback.report.record import Picture
from kullback.report.style import FORWARD, INK, LINE, PAPER, SOFT, apart, as_svg, drawing, label

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
