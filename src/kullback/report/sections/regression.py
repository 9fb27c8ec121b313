"""The output distribution is the loss: squared and absolute error as divergences, learned scales, and counts.

For counts, those of the RAND health insurance experiment, the output distribution matters more than the model.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, QuantileRegressor
from threadpoolctl import threadpool_limits

import kullback as kl
from kullback.report.data import Split, diabetes, doctor_visits
from kullback.report.figures import pit_panels
from kullback.report.page import Picture, Section, Table
from kullback.report.style import FILL, FORWARD, INK, LINE, REVERSE, SOFT, as_svg, bare_y, drawing, label
from kullback.supervised import PITHistogram, pit, pit_histogram

CODE = """\
# squared error, absolute error, and a scale for each x
kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)).minimize()
kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Laplace, scale=1.0)).minimize()
kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal)).minimize()"""

LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
BODY_MASS = 2
BINS = 10


def regression(rows: int | None = None) -> Section:
    """Fit linear heads to the diabetes data, beside least squares and the median regression of scikit-learn."""
    data = diabetes(rows)
    heads = {
        "Normal, scale 1": (dist.Normal, {"scale": 1.0}),
        "Laplace, scale 1": (dist.Laplace, {"scale": 1.0}),
        "Normal": (dist.Normal, {}),
        "Laplace": (dist.Laplace, {}),
    }
    asked = {n: kl.KL(kl.Pairs(data.x, data.y), kl.Conditional(kl.Linear(), d, **f)) for n, (d, f) in heads.items()}
    fits = {name: divergence.minimize(quiet=True) for name, divergence in asked.items()}
    located = {name: np.asarray(fit.q(data.x_test).loc, np.float64) for name, fit in fits.items()}
    scores = {name: float(kl.KL(kl.Pairs(data.x_test, data.y_test), fit.q).estimate()) for name, fit in fits.items()}
    peers = _peers(data)
    learned = {name: "scale" not in fixed for name, (_, fixed) in heads.items()}
    shown = [
        (f"kl.Linear(), {name}", *_errors(y, data), f"{scores[name]:.2f}" if learned[name] else "–")
        for name, y in located.items()
    ]
    shown += [(name, *_errors(y, data), f"{nats:.2f}") for name, (y, nats) in peers.items()]
    order = (0, 4, 1, 5, 2, 3)
    falls = {
        f"{name} head": pit_histogram(pit(data.y_test, fits[name].q(data.x_test)), BINS)
        for name in ("Normal", "Laplace")
    }
    return Section(
        key="regression",
        title="The output distribution is the loss",
        lead="With a normal of fixed scale, the forward KL is half the squared error plus a constant; with a Laplace "
        "it is the absolute error. Leave the scale free and the same call learns how sure to be at each input.",
        code=CODE,
        plans=(
            ("Squared error", f"{asked['Normal, scale 1']}"),
            ("Absolute error", f"{asked['Laplace, scale 1']}"),
            ("A scale for each x", f"{asked['Normal']}"),
        ),
        pictures=(_picture(data), pit_panels(falls)),
        tables=(
            Table(
                ("model", "squared", "absolute", "test nats"),
                tuple(shown[i] for i in order),
                caption=f"Root mean squared and mean absolute error on {len(data.y_test)} held-out patients, and nats "
                "each where there is a scale: learned for each x by kl, one for all x, that of the residuals, by the "
                "peers. With the scale fixed, the normal head is least squares, and the Laplace head is median "
                "regression: the first is solved in closed form, the second as a linear programme.",
                ours=frozenset(i for i, k in enumerate(order) if k < len(heads)),
            ),
        ),
        numbers={
            "squared_gap": _rmse(located["Normal, scale 1"], data) - _rmse(peers["LinearRegression"][0], data),
            "absolute_gap": _mae(located["Laplace, scale 1"], data) - _mae(peers["QuantileRegressor"][0], data),
            "peer_nll": peers["LinearRegression"][1],
            "normal_nll": scores["Normal"],
            "laplace_nll": scores["Laplace"],
            "normal_pit": falls["Normal head"].p_value,
        },
    )


def _peers(data: Split) -> dict[str, tuple[np.ndarray, float]]:
    """Predictions of scikit-learn's regressions, and their nats with the scale that their own residuals have."""
    found = {}
    for model, law, size in (
        (LinearRegression(), stats.norm, lambda residual: np.sqrt(np.mean(residual**2))),
        (QuantileRegressor(alpha=0.0), stats.laplace, lambda residual: np.mean(np.abs(residual))),
    ):
        fitted = model.fit(data.x, data.y)
        scale, predicted = size(data.y - fitted.predict(data.x)), fitted.predict(data.x_test)
        found[type(model).__name__] = predicted, -float(np.mean(law.logpdf(data.y_test, predicted, scale)))
    return found


