"""What `KLClassifier` and `KLRegressor` share: scikit-learn's conventions over the forward KL.

`KLEstimator` checks the settings, minimises `kl.KL(kl.Pairs(x, y), kl.Conditional(...))` and keeps the fit. With it
stand what follows from those conventions: predictions as data frames, fits that pickle, `coef_` and `intercept_` of
linear networks, and the functions that predictions evaluate on q(y∣x).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from os import PathLike
from typing import Any, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_random_state

from kullback.arguments import flag, positive, whole
from kullback.divergence import KL
from kullback.errors import InputError
from kullback.families import Conditional, Linear, learnable
from kullback.families.pickled import Kept
from kullback.known import Pairs
from kullback.minimize.minibatch import Minibatches
from kullback.result import Estimate, Fit
from kullback.rule import Request
from kullback.supervised.inputs import checked_inputs
from kullback.supervised.names import network_named

# Predictions as data frames


class FrameOutput:
    """Predictions of several named columns (probabilities, quantiles, intervals) as arrays or as frames.

    `predict` gives an array whatever came in, as scikit-learn's estimators do.
    """

    _sklearn_output_config: dict[str, str]  # the name that `sklearn.clone` copies

    def set_output(self, *, predict: Literal["default", "pandas", "polars"] | None = None) -> Self:
        """Say what `predict_proba`, `predict_log_proba`, `predict_quantile` and `predict_interval` return.

        predict  "default" (arrays), "pandas" or "polars"; None changes nothing

        A pandas frame keeps the index of the inputs. Raises `InputError` for anything else.
        """
        if predict is None:
            return self
        if predict not in ("default", "pandas", "polars"):
            raise InputError(f"predict: {predict!r} is not one of 'default', 'pandas', 'polars'")
        self._sklearn_output_config = {"predict": predict}
        return self

    def _framed(self, values: np.ndarray, columns: Sequence[Any], X: Any) -> Any:
        kind = getattr(self, "_sklearn_output_config", {}).get("predict", "default")
        if kind == "pandas":
            import pandas

            return pandas.DataFrame(values, columns=list(columns), index=getattr(X, "index", None))
        if kind == "polars":
            import polars

            return polars.DataFrame(values, schema=[str(name) for name in columns])
        return values


# Pickling: a fit as numbers, arrays and the structure, which pickle and skops take. The plan is left out: it holds
# functions.


def plain(answer: Fit | Estimate) -> dict[str, Any]:
    """The fields of a fit or an estimate, without its plan."""
    kept = (field.name for field in fields(answer) if field.name != "plan")
    return {"kind": type(answer), **{name: _plain_value(getattr(answer, name)) for name in kept}}


def restored(state: Mapping[str, Any]) -> Any:
    """The fit or estimate whose fields `plain` returned."""
    return state["kind"](**{name: _restored_value(value) for name, value in state.items() if name != "kind"})


def _plain_value(value: Any) -> Any:
    if isinstance(value, Fit | Estimate):
        return plain(value)
    if isinstance(value, Enum):
        return {"kind": type(value), "name": value.name}
    if isinstance(value, Mapping):
        return {name: _plain_value(item) for name, item in value.items()}
    return tuple(_plain_value(item) for item in value) if isinstance(value, tuple) else value


def _restored_value(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("kind") in (Fit, Estimate):
            return restored(value)
        if isinstance(kind := value.get("kind"), type) and issubclass(kind, Enum):
            return kind[value["name"]]
        return {name: _restored_value(item) for name, item in value.items()}
    return tuple(_restored_value(item) for item in value) if isinstance(value, tuple) else value


# The estimator


# Nats per row, for a network: closer to the optimum it only fits noise. A linear model is fitted to rounding.
TOLERANCE = 1e-4
# Steps of a call of partial_fit, unless steps= is given, and about the most that a step moves a weight.
PARTIAL_STEPS, PARTIAL_RATE = 20, 1e-2


class KLEstimator(FrameOutput, BaseEstimator, abc.ABC):
    """A conditional q_θ(y∣x) fitted by forward KL, as a scikit-learn estimator."""

    network: Any
    prior_scale: float | None
    ensemble: int
    rule: Any
    steps: int | None
    tolerance: float | None
    warm_start: bool
    checkpoint: str | PathLike[str] | None
    logger: Any
    quiet: bool
    random_state: Any

    fit_: Fit
    q_: Any

    @abc.abstractmethod
    def _side(self, y: np.ndarray) -> Conditional:
        """The conditional to be fitted to outcomes y."""

    def _checked_side(self, y: np.ndarray) -> Conditional:
        self._check_settings()
        return self._side(y)

    def _check_settings(self) -> None:
        for name in ("prior_scale", "tolerance"):
            if (value := getattr(self, name)) is not None:
                positive(name, value)
        whole("ensemble", self.ensemble, most=10**6)
        if self.steps is not None:
            whole("steps", self.steps)
        flag("quiet", self.quiet)

    def _settings(self) -> dict[str, Any]:
        """What the conditional is built with beside its distribution; the defaults of the core are left out."""
        settings: dict[str, Any] = {}
        if self.prior_scale is not None:
            settings["prior_scale"] = float(self.prior_scale)
        if self.ensemble != 1:
            settings["ensemble"] = int(self.ensemble)
        return settings

    def _network(self, rows: int) -> Any:
        return network_named(self.network, rows)

    def _learn(self, pairs: Pairs, side: Any, *, rule: Any, steps: int | None) -> None:
        """Minimise KL(P‖Q_θ) and keep the result."""
        extra = {} if self.logger is None else {"logger": self.logger}
        self.fit_ = KL(pairs, side).minimize(
            seed=seed_from(self.random_state),
            tolerance=self.tolerance or (TOLERANCE if is_deep(side) else None),
            rule=rule,
            steps=steps,
            checkpoint=self.checkpoint,
            quiet=self.quiet,
            **extra,
        )
        self.q_ = self.fit_.q
        self.history_ = tuple(getattr(self.fit_, "history", ()))
        self.n_iter_ = _steps_of(self.fit_)

    def _learn_again(self, pairs: Pairs, y: np.ndarray) -> None:
        """One call of partial_fit: a bounded number of steps from where the fit stands, or from the start."""
        side = learnable(self.q_) if hasattr(self, "q_") else self._checked_side(y)
        rule = self.rule or Minibatches(held_out=0.0, rate=PARTIAL_RATE)
        # One batch may hold similar rows only, which determine neither a slope nor the least scale elsewhere.
        rule = replace(rule, min_scale=False, linear=False) if isinstance(rule, Minibatches) else rule
        self._learn(pairs, side, rule=rule, steps=self.steps or PARTIAL_STEPS)

    def _start(self, y: np.ndarray, *, warm: bool) -> Any:
        """Where `fit` starts: from the last fit for a warm start whose sizes did not change, else anew."""
        side = self._checked_side(y)
        return learnable(self.q_) if warm else side

    def _inputs(self, X: Any) -> np.ndarray:
        """X of a fitted estimator, checked."""
        check_is_fitted(self)
        return checked_inputs(self, X, reset=False)

    def predict_dist(self, X: Any) -> Any:
        """q(y∣x) for each row: a NumPyro distribution of batch shape [n].

        X  inputs [n, d]: an array, or a pandas or polars frame

        Raises `InputError` for inputs that are not of the fit's kind, and `NotFittedError` before a fit.
        """
        x = self._inputs(X)
        return self.q_(x)

    def _law(self, X: Any) -> Any:
        """q(y∣x) for each row, with parameters in double precision."""
        x = self._inputs(X)
        return self.q_.in_double(x)

    def _draws(self, X: Any, n_samples: int, random_state: Any) -> np.ndarray:
        """Outcomes of q(y∣x) [n_samples, n, *event]."""
        n_samples = whole("n_samples", n_samples)
        q, key = self._law(X), Request(seed=seed_from(random_state)).key
        with jax.enable_x64(True):
            return np.asarray(q.sample(key, (n_samples,)))

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**vars(self)}
        if isinstance(state["network"], eqx.Module):
            state["network"] = Kept(state["network"])
        return {**state, "fit_": plain(state["fit_"])} if "fit_" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        network = state["network"]
        state = {**state, "network": network.module if isinstance(network, Kept) else network}
        super().__setstate__({**state, "fit_": restored(state["fit_"])} if "fit_" in state else state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = False
        tags.target_tags.required = True
        tags.requires_fit = True
        return tags


def seed_from(random_state: Any) -> int:
    """An integer seed from what scikit-learn takes for one. Raises `InputError` for anything else."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool) and random_state >= 0:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except (TypeError, ValueError) as error:
        raise InputError(f"random_state: {random_state!r} is no seed; pass a non-negative integer or None") from error


