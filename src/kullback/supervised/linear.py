"""The coefficients of a linear network in the user's units, as scikit-learn's linear models give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist

# The parameter that a linear model speaks of, in the order of preference.
_SPOKEN_OF = ("loc", "logits", "mean", "rate", "predictor")


class LinearMap:
    """`coef_` and `intercept_` of the location, the logits or the log rate, for a linear network.

    They are of the unconstrained parameter, so a Poisson's are of the log rate and a classifier's of the logits. With
    two classes they are those of the log odds of the second.
    """

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients for inputs as they were given: [d], or [outputs, d]."""
        return self._map()[0]

    @property
    def intercept_(self) -> np.ndarray | float:
        """The value at inputs of 0: a number, or [outputs]."""
        return self._map()[1]

    def _map(self) -> tuple[np.ndarray, Any]:
        q = getattr(self, "q_", None)
        layers = _single_layer(q)
        if q is None or layers is None:
            raise AttributeError("coef_ and intercept_ are there after a fit of one law with network='linear'")
        chosen, shape = _columns(q.structure)
        weight, bias = (np.asarray(layers[name], np.float64)[..., chosen] for name in ("weight", "bias"))
        bias = bias if q.structure.shared() is None else np.zeros_like(bias)  # that of a predictor is in the cutpoints
        gain, offset = (np.broadcast_to(q.fixed[name], np.shape(layers["bias"]))[chosen] for name in ("gain", "offset"))
        coef = gain * weight / np.reshape(q.fixed["x_scale"], (-1, 1))
        intercept = offset + gain * bias - np.ravel(q.fixed["x_mean"]) @ coef
        return _as_scikit_learn(coef.T, intercept, shape, q.structure.form.cls is dist.CategoricalLogits)


def _single_layer(q: Any) -> Any:
    structure = getattr(q, "structure", None)
    network = getattr(structure, "network", None)
    alone = network is not None and network.linear and np.ndim(q.free[-1]["bias"]) == 1
    return q.free[-1] if alone and not q.structure.components else None


def _columns(structure: Any) -> tuple[slice, tuple[int, ...]]:
    """Where among the network's outputs the parameter that is spoken of stands, and its shape."""
    start, places, form = 0, {}, structure.form
    for name in form.names:
        shape = form.free_shape(name)
        places[name] = slice(start, start + int(np.prod(shape))), shape
        start = places[name][0].stop
    name = next((name for name in _SPOKEN_OF if name in places), None)
    if name is None:
        raise AttributeError(f"coef_: {form.cls.__name__} has none of {', '.join(_SPOKEN_OF)} to speak of")
    return places[name]


def _as_scikit_learn(coef: Any, intercept: Any, shape: tuple[int, ...], categorical: bool) -> tuple[np.ndarray, Any]:
    if categorical and shape == (2,):
        return coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return (coef[0], float(intercept[0])) if shape == () else (coef, intercept)
