"""Ours in supervised learning, as users write them, in the form of the peers: fit to x and y, return −log q(y∣x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kullback as kl

Nll = Callable[[np.ndarray, np.ndarray], np.ndarray]


def classifier(x: np.ndarray, y: np.ndarray, seed: int, **settings: Any) -> Nll:
    fitted = kl.KLClassifier(**settings, random_state=seed).fit(x, y)
    return lambda x, y: -np.asarray(fitted.predict_log_proba(x))[np.arange(len(y)), y]


def regressor(x: np.ndarray, y: np.ndarray, seed: int, **settings: Any) -> Nll:
    fitted = kl.KLRegressor(**settings, random_state=seed).fit(x, y)
    return lambda x, y: -np.asarray(fitted.predict_dist(x).log_prob(y))
