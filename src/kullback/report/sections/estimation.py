"""Estimates: what is known of the two sides decides which rule answers, and what its answer is worth.

Then two tables: whether they come from one source, jointly and column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.stats
from jaxtyping import Float, Int

import kullback as kl
from kullback.estimate.two_samples import Comparison, compare
from kullback.report.data import patients_by_sex
from kullback.report.page import Picture, Section, Table
from kullback.report.sections.two_peaks import target
from kullback.report.style import EDGE, FORWARD, INK, SOFT, as_svg, drawing, label

CODE = """\
kl.KL(dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)).estimate()  # 0.4431 nats, exact
kl.KL(dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)).estimate()  # inf, and why
kl.KL(reference_rows, current_rows).estimate()  # two samples
print(kl.KL(p, q).explain())  # the plan, and every rule not taken, with the reason"""

SIZES = (100, 300, 1_000, 3_000, 10_000)


def estimates(sizes: tuple[int, ...] = SIZES) -> Section:
    """One divergence for each kind of knowledge, and the two-sample estimate for growing samples."""
    asked = {words: kl.KL(p, q) for words, (p, q) in cases().items()}
    found = {words: divergence.estimate() for words, divergence in asked.items()}
    rows = tuple((words, asked[words].plan().rule.name, _value(e), e.guarantee.value) for words, e in found.items())
    values, errors, truth = _growing(sizes)
    reason = next(e.reason for e in found.values() if np.isinf(float(e)))
    return Section(
        key="estimates",
        title="What is known decides",
        lead="Nobody picks an estimator here. A density gives one answer, a sampler another, a finite sample a "
        "third, and each says what it is worth: exact, unbiased, or consistent. Supports come first, so that an "
        "infinite divergence is a reason and not a large number.",
        code=CODE,
        plans=tuple((words, f"{divergence}") for words, divergence in asked.items()),
        pictures=(growing_samples(np.array(sizes), values, errors, truth),),
        tables=(
            Table(
                ("P against Q", "rule", "KL(P‖Q)", "guarantee"),
                rows,
                f"In nats, ± one standard error where the answer is random. The infinite one says: {reason}.",
            ),
        ),
        numbers={"exact": truth, "last": float(values[-1]), "last_error": float(errors[-1])},
    )


def cases() -> dict[str, tuple[Any, Any]]:
    """Pairs of sides, by what is known of them."""
    peaks = dist.Normal(jnp.array([[-1.0] * 5, [1.0] * 5]), 0.7).to_event(1)
    five = dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.5, 0.5])), peaks)
    return {
        "two normals": (dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)),
        "SciPy's gamma, a log-normal": (scipy.stats.gamma(3.0), dist.LogNormal(0.9, 0.6)),
        "a Poisson, a negative binomial": (dist.Poisson(3.0), dist.NegativeBinomial2(3.0, 2.0)),
        "the two-peaked P, a normal": (target(), dist.Normal(-0.5, 2.53)),
        "a mixture in 5-d, a normal": (five, dist.Normal(jnp.zeros(5), 1.2).to_event(1)),
        "two samples": _samples(1_000),
        "uniform on [0, 2], on [0, 1]": (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)),
    }


def _samples(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the two normals of the first case."""
    rng = np.random.default_rng(rows)
    return rng.normal(0.0, 1.0, rows), rng.normal(1.0, 2.0, rows)


def _growing(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    found = [kl.KL(*_samples(size)).estimate() for size in sizes]
    truth = float(kl.KL(*cases()["two normals"]).estimate())
    return np.array([float(e) for e in found]), np.array([e.standard_error for e in found]), truth


def _value(estimate: kl.Estimate) -> str:
    if np.isinf(float(estimate)):
        return "∞"
    digits = f"{float(estimate):.4f}".replace("-", "−")
    return f"{digits} ± {estimate.standard_error:.4f}" if estimate.standard_error else digits


# The picture: two samples, growing, against the truth


def growing_samples(
    sizes: Int[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    errors: Float[np.ndarray, " n"],
    truth: float,
    name: str = "samples",
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


DRIFT_CODE = """\
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
        code=DRIFT_CODE,
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
