"""Where to start: parameters of a form guessed from a location and a scale of the other side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpyro.distributions import constraints

from kullback.families.closure import LENGTH, PLACE, RATE, VARIANCE, kinds_of
from kullback.families.form import Form
from kullback.families.initialisation.location_scale import Hints, hints_from
from kullback.families.initialisation.scaling import middle_and_spread
from kullback.families.initialisation.starts import LIMIT_STARTS, STARTS

__all__ = ["LOCATIONS", "SCALES", "Hints", "hints_from", "initial_parameters", "unit_of"]

LOCATIONS = ("loc", "mean", "phi_loc", "psi_loc")
SCALES = ("scale",)
# A unit of a network's output multiplies a dispersion by exp of this: how sure to be varies less over the inputs than
# what to expect, and where rows are few nothing but the prior says so.
DISPERSION = 0.2
_INSIDE = 6.9  # the logit of a share of 0.999, of an interval that a parameter lies in


_BY_KIND = {
    PLACE: lambda hints: hints.mean,
    LENGTH: lambda hints: hints.scale,
    VARIANCE: lambda hints: np.square(hints.scale),
    RATE: lambda hints: 1.0 / np.maximum(np.abs(hints.mean), hints.scale),
}


def initial_parameters(
    form: Form, hints: Hints, rng: np.random.Generator, start: int, fixed: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Free parameters of the start-th start: the hints themselves for the first, then the median and the interquartile
    range of real outcomes, and spread around the hints after that."""
    if robust := start == 1 and hints.rows is not None and _has_scale(form.cls):
        assert hints.rows is not None and hints.weights is not None
        middle, spread = middle_and_spread(hints.rows, hints.weights)
        hints = replace(hints, mean=middle, scale=spread)
    values = form.zeros()
    limits = LIMIT_STARTS.get(form.cls.__name__, ()) if hints.rows is not None else ()
    if at_limit := 2 <= start < 2 + len(limits):
        known = limits[start - 2](hints)
        known = {name: np.broadcast_to(known[name], shape) for name, shape in form.shapes}
    else:
        with np.errstate(over="ignore"):  # outcomes that a fit will refuse
            known = STARTS[form.cls.__name__](hints, fixed or {}) if form.cls.__name__ in STARTS else {}
    for name, shape in form.shapes:
        guess = known.get(name)
        if guess is None or np.shape(guess) != shape:
            guess = _guess(form, name, shape, hints)
        if guess is None:
            continue
        values.update(form.unconstrain({name: guess}))
        if isinstance(form.constraint(name), constraints.interval):
            # Nearer to an end the gradient vanishes.
            values[name] = np.clip(values[name], -_INSIDE, _INSIDE)
    if start > 0 and not robust and not at_limit:
        values = {name: _spread(form, name, value, hints, rng) for name, value in values.items()}
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def _has_scale(cls: type) -> bool:
    """Whether outcomes are real numbers whose location and spread the median and the quartiles say."""
    return "loc" in cls.arg_constraints or getattr(cls, "support", None) is constraints.positive


def _guess(form: Form, name: str, shape: tuple[int, ...], hints: Hints) -> np.ndarray | None:
    """What a parameter's name alone says of it, for classes that no start is written for."""
    constraint = form.cls.arg_constraints[name]
    positive = np.maximum(np.abs(hints.mean), 1e-6 * hints.scale)
    if name in LOCATIONS and hints.mean.shape == shape:
        return positive if _is_positive(constraint) else hints.mean
    if name in SCALES and hints.scale.shape == shape:
        return hints.scale
    if name == "scale_tril" and shape[-1] == hints.scale.size:
        return np.diag(hints.scale.reshape(-1))
    if (kind := (kinds_of(form.cls) or {}).get(name)) in _BY_KIND and hints.scale.shape == shape:
        return _BY_KIND[kind](hints)
    if name == "logits" and shape == (hints.categories,) and hints.shares is not None:
        return np.log(hints.shares)
    if name == "rate" and hints.mean.shape == shape:
        return 1.0 / positive
    return None


def _is_positive(constraint: constraints.Constraint) -> bool:
    return isinstance(constraint, constraints.greater_than | constraints.greater_than_eq)


def unit_of(form: Form, name: str, hints: Hints) -> np.ndarray:
    """The unit of a free parameter: the outcomes' scale for what lies among them, 1 for logarithms and angles."""
    shape, free_shape = dict(form.shapes)[name], form.free_shape(name)
    if form.cls.__name__ == "TanhNormal":
        return np.ones(free_shape)
    unit = np.full(free_shape, DISPERSION if is_dispersion(form, name) else 1.0)
    if form.cls.__name__ == "VonMises":
        return unit
    if name in LOCATIONS and hints.scale.shape == shape == free_shape:
        located = not _is_positive(form.cls.arg_constraints[name]) and form.cls.__name__ != "BetaProportion"
        scale = hints.logs[1] if form.cls.__name__ == "LogNormal" else hints.scale
        return scale if located else unit
    if name == "scale_tril" and hints.scale.shape == shape[:-1]:
        rows = np.tril_indices(shape[-1], -1)[0]
        unit[..., : len(rows)] = hints.scale[..., rows]
    return unit


def is_dispersion(form: Form, name: str) -> bool:
    """Whether a positive parameter says how far outcomes lie from a location that another parameter says."""
    located = any(other in LOCATIONS for other in form.names)
    return located and name not in LOCATIONS and _is_positive(form.cls.arg_constraints[name])


def _spread(form: Form, name: str, value: np.ndarray, hints: Hints, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=value.shape)
    if name in LOCATIONS and hints.scale.shape == value.shape:
        return value + 1.5 * unit_of(form, name, hints) * noise
    if name == "scale_tril":
        shift = np.zeros_like(value)
        d = hints.scale.size
        shift[..., -d:] = 0.5 * noise[..., -d:]
        return value + shift
    return value + 0.5 * noise
