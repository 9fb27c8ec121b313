"""Where to start: parameters of a form guessed from a location and a scale of the other side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpyro.distributions import constraints

from kullback.families.form import Form
from kullback.known import Known

LOCATIONS = ("loc", "mean", "phi_loc", "psi_loc")
SCALES = ("scale",)


@dataclass(frozen=True)
class Hints:
    """A location and a scale of the outcomes, [*event], and the share of each category where they are finite."""

    mean: np.ndarray
    scale: np.ndarray
    shares: np.ndarray | None = None


def hints_from(other: Known, categories: int | None) -> Hints:
    """What the other side says of where its outcomes lie; 0 and 1 where it says nothing."""
    shape = other.event_shape or ()
    if other.sample is not None and other.sample.values is not None:
        values, weights = other.sample.values.astype(np.float64), other.sample.normalized_weights()
        mean = np.tensordot(weights, values, 1)
        variance = np.tensordot(weights, (values - mean) ** 2, 1)
        shares = None
        if categories is not None and values.ndim == 1:
            counts = np.bincount(other.sample.values.astype(int), weights, minlength=categories)
            shares = (counts + 1e-3 / categories) / (1 + 1e-3)
        return Hints(mean, np.sqrt(np.where(variance > 0, variance, 1.0)), shares)
    if other.moments is not None and not other.batch_shape:
        try:
            moments = other.moments()
        except (NotImplementedError, AttributeError, TypeError, ValueError):
            moments = None
        if moments is not None and moments.mean.shape == shape:
            variance = np.diagonal(np.atleast_2d(moments.covariance)).reshape(shape)
            if np.isfinite(moments.mean).all() and (np.isfinite(variance) & (variance > 0)).all():
                return Hints(np.asarray(moments.mean, np.float64), np.sqrt(variance))
    if other.support is not None and other.support.bounded:
        low = np.broadcast_to(np.asarray(other.support.lower, np.float64), shape)
        high = np.broadcast_to(np.asarray(other.support.upper, np.float64), shape)
        if np.isfinite(low).all() and np.isfinite(high).all():
            return Hints((low + high) / 2, (high - low) / 4)
    return Hints(np.zeros(shape), np.ones(shape))


def initial_parameters(form: Form, hints: Hints, rng: np.random.Generator, start: int) -> dict[str, np.ndarray]:
    """Free parameters of the start-th start: the hints themselves for the first, spread around them after it."""
    values = form.zeros()
    for name, shape in form.shapes:
        guess = _guess(form, name, shape, hints)
        if guess is None:
            continue
        values.update(form.unconstrain({name: guess}))
    if start > 0:
        values = {name: _spread(form, name, value, hints, rng) for name, value in values.items()}
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def _guess(form: Form, name: str, shape: tuple[int, ...], hints: Hints) -> np.ndarray | None:
    constraint = form.cls.arg_constraints[name]
    positive = np.maximum(np.abs(hints.mean), 1e-6)
    if name in LOCATIONS and hints.mean.shape == shape:
        return positive if _is_positive(constraint) else _located(form, hints)
    if name in SCALES and hints.scale.shape == shape:
        return np.log1p(hints.scale / positive) if form.cls.__name__ == "LogNormal" else hints.scale
    if name == "scale_tril" and shape[-1] == hints.scale.size:
        return np.diag(hints.scale.reshape(-1))
    if name == "logits" and hints.shares is not None and hints.shares.shape == shape:
        return np.log(hints.shares)
    if name == "logits" and hints.mean.shape == shape and form.cls.__name__ == "BernoulliLogits":
        share = np.clip(hints.mean, 1e-4, 1 - 1e-4)
        return np.log(share) - np.log1p(-share)
    if name == "rate" and hints.mean.shape == shape:
        return positive if form.cls.__name__ in ("Poisson", "ZeroInflatedPoisson") else 1.0 / positive
    return None


def _located(form: Form, hints: Hints) -> np.ndarray:
    if form.cls.__name__ == "LogNormal":
        return np.log(np.maximum(np.abs(hints.mean), 1e-6))
    return hints.mean


def _is_positive(constraint: Any) -> bool:
    return isinstance(constraint, constraints.greater_than | constraints.greater_than_eq)


def _spread(form: Form, name: str, value: np.ndarray, hints: Hints, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=value.shape)
    if name in LOCATIONS and hints.scale.shape == value.shape:
        return value + 1.5 * hints.scale * noise
    if name == "scale_tril":
        shift = np.zeros_like(value)
        d = hints.scale.size
        shift[..., -d:] = 0.5 * noise[..., -d:]
        return value + shift
    return value + 0.5 * noise
