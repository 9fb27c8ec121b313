"""Predicted probabilities of labels, from arrays and from NumPyro distributions, beside the labels that came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpy.typing import ArrayLike

from kullback.errors import InputError
from kullback.known.columns import is_frame
from kullback.supervised.scipy_laws import precise

LABELS = (dist.CategoricalLogits, dist.CategoricalProbs)
TOLERANCE = 1e-5  # probabilities in single precision add up to 1 to this


@dataclass(frozen=True)
class Labelled:
    """Predictions beside labels, in float64.

    log_p  log-probabilities: of each class [n, K], or of each label being 1 [n, L] where `multilabel`
    y      the class of each row [n] as an integer, or 0 and 1 [n, L]
    """

    log_p: np.ndarray
    y: np.ndarray
    multilabel: bool = False

    @property
    def p(self) -> np.ndarray:
        return np.exp(self.log_p)

    @property
    def hits(self) -> np.ndarray:
        """1 where a class or a label came, [n, K] or [n, L]."""
        return self.y if self.multilabel else np.eye(self.log_p.shape[-1])[self.y]

    @property
    def log_losses(self) -> np.ndarray:
        """−log q(y∣x) [n], nats; of several labels the sum."""
        if not self.multilabel:
            return -np.take_along_axis(self.log_p, self.y[:, None], -1)[:, 0]
        with np.errstate(divide="ignore"):
            absent = np.log1p(-np.minimum(self.p, 1.0))
        return -np.where(self.y == 1, self.log_p, absent).sum(-1)

    @property
    def squares(self) -> np.ndarray:
        """Σ_k (q(k∣x) − 1{y = k})² [n]; of several labels the mean."""
        squares = (self.p - self.hits) ** 2
        return squares.mean(-1) if self.multilabel else squares.sum(-1)


def labelled(y: Any, q: Any, classes: ArrayLike | None = None, *, logs: bool = False) -> Labelled:
    """Labels beside predictions, checked.

    y        labels [n], or 0 and 1 [n, L] for several labels a row
    q        probabilities: of each class [n, K], of the second of two [n], or of each label [n, L]; or a categorical or
             Bernoulli distribution of NumPyro
    classes  the label of each column; None for 0 … K − 1, or for the sorted labels of y where these are K others
    logs     whether q holds logarithms of probabilities

    Raises `InputError` for shapes that do not match, labels that are not in `classes`, and probabilities that are
    negative or do not add up to 1.
    """
    y = y.to_numpy() if is_frame(y) else np.asarray(y)
    log_p = _log_probabilities(q, logs)
    if y.shape[:1] != log_p.shape[:1]:
        raise InputError(f"y: {len(np.atleast_1d(y))} labels for {len(log_p)} predictions; pass one for each")
    if y.ndim == 2:
        if y.shape != log_p.shape or not np.isin(y, (0, 1)).all():
            raise InputError(
                f"y: labels of shape {y.shape} for predictions of shape {log_p.shape}; several labels a row are 0 or "
                "1, one for each prediction"
            )
        return Labelled(log_p, y.astype(np.int64), multilabel=True)
    if log_p.ndim == 1:
        with np.errstate(divide="ignore"):
            log_p = np.stack([np.log1p(-np.minimum(np.exp(log_p), 1.0)), log_p], -1)
    if not np.allclose(np.exp(log_p).sum(-1), 1.0, atol=TOLERANCE * log_p.shape[-1], rtol=0.0):
        raise InputError("q: the probabilities of a row do not add up to 1; pass those of every class")
    return Labelled(log_p, _codes(y, log_p.shape[-1], classes))


def log_probabilities_of(estimator: Any, X: Any) -> np.ndarray:
    """What a scikit-learn classifier predicts at X, as logarithms: of each class [n, K] or of each label [n, L].

    By `predict_log_proba` where there is one, since a probability may be too small to be a number.
    """
    logs = hasattr(estimator, "predict_log_proba")
    with np.errstate(divide="ignore"):  # a forest's zeros
        q = estimator.predict_log_proba(X) if logs else estimator.predict_proba(X)
    if isinstance(q, list):  # a tree's several labels, [n, 2] each
        q = np.stack([np.asarray(part)[:, 1] for part in q], -1)
    return _log_probabilities(q, logs)


def classes_of(estimator: Any) -> np.ndarray | None:
    """The label of each column of a classifier's predictions, if it states one list of them."""
    classes = getattr(estimator, "classes_", None)
    return classes if isinstance(classes, np.ndarray) and classes.ndim == 1 else None


def _log_probabilities(q: Any, logs: bool) -> np.ndarray:
    q = precise(getattr(q, "distribution", q))  # what `q.on(x)` returns
    if isinstance(q, dist.Distribution):
        return _of_distribution(q)
    array = np.asarray(q.to_numpy() if is_frame(q) else q, np.float64)
    if array.ndim not in (1, 2):
        raise InputError(f"q: shape {array.shape} is not that of predictions; pass [n, classes]")
    if logs:
        return array
    if not ((array >= 0.0) & (array <= 1.0 + TOLERANCE)).all():
        raise InputError("q: the predictions are not probabilities from 0 to 1")
    with np.errstate(divide="ignore"):
        return np.log(array)


def _of_distribution(d: Any) -> np.ndarray:
    if isinstance(d, dist.MixtureSameFamily):
        parts = _of_distribution(d.component_distribution)
        weights = np.asarray(d.mixing_distribution.probs, np.float64)
        axis = weights.ndim - 1
        with np.errstate(divide="ignore"):
            return np.log((weights.reshape(*weights.shape, *(1,) * (parts.ndim - axis - 1)) * np.exp(parts)).sum(axis))
    while isinstance(d, dist.Independent | dist.ExpandedDistribution):
        d = d.base_dist
    if isinstance(d, dist.BernoulliLogits | dist.CategoricalLogits):
        logits = np.asarray(d.logits, np.float64)
        if isinstance(d, dist.BernoulliLogits):
            return -np.logaddexp(0.0, -logits)
        return logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    if isinstance(d, dist.BernoulliProbs | dist.CategoricalProbs):
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(d.probs, np.float64))
    raise InputError(f"q: {type(d).__name__} is not a distribution of labels; pass a categorical or Bernoulli one")


def _codes(y: np.ndarray, count: int, classes: ArrayLike | None) -> np.ndarray:
    """The column of each label."""
    if y.ndim != 1:
        raise InputError(f"y: shape {y.shape} is not that of labels; pass [n]")
    found = np.unique(y)
    if classes is None:
        counted = y.dtype.kind in "iub" or (y.dtype.kind == "f" and (y == np.round(y)).all())
        if counted and found[0] >= 0 and found[-1] < count:
            return y.astype(np.int64)
        if len(found) != count:
            raise InputError(
                f"y: {len(found)} labels for {count} columns of probabilities; pass classes=, one for each"
            )
        classes = found
    classes = np.asarray(classes)
    if len(classes) != count:
        raise InputError(f"classes: {len(classes)} labels for {count} columns of probabilities; pass one for each")
    if not np.isin(found, classes).all():
        stranger = found[~np.isin(found, classes)][0].item()
        raise InputError(f"y: the label {stranger!r} is not one of the classes")
    order = np.argsort(classes, kind="stable")
    return order[np.searchsorted(classes, y, sorter=order)]
