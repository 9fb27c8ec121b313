"""Calibration: whether what is predicted with probability p comes a share p of the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kullback.errors import InputError
from kullback.known.samples import as_weights
from kullback.supervised.probabilities import LABELS, Labelled, labelled

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
    sample_weight: Any = None,
    classes: Any = None,
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
    y: Any, q: Any, sample_weight: Any = None, classes: Any = None, *, bins: int = 15, equal: Bins = "width"
) -> float:
    """Σ_b (n_b/n) |observed_b − predicted_b| over bins of the top label's probability; 0 for a calibrated predictor.

    It depends on the bins and is biased upwards by their noise, and it is no proper score: a predictor that always
    gives the base rates has 0. Compare it at one number of bins and rows; `equal="mass"` has less noise. With several
    labels a row the bins are over the probabilities of all of them.

    Arguments and errors are those of `calibration_curve`. Source: Naeini, Cooper and Hauskrecht (2015); Guo, Pleiss,
    Sun and Weinberger (2017), equation 5.
    """
    return calibration_error(labelled(y, q, classes), sample_weight, bins, equal)


def calibration_error(found: Labelled, sample_weight: Any = None, bins: int = 15, equal: Bins = "width") -> float:
    """The expected calibration error of predictions beside labels."""
    looked_at = (found.p, found.hits) if found.multilabel else _top(found)
    return _curve(*looked_at, sample_weight, bins, equal).error


def _curve(predicted: np.ndarray, came: np.ndarray, sample_weight: Any, bins: int, equal: Bins) -> CalibrationCurve:
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
    return CalibrationCurve(mean, observed, counts[held], total[held], edges)


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


def _column(found: Labelled, label: Any, classes: Any, y: Any) -> int:
    known = np.arange(found.log_p.shape[-1]) if classes is None else np.asarray(classes)
    if classes is None and not found.multilabel and len(seen := np.unique(np.asarray(y))) == len(known):
        known = seen
    at = np.flatnonzero(known == label)
    if len(at) == 0:
        raise InputError(f"label: {label!r} is not one of the classes {list(known)}")
    return int(at[0])