def _rmse(y: np.ndarray, data: Split) -> float:
    return float(np.sqrt(np.mean((y - data.y_test) ** 2)))


def _mae(y: np.ndarray, data: Split) -> float:
    return float(np.mean(np.abs(y - data.y_test)))


def _errors(y: np.ndarray, data: Split) -> tuple[str, str]:
    return f"{_rmse(y, data):.2f}", f"{_mae(y, data):.2f}"


def _picture(data: Split) -> Picture:
    """Two heads on one input, the body mass index, where a picture can show all of q(y∣x)."""
    x, x_test = data.x[:, [BODY_MASS]], data.x_test[:, BODY_MASS]
    grid = np.linspace(x.min(), x.max(), 161)
    bands = []
    for title, family in (("Normal head", dist.Normal), ("Laplace head", dist.Laplace)):
        fit = kl.KL(kl.Pairs(x, data.y), kl.Conditional(kl.Linear(), family)).minimize(quiet=True)
        q = fit.q(grid[:, None])
        bands.append(Bands(title, grid, np.stack([np.asarray(q.icdf(np.float32(level))) for level in LEVELS])))
    return regression_bands(x_test, data.y_test, tuple(bands))


# The picture: bands of two heads


@dataclass(frozen=True)
class Bands:
    """A regressor with one input: data, and quantiles of q(y∣x) along a grid, [levels, n], in symmetric order."""

    title: str
    grid: Float[np.ndarray, " n"]
    quantiles: Float[np.ndarray, "levels n"]


def regression_bands(
    x: Float[np.ndarray, " rows"], y: Float[np.ndarray, " rows"], bands: tuple[Bands, ...], name: str = "bands"
) -> Picture:
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


COUNTS_CODE = """\
kl.KL(kl.Pairs(x, visits), kl.Conditional(kl.Linear(), dist.Poisson)).minimize()
kl.KL(kl.Pairs(x, visits), kl.Conditional(kl.Linear(), dist.NegativeBinomial2)).minimize()"""

HEADS = (("Poisson", dist.Poisson), ("negative binomial", dist.NegativeBinomial2))
SHOWN = 16


def counts(rows: int | None = None, hidden: int = 64, peers: bool = True) -> Section:
    """Two heads on a line and on a network, beside statsmodels and gradient boosting."""
    data = doctor_visits(rows)
    networks = {"kl.Linear()": kl.Linear(), f"kl.MLP(({hidden},))": kl.MLP(hidden=(hidden,))}
    asked, scores, expected, falls = [], [], [], {}
    for kind, (head, family) in enumerate(HEADS):
        for name, network in networks.items():
            divergence = kl.KL(kl.Pairs(data.x, data.y), kl.Conditional(network, family))
            fit = divergence.minimize(quiet=True)
            nats = float(kl.KL(kl.Pairs(data.x_test, data.y_test), fit.q).estimate())
            scores.append(Score(f"{name}, {head}", nats, kind, ours=True))
            if network == kl.Linear():
                asked.append((f"A {head} head", f"{divergence}"))
                q = fit.q(data.x_test)
                expected.append(_expected(q))
                falls[f"A line, {head} head"] = pit_histogram(pit(data.y_test, q))
    scores += _count_peers(data) if peers else []
    observed = np.bincount(data.y_test, minlength=SHOWN)[:SHOWN] / len(data.y_test)
    ordered = sorted(scores, key=lambda score: score.nats)
    best = {kind: min(score.nats for score in scores if score.kind == kind) for kind in (0, 1)}
    misfits = [fall.statistic for fall in falls.values()]
    return Section(
        key="counts",
        title="And it can matter more than the model",
        lead="A count whose variance exceeds its mean is no Poisson. On 20,190 person-years of doctor visits a line "
        "under a negative binomial beats every Poisson model, gradient boosting among them.",
        code=COUNTS_CODE,
        plans=tuple(asked),
        pictures=(counts_and_heads(observed, tuple(expected), tuple(scores)), _falls(falls)),
        tables=(
            Table(
                ("model", "test nats"),
                tuple((score.name, f"{score.nats:.3f}") for score in ordered),
                caption=f"Negative log-likelihood on {len(data.y_test):,} held-out person-years, in nats each.",
                ours=frozenset(i for i, score in enumerate(ordered) if score.ours),
                pictured=True,
            ),
        ),
        numbers={
            "poisson": best[0],
            "negative_binomial": best[1],
            "linear_poisson": scores[0].nats,
            "poisson_misfit": misfits[0],
            "negative_binomial_misfit": misfits[1],
        },
    )


