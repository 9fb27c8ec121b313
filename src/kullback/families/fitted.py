"""A fitted conditional, and one at given inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from kullback.arguments import positive
from kullback.errors import InputError
from kullback.families import evaluation
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.learnable import Params
from kullback.known import ConditionalFacts, Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.columns import is_frame, numeric_frame
from kullback.known.samples import as_sample_array, as_weights

PRECISE = "_kullback_in_double"  # the attribute of a predictive law that gives it with parameters in double precision


class FittedConditional:
    """A fitted q(y∣x). `q(x)` is the NumPyro distribution at inputs x; `q.on(x)` is that as a side.

    Of an ensemble it is the mixture 1/M Σ q_m(y∣x) of its members; each leaf of `free` then has a leading axis [M].
    """

    def __init__(
        self, structure: ConditionalStructure, fixed: Params, name: str, free: Params, members: int = 1
    ) -> None:
        self.structure, self.fixed, self.name, self.members = structure, fixed, name, members
        self.free = jax.tree.map(np.asarray, free)

    def __call__(self, x: Any) -> Any:
        """q(y∣x) at inputs x [n, ...]: a NumPyro distribution of batch shape [n].

        Quantiles, PIT values and scores of it are taken from its parameters in double precision, since a location far
        from 0 has lost its last digits in single precision.
        """
        inputs = self._inputs(x)
        d = evaluation.predictive(self.structure, self.members, self.free, self.fixed, inputs)
        object.__setattr__(d, PRECISE, partial(self._in_double, inputs))
        return d

    def in_double(self, x: Any) -> Any:
        """q(y∣x) at inputs x [n, ...] with parameters in double precision, whatever JAX is set to."""
        return self._in_double(self._inputs(x))

    def _in_double(self, inputs: np.ndarray) -> Any:
        return evaluation.predictive_in_double(self.structure, self.members, self.free, self.fixed, inputs)

    def on(self, x: Any, weights: Any = None) -> At:
        """q(y∣x) at inputs x [n, ...] as one side of a divergence, which averages over them (by `weights`)."""
        inputs = self._inputs(x)
        return At(self, inputs, as_weights(weights, len(inputs)))

    def evaluate(self, function: Callable[..., Any], x: Any, *rows: Any) -> Any:
        """`function(d, *rows)` on d = q(y∣x), compiled, in double precision: NumPy arrays [n, ...].

        function  of a distribution of batch [b] and b rows of each further array, to arrays [b, ...], each row by
                  itself; a module-level function, so that what is compiled is found again
        x         inputs [n, ...], read in blocks
        rows      further arrays [n, ...], such as outcomes

        Raises `InputError` for inputs of another shape or arrays of another length.
        """
        inputs = self._inputs(x)
        arrays = tuple(np.asarray(row) for row in rows)
        for row in arrays:
            if row.shape[:1] != (len(inputs),):
                raise InputError(f"rows: an array of shape {row.shape} beside {len(inputs)} inputs; pass [n, ...]")
        return evaluation.in_double(function, self.structure, self.members, self.free, self.fixed, (inputs, *arrays))

    def tempered(self, temperature: float) -> FittedConditional:
        """The same with its logits divided by `temperature`, positive: above 1 it is less sure of its answers.

        For categorical and Bernoulli outcomes; of an ensemble the logits of the average are divided, and those of each
        member where an outcome has several labels. Raises `InputError` for other outcomes.
        Source: Guo, Pleiss, Sun and Weinberger (2017), equation 9.
        """
        cls = self.structure.form.cls
        if cls not in (dist.CategoricalLogits, dist.BernoulliLogits):
            raise InputError(f"q: {cls.__name__} has no logits to temper; a temperature is for classifiers")
        temperature = positive("temperature", temperature)
        return self.holding(temperature=np.asarray(temperature, np.float64) * self.fixed.get("temperature", 1.0))

    def holding(self, **fixed: Any) -> FittedConditional:
        """The same with these arrays among its fixed parameters."""
        return FittedConditional(self.structure, {**self.fixed, **fixed}, self.name, self.free, self.members)

    def known(self) -> Known:
        return Known(
            name=f"fitted {self.name}",
            conditioning=ConditionalFacts(conditional=lambda inputs: self.on(inputs).known()),
        )

    def _inputs(self, x: Any) -> np.ndarray:
        inputs = as_sample_array(numeric_frame(x, "x") if is_frame(x) else x, "x")
        labels = self.structure.network.labels
        if labels is not None:
            if inputs.dtype.kind not in "iub" or inputs.ndim != 1 or inputs.min() < 0 or inputs.max() >= labels:
                raise InputError(f"x: the inputs of this conditional are integers from 0 to {labels - 1}")
            return inputs.astype(np.int32) if inputs.dtype.kind in "bu" else inputs
        expected = np.shape(self.fixed["x_mean"])
        if inputs.shape[1:] != expected:
            raise InputError(f"x: inputs of shape {inputs.shape[1:]} where this conditional was fitted to {expected}")
        return inputs

    def __repr__(self) -> str:
        return f"fitted {self.name}"


class At:
    """A conditional at given inputs: what `q.on(x)` returns. `distribution` is NumPyro's, of batch shape [n]."""

    def __init__(self, conditional: FittedConditional, inputs: np.ndarray, weights: np.ndarray | None) -> None:
        self.inputs, self.weights = inputs, weights
        self.distribution, self.conditional = conditional(inputs), conditional

    def known(self) -> Known:
        return numpyro_distributions.known(self.distribution).holding(
            name=f"fitted {self.conditional.name} at {len(self.inputs):,} inputs",
            inputs=self.inputs,
            input_weights=self.weights,
            origin=self.conditional,
        )
