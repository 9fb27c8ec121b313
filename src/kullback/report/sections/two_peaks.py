"""Two directions: a two-peaked P, normals fitted to it by the forward and by the reverse KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.integrate import simpson

import kullback as kl
from kullback.report.page import Picture, Section, Table
from kullback.report.style import EDGE, FILL, FORWARD, INK, PAPER, REVERSE, SOFT, as_svg, bare_y, drawing, label
from kullback.runtime.export_cache import program

WEIGHTS, PLACES, SCALES = (0.6, 0.4), (-2.5, 2.5), (0.5, 0.8)

CODE = """\
p = dist.MixtureSameFamily(
    dist.Categorical(probs=jnp.array([0.6, 0.4])),
    dist.Normal(jnp.array([-2.5, 2.5]), jnp.array([0.5, 0.8])),
)
kl.KL(p, kl.Family(dist.Normal)).minimize()  # forward
kl.KL(kl.Family(dist.Normal), p).minimize()  # reverse"""


def two_peaks(grid: int = 101) -> Section:
    """Fit both ways, and measure each fit both ways; `grid` is the number of means and scales on the maps."""
    p = target()
    forward, reverse = kl.KL(p, kl.Family(dist.Normal)), kl.KL(kl.Family(dist.Normal), p)
    mixture = kl.KL(p, kl.Mixture(kl.Family(dist.Normal), 2))
    covers, seeks, both = (divergence.minimize(quiet=True) for divergence in (forward, reverse, mixture))
    optima = [q for _, q in seeks.optima] or [seeks.q]
    fits = [("forward", covers.q), ("reverse", optima[0])]
    fits += [("reverse, a local optimum", q) for q in optima[1:]]
    rows = [(name, _number(q.loc), _number(q.scale), *_both_ways(p, q)) for name, q in fits]
    rows.append(("forward, two normals", "–", "–", *_both_ways(p, both.q)))
    return Section(
        key="two-peaks",
        title="Two directions, two answers",
        lead="The divergence is not symmetric. As the second argument, Q must have mass wherever P does, so it covers "
        "both peaks and the gap between them. As the first, it must have none where P has none, so it settles on a "
        "peak.",
        code=CODE,
        plans=(("Forward", f"{forward}"), ("Reverse", f"{reverse}"), ("Forward, with two normals", f"{mixture}")),
        pictures=(two_directions(_curves(p, covers.q, optima)), landscapes(_landscape(covers.q, optima, grid))),
        tables=(Table(("Q", "mean", "scale", "KL(P‖Q)", "KL(Q‖P)"), tuple(rows), CAPTION),),
        numbers={
            "forward_mean": float(covers.q.loc),
            "forward_scale": float(covers.q.scale),
            "reverse_mean": float(optima[0].loc),
            "reverse_kl": float(seeks.objective),
            "optima": len(optima),
        },
    )


CAPTION = (
    "Each fit, measured both ways, in nats. A reverse fit pays −log of the weight of its peak: log(1/0.6) = 0.511 and "
    "log(1/0.4) = 0.916. A family with two peaks pays nothing in either direction."
)


def target() -> dist.Distribution:
    """The two-peaked P."""
    weights = dist.Categorical(probs=jnp.array(WEIGHTS))
    return dist.MixtureSameFamily(weights, dist.Normal(jnp.array(PLACES), jnp.array(SCALES)))


def _both_ways(p: dist.Distribution, q: dist.Distribution) -> tuple[str, str]:
    return f"{float(kl.KL(p, q).estimate()):z.3f}", f"{float(kl.KL(q, p).estimate()):z.3f}"


def _number(x: Any) -> str:
    return f"{float(x):.2f}".replace("-", "−")


def _density(q: dist.Distribution, x: np.ndarray) -> np.ndarray:
    return np.exp(np.asarray(_log_density(q, x), np.float64))


@program(static=())
def _log_density(q: dist.Distribution, x: np.ndarray) -> Any:
    return q.log_prob(x)


def _curves(p: dist.Distribution, covers: Any, optima: list[Any]) -> Curves:
    x = np.linspace(-8.0, 8.0, 481)
    reverse = tuple(_density(q, x) for q in optima)
    return Curves(x=x, target=_density(p, x), forward=_density(covers, x), reverse=reverse)


def _landscape(covers: Any, optima: list[Any], grid: int) -> Landscape:
    """Both divergences over a grid of normals, by Simpson's rule in float64."""
    means, scales = np.linspace(-5.0, 5.0, grid), np.geomspace(0.25, 5.0, grid)
    x = np.linspace(-30.0, 30.0, 1201)
    peaks = np.log(WEIGHTS)[:, None] + _log_normal(x, np.array(PLACES)[:, None], np.array(SCALES)[:, None])
    log_p = np.logaddexp(*peaks)
    forward, reverse = np.empty((grid, grid)), np.empty((grid, grid))
    for i, scale in enumerate(scales):
        log_q = _log_normal(x, means[:, None], scale)
        forward[i] = simpson(np.exp(log_p) * (log_p - log_q), x=x)
        reverse[i] = simpson(np.exp(log_q) * (log_q - log_p), x=x)
    at = [(float(q.loc), float(q.scale)) for q in (covers, *optima)]
    return Landscape(
        means=means,
        scales=scales,
        forward=forward,
        reverse=reverse,
        forward_optimum=at[0],
        reverse_optima=tuple(at[1:]),
    )


