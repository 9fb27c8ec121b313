"""The picture of drift: which columns of two tables differ, beside what chance alone would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kullback.report.record import Picture
from kullback.report.style import EDGE, FORWARD, INK, SOFT, as_svg, drawing, label


@dataclass(frozen=True)
class Columns:
    """Divergences in nats and their standard errors, one for each named column."""

    names: tuple[str, ...]
    nats: np.ndarray
    errors: np.ndarray


def column_divergences(tables: Columns, chance: Columns, name: str = "drift") -> Picture:
    """Each column's divergence with two standard errors, largest first, over that of two halves at random."""
    order = np.argsort(-tables.nats)
    at = np.arange(len(order))
    with drawing(8.2, 2.5) as figure:
        axes = figure.subplots()
        axes.axhline(0.0, color=EDGE, linewidth=0.8)
        style = {"fmt": "o", "elinewidth": 1.2, "capsize": 0}
        axes.errorbar(at + 0.13, chance.nats[order], 2 * chance.errors[order], color=EDGE, markersize=4, **style)
        axes.errorbar(at - 0.13, tables.nats[order], 2 * tables.errors[order], color=FORWARD, markersize=5.5, **style)
        axes.set_xticks(at, [tables.names[i] for i in order], color=INK)
        axes.tick_params(axis="x", length=0)
        axes.spines["bottom"].set_visible(False)
        top = float((tables.nats + 2 * tables.errors).max())
        label(axes, len(order) - 0.6, 0.95 * top, "one sex against the other", FORWARD, ha="right")
        label(axes, len(order) - 0.6, 0.8 * top, "two halves at random", SOFT, ha="right")
        axes.set_xlim(-0.6, len(order) - 0.4)
        axes.set_title("KL(P‖Q) column by column, nats")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="The divergence of each column between the sexes, largest first, beside that of two random halves, which "
        "is near 0.",
        caption="Bars are two standard errors. An estimate may fall below 0, since that is what those samples say; "
        "nothing is clipped.",
    )
