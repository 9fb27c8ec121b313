"""Estimates: what is known of the two sides decides which rule answers, and what its answer is worth."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.stats
from jaxtyping import Float, Int

import kullback as kl
from kullback.report.record import Picture, Section, Table
from kullback.report.sections.two_peaks import target
from kullback.report.style import EDGE, FORWARD, SOFT, as_svg, drawing, label

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
