"""The output distribution is the loss: squared and absolute error as divergences, and scales that are learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy import stats
from sklearn.linear_model import LinearRegression, QuantileRegressor

import kullback as kl
from kullback.report.data import Split, diabetes
from kullback.report.figures import pit_panels
from kullback.report.record import Picture, Section, Table
from kullback.report.style import FORWARD, INK, as_svg, drawing
from kullback.supervised import pit, pit_histogram

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
