"""Quantiles of any NumPyro distribution of numbers: by SciPy's inverses, or by solving its distribution function."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from kullback.errors import InputError
from kullback.supervised.scipy_laws import line_of


def quantile(d: Any, level: Any) -> Float[np.ndarray, "n ..."]:
    """The quantiles of a distribution: the x with P(X ≤ x) = level; for counts the least integer with P(X ≤ x) ≥ level.

    d      a NumPyro distribution of numbers of batch shape [n]: any with a distribution function, mixtures and
           ensembles of such, and counts; of several outputs (`to_event`, MultivariateNormal) each by itself
    level  a number in [0, 1], or a sequence [m] of them

    Returns float64 [n] (and [n, outputs] for several), with the levels as a last axis [m] where `level` is a sequence.
    Level 0 is the lower end of the support and level 1 the upper. Angles (von Mises) are counted from opposite to their
    mean direction, so that all quantiles turn with the law; they may lie below −π or above π.

    NumPyro's own `icdf` is missing for counts, mixtures, Weibull and von Mises, needs TFP for Gamma, Beta and
    Student's t, and works in single precision, so it is not used: classes that SciPy knows go to its inverses, and
    others are solved to rounding by Chandrupatla's method on the distribution function in double precision.

    Raises `InputError` for a level outside [0, 1] and for a distribution that has no order (categorical) or no
    distribution function.
    """
    levels = np.asarray(level, np.float64)
    if levels.ndim > 1 or levels.size == 0 or not ((levels >= 0) & (levels <= 1)).all():
        raise InputError(f"level: {level} is not in [0, 1]; pass one probability or a sequence of them")
    line = line_of(d)
    rows = levels.reshape(-1, *(1,) * len(line.shape))
    # Above the median the upper tail is solved for, whose level 1 − level is exact.
    found = [line.quantile(1.0 - p, above=True) if p.flat[0] > 0.5 else line.quantile(p) for p in rows]
    found = [np.broadcast_to(x, line.shape) for x in found]
    return np.array(found[0]) if levels.ndim == 0 else np.stack(found, -1)
