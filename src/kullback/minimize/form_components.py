"""Steps of expectation maximisation for components of any form with a closed form in the moments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kullback.families.form import Form
from kullback.families.scaling import mean_and_scale
from kullback.known.static import Static
from kullback.minimize.table import as_device
from kullback.minimize.weighted import bucket
from kullback.minimize.weighted_mle import closed_form
from kullback.programs import program


class FormComponents:
    """Components of any form with a closed form in the moments, compiled in double precision."""

    def __init__(self, form: Form, fixed: Any, y: np.ndarray, w: np.ndarray, floor: float, k: int) -> None:
        self.form, self.fixed, self.y, self.w, self.floor = form, fixed, y, w, floor
        flat = np.asarray(y, np.float64).reshape(len(y), -1)
        mean, scale = mean_and_scale(flat, w)
        self.rows = (flat - mean) / scale  # for k-means alone
        self._pad()

    def _pad(self) -> None:
        extra = bucket(len(self.w)) - len(self.w)
        with jax.enable_x64(True):
            self.full_y = as_device(np.concatenate([self.y, np.repeat(self.y[:1], extra, 0)]))
        self.full_w = np.concatenate([self.w, np.zeros(extra)])

    def part(self, numbers: np.ndarray, w: np.ndarray) -> FormComponents:
        some = object.__new__(FormComponents)
        some.__dict__.update(self.__dict__)
        some.y, some.w, some.rows = self.y[numbers], w, self.rows[numbers]
        some._pad()
        return some

    def from_shares(self, shares: np.ndarray) -> tuple[Any, Any]:
        # A component without rows of its own has a little of all.
        shares = 0.99 * shares + 0.01 / shares.shape[1]
        full = np.concatenate([shares, np.zeros((len(self.full_w) - len(shares), shares.shape[1]))])
        return self._host(_first, full)

    def step(self, logits: Any, parameters: Any) -> tuple[Any, Any, Any]:
        """log q(y) [n] at the parameters, and the logits and parameters that maximise its bound there."""
        log_q, *new = self._host(_advance, logits, parameters)
        return log_q[: len(self.w)], *new

    def constrained(self, parameters: Any) -> dict[str, np.ndarray]:
        return parameters

    def narrowest(self, parameters: Any) -> np.ndarray:
        """Which components [K] are as narrow as the floor lets them be: no form here has one."""
        return np.zeros(len(jax.tree.leaves(parameters)[0]), bool)

    def _host(self, function: Any, *arguments: Any) -> Any:
        with jax.enable_x64(True):
            found = function(Static(self.form), self.fixed, self.full_y, self.full_w, *arguments)
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


@program(static=())
def _first(static: Static, fixed: Any, y: Any, w: Any, shares: Any) -> tuple[Any, Any]:
    return _maximize(static.value, fixed, y, w[:, None] * shares)


@program(static=())
def _advance(static: Static, fixed: Any, y: Any, w: Any, logits: Any, parameters: Any) -> tuple[Any, Any, Any]:
    form = static.value
    components = form.cls(**parameters, **fixed, validate_args=False)
    components = components.to_event(form.independent) if form.independent else components
    joint = logits + components.log_prob(y[:, None])
    log_q = jax.nn.logsumexp(joint, -1)
    return log_q, *_maximize(form, fixed, y, w[:, None] * jnp.exp(joint - log_q[:, None]))


def _maximize(form: Form, fixed: Any, y: Any, shares: Any) -> tuple[Any, Any]:
    """Mixing logits and parameters from shares w_i r_ik [n, K]."""
    solve = closed_form(form, fixed)
    assert solve is not None
    mass = jnp.maximum(shares.sum(0), jnp.finfo(shares.dtype).tiny * 1e3)

    def component(share: Any) -> Any:
        return {name: value for name, value in solve(y, share, fixed).items() if name in form.names}

    return jnp.log(mass) - jnp.log(mass.sum()), lax.map(component, (shares / mass).T)
