"""Steps of expectation maximisation for components of any form with a closed form in the moments."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from kullback.families.form import Form
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.known.static import Static
from kullback.minimize.expectation import Expectation
from kullback.minimize.matched_forms import closed_form
from kullback.runtime.export_cache import program
from kullback.training.batches import as_device, bucket


class FormComponents:
    """Components of one form: their log-probabilities compiled in double precision, their moments on the host."""

    def __init__(self, form: Form, fixed: Any, y: np.ndarray, w: np.ndarray, floor: float, k: int) -> None:
        self.form, self.y, self.w = form, y, w
        self.fixed = {name: np.asarray(value, np.float64) for name, value in fixed.items()}
        flat = np.asarray(y, np.float64).reshape(len(y), -1)
        mean, scale = mean_and_scale(flat, w)
        self.rows = (flat - mean) / scale  # for k-means alone
        self._pad()

    def _pad(self) -> None:
        extra = bucket(len(self.w)) - len(self.w)
        with jax.enable_x64(True):
            self.padded = as_device(np.concatenate([self.y, np.repeat(self.y[:1], extra, 0)]))

    def part(self, numbers: Int[np.ndarray, " m"], w: np.ndarray) -> FormComponents:
        """The same over some of the rows, with weights of their own."""
        some = object.__new__(FormComponents)
        some.__dict__.update(self.__dict__)
        some.y, some.w, some.rows = self.y[numbers], w, self.rows[numbers]
        some._pad()
        return some

    def from_shares(self, shares: Float[np.ndarray, "n K"]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Mixing logits and parameters from the share of each row that each component has."""
        # A component without rows of its own, or with equal ones alone, has a little of all.
        return self._maximized(0.99 * shares + 0.01 / shares.shape[1])[:2]

    def step(self, logits: np.ndarray, parameters: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """log q(y) [n] at the parameters, and the logits and parameters that maximise its bound there."""
        joint = logits + self._log_probs(parameters)
        most = joint.max(1, keepdims=True)
        log_q = most[:, 0] + np.log(np.exp(joint - most).sum(1))
        return log_q, *self._maximized(np.exp(joint - log_q[:, None]))[:2]

    def constrained(self, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The parameters of the form, in the units of the data."""
        return parameters

    def narrowest(self, parameters: dict[str, np.ndarray]) -> np.ndarray:
        """Which components [K] have collapsed on outcomes that are all one number."""
        k = len(next(iter(parameters.values())))
        joint = self._log_probs(parameters)
        shares = np.exp(joint - joint.max(1, keepdims=True))
        return np.array(self._maximized(shares)[2]) if k else np.zeros(0, bool)

    def _log_probs(self, parameters: dict[str, np.ndarray]) -> np.ndarray:
        with jax.enable_x64(True):
            found = _log_probs(Static(self.form), self.fixed, self.padded, parameters)
        return np.asarray(found, np.float64)[: len(self.w)]

    def _maximized(self, shares: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], list[bool]]:
        """Mixing logits, parameters, and which components have no maximum."""
        solve = closed_form(self.form, self.fixed)
        assert solve is not None
        shares = shares * self.w[:, None]
        mass = np.maximum(shares.sum(0), np.finfo(float).tiny)
        found = []
        for share, total in zip(shares.T, mass, strict=True):
            keep = share > 0 if total > np.finfo(float).tiny else np.ones(len(share), bool)
            weights = share[keep] / total if total > np.finfo(float).tiny else self.w
            found.append(solve(Expectation(self.y[keep], weights), self.fixed))
        values = {
            name: np.stack([np.broadcast_to(np.asarray(each.values[name], np.float64), shape) for each in found])
            for name, shape in self.form.shapes
        }
        return np.log(mass / mass.sum()), values, [bool(each.unbounded) for each in found]


@program(static=())
def _log_probs(static: Static, fixed: Any, y: Any, parameters: Any) -> Any:
    """log q_k(y_i) [n, K]."""
    form = static.value
    components = form.cls(**parameters, **fixed, **dict(form.sizes), validate_args=False)
    components = components.to_event(form.independent) if form.independent else components
    return components.log_prob(y[:, None])
