"""Proper scores of predictive distributions: the log score, which is the divergence up to H(P), and Brier's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.errors import InputError
from kullback.known.adaptors.numpyro_distributions import log_prob
from kullback.known.samples import as_weights
from kullback.result import Estimate, Guarantee
from kullback.runtime.export_cache import program
from kullback.supervised.probabilities import LABELS, labelled
from kullback.supervised.rowwise import mean_of, outcomes
from kullback.supervised.scipy_laws import precise
from kullback.supervised.univariate import in_double


def log_score(y: Any, q: Any, sample_weight: Any = None, classes: Any = None) -> float:
    """The mean of −log q(y∣x), in nats; lower is better.

    Over outcomes of P it estimates the cross entropy H(P, Q) = KL(P‖Q) + H(P), and H(P) does not depend on Q: between
    two predictors the difference in log score is the difference in KL(P‖Q). Infinite where an outcome came that q
    gives probability 0.

    y              outcomes [n] or [n, outputs]; labels [n], or 0 and 1 [n, L] for several labels a row
    q              a NumPyro distribution of batch shape [n], or probabilities [n, classes], [n] of the second of two
                   classes, or [n, L]
    sample_weight  [n] or None
    classes        the label of each column of probabilities; None for 0 … K − 1, or the sorted labels of y

    Raises `InputError` for shapes that do not match and labels that are not in `classes`.
    Source: Good (1952); Gneiting and Raftery (2007), section 4.1.
    """
    return mean_of(log_losses(y, q, classes), sample_weight)


def log_score_estimate(y: Any, q: Any, sample_weight: Any = None, classes: Any = None) -> Estimate:
    """The log score as an `Estimate` of KL(P‖Q) up to H(P), with its standard error over rows.

    Arguments and errors are those of `log_score`; the standard error is NaN for one row.
    """
    losses = log_losses(y, q, classes)
    weights = as_weights(sample_weight, len(losses))
    share = np.full(len(losses), 1.0 / len(losses)) if weights is None else weights / weights.sum()
    mean, rows = float(np.average(losses, weights=weights)), int((share > 0).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(np.sum((share * (losses - mean)) ** 2) * np.float64(rows) / (rows - 1))
    return Estimate(mean, float(error), Guarantee.UNBIASED, "H(P, Q)", ("H(P)",))


def log_losses(y: Any, q: Any, classes: Any = None) -> Float[np.ndarray, " n"]:
    """−log q(y∣x) of each row [n], nats; see `log_score`."""
    q = getattr(q, "distribution", q)  # what `q.on(x)` returns
    if not isinstance(q, dist.Distribution) or isinstance(q, LABELS):
        return labelled(y, q, classes).log_losses
    y, q = outcomes(y, (*q.batch_shape, *q.event_shape)), precise(q)
    losses = -in_double(_log_prob, q, y.astype(np.int64) if y.dtype.kind in "bu" else y)
    if np.isnan(losses).any():
        raise InputError(f"q: log q(y∣x) is NaN at row {int(np.argwhere(np.isnan(losses))[0, 0])}")
    return losses.reshape(len(losses), -1).sum(-1)


_log_prob = program(log_prob, static=())


def brier(y: Any, q: Any, sample_weight: Any = None, classes: Any = None) -> float:
    """The mean of Σ_k (q(k∣x) − 1{y = k})², from 0 to 2; lower is better.

    For two classes it is twice the squared error of one probability, which is what scikit-learn's `brier_score_loss`
    gives there. With several labels a row it is the mean of that squared error over labels.

    Arguments and errors are those of `log_score`, for labels. Source: Brier (1950), equation 2.
    """
    return mean_of(labelled(y, q, classes).squares, sample_weight)
