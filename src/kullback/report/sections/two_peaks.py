"""Two directions: a two-peaked P, normals fitted to it by the forward and by the reverse KL."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.integrate import simpson

import kullback as kl
from kullback.report.figures import landscapes, two_directions
from kullback.report.figures.peaks import Curves, Landscape
from kullback.report.record import Section, Table

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
    return np.exp(np.asarray(q.log_prob(jnp.asarray(x)), np.float64))


def _curves(p: dist.Distribution, covers: Any, optima: list[Any]) -> Curves:
    x = np.linspace(-8.0, 8.0, 481)
    return Curves(x, _density(p, x), _density(covers, x), tuple(_density(q, x) for q in optima))


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
    return Landscape(means, scales, forward, reverse, at[0], tuple(at[1:]))


def _log_normal(x: np.ndarray, mean: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
