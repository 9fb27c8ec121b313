"""E_P[log p̂] from a sample of P: an ensemble of densities, cross-fitted, averaged as a mixture.

The densities are normal, a mixture of normals by BIC, kernels whose width held-out rows choose, and kernel margins
joined by the copula of a normal law. Each row's densities are of fits without its fold, and their weights are those of
greatest held-out likelihood on the other folds. Given those, E_P[log p̂] = E_P[log p] − KL(P‖P̂) ≤ E_P[log p]: the
held-out mean is, in expectation, a lower bound on −H(P), which no neighbour statistic is.
Source: Smyth and Wolpert (1999), Machine Learning 36(1), for weights by held-out likelihood; Jiao, Gao and Han (2018),
NeurIPS, for how nearest neighbours fail in many dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import multivariate_normal, norm, rankdata
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from threadpoolctl import threadpool_limits

from kullback.estimate.density_ratio.cross_fit import FOLDS, folds_of
from kullback.estimate.rows import Rows

MOST_ROWS = 5_000  # to which a density is fitted
_COMPONENTS = (2, 3, 5)
_WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0)  # times that of Scott's rule
_KNOTS, _EDGE, _EM_STEPS = 400, 1e-9, 100

# Rows [n, d] -> their log-density [n], by a fit to other rows.
LogDensity = Callable[[np.ndarray], Float[np.ndarray, " n"]]


def held_out_log_density(rows: Rows, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """log p̂ of each row by densities that were fitted without it, of rows of equal weight."""
    fold = folds_of(rows, rng)
    logs = np.empty((len(rows), len(DENSITIES)))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge a fit, finished or not
        for at in range(FOLDS):
            inside = fold == at
            others = rows.point[~inside]
            others = others[:: -(-len(others) // MOST_ROWS)]
            for column, fit in enumerate(DENSITIES):
                logs[inside, column] = fit(others)(rows.point[inside])
    found = np.empty(len(rows))
    for at in range(FOLDS):
        inside = fold == at
        found[inside] = logsumexp(logs[inside], axis=1, b=_weights(logs[~inside]))
    return found


def _weights(logs: Float[np.ndarray, "n j"]) -> Float[np.ndarray, " j"]:
    """The weights of a mixture of given densities, of greatest likelihood, by EM."""
    weights = np.full(logs.shape[1], 1.0 / logs.shape[1])
    density = np.exp(logs - logs.max(1, keepdims=True))
    for _ in range(_EM_STEPS):
        shares = density * weights
        weights = (shares / shares.sum(1, keepdims=True)).mean(0)
    return weights


def normal(x: Float[np.ndarray, "n d"]) -> LogDensity:
    """A normal law, the covariance shrunk as Ledoit and Wolf (2004) derive."""
    fit = LedoitWolf().fit(x)
    return lambda at: np.atleast_1d(multivariate_normal(fit.location_, fit.covariance_, allow_singular=True).logpdf(at))


def mixture(x: Float[np.ndarray, "n d"]) -> LogDensity:
    """Two, three or five normal laws, by the Bayesian information criterion; one where rows are few."""
    n, d = x.shape
    counts = [count for count in _COMPONENTS if n > 2 * count * (d + 1) * (d + 2)]
    if not counts:
        return normal(x)
    fits = [GaussianMixture(count, reg_covar=1e-4, random_state=0, max_iter=60).fit(x) for count in counts]
    best: Any = min(fits, key=lambda fit: fit.bic(x))
    return best.score_samples


def kernel(x: Float[np.ndarray, "n d"]) -> LogDensity:
    """Normal kernels on scaled columns, of the width by which half of the rows tell the other half best."""
    (n, d), scale = x.shape, x.std(0)
    z, width = x / scale, (4.0 / ((d + 2) * n)) ** (1.0 / (d + 4))
    best = max(_WIDTHS, key=lambda factor: KernelDensity(bandwidth=factor * width).fit(z[::2]).score(z[1::2]))
    fit = KernelDensity(bandwidth=best * width).fit(z)
    return lambda at: fit.score_samples(at / scale) - np.log(scale).sum()


def copula(x: Float[np.ndarray, "n d"]) -> LogDensity:
    """Margins by kernels of Silverman's width, joined by the correlations of normal scores."""
    n = len(x)
    margins = [_margin(column) for column in x.T]
    scores = ndtri((rankdata(x, axis=0) - 0.5) / n)
    joint = multivariate_normal(cov=LedoitWolf(assume_centered=True).fit(scores / scores.std(0)).covariance_)

    def log_density(at: np.ndarray) -> Float[np.ndarray, " n"]:
        logs, shares = zip(*(margin(column) for margin, column in zip(margins, at.T, strict=True)), strict=True)
        u = ndtri(np.clip(np.stack(shares, 1), _EDGE, 1.0 - _EDGE))
        return np.sum(logs, 0) + np.atleast_1d(joint.logpdf(u)) - norm.logpdf(u).sum(1)

    return log_density


def _margin(column: Float[np.ndarray, " n"]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The log-density and the distribution function of a column, by kernels at some of its quantiles."""
    low, high = np.quantile(column, [0.25, 0.75])
    width = 0.9 * (min(column.std(), (high - low) / 1.349) or column.std()) * len(column) ** -0.2
    knots = np.quantile(column, (np.arange(_KNOTS) + 0.5) / _KNOTS)

    def both(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = (at[:, None] - knots) / width
        log = logsumexp(-0.5 * z**2, axis=1) - np.log(_KNOTS * width * np.sqrt(2.0 * np.pi))
        return log, ndtr(z).mean(1)

    return both


DENSITIES: tuple[Callable[[np.ndarray], LogDensity], ...] = (normal, mixture, kernel, copula)