def is_deep(side: Any) -> bool:
    """Whether a conditional, or one made learnable again, is a network with hidden layers or of the user's own."""
    if isinstance(side, Conditional):
        return not isinstance(side.network, Linear)
    return not side.structure.network.linear


def _steps_of(fit: Fit) -> int:
    history = getattr(fit, "history", ())
    if history and "step" in history[-1]:
        return max(1, int(history[-1]["step"]))
    return max(1, len(fit.trace))


# Coefficients of a linear network, in the user's units


# The parameter whose coefficients are reported, in the order of preference.
_REPORTED = ("loc", "logits", "mean", "rate", "predictor")


class LinearMap:
    """`coef_` and `intercept_` of the location, the logits or the log rate, for a linear network.

    They are of the unconstrained parameter, so a Poisson's are of the log rate and a classifier's of the logits. With
    two classes they are those of the log odds of the second.
    """

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients for inputs as they were given: [d], or [outputs, d]."""
        return self._map()[0]

    @property
    def intercept_(self) -> np.ndarray | float:
        """The value at inputs of 0: a number, or [outputs]."""
        return self._map()[1]

    def _map(self) -> tuple[np.ndarray, Any]:
        q = getattr(self, "q_", None)
        layers = _single_layer(q)
        if q is None or layers is None:
            raise AttributeError("coef_ and intercept_ exist after a fit of one distribution with network='linear'")
        chosen, shape = _columns(q.structure)
        weight, bias = (np.asarray(layers[name], np.float64)[..., chosen] for name in ("weight", "bias"))
        bias = bias if q.structure.shared() is None else np.zeros_like(bias)  # that of a predictor is in the cutpoints
        gain, offset = (np.broadcast_to(q.fixed[name], np.shape(layers["bias"]))[chosen] for name in ("gain", "offset"))
        coef = gain * weight / np.reshape(q.fixed["x_scale"], (-1, 1))
        intercept = offset + gain * bias - np.ravel(q.fixed["x_mean"]) @ coef
        return _as_scikit_learn(coef.T, intercept, shape, q.structure.form.cls is dist.CategoricalLogits)


def _single_layer(q: Any) -> Any:
    structure = getattr(q, "structure", None)
    network = getattr(structure, "network", None)
    alone = network is not None and network.linear and np.ndim(q.free[-1]["bias"]) == 1
    return q.free[-1] if alone and not q.structure.components else None


def _columns(structure: Any) -> tuple[slice, tuple[int, ...]]:
    """The place of the reported parameter among the network's outputs, and its shape."""
    start, places, form = 0, {}, structure.form
    for name in form.names:
        shape = form.free_shape(name)
        places[name] = slice(start, start + int(np.prod(shape))), shape
        start = places[name][0].stop
    name = next((name for name in _REPORTED if name in places), None)
    if name is None:
        raise AttributeError(f"coef_: {form.cls.__name__} has none of {', '.join(_REPORTED)} to report")
    return places[name]


