"""Calibration of predictions: measured for labels and for numbers, and repaired by temperature scaling.

For labels, events predicted with probability p should occur in a share p of the rows (`calibration_curve`). For
numbers, the probability integral transforms of the outcomes should be uniform (`pit`). `TemperatureScaling` repairs a
classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils.validation import check_is_fitted

from kullback.divergence import KL
from kullback.errors import InputError
from kullback.families.tempered import TemperedLogits
from kullback.known import Pairs
from kullback.known.samples import as_weights
from kullback.supervised.inputs import outcomes
from kullback.supervised.probabilities import LABELS, Labelled, classes_of, labelled, log_probabilities_of
from kullback.supervised.scipy_laws import line_of

# Labels: calibration curves


Bins = Literal["width", "mass"]


@dataclass(frozen=True)
class CalibrationCurve:
    """Predictions in bins, those without any left out.

    predicted  the mean predicted probability of each bin [b]
    observed   the share of the time that it came [b]
    counts     rows in each bin [b]; `weights` is how much they weigh, which is the same where none were given
    edges      the bins that they came from [bins + 1]
    """

    predicted: np.ndarray
    observed: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    edges: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |observed − predicted| over rows."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.weights))


def calibration_curve(
    y: Any,
    q: Any,
    sample_weight: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    *,
    label: Any = None,
    bins: int = 15,
    equal: Bins = "width",
) -> CalibrationCurve:
    """How often what was predicted came, by predicted probability.

    y, q, sample_weight, classes   as in `log_score`, for labels
    label  the class whose probability is looked at; None for the one held most probable of each row ("top label"), for
           the second class where q is its probability [n], and for all labels together where a row has several
    bins   how many; of equal "width", or of equal "mass" (as many rows each, ties together)

    Raises `InputError` as `log_score` does, for a label that is not one of the classes, and for no bins.
    Source: Niculescu-Mizil and Caruana (2005); Guo, Pleiss, Sun and Weinberger (2017), equation 3, for top labels.
    """
    found = labelled(y, q, classes)
    if label is not None:
        column = _column(found, label, classes, y)
        looked_at = found.p[:, column], found.hits[:, column]
    elif found.multilabel:
        looked_at = found.p, found.hits
    else:
        looked_at = (found.p[:, 1], found.hits[:, 1]) if _is_one_probability(q) else _top(found)
    return _curve(*looked_at, sample_weight, bins, equal)


def expected_calibration_error(
    y: Any,
    q: Any,
    sample_weight: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    *,
    bins: int = 15,
    equal: Bins = "width",
) -> float:
    """Σ_b (n_b/n) |observed_b − predicted_b| over bins of the top label's probability; 0 for a calibrated predictor.

    It depends on the bins and is biased upwards by their noise, and it is no proper score: a predictor that always
    gives the base rates has 0. Compare it at one number of bins and rows; `equal="mass"` has less noise. With several
    labels a row the bins are over the probabilities of all of them.

    Arguments and errors are those of `calibration_curve`. Source: Naeini, Cooper and Hauskrecht (2015); Guo, Pleiss,
    Sun and Weinberger (2017), equation 5.
    """
    return calibration_error(labelled(y, q, classes), sample_weight, bins, equal)


def calibration_error(
    found: Labelled, sample_weight: ArrayLike | None = None, bins: int = 15, equal: Bins = "width"
) -> float:
    """The expected calibration error of predictions beside labels."""
    looked_at = (found.p, found.hits) if found.multilabel else _top(found)
    return _curve(*looked_at, sample_weight, bins, equal).error


def _curve(
    predicted: np.ndarray, came: np.ndarray, sample_weight: ArrayLike | None, bins: int, equal: Bins
) -> CalibrationCurve:
    weights = as_weights(sample_weight, len(predicted))
    weights = np.ones(len(predicted)) if weights is None else weights
    weights = np.repeat(weights, predicted.size // len(weights))
    predicted, came = np.minimum(predicted.ravel(), 1.0), came.ravel()
    edges = _edges(predicted, bins, equal)
    place = np.clip(np.searchsorted(edges, predicted, "left") - 1, 0, len(edges) - 2)
    total = np.bincount(place, weights, len(edges) - 1)
    held = total > 0
    counts = np.bincount(place, minlength=len(edges) - 1)
    mean, observed = (np.bincount(place, weights * x, len(edges) - 1)[held] / total[held] for x in (predicted, came))
    return CalibrationCurve(predicted=mean, observed=observed, counts=counts[held], weights=total[held], edges=edges)


def _edges(predicted: np.ndarray, bins: int, equal: Bins) -> np.ndarray:
    """Edges of bins that are open to the left and closed to the right."""
    if bins < 1:
        raise InputError(f"bins: {bins} is not a positive number of bins")
    if equal == "width":
        return np.linspace(0.0, 1.0, bins + 1)
    if equal == "mass":
        inner = np.quantile(predicted, np.linspace(0.0, 1.0, bins + 1)[1:-1], method="inverted_cdf")
        return np.unique([0.0, *inner, 1.0])
    raise InputError(f'equal: {equal!r} is not a way to make bins; pass "width" or "mass"')


def _top(found: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the class held most probable, and whether it came."""
    top = found.log_p.argmax(-1)
    return np.take_along_axis(found.p, top[:, None], -1)[:, 0], (top == found.y).astype(np.float64)