def _log_normal(x: np.ndarray, mean: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


# The pictures: the densities, and both divergences over the parameters of Q


@dataclass(frozen=True)
class Curves:
    """Densities on a grid x: the target, the forward fit, and the optima of the reverse KL, best first."""

    x: Float[np.ndarray, " n"]
    target: Float[np.ndarray, " n"]
    forward: Float[np.ndarray, " n"]
    reverse: tuple[Float[np.ndarray, " n"], ...]


def two_directions(curves: Curves, name: str = "directions") -> Picture:
    """The target with the forward fit on the left and the reverse fits on the right."""
    top = 1.18 * max(curves.target.max(), *(density.max() for density in curves.reverse))
    with drawing(8.2, 2.75) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes in (left, right):
            _target(axes, curves, top)
        left.plot(curves.x, curves.forward, color=FORWARD)
        left.set_title("Forward: least KL(P‖Q). Q covers P")
        _name_peak(left, curves.x, curves.forward, "Q", FORWARD)
        for density in curves.reverse[1:]:
            right.plot(curves.x, density, color=REVERSE, linewidth=1.3, linestyle=(0, (4, 2.5)), dash_capstyle="butt")
            _name_peak(right, curves.x, density, "Q, a local optimum", REVERSE)
        right.plot(curves.x, curves.reverse[0], color=REVERSE)
        _name_peak(right, curves.x, curves.reverse[0], "Q", REVERSE)
        right.set_title("Reverse: least KL(Q‖P). Q seeks a peak")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="A two-peaked density P, twice. The forward fit is one wide normal over both peaks; the reverse fit is a "
        "narrow normal on one peak, with a second local optimum on the other.",
        caption="The same P and the same family of normals. Only the order of the two arguments differs.",
    )


@dataclass(frozen=True)
class Landscape:
    """Divergences in nats over a grid of means and scales, [scales, means], and the optima as (mean, scale)."""

    means: Float[np.ndarray, " m"]
    scales: Float[np.ndarray, " s"]
    forward: Float[np.ndarray, "s m"]
    reverse: Float[np.ndarray, "s m"]
    forward_optimum: tuple[float, float]
    reverse_optima: tuple[tuple[float, float], ...]


def landscapes(land: Landscape, name: str = "landscapes") -> Picture:
    """Both divergences as maps over the parameters of Q: one basin, and one for each peak."""
    with drawing(8.2, 3.0) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _contours(left, land, land.forward, FORWARD)
        _optimum(left, land.forward_optimum, FORWARD, solid=True)
        left.set_title("KL(P‖Q): one optimum")
        _contours(right, land, land.reverse, REVERSE)
        for i, optimum in enumerate(land.reverse_optima):
            _optimum(right, optimum, REVERSE, solid=i == 0)
        right.set_title("KL(Q‖P): an optimum for each peak")
        left.set_ylabel("scale of Q")
        for axes in (left, right):
            axes.set_xlabel("mean of Q")
            axes.set_yscale("log")
            axes.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
            axes.minorticks_off()
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Contour maps of the forward and the reverse divergence over the mean and scale of Q. The forward map has "
        "one basin, the reverse map has two.",
        caption="Each divergence as a landscape over the parameters of Q, its contours denser towards the optimum. "
        "Minimisation starts from several places and keeps every distinct optimum that it finds.",
    )


def _target(axes: Axes, curves: Curves, top: float) -> None:
    axes.fill_between(curves.x, curves.target, color=FILL, linewidth=0)
    axes.plot(curves.x, curves.target, color=EDGE, linewidth=1.0)
    axes.set_xlim(curves.x[0], curves.x[-1])
    axes.set_ylim(0, top)
    bare_y(axes)
    right = curves.x > 0
    peak = int(np.argmax(np.where(right, curves.target, 0.0)))
    label(axes, curves.x[peak], curves.target[peak] + 0.02 * top, "P", SOFT, ha="center")


def _name_peak(axes: Axes, x: np.ndarray, density: np.ndarray, text: str, colour: str) -> None:
    peak = int(np.argmax(density))
    axes.annotate(
        text, (x[peak], density[peak]), (0, 4), textcoords="offset points", color=colour, ha="center", fontsize=9.0
    )


def _contours(axes: Axes, land: Landscape, nats: np.ndarray, colour: str) -> None:
    levels = float(nats.min()) + np.geomspace(0.03, 12.0, 15)
    axes.contour(
        land.means, land.scales, nats, levels=levels, colors=colour, linewidths=np.geomspace(1.2, 0.4, len(levels))
    )
    axes.set_xlim(land.means[0], land.means[-1])
    axes.set_ylim(land.scales[0], land.scales[-1])


def _optimum(axes: Axes, at: tuple[float, float], colour: str, solid: bool) -> None:
    axes.plot(*at, "o", markersize=7, color=colour if solid else PAPER, markeredgecolor=colour, markeredgewidth=1.6)
    axes.annotate(
        f"({at[0]:.2f}, {at[1]:.2f})".replace("-", "−"),
        at,
        (9, 7),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
        gid="halo",
    )
