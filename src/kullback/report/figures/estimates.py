"""The picture of estimation: two samples, growing, against the truth."""

from __future__ import annotations

import numpy as np

from kullback.report.record import Picture
from kullback.report.style import EDGE, FORWARD, SOFT, as_svg, drawing, label


def growing_samples(
    sizes: np.ndarray, values: np.ndarray, errors: np.ndarray, truth: float, name: str = "samples"
) -> Picture:
    """Estimates from samples of growing size [n], with bars of two standard errors, and the exact value as a line."""
    with drawing(8.2, 2.3) as figure:
        axes = figure.subplots()
        axes.axhline(truth, color=EDGE, linewidth=1.0)
        label(axes, sizes[-1] * 1.25, truth, f"exact\n{truth:.4f}", SOFT, va="center")
        axes.errorbar(sizes, values, 2 * errors, fmt="o", color=FORWARD, markersize=5, elinewidth=1.2, capsize=0)
        axes.set_xscale("log")
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.2)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("rows in each sample")
        axes.set_title("KL(P‖Q) from two samples, nats")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Estimates of a divergence from two samples, with error bars that shrink around the exact value as the "
        "samples grow.",
        caption="All that is known is a sample of each side: nearest neighbours, with bars of two standard errors.",
    )
