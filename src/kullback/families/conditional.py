"""`Conditional`: a learnable q(y∣x), the one object that classifies, regresses and acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.errors import InputError
from kullback.families.family import as_parameter, sizes_of, support_of_all
from kullback.families.form import Form, class_of, form_for
from kullback.families.guess import LOCATIONS, hints_from, initial_parameters
from kullback.families.learnable import Learnable, Params, Structure
from kullback.families.networks import InputSizes, Rows, SizedNetwork, network_from_spec, sized_network
from kullback.known import Known, numpyro_side
from kullback.known.samples import as_sample_array, as_weights, is_frame, numeric_frame


class Conditional:
    """A learnable conditional distribution q_θ(y∣x): a network whose outputs are a distribution's parameters.

    network       `MLP`, `Linear`, `Table`, or a callable Equinox module
    distribution  a NumPyro class; its parameters are unconstrained through `biject_to(arg_constraints)`
    fixed         parameters held at a value: `dist.Normal, scale=1.` is squared error up to a factor and a constant

    Integer inputs [n] are labels, which networks take one-hot; others are standardised inside. As the second side
    it is supervised learning, as the first (against `Optimal`) a policy.
    """

    def __init__(self, network: Any, distribution: Any, **fixed: Any) -> None:
        self.network, self.cls, self._shown = network, class_of(distribution), distribution.__name__
        self.fixed = {name: as_parameter(name, value) for name, value in fixed.items()}

    def known(self) -> Known:
        return Known(name=self.name, matched=self._matched)

    @property
    def name(self) -> str:
        held = "".join(f", {name}={np.asarray(value)}" for name, value in self.fixed.items())
        network = str(self.network) if hasattr(self.network, "sized") else type(self.network).__name__
        return f"Conditional({network}, {self._shown}{held})"

    def _matched(self, other: Known) -> Known:
        inputs = other.sample.inputs if other.sample is not None else other.inputs
        if inputs is None:
            raise InputError(
                f"p and q: {self.name} needs inputs, and {other.name} has none; pass kl.Pairs(x, y), a teacher.on(x), "
                "or kl.Optimal(env)"
            )
        structure = self.structure(other, inputs)
        hints = hints_from(other, sizes_of(other).categories)
        fixed = {"given": self.fixed, **_scaling(structure, inputs), **_outputs(structure.form, hints)}
        learnable = Learnable(
            structure,
            fixed,
            partial(_initial, structure.network),
            partial(FittedConditional, structure, fixed, self.name),
            conditional=True,
        )
        example = jax.eval_shape(structure.distribution, learnable.initial(np.random.default_rng(0), 0), fixed, inputs)
        return Known(
            name=self.name, event_shape=other.event_shape, learnable=learnable, support=support_of_all(example)
        )

    def structure(self, other: Known, inputs: np.ndarray) -> ConditionalStructure:
        """The network and the form with sizes taken from the other side."""
        form = form_for(self.cls, self.fixed, sizes_of(other))
        outputs = sum(int(np.prod(form.free_shape(name))) for name in form.names)
        return ConditionalStructure(form, sized_network(self.network, input_sizes(inputs), outputs))

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ConditionalStructure(Structure):
    """A network's outputs, offset and scaled, as the unconstrained parameters of a form."""

    form: Form
    network: SizedNetwork

    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        x = jnp.asarray(inputs)
        if not jnp.issubdtype(x.dtype, jnp.integer) or x.ndim > 1:
            x = (x - fixed["x_mean"]) / fixed["x_scale"]
        outputs = fixed["offset"] + fixed["gain"] * self.network.apply(free, x)
        return self.form.distribution(self._split(outputs), fixed["given"])

    def _split(self, outputs: jax.Array) -> dict[str, jax.Array]:
        parameters, start = {}, 0
        for name in self.form.names:
            shape = self.form.free_shape(name)
            stop = start + int(np.prod(shape))
            parameters[name] = outputs[:, start:stop].reshape(-1, *shape)
            start = stop
        return parameters

    def spec(self) -> dict[str, Any] | None:
        form = self.form.spec()
        return None if form is None else {"kind": "conditional", "form": form, "network": self.network.spec()}

    @staticmethod
    def from_spec(spec: Mapping[str, Any], network: Any = None) -> ConditionalStructure:
        return ConditionalStructure(Form.from_spec(spec["form"]), network_from_spec(spec["network"], network))


