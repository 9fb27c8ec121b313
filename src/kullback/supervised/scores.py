"""Proper scores of predictive distributions, as functions and as scikit-learn scorers.

The log score is the divergence up to H(P); Brier's is a squared error of probabilities. A scorer is what scikit-learn's
searches and cross-validation take: `scoring=log_scorer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from kullback.errors import InputError
from kullback.known.adaptors.numpyro_distributions import log_prob
from kullback.known.samples import as_weights
from kullback.result import Estimate, Guarantee
from kullback.runtime.export_cache import program
from kullback.supervised.calibration import calibration_error
from kullback.supervised.crps import crps
from kullback.supervised.inputs import mean_of, outcomes
from kullback.supervised.probabilities import LABELS, Labelled, classes_of, labelled, log_probabilities_of
from kullback.supervised.scipy_laws import precise
from kullback.supervised.univariate import in_double


def log_score(y: Any, q: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None) -> float:
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


def log_score_estimate(
    y: Any, q: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
) -> Estimate:
    """The log score as an `Estimate` of KL(P‖Q) up to H(P), with its standard error over rows.

    Arguments and errors are those of `log_score`; the standard error is NaN for one row.
    """
    losses = log_losses(y, q, classes)
    weights = as_weights(sample_weight, len(losses))
    share = np.full(len(losses), 1.0 / len(losses)) if weights is None else weights / weights.sum()
    mean, rows = float(np.average(losses, weights=weights)), int((share > 0).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(np.sum((share * (losses - mean)) ** 2) * np.float64(rows) / (rows - 1))
    return Estimate(
        value=mean, standard_error=float(error), guarantee=Guarantee.UNBIASED, quantity="H(P, Q)", dropped=("H(P)",)
    )


def log_losses(y: Any, q: Any, classes: ArrayLike | None = None) -> Float[np.ndarray, " n"]:
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


def brier(y: Any, q: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None) -> float:
    """The mean of Σ_k (q(k∣x) − 1{y = k})², from 0 to 2; lower is better.

    For two classes it is twice the squared error of one probability, which is what scikit-learn's `brier_score_loss`
    gives there. With several labels a row it is the mean of that squared error over labels.

    Arguments and errors are those of `log_score`, for labels. Source: Brier (1950), equation 2.
    """
    return mean_of(labelled(y, q, classes).squares, sample_weight)


# Scorers


class Scorer:
    """A score of an estimator's predictions, its sign turned so that higher is better.

    Called as `scorer(estimator, X, y, sample_weight=None)`. Classifiers are asked for probabilities, others for
    `predict_dist`; pipelines and searches are looked into. With metadata routing on, `set_score_request` says whether
    weights are wanted, as for scikit-learn's own.
    """

    def __init__(self, name: str, of_labels: Callable[..., float] | None, of_law: Callable[..., float] | None) -> None:
        self.name, self.of_labels, self.of_law = name, of_labels, of_law
        self._requested: dict[str, Any] = {}

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Minus the score on X [n, d] and y. Raises `InputError` for an estimator without what the score needs."""
        if self.of_labels is not None and (is_classifier(estimator) or hasattr(estimator, "predict_proba")):
            return -self.of_labels(estimator, X, y, sample_weight)
        if self.of_law is None:
            raise InputError(f"scoring: {self.name} scores probabilities of labels; pass a classifier")
        return -self.of_law(y, predictive(estimator, X, self.name), sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """A scorer like this one that asks for `sample_weight` (True), refuses it (False), or takes it by a name."""
        made = type(self)(self.name, self.of_labels, self.of_law)
        made._requested = {"sample_weight": sample_weight}
        return made

    def get_metadata_routing(self) -> MetadataRequest:
        """What scikit-learn's routers ask of a consumer."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._requested.get("sample_weight"))
        return request

    def __repr__(self) -> str:
        return self.name


def predictive(estimator: Any, X: Any, name: str) -> Any:
    """q(y∣x) at X by the estimator's `predict_dist`, through pipelines and searches."""
    if hasattr(estimator, "predict_dist"):
        return estimator.predict_dist(X)
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        return predictive(estimator.steps[-1][1], X, name)
    if hasattr(estimator, "best_estimator_"):
        return predictive(estimator.best_estimator_, X, name)
    raise InputError(
        f"scoring: {name} needs a predictive distribution, and {type(estimator).__name__} has no predict_dist; use "
        "KLRegressor"
    )


def _labelled(estimator: Any, X: Any, y: Any) -> Labelled:
    return labelled(y, log_probabilities_of(estimator, X), classes_of(estimator), logs=True)


def _log_score(estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None) -> float:
    return mean_of(_labelled(estimator, X, y).log_losses, sample_weight)


def _brier(estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None) -> float:
    return mean_of(_labelled(estimator, X, y).squares, sample_weight)


def _calibration(estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None) -> float:
    return calibration_error(_labelled(estimator, X, y), sample_weight)


log_scorer = Scorer("log_scorer", _log_score, log_score)
brier_scorer = Scorer("brier_scorer", _brier, None)
calibration_scorer = Scorer("calibration_scorer", _calibration, None)
crps_scorer = Scorer("crps_scorer", None, crps)