def _as_scikit_learn(coef: Any, intercept: Any, shape: tuple[int, ...], categorical: bool) -> tuple[np.ndarray, Any]:
    if categorical and shape == (2,):
        return coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return (coef[0], float(intercept[0])) if shape == () else (coef, intercept)


# Functions of q(y∣x), at module level so that their compiled programs are shared


def log_probabilities(d: Any) -> jax.Array:
    """log q(k∣x) of each class [n, k]; for several labels a row, log q(label∣x) of each."""
    if isinstance(d, dist.MixtureSameFamily):
        mixing: Any = d.mixing_distribution
        shares = jax.nn.log_softmax(mixing.logits, -1)
        return jax.nn.logsumexp(shares[..., None] + log_probabilities(d.component_distribution), -2)
    base = _without_wrappers(d)
    independent = isinstance(base, dist.BernoulliLogits | dist.BernoulliProbs)
    logits: Any = base.logits
    return jax.nn.log_sigmoid(logits) if independent else jax.nn.log_softmax(logits, -1)


def mean(d: Any) -> jax.Array:
    """E[y∣x] [n, *event]; the location where there is no mean (Cauchy, Student's t with df ≤ 1)."""
    if (ordered := _ordered(d)) is not None:
        return ordered
    location = _location(d)
    try:
        value = d.mean
    except NotImplementedError as error:
        raise InputError(
            f"distribution: {type(_without_wrappers(d)).__name__} states no mean, so there is none to predict; use "
            "predict_quantile, predict_dist or sample"
        ) from error
    return value if location is None else jnp.where(jnp.isfinite(value), value, location)


def _ordered(d: Any) -> Any:
    """Σ k P(k) of ordered categories 0, 1, …, which NumPyro calls NaN."""
    base = _without_wrappers(d)
    probs: Any = getattr(base, "probs", None)
    return jnp.sum(probs * jnp.arange(probs.shape[-1]), -1) if isinstance(base, dist.OrderedLogistic) else None


def _location(d: Any) -> Any:
    if isinstance(d, dist.MixtureSameFamily):
        parts = _location(d.component_distribution)
        if parts is None:
            return None
        mixing: Any = d.mixing_distribution
        shares = mixing.probs
        return jnp.sum(jnp.reshape(shares, shares.shape + (1,) * len(d.event_shape)) * parts, shares.ndim - 1)
    base = _without_wrappers(d)
    return base.loc if isinstance(base, dist.Cauchy | dist.StudentT) else None


def _without_wrappers(d: Any) -> Any:
    while isinstance(d, dist.Independent | dist.ExpandedDistribution):
        d = d.base_dist
    return d
