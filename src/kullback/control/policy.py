"""Between the sides of the core and tables of log-probabilities: reading a policy, and writing one into a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpyro.distributions import CategoricalLogits

from kullback.errors import InputError
from kullback.families.conditional import ConditionalStructure
from kullback.families.learnable import Learnable


def log_policy_of(policy: Any, states: int, actions: int, horizon: int | None = None) -> np.ndarray:
    """log π(a∣s) of a fitted conditional, [S, A]; [horizon, S, A] if it depends on time.

    Raises `InputError` where it is no policy over these actions.
    """
    labels = getattr(getattr(getattr(policy, "structure", None), "network", None), "labels", None)
    timed = horizon is not None and labels == states * horizon
    side = policy.on(np.arange(states * horizon if timed and horizon else states))
    table = log_rows(side.distribution, actions)
    return table.reshape(horizon, states, actions) if timed and horizon else table


def log_rows(distribution: Any, actions: int) -> np.ndarray:
    """The normalised log-probabilities of a batch of categorical distributions, float64 [n, A]."""
    logits = getattr(distribution, "logits", None)
    if logits is None or np.shape(logits)[-1] != actions:
        raise InputError(
            f"policy: {type(distribution).__name__} does not choose among {actions} actions; "
            "fit a kl.Conditional(..., dist.Categorical)"
        )
    table = np.asarray(logits, np.float64)
    return table - np.logaddexp.reduce(table, axis=-1, keepdims=True)


def why_no_policy(side: Learnable, actions: int) -> str:
    """Why a learnable side cannot be a policy over `actions` actions, or nothing."""
    if not isinstance(side.structure, ConditionalStructure):
        return "P does not depend on the state, and a policy does"
    if side.structure.form.cls is not CategoricalLogits:
        return f"P is {side.structure.form.cls.__name__}, which does not choose among {actions} actions"
    return ""


def into_table(side: Learnable, log_policy: np.ndarray) -> np.ndarray:
    """The free parameters of a `Table` whose rows are these log-probabilities [n, A]."""
    return (log_policy - side.fixed["offset"]) / side.fixed["gain"]
