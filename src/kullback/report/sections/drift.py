"""Two tables: whether they come from one source, jointly and column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

import kullback as kl
from kullback.estimate.two_samples import Comparison, compare
from kullback.report.data import patients_by_sex
from kullback.report.record import Picture, Section, Table
from kullback.report.style import EDGE, FORWARD, INK, SOFT, as_svg, drawing, label

CODE = """\
kl.KL(first, second).estimate()  # two data frames

$ kullback estimate first.csv second.csv  # the same from a shell, and column by column"""


def drift() -> Section:
    """Compare the two sexes in the diabetes data, and, for chance, two halves of all patients at random."""
    first, second = patients_by_sex()
    divergence = kl.KL(first, second)
    found, chance = compare(first, second), compare(*_halves(first, second))
    joint = {"one sex against the other": found[0], "two halves at random": chance[0]}
    return Section(
        key="drift",
        title="Two tables, and what changed",
        lead="With a sample of each side and nothing else, the divergence is estimated from how many rows of either "
        "lie in the same balls. That answers a practical question: does this table come from where the last one did, "
        "and if not, which columns moved?",
        code=CODE,
        plans=(("Two data frames", f"{divergence}"),),
        pictures=(column_divergences(_columns(found), _columns(chance)),),
        tables=(
            Table(
                ("all ten columns together", "KL(P‖Q)", "± s.e."),
                tuple((name, _nats(c.estimate.value), _nats(c.estimate.standard_error)) for name, c in joint.items()),
                f"Patients with diabetes, {len(first)} of one sex and {len(second)} of the other: age, body mass "
                "index, blood pressure, six blood measurements, and the disease's progression.",
            ),
        ),
        numbers={
            "joint": found[0].estimate.value,
            "chance": chance[0].estimate.value,
            "chance_error": chance[0].estimate.standard_error,
        },
    )


def _halves(first: Any, second: Any) -> tuple[Any, Any]:
    import pandas as pd

    both = pd.concat([first, second])
    order = np.random.default_rng(0).permutation(len(both))
    return both.iloc[order[: len(first)]], both.iloc[order[len(first) :]]


def _columns(found: list[Comparison]) -> Columns:
    single = found[1:]
    return Columns(
        tuple(str(c.column) for c in single),
        np.array([c.estimate.value for c in single]),
        np.array([c.estimate.standard_error for c in single]),
    )


def _nats(x: float) -> str:
    return f"{x:z.3f}".replace("-", "−")


# The picture: each column's divergence, beside what chance alone would show


@dataclass(frozen=True)
class Columns:
    """Divergences in nats and their standard errors, one for each named column."""

    names: tuple[str, ...]
    nats: Float[np.ndarray, " columns"]
    errors: Float[np.ndarray, " columns"]


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
