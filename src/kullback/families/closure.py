"""Which families are closed under a change of units, and what their parameters measure.

NumPyro's classes stand in two tables. Of a user's own class it is found out: the densities of a few members at a few
outcomes, and those of the members and the outcomes moved, must differ by the Jacobian.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import product

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.distributions import TruncatedNormal

# What a parameter measures: where outcomes lie, how far apart they lie, the reciprocal of that, the logarithm of where
# they lie, a root of their covariance (by rows), that covariance and its inverse, and the variance of each coordinate.
PLACE, LENGTH, RATE, LOG, ROOT, SQUARE, INVERSE, VARIANCE = range(8)

_LOCATION = {"loc": PLACE, "scale": LENGTH}
_MATRICES = {"loc": PLACE, "scale_tril": ROOT, "covariance_matrix": SQUARE, "precision_matrix": INVERSE}

# Families that are closed under moving and scaling outcomes, and those closed under scaling alone. One whose end is at
# an outcome is not among them: rounding would leave that outcome outside.
MOVED: dict[type, dict[str, int]] = {
    **dict.fromkeys(
        (
            dist.Normal,
            dist.Laplace,
            dist.AsymmetricLaplace,
            dist.AsymmetricLaplaceQuantile,
            dist.SoftLaplace,
            dist.Logistic,
            dist.Gumbel,
            dist.Cauchy,
            dist.StudentT,
            dist.Levy,
        ),
        _LOCATION,
    ),
    TruncatedNormal: {**_LOCATION, "low": PLACE, "high": PLACE},
    dist.MultivariateNormal: _MATRICES,
    dist.MultivariateStudentT: _MATRICES,
    dist.LowRankMultivariateNormal: {"loc": PLACE, "cov_factor": ROOT, "cov_diag": VARIANCE},
}
SCALED: dict[type, dict[str, int]] = {
    dist.HalfNormal: {"scale": LENGTH},
    dist.HalfCauchy: {"scale": LENGTH},
    dist.Exponential: {"rate": RATE},
    dist.Gamma: {"rate": RATE},
    dist.InverseGamma: {"rate": LENGTH},
    dist.Weibull: {"scale": LENGTH},
    dist.LogNormal: {"loc": LOG},
    dist.Gompertz: {"rate": RATE},
    dist.Dagum: {"scale": LENGTH},
}


def kinds_of(cls: type) -> Mapping[str, int] | None:
    """What each parameter of a class measures; None for a class that is not closed under a change of units."""
    found = MOVED.get(cls, SCALED.get(cls))
    return _found_out(cls) if found is None and not cls.__module__.startswith(("numpyro.", "kullback.")) else found


def is_moved(cls: type) -> bool:
    """Whether a family is closed under moving outcomes, and not under scaling them alone."""
    return PLACE in (kinds_of(cls) or {}).values()


_SHAPE = -1  # a parameter that does not change with the units
_MEMBERS, _OUTCOMES, _MOST = 4, 12, 3
_CLOSE = 1e-4  # nats: a log-density may be written in single precision

_MOVES = {
    PLACE: lambda v, a, b: a + b * v,
    LENGTH: lambda v, a, b: b * v,
    RATE: lambda v, a, b: v / b,
    VARIANCE: lambda v, a, b: b * b * v,
    _SHAPE: lambda v, a, b: v,
}


@lru_cache(maxsize=64)
def _found_out(cls: type) -> Mapping[str, int] | None:
    """What each parameter of a user's own class of numbers measures, if its density moves with the units."""
    choices = {name: _choices(constraint) for name, constraint in cls.arg_constraints.items()}
    if not choices or len(choices) > _MOST or not all(choices.values()):
        return None
    rng = np.random.default_rng(0)
    shape = (_MEMBERS, 1)
    values = {
        name: rng.normal(size=shape) if PLACE in kinds else np.exp(0.3 * rng.normal(size=shape))
        for name, kinds in choices.items()
    }
    ways = [kinds for kinds in product(*choices.values()) if set(kinds) - {_SHAPE}]
    # That which moves most first: a family that is closed under moving is closed under scaling too.
    for kinds in sorted(ways, key=lambda kinds: (PLACE not in kinds, kinds.count(_SHAPE))):
        named = dict(zip(choices, kinds, strict=True))
        if _moves(cls, named, values, rng.normal(size=(_MEMBERS, _OUTCOMES))):
            return {name: kind for name, kind in named.items() if kind != _SHAPE}
    return None


def _choices(constraint: constraints.Constraint) -> tuple[int, ...]:
    """What a parameter may measure, by the numbers that it may be; nothing for what is no number."""
    if getattr(constraint, "event_dim", 1) or getattr(constraint, "is_discrete", False):
        return ()
    if constraint is constraints.real:
        return (PLACE, _SHAPE)
    return (LENGTH, RATE, VARIANCE, _SHAPE) if constraint is constraints.positive else (_SHAPE,)


def _moves(cls: type, kinds: Mapping[str, int], values: Mapping[str, np.ndarray], noise: np.ndarray) -> bool:
    """Whether log q(a + b x; moved parameters) + log b = log q(x; parameters)."""
    shift, scale = (0.7 if PLACE in kinds.values() else 0.0), 3.0
    x = noise if PLACE in kinds.values() else np.exp(noise)
    moved = {name: _MOVES[kind](values[name], shift, scale) for name, kind in kinds.items()}
    try:
        with jax.enable_x64(True):
            here = np.asarray(cls(**values, validate_args=False).log_prob(x), np.float64)
            there = np.asarray(cls(**moved, validate_args=False).log_prob(shift + scale * x), np.float64)
    except Exception:  # a class of the user's may refuse what it is given in any way; then nothing is found out
        return False
    finite = np.isfinite(here)
    if (
        here.shape != x.shape
        or there.shape != x.shape
        or finite.sum() < _OUTCOMES
        or (finite != np.isfinite(there)).any()
    ):
        return False
    return bool(np.all(np.abs(there - here + np.log(scale))[finite] <= _CLOSE * (1.0 + np.abs(here[finite]))))
