"""Bayesian inference as reverse KL: a posterior is a prior tilted by a log-likelihood."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

import kullback as kl
from kullback.report.data import tumours
from kullback.report.figures import posterior_and_curve
from kullback.report.figures.posterior import Curve, Posterior
from kullback.report.record import Section, Table

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
    return Posterior(a, b, exact, fitted), float(logsumexp(exact) + np.log((a[1] - a[0]) * (b[1] - b[0])))


def _curve(x: np.ndarray, y: np.ndarray, posterior: Posterior, draws: int = 4000) -> Curve:
    grid = np.linspace(x.min() - 0.3, x.max() + 0.3, 121)
    bands = []
    for log_density in (posterior.exact, posterior.fitted):
        weight = np.exp(log_density - log_density.max()).ravel()
        cells = np.random.default_rng(0).choice(weight.size, draws, p=weight / weight.sum())
        row, column = np.divmod(cells, len(posterior.intercepts))
        probability = expit(posterior.intercepts[column][:, None] + posterior.slopes[row][:, None] * grid)
        bands.append(np.quantile(probability, (0.05, 0.5, 0.95), axis=0))
    return Curve(x, y, grid, bands[0], bands[1])
