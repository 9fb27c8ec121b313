"""Temperature scaling of a classifier of any make, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils.validation import check_is_fitted

from kullback.divergence import KL
from kullback.families.tempered import TemperedLogits
from kullback.known import Pairs
from kullback.supervised.probabilities import classes_of, labelled, log_probabilities_of

LEAST = float(np.finfo(np.float64).eps)


class TemperatureScaling(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A fitted classifier with its logits divided by one temperature, fitted by forward KL to rows it has not seen.

    `TemperatureScaling(classifier).fit(X_val, y_val)` minimises −(1/W) Σ w log softmax(logits/T)_y over T > 0. Above 1
    the classifier was too sure of itself. What it predicts does not change, only how surely.

    classifier  a fitted classifier with `predict_proba`; it is used as it is, also by a clone of this estimator

    The logits are log-probabilities. A probability of 0, as a forest gives, has none: it is taken as 2.2e-16. Rows with
    several labels have one temperature for all labels. For a `kl.KLClassifier`, `kl.KL(kl.Pairs(x, y), Tempered(q_))`
    does the same and returns a conditional.

    Fitted: `temperature_`, `log_score_` on these rows (nats), `classes_`.
    Source: Guo, Pleiss, Sun and Weinberger (2017), section 4.2.
    """

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the temperature.

        X, y           rows that the classifier was not fitted to: inputs [n, d], labels [n] or 0 and 1 [n, L]
        sample_weight  [n] or None

        Raises `NotFittedError` for a classifier that is not fitted, `InputError` for labels it does not know.
        """
        check_is_fitted(self.classifier)
        self.classes_ = self.classifier.classes_
        rows = labelled(y, log_probabilities_of(self.classifier, X), classes_of(self.classifier), logs=True)
        self._several = rows.multilabel
        side = TemperedLogits(several=self._several)
        found = KL(Pairs(self._logits(rows.log_p), rows.y, sample_weight), side).minimize(quiet=True)
        self.temperature_, self.log_score_ = found.q, float(found.objective)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The classifier's own predictions: a temperature does not change the order of the classes."""
        check_is_fitted(self)
        return self.classifier.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Tempered probabilities, of each class [n, K] or of each label [n, L]."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Their logarithms, in nats."""
        check_is_fitted(self)
        logits = self._logits(log_probabilities_of(self.classifier, X)) / self.temperature_
        if self._several:
            return -np.logaddexp(0.0, -logits)
        return logits - np.logaddexp.reduce(logits, -1, keepdims=True)

    def _logits(self, log_p: np.ndarray) -> np.ndarray:
        if not self._several:
            return np.maximum(log_p, np.log(LEAST))
        p = np.clip(np.exp(log_p), LEAST, 1.0 - LEAST)
        return np.maximum(log_p, np.log(LEAST)) - np.log1p(-p)

    def __sklearn_clone__(self) -> Self:
        return type(self)(self.classifier)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "temperature_")
