"""Lower bounds on KL(P‖Q) that hold for any laws and any sizes of the samples, from held-out scores.

Each row's score is of a model that was fitted without the row, so that given the other folds the rows of a fold are
independent draws. Averages of folds are allowed since KL(P‖Q) is no less than the bound of any fold.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import xlogy
from scipy.stats import beta

from kullback.estimate.density_ratio.cross_fit import FOLDS, Labelled
from kullback.estimate.rows import Rows

LEVEL = 0.975  # the probability with which each of the two bounds holds
CAPS = (5.0, 20.0, 80.0, 300.0)
_RISING_CAP = 10.0


def lower_bound(rows: Labelled, g: Float[np.ndarray, " n"]) -> float:
    """The larger of the bounds by an event and by clipped scores, nats; each holds with probability 0.975.

    g  log P/Q at each row, by a model that was fitted without the row
    """
    return max(by_event(rows, g), by_clipped_scores(rows, g))


def by_event(rows: Labelled, g: Float[np.ndarray, " n"]) -> float:
    """KL of the event {g ≥ t}, t from the other folds, at the ends of Clopper–Pearson intervals of P and Q.

    No event has a larger divergence than the laws (data processing).
    """
    hits = np.zeros(len(rows), bool)
    for fold in range(FOLDS):
        inside = rows.fold == fold
        hits[inside] = g[inside] >= _threshold(g[~inside], rows.of_p[~inside])
    n, m = int(rows.of_p.sum()), int((~rows.of_p).sum())
    in_p, in_q = int(hits[rows.of_p].sum()), int(hits[~rows.of_p].sum())
    tail = (1.0 - LEVEL) / 2.0
    p = beta.ppf(tail, in_p, n - in_p + 1) if in_p else 0.0
    q = beta.ppf(1.0 - tail, in_q + 1, m - in_q) if in_q < m else 1.0
    return float(binary_divergence(p, q)) if p > q else 0.0


def _threshold(g: Float[np.ndarray, " n"], of_p: Bool[np.ndarray, " n"]) -> float:
    """Where the divergence of the event {g ≥ t} is largest by the smoothed shares of the rows beyond t."""
    x, y = np.sort(g[of_p]), np.sort(g[~of_p])
    edges = np.unique(np.quantile(x, np.linspace(0.0, 1.0, 201)))
    beyond_p = (len(x) - np.searchsorted(x, edges) + 0.5) / (len(x) + 1.0)
    beyond_q = (len(y) - np.searchsorted(y, edges) + 3.0) / (len(y) + 4.0)
    worth = np.where(beyond_p > beyond_q, binary_divergence(beyond_p, beyond_q), 0.0)
    return float(edges[np.argmax(worth)])


def binary_divergence(p: Float[np.ndarray, " n"] | float, q: Float[np.ndarray, " n"] | float) -> np.ndarray:
    """p log p/q + (1 − p) log (1 − p)/(1 − q)."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return xlogy(p, p / q) + xlogy(1.0 - p, (1.0 - p) / (1.0 - q))


def by_clipped_scores(rows: Labelled, g: Float[np.ndarray, " n"]) -> float:
    """E_P[f] − log E_Q[e^f] for f = g clipped below log(m/c), each mean at the end of its interval; the best c.

    The interval of a mean of bounded terms is that of Maurer and Pontil (2009), COLT, theorem 4 (empirical Bernstein).
    The constants c are four, each held to a quarter of the error.
    Source: Donsker and Varadhan (1975), CPAM 28(1), for the identity.
    """
    x, y = g[rows.of_p], g[~rows.of_p]
    error = (1.0 - LEVEL) / (2.0 * len(CAPS))
    best = -np.inf
    for cap in CAPS:
        top = np.log(len(y) / cap)
        if top <= 0.0:
            continue
        low = -top - 2.0
        f, e = np.clip(x, low, top), np.exp(np.clip(y, low, top))
        mean = f.mean() - _slack(f, top - low, error)
        best = max(best, mean - np.log(e.mean() + _slack(e, np.exp(top), error)))
    return float(best)


def _slack(terms: Float[np.ndarray, " n"], width: float, error: float) -> float:
    log_inverse = np.log(2.0 / error)
    return float(
        np.sqrt(2.0 * terms.var(ddof=1) * log_inverse / len(terms))
        + 7.0 * width * log_inverse / (3.0 * (len(terms) - 1))
    )


def clipped_mean(p: Rows, q: Rows, of_p: Float[np.ndarray, " n"], of_q: Float[np.ndarray, " m"]) -> tuple[float, float]:
    """E_P[f] − log E_Q[e^f], which is at most KL(P‖Q), for f = g clipped below log(m/10); and its standard error."""
    top = np.log(max(len(q) / _RISING_CAP, 1.0))
    f, e = np.minimum(of_p, top), np.exp(np.minimum(of_q, top))
    mean_f, mean_e = p.mean(f), q.mean(e)
    by_p = p.mean((f - mean_f) ** 2) / p.effective_size
    by_q = q.mean((e - mean_e) ** 2) / (q.effective_size * mean_e**2)
    return float(mean_f - np.log(mean_e)), float(np.sqrt(by_p + by_q))