def _is_one_probability(q: Any) -> bool:
    return len(np.shape(q)) == 1 if not hasattr(q, "event_shape") else not isinstance(q, LABELS)


def _column(found: Labelled, label: Any, classes: ArrayLike | None, y: Any) -> int:
    known = np.arange(found.log_p.shape[-1]) if classes is None else np.asarray(classes)
    if classes is None and not found.multilabel and len(seen := np.unique(np.asarray(y))) == len(known):
        known = seen
    at = np.flatnonzero(known == label)
    if len(at) == 0:
        raise InputError(f"label: {label!r} is not one of the classes {list(known)}")
    return int(at[0])


# Numbers: probability integral transforms


def pit(y: Any, q: Any, seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """F(y∣x) of each outcome, uniform on [0, 1] where q is right.

    For counts it is F(y − 1) + v (F(y) − F(y − 1)) with v uniform, from `seed`: without it the values of a right q are
    not uniform.

    y  outcomes [n], or [n, outputs]
    q  a NumPyro distribution of batch shape [n] with a distribution function, mixtures and ensembles of such, counts

    Returns [n] or [n, outputs]. Raises `InputError` as `crps` does.
    Source: Dawid (1984); Czado, Gneiting and Held (2009), section 2.1, for counts.
    """
    line = line_of(q)
    y = outcomes(y, line.shape)
    if not line.discrete:
        return line.cdf(y)
    below, upto = line.cdf(y - 1.0), line.cdf(y)
    return below + np.random.default_rng(seed).uniform(size=y.shape) * (upto - below)


@dataclass(frozen=True)
class PITHistogram:
    """How many PIT values lie in each of equal bins, and whether that is uniform.

    counts   [bins], with `edges` [bins + 1]
    p_value  of Pearson's chi-square test that the values are uniform, which says how often a right q would look worse;
             `statistic` is that of the test
    """

    counts: np.ndarray
    edges: np.ndarray
    statistic: float
    p_value: float

    def band(self, level: float = 0.95) -> tuple[float, float]:
        """The counts between which one bin lies with probability `level` (or a little more) if q is right: binomial."""
        n, bins = int(self.counts.sum()), len(self.counts)
        low, high = stats.binom.ppf([0.5 - level / 2, 0.5 + level / 2], n, 1.0 / bins)
        return float(low), float(high)

    def __str__(self) -> str:
        verdict = "no sign against" if self.p_value >= 0.05 else "they speak against"
        return (
            f"{int(self.counts.sum()):,} PIT values in {len(self.counts)} bins: χ² = {self.statistic:.4g}, "
            f"p = {self.p_value:.2g}: {verdict} uniform"
        )


def pit_histogram(values: Any, bins: int = 20) -> PITHistogram:
    """PIT values [n] in equal bins, with a chi-square test of uniformity.

    A heap in the middle says that q is too wide, two heaps at the ends that it is too narrow, a slope that it is
    biased. The test takes the values as independent and q as not fitted to them: use held-out outcomes.

    Raises `InputError` for values outside [0, 1], and for fewer than 5 values a bin, where the test is not valid.
    Source: Diebold, Gunther and Tay (1998); Pearson (1900).
    """
    values = np.ravel(np.asarray(values, np.float64))
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise InputError("values: PIT values lie in [0, 1]; pass those of pit(y, q)")
    if bins < 2 or len(values) < 5 * bins:
        raise InputError(f"bins: {bins} for {len(values)} values; pass at least 2 bins, and 5 values for each")
    counts, edges = np.histogram(values, bins, (0.0, 1.0))
    statistic, p_value = stats.chisquare(counts)
    return PITHistogram(counts=counts, edges=edges, statistic=float(statistic), p_value=float(p_value))


# Temperature scaling


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

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
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