def _falls(falls: dict[str, PITHistogram]) -> Picture:
    told = "So many outcomes show a small fault too: the negative binomial is near, and the Poisson far too narrow."
    picture = pit_panels(falls, "count-pits")
    return replace(picture, caption=f"{picture.caption} {told}")


def _expected(q: dist.Distribution) -> np.ndarray:
    """The mean probability of each count over the inputs of q."""
    return np.asarray(_mean_probabilities(q, np.arange(SHOWN)[:, None]))


@jax.jit
def _mean_probabilities(q: dist.Distribution, y: np.ndarray) -> Any:
    return jnp.exp(q.log_prob(y)).mean(axis=1)


def _count_peers(data: Split) -> list[Score]:
    """The regressions of statsmodels, and scikit-learn's gradient boosting with a Poisson loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.discrete.discrete_model import NegativeBinomial, Poisson

        x, x_test = (np.column_stack([np.ones(len(x)), x]) for x in (data.x, data.x_test))
        poisson = Poisson(data.y, x).fit(disp=0).predict(x_test)
        fitted = NegativeBinomial(data.y, x).fit(disp=0, maxiter=200)
    mean, size = fitted.predict(x_test), 1.0 / fitted.params[-1]
    with threadpool_limits(1):  # its many small parallel regions are slower than one thread on a busy machine
        boosting = HistGradientBoostingRegressor(loss="poisson", random_state=0).fit(data.x, data.y)
    boosted = boosting.predict(data.x_test)
    return [
        Score("statsmodels Poisson", _nats(stats.poisson(poisson), data), 0, ours=False),
        Score("gradient boosting, Poisson", _nats(stats.poisson(boosted), data), 0, ours=False),
        Score("statsmodels NegativeBinomial", _nats(stats.nbinom(size, size / (size + mean)), data), 1, ours=False),
    ]


def _nats(law: Any, data: Split) -> float:
    return -float(np.mean(law.logpmf(data.y_test)))


# The picture: counts, what two heads expect, and the scores of several models


@dataclass(frozen=True)
class Score:
    """One model's held-out negative log-likelihood; `kind` is its output distribution, `ours` whose it is."""

    name: str
    nats: float
    kind: int
    ours: bool


def counts_and_heads(
    counts: Float[np.ndarray, " k"],
    expected: tuple[Float[np.ndarray, " k"], ...],
    scores: tuple[Score, ...],
    name: str = "counts",
) -> Picture:
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
        axes.plot(
            score.nats,
            height,
            "o",
            markersize=6.5,
            color=colour if score.ours else "none",
            markeredgecolor=colour,
            markeredgewidth=1.4,
        )
        axes.annotate(
            f"{score.nats:.3f}",
            (score.nats, height),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axes.set_yticks(range(len(ordered)), [score.name for score in ordered])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    low, high = ordered[-1].nats, ordered[0].nats
    axes.set_xlim(low - 0.12 * (high - low), high + 0.22 * (high - low))
    axes.set_title("Held-out nats per person")
