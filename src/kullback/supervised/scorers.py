"""Scores in the form that scikit-learn's searches and cross-validation take: `scoring=log_scorer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from kullback.errors import InputError
from kullback.supervised.calibration import calibration_error
from kullback.supervised.crps import crps
from kullback.supervised.probabilities import Labelled, classes_of, labelled, log_probabilities_of
from kullback.supervised.rowwise import mean_of
from kullback.supervised.scores import log_score


class Scorer:
    """A score of an estimator's predictions, its sign turned so that higher is better.

    Called as `scorer(estimator, X, y, sample_weight=None)`. Classifiers are asked for probabilities, others for
    `predict_dist`; pipelines and searches are looked into. With metadata routing on, `set_score_request` says whether
    weights are wanted, as for scikit-learn's own.
    """

    def __init__(self, name: str, of_labels: Callable[..., float] | None, of_law: Callable[..., float] | None) -> None:
        self.name, self.of_labels, self.of_law = name, of_labels, of_law
        self._requested: dict[str, Any] = {}

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
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


def _log_score(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    return mean_of(_labelled(estimator, X, y).log_losses, sample_weight)


def _brier(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    return mean_of(_labelled(estimator, X, y).squares, sample_weight)


def _calibration(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    return calibration_error(_labelled(estimator, X, y), sample_weight)


log_scorer = Scorer("log_scorer", _log_score, log_score)
brier_scorer = Scorer("brier_scorer", _brier, None)
calibration_scorer = Scorer("calibration_scorer", _calibration, None)
crps_scorer = Scorer("crps_scorer", None, crps)
