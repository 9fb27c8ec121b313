"""Two tables: whether they come from one source, jointly and column by column."""

from __future__ import annotations

from typing import Any

import numpy as np

import kullback as kl
from kullback.estimate.two_samples import Comparison, compare
from kullback.report.data import patients_by_sex
from kullback.report.figures import column_divergences
from kullback.report.figures.drift import Columns
from kullback.report.record import Section, Table

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
