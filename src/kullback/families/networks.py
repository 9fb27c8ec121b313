"""Networks whose sizes are inferred: `MLP`, `Linear`, `Table`; and any Equinox module, taken as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from kullback.arguments import flag, share, whole
from kullback.errors import InputError
from kullback.families.dense import ACTIVATIONS, NORMALIZATIONS, Dense, Rows
from kullback.families.module import Module, module_network, one_input
from kullback.families.sized import InputSizes, SizedNetwork

__all__ = ["MLP", "Dense", "InputSizes", "Linear", "Module", "Rows", "SizedNetwork", "Table", "network_from_spec",
           "sized_network"]  # fmt: skip


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron.

    hidden         widths of the hidden layers
    activation     relu, silu, gelu, tanh or elu
    residual       whether a hidden layer adds its input to its output wherever their widths match
    normalization  None, or "layer": layer normalisation with a learned gain and shift before the activation
    dropout        share of each hidden layer's outputs dropped at random in training, at least 0 and below 1

    Raises `InputError` for other values.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    residual: bool = False
    normalization: str | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _widths(self.hidden))
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            raise InputError(f"activation: {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")
        flag("residual", self.residual)
        normalization = self.normalization
        if normalization is not None and not (isinstance(normalization, str) and normalization in NORMALIZATIONS):
            raise InputError(f'normalization: {normalization!r:.60} is neither None nor "layer"')
        share("dropout", self.dropout)

    def sized(self, inputs: InputSizes, outputs: int) -> SizedNetwork:
        widths = (inputs.width, *self.hidden, outputs)
        options = bool(self.residual), self.normalization, float(self.dropout)
        return Dense(widths, self.activation, inputs.labels, *options)

    def __str__(self) -> str:
        options = [str(width) for width in self.hidden] + ["residual"] * self.residual
        options += ["layer norm"] * (self.normalization == "layer")
        options += [f"dropout {self.dropout:g}"] * (self.dropout > 0)
        return f"MLP{self.hidden}" if len(options) == len(self.hidden) else f"MLP({', '.join(options)})"


@dataclass(frozen=True)
class Linear:
    """A linear map of the inputs: regression and logistic regression."""

    def sized(self, inputs: InputSizes, outputs: int) -> SizedNetwork:
        return Dense((inputs.width, outputs), "relu", inputs.labels)

    def __str__(self) -> str:
        return "Linear()"


@dataclass(frozen=True)
class Table:
    """A row of parameters for each of finitely many inputs, the integers 0 … n − 1."""

    def sized(self, inputs: InputSizes, outputs: int) -> SizedNetwork:
        if inputs.labels is None:
            raise InputError("network: kl.Table needs integer inputs [n] that count from 0; pass kl.MLP for others")
        return Rows(inputs.labels, outputs)

    def __str__(self) -> str:
        return "Table()"


def sized_network(network: Any, inputs: InputSizes, outputs: int) -> SizedNetwork:
    """The network with its sizes settled. Raises `InputError` for an object that is none, or a wrong width."""
    if isinstance(network, type) and hasattr(network, "sized"):
        raise InputError(f"network: {network.__name__} is a class; call it, as in kl.{network.__name__}()")
    if hasattr(network, "sized"):
        return network.sized(inputs, outputs)
    if not isinstance(network, eqx.Module) or not callable(network):
        raise InputError(f"network: {type(network).__name__} is none; pass kl.MLP, kl.Linear, kl.Table or a callable "
                         "Equinox module")  # fmt: skip
    sized = module_network(network, inputs)
    one = (
        jax.ShapeDtypeStruct((1,), np.int32)
        if inputs.labels is not None
        else one_input(inputs).update(shape=(1, *inputs.shape))
    )
    width = jax.eval_shape(sized.apply, sized.init(np.random.default_rng(0)), one).shape[-1]
    if width != outputs:
        raise InputError(f"network: it returns {width} numbers, and the distribution's parameters need {outputs}")
    return sized


def network_from_spec(spec: Mapping[str, Any], network: Any) -> SizedNetwork:
    """The network that a file's specification describes; an Equinox module must be given again."""
    if spec["kind"] == "dense":
        options = {name: spec[name] for name in ("residual", "normalization", "dropout") if name in spec}
        return Dense(tuple(spec["widths"]), spec["activation"], spec["labels"], **options)
    if spec["kind"] == "rows":
        return Rows(spec["labels"], spec["outputs"])
    if network is None:
        raise InputError(f"network: the file holds a {spec['class']} of the user's; pass one with network=")
    return module_network(network, None, spec)


def _widths(hidden: Any) -> tuple[int, ...]:
    if not isinstance(hidden, list | tuple | np.ndarray):
        raise InputError(f"hidden: {hidden!r:.60} is no sequence of widths; pass positive widths such as (64, 64)")
    return tuple(whole("hidden", width) for width in hidden)
