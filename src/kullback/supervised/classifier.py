"""`KLClassifier`: a categorical q_θ(y∣x), or independent Bernoullis for several labels a row."""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

import numpy as np
import numpyro.distributions as dist
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight

from kullback.arguments import flag, share
from kullback.errors import InputError
from kullback.families import Conditional
from kullback.known import Pairs
from kullback.supervised.base import KLEstimator, LinearMap, log_probabilities
from kullback.supervised.inputs import checked_inputs, checked_weights, codes, empirical, enough, labels


class KLClassifier(LinearMap, ClassifierMixin, KLEstimator):
    """A classifier fitted by minimising KL(P‖Q_θ): log loss, with its regulariser said as a prior.

    H(P, Q_θ) = −(1/W) Σ_i w_i log q_θ(y_i∣x_i), the log loss, plus −(1/W) log π(θ) for a Gaussian prior π on the
    weights. With network="linear" it is multinomial logistic regression: scikit-learn's L2 penalty of strength C on
    standardised inputs is prior_scale = √C (of two classes √(C/2), since both have weights), and no penalty is None.

    network          "mlp" (sized by the rows), "linear", `kl.MLP(...)`, `kl.Linear()` or a callable Equinox module
    prior_scale      standard deviation of the prior on the weights for standardised inputs; None for none
    ensemble         networks that are trained together and averaged
    label_smoothing  share of each row's probability that is spread evenly over the classes: another P
    class_weight     None, "balanced" or {class: weight}
    rule, steps, tolerance, checkpoint, logger, quiet   as in `kl.KL.minimize`; tolerance in nats
    warm_start       `fit` goes on from the last fit
    random_state     a non-negative integer, a NumPy generator, or None for another seed each time

    Fitted: `classes_`, `fit_` (a `kl.Fit`), `q_`, `history_`, `n_iter_`, `n_features_in_`, `feature_names_in_`; and
    `coef_`, `intercept_` of a linear network. A 2-D y of 0 and 1 is several labels a row: independent Bernoullis.
    Source: Fisher (1922); Bishop (2006), eq. 4.108.
    """

    def __init__(
        self,
        network: Any = "mlp",
        *,
        prior_scale: float | None = 1.0,
        ensemble: int = 1,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        rule: Any = None,
        steps: int | None = None,
        tolerance: float | None = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        logger: Any = None,
        quiet: bool = True,
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.prior_scale = prior_scale
        self.ensemble = ensemble
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.rule = rule
        self.steps = steps
        self.tolerance = tolerance
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.logger = logger
        self.quiet = quiet
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to labels y.

        X              inputs [n, d]: an array, or a pandas or polars frame
        y              labels [n], or a 0/1 indicator [n, k]
        sample_weight  non-negative weights [n]; a row of weight 0 is a row that is not there

        Raises `InputError` before any training for missing, textual, infinite or sparse inputs, a single class, and
        weights or settings out of range.
        """
        earlier = self.classes_ if flag("warm_start", self.warm_start) and hasattr(self, "q_") else None
        x, y, w = self._checked(X, y, sample_weight, reset=earlier is None)
        self._multilabel, self._label_dtype = y.ndim == 2, y.dtype
        self.classes_ = np.arange(y.shape[1]) if self._multilabel else np.unique(y)
        if not self._multilabel and len(self.classes_) < 2:
            raise InputError(
                f"y: there is only one class, {self.classes_.tolist()[0]!r}; pass rows of at least two classes"
            )
        x, outcomes, w = self._rows(x, y, w)
        warm = earlier is not None and np.array_equal(earlier, self.classes_)
        side = self._start(outcomes, warm=warm)
        self._learn(Pairs(x, self._softened(outcomes), w), side, rule=self.rule, steps=self.steps)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Go on from where the fit stands by a bounded number of steps on this batch (`steps`, or 20).

        classes  all the labels that will ever come; needed in the first call

        Otherwise as `fit`. The inputs are standardised by the first batch.
        """
        first = not hasattr(self, "q_")
        if self.class_weight == "balanced":
            raise InputError("class_weight: 'balanced' needs all the rows at once; pass a dict or sample_weight")
        x, y, w = self._checked(X, y, sample_weight, reset=first)
        if first:
            self._multilabel, self._label_dtype = y.ndim == 2, y.dtype
            self.classes_ = np.arange(y.shape[1]) if self._multilabel else _given(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise InputError(f"classes: {list(classes)} are not those of the first call, {list(self.classes_)}")
        x, outcomes, w = enough(*self._rows(x, y, w))
        self._learn_again(Pairs(x, self._softened(outcomes), w), outcomes)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row [n]; of several labels a row, those of probability above ½ [n, k]."""
        log_p = self._log_proba(self._inputs(X))
        if self._multilabel:
            return (log_p > np.log(0.5)).astype(self._label_dtype)
        return self.classes_[np.exp(log_p).argmax(1)]

    def predict_proba(self, X: Any) -> Any:
        """q(k∣x) [n, k], the classes in the order of `classes_`; of several labels a row, q(label∣x) of each."""
        return self._framed(np.exp(self._log_proba(self._inputs(X))), list(self.classes_), X)

    def predict_log_proba(self, X: Any) -> Any:
        """log q(k∣x) in nats [n, k], which does not underflow."""
        return self._framed(self._log_proba(self._inputs(X)), list(self.classes_), X)

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Labels drawn from q(y∣x): [n_samples, n], or [n_samples, n, k] of several labels a row."""
        drawn = self._draws(X, n_samples, random_state)
        return drawn.astype(self._label_dtype) if self._multilabel else self.classes_[drawn]

    def _log_proba(self, x: np.ndarray) -> np.ndarray:
        return self.q_.evaluate(log_probabilities, x)

    def _checked(self, X: Any, y: Any, sample_weight: ArrayLike | None, *, reset: bool) -> Any:
        """Rows that count, with labels as the user wrote them."""
        x = checked_inputs(self, X, reset=reset)
        if y is None:
            raise InputError("y: KLClassifier requires y to be passed, but the target y is None")
        y, w = labels(y, len(x)), checked_weights(sample_weight, len(x))
        self._check_labels(y)
        return (x, y, None) if w is None else (x[w > 0], y[w > 0], w[w > 0])

    def _check_labels(self, y: np.ndarray) -> None:
        share("label_smoothing", self.label_smoothing)
        if y.ndim == 2 and self.class_weight is not None:
            raise InputError("class_weight: with several labels a row there is no class of a row; use sample_weight")

    def _rows(self, x: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> Any:
        """Inputs, outcomes as integers, and weights, with a row of each class."""
        if self._multilabel:
            outcomes = (y != 0).astype(np.int64)
            if outcomes.shape[1] != len(self.classes_):
                raise InputError(f"y: {outcomes.shape[1]} labels a row where the fit has {len(self.classes_)}")
        else:
            outcomes = codes(y, self.classes_)
            w = _with_class_weight(self.class_weight, self.classes_, outcomes, w)
        x, outcomes, w = empirical(x, outcomes, w)
        return (x, outcomes, w) if self._multilabel else _with_absent(x, outcomes, w, len(self.classes_))

    def _softened(self, outcomes: np.ndarray) -> Any:
        """The outcomes, or the distributions over them that label smoothing gives."""
        share = float(self.label_smoothing)
        if share == 0.0:
            return outcomes
        if self._multilabel:
            return dist.Bernoulli(probs=(1 - share) * outcomes + share / 2).to_event(1)
        k = len(self.classes_)
        return dist.Categorical(probs=(1 - share) * np.eye(k)[outcomes] + share / k)

    def _side(self, y: np.ndarray) -> Conditional:
        outcome = dist.Bernoulli if self._multilabel else dist.Categorical
        return Conditional(self._network(len(y)), outcome, **self._settings())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _given(classes: ArrayLike | None) -> np.ndarray:
    if classes is None:
        raise InputError("classes: the first call of partial_fit needs all the labels that will ever come")
    array = np.unique(np.asarray(classes))
    if len(array) < 2:
        raise InputError(f"classes: {list(array)} is fewer than two classes")
    return array


def _with_class_weight(given: Any, classes: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> np.ndarray | None:
    if given is None:
        return w
    try:
        weights = compute_class_weight(given, classes=classes, y=classes[y], sample_weight=w)
    except (ValueError, TypeError) as error:
        raise InputError(f"class_weight: {error}") from error
    weights = np.asarray(weights, np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputError(f"class_weight: {given!r} gives weights that are negative, not finite or all zero")
    return weights[y] if w is None else w * weights[y]


def _with_absent(x: Any, y: Any, w: Any, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A class that no row has enters as a row of weight 0, so that q has a place for it."""
    absent = np.flatnonzero(np.bincount(y, minlength=k) == 0)
    if len(absent) == 0:
        return x, y, w
    w = np.ones(len(y)) if w is None else w
    return (
        np.concatenate([x, np.repeat(x[:1], len(absent), 0)]),
        np.concatenate([y, absent]),
        np.concatenate([w, np.zeros(len(absent))]),
    )
