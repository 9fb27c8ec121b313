"""KL of two samples: bias, error, coverage where two sides are claimed, and whether bounds hold, law by law.

`python -m benchmarks.sample_coverage [SEEDS] [ROWS] [NAMES...]` prints a line for each pair of laws; with the name
`law`, for pairs of which the second side is a density that is known; with `series`, for equal laws whose rows depend on
those before them. The truth is a closed form or SciPy's quadrature.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpyro.distributions as dist
from scipy import integrate, stats

import kullback as kl

Draw = Callable[[np.random.Generator, int], np.ndarray]
Case = tuple[Draw, Draw, float]


def normals(mean, covariance, other_mean, other) -> Case:
    """KL(N(mean, covariance) ‖ N(other_mean, other)), in closed form."""
    mean, other_mean = np.asarray(mean, float), np.asarray(other_mean, float)
    covariance, other = np.atleast_2d(covariance), np.atleast_2d(other)
    shift, inverse = other_mean - mean, np.linalg.inv(other)
    quadratic = np.trace(inverse @ covariance) + shift @ inverse @ shift - len(mean)
    truth = 0.5 * (quadratic + np.linalg.slogdet(other)[1] - np.linalg.slogdet(covariance)[1])
    return _normal(mean, covariance), _normal(other_mean, other), float(truth)


def _normal(mean: np.ndarray, covariance: np.ndarray) -> Draw:
    factor = np.linalg.cholesky(covariance)
    return lambda r, n: mean + r.standard_normal((n, len(mean))) @ factor.T


def univariate(p, q) -> Case:
    """Two frozen laws of SciPy, by quadrature between far quantiles."""
    low, high = p.ppf(1e-15), p.isf(1e-15)
    points = p.ppf(np.linspace(0.001, 0.999, 41))
    edges = [low, *points, high]
    truth = sum(
        integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), a, b, limit=200)[0] for a, b in pairwise(edges)
    )
    draw = lambda law: lambda r, n: law.rvs(n, random_state=r)[:, None]  # noqa: E731
    return draw(p), draw(q), truth


def autoregressive(d: int, r: float) -> np.ndarray:
    return r ** abs(np.subtract.outer(np.arange(d), np.arange(d)))


def lognormal(d: int) -> Case:
    p, q, truth = normals(np.zeros(d), autoregressive(d, 0.5), np.zeros(d), np.eye(d))
    return (lambda r, n: np.exp(p(r, n))), (lambda r, n: np.exp(q(r, n))), truth


def two_peaks(d: int) -> Case:
    """Peaks at ±1.5 of the first column against a normal of its variance."""

    def log_peaks(x: float) -> float:
        return float(np.logaddexp(stats.norm.logpdf(x, 1.5), stats.norm.logpdf(x, -1.5)) - np.log(2))

    scale = np.sqrt(3.25)
    truth = integrate.quad(
        lambda x: np.exp(log_peaks(x)) * (log_peaks(x) - stats.norm.logpdf(x, 0, scale)), -12, 12, limit=500
    )[0]
    first = np.append(1.0, np.zeros(d - 1))

    def peaks(r: np.random.Generator, n: int) -> np.ndarray:
        return r.standard_normal((n, d)) + 1.5 * r.choice([-1.0, 1.0], n)[:, None] * first

    return peaks, _normal(np.zeros(d), np.diag(1.0 + 2.25 * first)), truth


def saturating(d: int) -> Case:
    """x₀ = 0.8 tanh(2 x₁) + 0.6 ε against independent columns."""
    squares = integrate.quad(lambda z: stats.norm.pdf(z) * (0.8 * np.tanh(2 * z)) ** 2, -10, 10)[0]

    def related(r: np.random.Generator, n: int) -> np.ndarray:
        x = r.standard_normal((n, d))
        x[:, 0] = 0.8 * np.tanh(2 * x[:, 1]) + 0.6 * x[:, 0]
        return x

    return related, _normal(np.zeros(d), np.eye(d)), 0.5 * (0.36 + squares - 1) - np.log(0.6)


def rare_cluster(d: int) -> Case:
    """One row in a hundred lies 30 away."""
    truth = 0.99 * np.log(0.99) + 0.01 * (np.log(0.01) + 450.0)

    def clustered(r: np.random.Generator, n: int) -> np.ndarray:
        x = r.standard_normal((n, d))
        x[:, 0] += 30.0 * (r.random(n) < 0.01)
        return x

    return clustered, _normal(np.zeros(d), np.eye(d)), truth


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {f"equal {d}": normals(np.zeros(d), np.eye(d), np.zeros(d), np.eye(d)) for d in (1, 5, 20)}
    found |= {
        "normals 1": univariate(stats.norm(), stats.norm(1, 1.5)),
        "wider P 1": univariate(stats.norm(), stats.norm(0, 0.7)),
        "Laplace, normal 1": univariate(stats.laplace(), stats.norm(0, 1.4)),
        "exponential, gamma 1": univariate(stats.expon(), stats.gamma(2, scale=0.7)),
        "beta, uniform 1": univariate(stats.beta(2, 5), stats.uniform()),
        "Student 1": univariate(stats.t(5), stats.t(3, 0.5)),
        "shift 2": normals([0, 0], np.eye(2), [0.5, 0.5], np.eye(2)),
        "correlated 2": normals([0, 0], [[1, 0.7], [0.7, 1]], [0, 0], np.eye(2)),
    }
    found |= {f"shift {d}": normals(np.zeros(d), np.eye(d), np.full(d, d**-0.5), np.eye(d)) for d in (5, 10, 20)}
    found |= {
        f"autoregressive {d}": normals(np.zeros(d), autoregressive(d, 0.6), np.zeros(d), np.eye(d)) for d in (5, 10, 20)
    }
    return found | {
        "scale 5": normals(np.zeros(5), np.eye(5), np.zeros(5), 1.5 * np.eye(5)),
        "one of ten": normals(np.zeros(10), np.eye(10), np.eye(10)[0], np.diag(1.0 + 0.5 * np.eye(10)[0])),
        "lognormal 5": lognormal(5),
        "two peaks 5": two_peaks(5),
        "saturating 5": saturating(5),
        "far 1": normals([0], np.eye(1), [5], np.eye(1)),
        "far 5": normals(np.zeros(5), np.eye(5), np.full(5, 3.0), np.eye(5)),
        "narrow Q 1": normals([0], np.eye(1), [0], 0.09 * np.eye(1)),
        "narrow Q 5": normals(np.zeros(5), np.eye(5), np.zeros(5), 0.16 * np.eye(5)),
        "wider uniform 3": (lambda r, n: r.uniform(0, 2, (n, 3)), lambda r, n: r.uniform(0, 1, (n, 3)), np.inf),
        "rare cluster 1": rare_cluster(1),
        "rare cluster 5": rare_cluster(5),
    }


def against_laws() -> dict[str, tuple[Draw, dist.Distribution, float]]:
    """A sample of P, a law Q, and KL(P‖Q)."""
    found = {}
    for name in ("equal 5", "shift 5", "shift 10", "shift 20", "autoregressive 5", "autoregressive 10", "far 5"):
        draw, _, truth = cases()[name]
        d = int(name.split()[1])
        at = {"equal": 0.0, "shift": d**-0.5, "autoregressive": 0.0, "far": 3.0}[name.split()[0]]
        found[name] = draw, dist.Normal(np.full(d, at), 1.0).to_event(1), truth
    heavy = 5.0 * univariate(stats.t(3), stats.t(5))[2]
    scale = np.sqrt([3.25, 1.0, 1.0, 1.0, 1.0])
    return found | {
        "Student 5": (lambda r, n: r.standard_t(3, (n, 5)), dist.StudentT(5.0, np.zeros(5), 1.0).to_event(1), heavy),
        "two peaks 5": (two_peaks(5)[0], dist.Normal(np.zeros(5), scale).to_event(1), two_peaks(5)[2]),
    }


def series(correlation: float, d: int = 1) -> Draw:
    """A stationary normal series of the first order in each column."""

    def draw(r: np.random.Generator, n: int) -> np.ndarray:
        x = r.standard_normal((n, d))
        for t in range(1, n):
            x[t] = correlation * x[t - 1] + np.sqrt(1.0 - correlation**2) * x[t]
        return x

    return draw


def second_sides(kind: str) -> dict[str, tuple[Draw, Draw | dist.Distribution, float]]:
    """The pairs of a kind: two samples, a sample and a law, or two series."""
    if kind == "law":
        return dict(against_laws())
    if kind == "series":
        return {f"{r} in {d}": (series(r, d), series(r, d), 0.0) for r in (0.9, 0.99) for d in (1, 3)}
    return dict(cases())


def main(seeds: int = 20, rows: int = 1000, names: tuple[str, ...] = ()) -> None:
    kl.KL(np.random.default_rng(0).normal(size=(50, 3)), np.random.default_rng(1).normal(size=(50, 3))).estimate()
    claimed = covered = bounds = held = 0
    heads = ("KL", "bias", "rmse", "s.e.", "sided", "cover", "bounds", "hold", "CPU s")
    print(f"{'laws':22s}" + "".join(f"{head:>8s}" for head in heads))
    kind, names = (names[0], names[1:]) if names[:1] in (("law",), ("series",)) else ("", names)
    for name, (p, q, truth) in second_sides(kind).items():
        if names and name not in names:
            continue
        answers, spent = [], 0.0
        for seed in range(seeds):
            r = np.random.default_rng(1000 + seed)
            x = p(r, rows)
            y = q if isinstance(q, dist.Distribution) else q(r, rows)
            start = time.process_time()
            answers.append(kl.KL(x, y).estimate(seed=seed))
            spent += time.process_time() - start
        sided = [a for a in answers if a.guarantee is kl.Guarantee.CONSISTENT]
        others = [a for a in answers if a.guarantee is kl.Guarantee.LOWER_BOUND]
        within = sum(a.interval()[0] <= truth <= a.interval()[1] for a in sided)
        below = sum(a.interval()[0] <= truth for a in others)
        values = np.array([a.diagnostics.get("estimate", a.value) for a in answers])
        errors = [a.standard_error for a in sided]
        claimed, covered = claimed + len(sided), covered + within
        bounds, held = bounds + len(others), held + below
        share = len(sided) / seeds
        figures = (
            truth,
            values.mean() - truth,
            np.sqrt(np.mean((values - truth) ** 2)),
            np.mean(errors) if errors else np.nan,
            share,
            within / len(sided) if sided else np.nan,
            1 - share,
            below / len(others) if others else np.nan,
            spent / seeds,
        )
        print(f"{name:22s}" + "".join(f"{figure:8.3f}" for figure in figures), flush=True)
    print(f"two sides claimed {claimed} times, right {covered / max(claimed, 1):.3f}")
    print(f"lower bounds {bounds}, right {held / max(bounds, 1):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), names=tuple(sys.argv[3:]))
