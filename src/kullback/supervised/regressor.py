"""`KLRegressor`: any distribution of y given x, fitted by forward KL.

Before a fit the outcomes are checked against the support that all members of the family share. Counts out of a total
have their total read from the data: it is the sum of a row's counts, not a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Self

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Num
from numpy.typing import ArrayLike
from numpyro.distributions import constraints
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score

from kullback.arguments import flag, inside, numeric
from kullback.distributions import GivenTotal
from kullback.errors import InputError
from kullback.families import Conditional, Family, Mixture
from kullback.families.family import OF_TRIALS
from kullback.families.form import Sizes, class_of, form_for
from kullback.known import Pairs
from kullback.known.support import Support, from_constraint
from kullback.supervised.base import KLEstimator, LinearMap, mean
from kullback.supervised.inputs import checked_inputs, checked_weights, empirical, enough, numbers
from kullback.supervised.names import distribution_named
from kullback.supervised.scipy_laws import quantile


class KLRegressor(LinearMap, MultiOutputMixin, RegressorMixin, KLEstimator):
    """A predictive distribution q_θ(y∣x) of any kind, fitted by minimising KL(P‖Q_θ).

    H(P, Q_θ) = −(1/W) Σ_i w_i log q_θ(y_i∣x_i) plus −(1/W) log π(θ) for a Gaussian prior π on the weights. A normal of
    fixed scale 1 is ½ (y − f(x))² + ½ log 2π: squared error; a Laplace of fixed scale 1 is |y − f(x)| + log 2: absolute
    error; a Poisson is half the Poisson deviance up to a term of y alone. With network="linear" and prior_scale=None
    the fits are those of scikit-learn's LinearRegression, QuantileRegressor at ½ and PoissonRegressor.

    distribution  a NumPyro class, or its name in any spelling: "normal", "student_t", "negative_binomial", ...
    network       "mlp" (sized by the rows), "linear", `kl.MLP(...)`, `kl.Linear()` or a callable Equinox module
    fixed         parameters held at a value, by name: {"scale": 1.0}
    components    with K > 1, a mixture of K such distributions: a mixture density network
    prior_scale   standard deviation of the prior on the weights, for standardised inputs and outputs; None for none
    ensemble      networks that are trained together and mixed
    rule, steps, tolerance, checkpoint, logger, quiet   as in `kl.KL.minimize`; tolerance in nats
    warm_start    `fit` goes on from the last fit
    random_state  a non-negative integer, a NumPy generator, or None for another seed each time

    Counts y [n, k] of k labels are "multinomial", and [n, 2], successes and failures, "binomial": the sum of a row's
    counts is its number of trials. Other outputs y [n, k] are independent ones of a scalar distribution, or one outcome
    of `MultivariateNormal`.
    Fitted: `fit_` (a `kl.Fit`), `q_`, `history_`, `n_iter_`, `n_features_in_`, `feature_names_in_`; and `coef_`,
    `intercept_` of a linear network. Sources: Fisher (1922); Bishop (1994) for mixture density networks.
    """

    def __init__(
        self,
        distribution: Any = "normal",
        network: Any = "mlp",
        *,
        fixed: Mapping[str, Any] | None = None,
        components: int = 1,
        prior_scale: float | None = 1.0,
        ensemble: int = 1,
        rule: Any = None,
        steps: int | None = None,
        tolerance: float | None = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        logger: Any = None,
        quiet: bool = True,
        random_state: Any = None,
    ) -> None:
        self.distribution = distribution
        self.network = network
        self.fixed = fixed
        self.components = components
        self.prior_scale = prior_scale
        self.ensemble = ensemble
        self.rule = rule
        self.steps = steps
        self.tolerance = tolerance
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.logger = logger
        self.quiet = quiet
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to targets y.

        X              inputs [n, d]: an array, or a pandas or polars frame
        y              numbers [n] or [n, k], inside the distribution's support
        sample_weight  non-negative weights [n]; a row of weight 0 is a row that is not there

        Raises `InputError` before any training for missing, textual, infinite or sparse data, targets outside the
        support, fewer than two rows, and weights or settings out of range.
        """
        warm = flag("warm_start", self.warm_start) and hasattr(self, "q_")
        x, y, w = self._checked(X, y, sample_weight, reset=not warm)
        if warm := warm and self._outputs == y.shape[1:]:
            require_trials(self.q_, y)
        side = self._start(y, warm=warm)
        self._learn(Pairs(x, y, w), side, rule=self.rule, steps=self.steps)
        self._outputs = y.shape[1:]
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Go on from where the fit stands by a bounded number of steps on this batch (`steps`, or 20).

        Otherwise as `fit`. Inputs and outputs are standardised by the first batch.
        """
        first = not hasattr(self, "q_")
        x, y, w = self._checked(X, y, sample_weight, reset=first)
        if not first and y.shape[1:] != self._outputs:
            raise InputError(f"y: outputs of shape {y.shape[1:]} where the fit has {self._outputs}")
        if not first:
            require_trials(self.q_, y)
        self._learn_again(Pairs(*enough(x, y, w)), y)
        self._outputs = y.shape[1:]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """E[y∣x] of each row: [n] or [n, k]; the location for a distribution that has no mean (Cauchy).

        Of counts out of a total for each row it is that of one trial: multiply it by the total of a new row.
        """
        x = self._inputs(X)
        value = np.asarray(self.q_.evaluate(mean, x), np.float64)
        return value if self._totals is None else value[:, 0]

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """R² of the predictions, as scikit-learn's regressors give it; of counts, given the total of each row."""
        predicted, y = self.predict(X), numbers(y, len(np.asarray(X)))
        if (trials := trials_of_fit(self.q_)) is not None:
            totals = successes_and_failures(y, self._totals).sum(-1) / trials
            predicted = predicted * (totals if predicted.ndim == 1 else totals[:, None])
        unit = np.abs(y).max() or 1.0  # whose squares are numbers, of outcomes of 1e-300 and 1e300 too
        return float(r2_score(y / unit, predicted / unit, sample_weight=sample_weight))

    def predict_quantile(self, X: Any, q: Any = 0.5) -> Any:
        """The q-quantiles of y given each row.

        q  a probability in [0, 1], or several [m]

        Returns [n] for one probability and [n, m] for several, with [..., k] outputs before the last axis where there
        are several. Raises `InputError` for another q, and for a distribution that has no quantiles.
        """
        levels = np.asarray(numeric("q", q), np.float64)
        if levels.ndim > 1 or levels.size == 0 or not ((levels >= 0) & (levels <= 1)).all():
            raise InputError(f"q: {q!r} is neither a probability from 0 to 1 nor a list of them")
        values = quantile(self._law(X), levels)
        if levels.ndim == 0:
            return values
        return self._framed(values, [f"{level:g}" for level in levels], X) if values.ndim == 2 else values

    def predict_interval(self, X: Any, level: float = 0.9) -> Any:
        """The central interval that holds y with probability `level`: [n, 2], its lower and its upper end.

        Of angles (von Mises) it lies about the mean direction, and an end may be below −π or above π: an angle is
        inside if it is by some whole turn. Raises `InputError` unless 0 < level < 1.
        """
        level = inside("level", level, 0.9)
        values = quantile(self._law(X), [0.5 - level / 2, 0.5 + level / 2])
        return self._framed(values, ("lower", "upper"), X) if values.ndim == 2 else values

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Outcomes drawn from q(y∣x): [n_samples, n] or [n_samples, n, k]."""
        return self._draws(X, n_samples, random_state)

    def _checked(self, X: Any, y: Any, sample_weight: ArrayLike | None, *, reset: bool) -> Any:
        """Inputs, outcomes and weights of the rows that count."""
        x = checked_inputs(self, X, reset=reset, rows=2 if reset else 1)
        if y is None:
            raise InputError("y: KLRegressor requires y to be passed, but the target y is None")
        y, w = successes_and_failures(numbers(y, len(x)), self._totals), checked_weights(sample_weight, len(x))
        return empirical(x, within(y, self._support(y), self._shown), w)

    @property
    def _totals(self) -> np.ndarray | None:
        return row_totals(class_of(self._class), self._fixed)

    @property
    def _class(self) -> Any:
        cls = distribution_named(self.distribution)
        if class_of(cls) in (dist.CategoricalLogits, dist.CategoricalProbs):
            raise InputError("distribution: a categorical outcome is a class; use KLClassifier")
        return cls

    @property
    def _shown(self) -> str:
        return self._class.__name__

    def _support(self, y: np.ndarray) -> Any:
        cls = class_of(self._class)
        if (counts := counts_support(cls, self._learned, y)) is not None:
            return counts
        if cls.support.event_dim > y.ndim - 1:
            raise InputError(
                f"y: shape {y.shape} for {self._shown}, whose outcomes are vectors; pass y of shape [n, k]"
            )
        categories = int(min(np.max(y), MOST_CATEGORIES)) + 1 if y.ndim == 1 and np.min(y) >= 0 else None
        return family_support(cls, self._fixed, y.shape[1:], categories)

    @property
    def _fixed(self) -> dict[str, Any]:
        if self.fixed is not None and not isinstance(self.fixed, Mapping):
            raise InputError(f"fixed: {self.fixed!r} is no mapping from names to values, such as {{'scale': 1.0}}")
        return dict(self.fixed or {})

    @property
    def _learned(self) -> dict[str, Any]:
        """What is held fixed for every row: totals of the rows themselves are in their outcomes."""
        return {k: v for k, v in self._fixed.items() if k != "total_count" or self._totals is None}

    def _check_settings(self) -> None:
        super()._check_settings()
        k = self.components
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"components: {k!r} is not a positive whole number")

    def _side(self, y: np.ndarray) -> Conditional:
        if self.components == 1:
            return Conditional(self._network(len(y)), self._class, **self._learned, **self._settings())
        mixture = Mixture(Family(self._class, **self._learned), int(self.components))
        return Conditional(self._network(len(y)), mixture, **self._settings())


# The support of a family


MOST_CATEGORIES = 10_000


def family_support(
    distribution: Any, fixed: Mapping[str, Any], event_shape: tuple[int, ...], categories: int | None = None
) -> Support | None:
    """The support that every member of a family shares; None where it moves with a learned parameter.

    A support that depends on parameters held fixed (the trials of a binomial) is read from two members.
    """
    cls = class_of(distribution)
    if isinstance(cls.support, constraints.Constraint) and not isinstance(cls.support, type(constraints.dependent)):
        return from_constraint(cls.support)
    form = form_for(cls, fixed, Sizes(event_shape, categories))
    first, second = (form.distribution({k: v + at for k, v in form.zeros().items()}, fixed) for at in (0.0, 1.0))
    supports = [from_constraint(getattr(d, "base_dist", d).support) for d in (first, second)]
    if not all(s.bounded for s in supports):
        return None
    same = all(
        np.array_equal(np.asarray(getattr(supports[0], end)), np.asarray(getattr(supports[1], end)))
        for end in ("lower", "upper")
    )
    return supports[0] if same else None


def within(y: np.ndarray, support: Support | None, name: str) -> np.ndarray:
    """y in the type that the distribution takes: integers for a discrete one, else float64.

    Raises `InputError` naming the first row outside the support of every member of the family.
    """
    y = y.astype(np.float64)
    if support is None or support.constraint is None:
        return y
    inside = np.asarray(support.constraint(y)).reshape(len(y), -1).all(-1)
    shown = support.name
    if support.constraint is constraints.unit_interval and not support.discrete:
        # A density on (0, 1) is 0 or infinite at the ends, for all but one of its members.
        inside &= ((y > 0) & (y < 1)).reshape(len(y), -1).all(-1)
        shown = "(0, 1)"
    elif support.constraint is constraints.positive:
        shown = "(0, ∞)"
    if not inside.all():
        row = int(np.argmin(inside))
        value = np.array2string(np.asarray(y[row]), precision=6, threshold=6)
        raise InputError(
            f"y: row {row}, {value}, lies outside the support {shown} of {name}; choose a distribution whose support "
            "contains the targets"
        )
    return np.round(y).astype(np.int64) if support.discrete else y


# Counts out of a total


BINOMIAL = (dist.BinomialLogits, dist.BinomialProbs)


def row_totals(cls: type, fixed: Mapping[str, Any]) -> Num[np.ndarray, " n"] | None:
    """The totals of binomial counts that have one each, where the settings say them; None where one is for all."""
    totals = np.asarray(fixed.get("total_count", 0))
    return totals if cls in BINOMIAL and totals.ndim == 1 else None


def successes_and_failures(y: np.ndarray, totals: Num[np.ndarray, " n"] | None) -> np.ndarray:
    """Counts y [n] out of totals [n] as pairs [n, 2]; y itself without totals, or where it is pairs already."""
    if totals is None or y.ndim > 1:
        return y
    if totals.shape != y.shape:
        raise InputError(
            f"total_count: totals of shape {totals.shape} for {len(y)} rows; pass y of shape [n, 2], successes and "
            "failures, and no total_count"
        )
    beyond = (y < 0) | (y > totals) | (y != np.round(y))
    if beyond.any():
        row = int(np.argmax(beyond))
        raise InputError(f"y: row {row}, {y[row]:g}, is no count from 0 to its total of {totals[row]:g}")
    return np.stack([y, totals - y], -1)


def counts_support(cls: type, fixed: Mapping[str, Any], y: np.ndarray) -> Support | None:
    """The support of vectors of counts [k], whatever they sum to; None for outcomes of another kind."""
    pairs = cls in BINOMIAL and y.shape[1:] == (2,) and ("total_count" not in fixed)
    return from_constraint(GivenTotal.support) if y.ndim == 2 and (cls in OF_TRIALS or pairs) else None


def trials_of_fit(q: Any) -> int | None:
    """How many trials a fitted conditional of counts predicts: one where outcomes had totals of their own; None for
    outcomes of another kind."""
    form = q.structure.form
    return 1 if issubclass(form.cls, GivenTotal) else dict(form.sizes).get("total_count")


def require_trials(q: Any, y: np.ndarray) -> None:
    """Raise `InputError` where counts y [n, k] have another total than those that a fit goes on from."""
    total = None if issubclass(q.structure.form.cls, GivenTotal) else trials_of_fit(q)
    if total is not None and (y.sum(-1) != total).any():
        raise InputError(
            f"y: rows of {y.sum(-1).min():g} to {y.sum(-1).max():g} trials, and the fit to go on from has rows of "
            f"{total}; fit all rows at once"
        )