class FittedConditional:
    """A fitted q(y∣x). `q(x)` is the NumPyro distribution at inputs x; `q.on(x)` is that as a side."""

    def __init__(self, structure: ConditionalStructure, fixed: Params, name: str, free: Params) -> None:
        self.structure, self.fixed, self.name = structure, fixed, name
        self.free = jax.tree.map(np.asarray, free)

    def __call__(self, x: Any) -> Any:
        """q(y∣x) at inputs x [n, ...]: a NumPyro distribution of batch shape [n]."""
        return _at(self.structure, self.free, self.fixed, self._inputs(x))

    def on(self, x: Any, weights: Any = None) -> At:
        """q(y∣x) at inputs x [n, ...] as one side of a divergence, which averages over them (by `weights`)."""
        inputs = self._inputs(x)
        return At(self, inputs, as_weights(weights, len(inputs)))

    def known(self) -> Known:
        return Known(name=f"fitted {self.name}", conditional=lambda inputs: self.on(inputs).known())

    def _inputs(self, x: Any) -> np.ndarray:
        inputs = as_sample_array(numeric_frame(x, "x") if is_frame(x) else x, "x")
        network = self.structure.network
        labels = getattr(network, "labels", None)
        if labels is not None and (inputs.dtype.kind not in "iu" or inputs.min() < 0 or inputs.max() >= labels):
            raise InputError(f"x: the inputs of this conditional are integers from 0 to {labels - 1}")
        expected = np.shape(self.fixed["x_mean"])
        if labels is None and inputs.shape[1:] != expected:
            raise InputError(f"x: inputs of shape {inputs.shape[1:]} where this conditional was fitted to {expected}")
        return inputs

    def __repr__(self) -> str:
        return f"fitted {self.name}"


class At:
    """A conditional at given inputs: what `q.on(x)` returns. `distribution` is NumPyro's, of batch shape [n]."""

    def __init__(self, conditional: FittedConditional, inputs: np.ndarray, weights: np.ndarray | None) -> None:
        self.inputs, self.weights = inputs, weights
        self.distribution = conditional(inputs)
        self._name = conditional.name

    def known(self) -> Known:
        return replace(
            numpyro_side.known(self.distribution),
            name=f"fitted {self._name} at {len(self.inputs):,} inputs",
            inputs=self.inputs,
            input_weights=self.weights,
        )


@partial(jax.jit, static_argnums=0)
def _at(structure: ConditionalStructure, free: Params, fixed: Params, inputs: Any) -> Any:
    return structure.distribution(free, fixed, inputs)


def input_sizes(inputs: np.ndarray) -> InputSizes:
    """Labels for integer inputs [n] that count from 0, else the shape of one input."""
    if inputs.ndim == 1 and inputs.dtype.kind in "iub" and inputs.min() >= 0:
        return InputSizes((), int(inputs.max()) + 1)
    return InputSizes(inputs.shape[1:])


def _scaling(structure: ConditionalStructure, inputs: np.ndarray) -> dict[str, np.ndarray]:
    if isinstance(structure.network, Rows) or getattr(structure.network, "labels", None) is not None:
        return {"x_mean": np.zeros(()), "x_scale": np.ones(())}
    spread = inputs.std(0)
    return {"x_mean": np.asarray(inputs.mean(0), np.float64), "x_scale": np.where(spread > 0, spread, 1.0)}


def _outputs(form: Form, hints: Any) -> dict[str, np.ndarray]:
    """Offsets and gains of the outputs: a network that returns 0 gives the parameters of the outcomes' marginal."""
    start = initial_parameters(form, hints, np.random.default_rng(0), 0)
    gains = []
    for name, shape in form.shapes:
        located = name in LOCATIONS and hints.scale.shape == shape and form.free_shape(name) == shape
        real = located and form.cls.__name__ != "LogNormal" and name != "mean"
        gains.append(np.ravel(hints.scale if real else np.ones(form.free_shape(name))))
    offsets = [np.ravel(start[name]) for name in form.names]
    return {"offset": np.concatenate(offsets), "gain": np.concatenate(gains)}


def _initial(network: SizedNetwork, rng: np.random.Generator, start: int) -> Params:
    return network.init(rng)
