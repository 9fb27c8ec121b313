"""Bayesian inference as reverse KL: a posterior is a prior tilted by a log-likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

import kullback as kl
from kullback.report.data import tumours
from kullback.report.page import Picture, Section, Table
from kullback.report.style import EDGE, INK, REVERSE, SOFT, as_svg, drawing

CODE = """\
prior = dist.Normal(jnp.zeros(2), 3.0).to_event(1)

def log_likelihood(w):
    return dist.Bernoulli(logits=w[0] + w[1] * x).log_prob(y).sum()

kl.KL(kl.Family(dist.MultivariateNormal), kl.Tilted(prior, log_likelihood)).minimize()"""

PRIOR_SCALE = 3.0


def inference(rows: int = 24, grid: int = 321) -> Section:
    """Fit a normal to the posterior of a logistic regression, and check it on a grid of `grid`² parameters."""
    x, y = tumours(rows)
    prior = dist.Normal(jnp.zeros(2), PRIOR_SCALE).to_event(1)
    inputs, outcomes = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)

    def log_likelihood(w):
        return dist.BernoulliLogits(w[0] + w[1] * inputs).log_prob(outcomes).sum()

    divergence = kl.KL(kl.Family(dist.MultivariateNormal), kl.Tilted(prior, log_likelihood))
    fit = divergence.minimize(quiet=True)
    mean, covariance = np.asarray(fit.q.loc, np.float64), np.asarray(fit.q.covariance_matrix, np.float64)
    posterior, log_evidence = _on_grid(x, y, mean, covariance, grid)
    elbo = fit.diagnostics["elbo"]
    bound, error = float(elbo), float(getattr(elbo, "standard_error", 0.0))
    rows_shown = (
        ("the bound, E_Q[log p̃] + H(Q)", f"−{abs(bound):.3f} ± {error:.3f}"),
        ("log Z, on a grid", f"−{abs(log_evidence):.3f}"),
        ("the gap, which is KL(Q‖P)", f"{log_evidence - bound:.3f}"),
    )
    return Section(
        key="inference",
        title="Bayesian inference is a reverse KL",
        lead="A posterior is a prior tilted by a log-likelihood, and log Z is the evidence. Its density is known up "
        "to Z, at any point one asks for, and that is what a reverse KL needs. The plan drops log Z, so what is "
        "maximised is the evidence lower bound.",
        code=CODE,
        plans=(("A normal posterior", f"{divergence}"),),
        pictures=(posterior_and_curve(posterior, _curve(x, y, posterior)),),
        tables=(
            Table(
                ("of the evidence", "nats"),
                rows_shown,
                f"{rows} tumours of the Wisconsin data, {int(y.sum())} of them malignant. With two parameters the "
                "evidence can be summed on a grid, so the gap of the bound is known.",
            ),
        ),
        numbers={"elbo": bound, "log_evidence": log_evidence, "gap": log_evidence - bound, "error": error},
    )


def _on_grid(
    x: np.ndarray, y: np.ndarray, mean: np.ndarray, covariance: np.ndarray, grid: int
) -> tuple[Posterior, float]:
    """Both posteriors around the fitted mean, and log Z as a sum over the grid, at whose ends they vanish."""
    spread = np.sqrt(np.diag(covariance))
    a = np.linspace(mean[0] - 9 * spread[0], mean[0] + 6 * spread[0], grid)
    b = np.linspace(mean[1] - 6 * spread[1], mean[1] + 9 * spread[1], grid)
    logits = a[None, :, None] + b[:, None, None] * x
    exact = (y * logits - np.logaddexp(0.0, logits)).sum(-1)
    exact += -0.5 * (a[None, :] ** 2 + b[:, None] ** 2) / PRIOR_SCALE**2 - np.log(2 * np.pi * PRIOR_SCALE**2)
    points = np.stack(np.meshgrid(a, b), -1)
    fitted = multivariate_normal.logpdf(points, mean, covariance)  # type: ignore[arg-type]
    posterior = Posterior(intercepts=a, slopes=b, exact=exact, fitted=fitted)
    return posterior, float(logsumexp(exact) + np.log((a[1] - a[0]) * (b[1] - b[0])))


def _curve(x: np.ndarray, y: np.ndarray, posterior: Posterior, draws: int = 4000) -> Curve:
    grid = np.linspace(x.min() - 0.3, x.max() + 0.3, 121)
    bands = []
    for log_density in (posterior.exact, posterior.fitted):
        weight = np.exp(log_density - log_density.max()).ravel()
        cells = np.random.default_rng(0).choice(weight.size, draws, p=weight / weight.sum())
        row, column = np.divmod(cells, len(posterior.intercepts))
        probability = expit(posterior.intercepts[column][:, None] + posterior.slopes[row][:, None] * grid)
        bands.append(np.quantile(probability, (0.05, 0.5, 0.95), axis=0))
    return Curve(x=x, y=y, grid=grid, exact=bands[0], fitted=bands[1])


# The picture: the exact posterior, the fitted normal, and what both say of new cases


@dataclass(frozen=True)
class Posterior:
    """An exact posterior on a grid, and the fitted one.

    intercepts [a], slopes [b], exact and fitted: log-densities [b, a] up to a constant.
    """

    intercepts: Float[np.ndarray, " a"]
    slopes: Float[np.ndarray, " b"]
    exact: Float[np.ndarray, "b a"]
    fitted: Float[np.ndarray, "b a"]


@dataclass(frozen=True)
class Curve:
    """The probability of the outcome along an input: the data, and 5, 50 and 95 per cent of each posterior, [3, n]."""

    x: Float[np.ndarray, " rows"]
    y: Int[np.ndarray, " rows"]
    grid: Float[np.ndarray, " n"]
    exact: Float[np.ndarray, "3 n"]
    fitted: Float[np.ndarray, "3 n"]


def posterior_and_curve(posterior: Posterior, curve: Curve, name: str = "posterior") -> Picture:
    """The two posteriors over the parameters on the left, the curves that they allow on the right."""
    with drawing(8.2, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        _contours(left, posterior)
        _curves(right, curve)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt="Left: contours of the exact posterior, slightly skewed, under those of the fitted normal. Right: the "
        "probability of a malignant tumour against its radius, with 90 per cent bands.",
        caption="The regions that hold 50 and 95 per cent of the exact posterior (grey) and of the fitted normal "
        "(orange), and the curves they allow. A normal cannot be skewed; that is the gap in the table.",
    )


def _contours(axes: Axes, posterior: Posterior) -> None:
    over = posterior.intercepts, posterior.slopes
    outer, inner = _regions(posterior.exact, (0.95, 0.5))
    for level, alpha in ((outer, 0.28), (inner, 0.4)):
        axes.contourf(*over, posterior.exact, levels=[level, np.inf], colors=[EDGE], alpha=alpha)
    levels = _regions(posterior.fitted, (0.95, 0.5))
    axes.contour(*over, posterior.fitted, levels=levels, colors=REVERSE, linewidths=1.5, linestyles="solid")
    inside = posterior.exact > _regions(posterior.exact, (0.985,))[0]
    _focus(axes.set_xlim, posterior.intercepts[inside.any(0)])
    _focus(axes.set_ylim, posterior.slopes[inside.any(1)])
    axes.set_xlabel("intercept")
    axes.set_ylabel("slope")
    axes.set_title("Posterior of a logistic regression")


def _focus(set_limits: Callable[[float, float], object], values: np.ndarray) -> None:
    margin = 0.04 * float(np.ptp(values))
    set_limits(float(values.min()) - margin, float(values.max()) + margin)


def _regions(log_density: np.ndarray, contents: tuple[float, ...]) -> list[float]:
    """The levels above which the density holds these parts of its mass, in the order given."""
    order = np.sort(log_density.ravel())[::-1]
    mass = np.cumsum(np.exp(order - order[0]))
    return [float(order[np.searchsorted(mass, content * mass[-1])]) for content in contents]


def _curves(axes: Axes, curve: Curve) -> None:
    axes.fill_between(curve.grid, curve.exact[0], curve.exact[2], color=EDGE, alpha=0.35, linewidth=0)
    axes.plot(curve.grid, curve.exact[1], color=SOFT, linewidth=1.3)
    for line, width in zip(curve.fitted, (0.9, 1.8, 0.9), strict=True):
        axes.plot(curve.grid, line, color=REVERSE, linewidth=width)
    axes.plot(curve.x, curve.y, "|", color=INK, markersize=7, markeredgewidth=0.9, alpha=0.75)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlim(curve.grid[0], curve.grid[-1])
    axes.set_xlabel("mean radius, standard deviations")
    axes.set_title("Probability that a tumour is malignant")
