"""What the estimators share: scikit-learn's manners over `kl.KL(kl.Pairs(x, y), kl.Conditional(...)).minimize()`."""

from __future__ import annotations

import abc
from dataclasses import replace
from os import PathLike
from typing import Any

import equinox as eqx
import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_random_state

from kullback.arguments import flag, positive, whole
from kullback.divergence import KL
from kullback.errors import InputError
from kullback.families import Conditional, Linear, learnable
from kullback.families.pickled import Kept
from kullback.known import Pairs
from kullback.minimize.minibatch import Minibatches
from kullback.result import Fit
from kullback.rule import Request
from kullback.supervised.frames import FrameOutput
from kullback.supervised.inputs import checked_inputs
from kullback.supervised.names import network_named
from kullback.supervised.pickling import plain, restored

# Nats a row, for a network: closer to its optimum it fits nothing but the noise. A linear model is fitted to rounding.
TOLERANCE = 1e-4
# A call of partial_fit is so many steps, unless steps= says otherwise; each moves a weight by about this at most.
PARTIAL_STEPS, PARTIAL_RATE = 20, 1e-2


class Learner(FrameOutput, BaseEstimator, abc.ABC):
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
        # The rows of a call may be all of one kind, and tell nothing of a slope or of how small a scale is elsewhere.
        rule = replace(rule, floor=False, linear=False) if isinstance(rule, Minibatches) else rule
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
