"""What stands around a network: inputs to scale 1, and outputs that start at the law of the outcomes."""

from __future__ import annotations

import numpy as np
from numpyro.distributions import constraints

from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.form import Form
from kullback.families.initialisation.guess import initial_parameters, unit_of
from kullback.families.initialisation.location_scale import Hints
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.families.learnable import Params

REACH = 20.0  # how far the logarithm of a parameter goes from its start: exp(20) keeps single precision finite
REACH_OF_MATRICES = 10.0  # a triangular system multiplies two reciprocals of its diagonal
# Of nearly Poisson counts the log-probability is a difference of numbers about as large as the concentration.
REACH_OF_COUNTS = 7.0


def input_scaling(structure: ConditionalStructure, inputs: np.ndarray, weights: np.ndarray | None) -> Params:
    """Mean and scale of the inputs by their weights; labels stay as they are."""
    if structure.network.labels is not None:
        return {"x_mean": np.zeros(()), "x_scale": np.ones(())}
    mean, scale = mean_and_scale(inputs, weights)
    return {"x_mean": mean, "x_scale": scale}


def output_scaling(structure: ConditionalStructure, hints: Hints, given: Params) -> Params:
    """Offsets, gains and reach [width] of the outputs: outputs = offset + clip(gain · network, ±reach).

    A network that returns 0 then gives about the outcomes' marginal law; a mixture's components share it out by
    quantiles, because equal components stay equal under any gradient.
    """
    form, count = structure.form, structure.components
    gain = np.concatenate([np.ravel(unit_of(form, name, hints)) for name in form.names])
    reach = np.concatenate([np.ravel(_reach(form, name)) for name in form.names])
    if not count:
        return {"offset": _start(form, hints, given), "gain": gain, "reach": reach}
    starts = [_start(form, part, given) for part in hints.slices(count)]
    return {
        "offset": np.concatenate([np.zeros(count), *starts]),
        "gain": np.concatenate([np.ones(count), np.tile(gain, count)]),
        "reach": np.concatenate([np.full(count, np.inf), np.tile(reach, count)]),
    }


def _start(form: Form, hints: Hints, given: Params) -> np.ndarray:
    start = initial_parameters(form, hints, np.random.default_rng(0), 0, given)
    return np.concatenate([np.ravel(start[name]) for name in form.names])


def _reach(form: Form, name: str) -> np.ndarray:
    """Infinite for what is real; for logarithms of positive parameters, a number."""
    constraint, shape = form.cls.arg_constraints[name], form.free_shape(name)
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    reach = np.full(shape, np.inf)
    if base is constraints.lower_cholesky:
        reach[..., -dict(form.shapes)[name][-1] :] = REACH_OF_MATRICES
    elif isinstance(base, constraints.greater_than | constraints.greater_than_eq):
        counts = form.cls.__name__ in _COUNTS and name in ("concentration", "total_count")
        reach[...] = REACH_OF_COUNTS if counts else REACH
    return reach


def scales(structure: ConditionalStructure) -> np.ndarray:
    """Which of a network's outputs [width] are scales beside a location, or the diagonal of a root of a covariance.

    The smaller they are the surer is the distribution, and without bound.
    """
    form = structure.form
    one = np.concatenate([np.ravel(_is_scale(form, name)) for name in form.names])
    count = structure.components
    return np.concatenate([np.zeros(count, bool), np.tile(one, count)]) if count else one


def _is_scale(form: Form, name: str) -> np.ndarray:
    if name not in ("scale", "scale_tril") or "loc" not in form.cls.arg_constraints:
        return np.zeros(form.free_shape(name), bool)
    return np.isfinite(_reach(form, name))


_COUNTS = (
    "NegativeBinomial2",
    "NegativeBinomialLogits",
    "NegativeBinomialProbs",
    "GammaPoisson",
    "ZeroInflatedNegativeBinomial",
)
