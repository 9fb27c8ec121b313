"""Networks whose sizes are inferred: `MLP`, `Linear`, `Table`; and any Equinox module, taken as it is."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from kullback.errors import InputError
from kullback.families.learnable import Params

ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "gelu": jax.nn.gelu, "tanh": jnp.tanh, "elu": jax.nn.elu}


@dataclass(frozen=True)
class InputSizes:
    """The shape of one input, and the number of labels where inputs are integers 0 … labels − 1."""

    shape: tuple[int, ...]
    labels: int | None = None

    @property
    def width(self) -> int:
        return self.labels if self.labels is not None else int(np.prod(self.shape))


class SizedNetwork(abc.ABC):
    """A network with its sizes settled: hashable, without arrays."""

    @abc.abstractmethod
    def init(self, rng: np.random.Generator) -> Params:
        """Parameters on the host, drawn so that the outputs start near 0."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Any) -> jax.Array:
        """Inputs [n, ...] to outputs [n, width]."""

    @abc.abstractmethod
    def spec(self) -> dict[str, Any]:
        """The network in JSON."""


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: `hidden` widths and an `activation` (relu, silu, gelu, tanh, elu)."""

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        if any(width < 1 for width in self.hidden):
            raise InputError(f"hidden: {self.hidden} has a width below 1; pass positive widths such as (64, 64)")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation: {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")

    def sized(self, inputs: InputSizes, outputs: int) -> SizedNetwork:
        return Dense((inputs.width, *self.hidden, outputs), self.activation, inputs.labels)

    def __str__(self) -> str:
        return f"MLP{self.hidden}"


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


@dataclass(frozen=True)
class Dense(SizedNetwork):
    """A chain of dense layers; labels enter one-hot."""

    widths: tuple[int, ...]
    activation: str
    labels: int | None = None

    def init(self, rng: np.random.Generator) -> Params:
        layers = []
        for i, (fan_in, fan_out) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            last = i == len(self.widths) - 2
            scale = 0.01 / np.sqrt(fan_in) if last else np.sqrt(2.0 / fan_in)
            layers.append({"weight": scale * rng.normal(size=(fan_in, fan_out)), "bias": np.zeros(fan_out)})
        return layers

    def apply(self, params: Params, x: Any) -> jax.Array:
        hidden = jax.nn.one_hot(x, self.labels) if self.labels is not None else jnp.reshape(x, (x.shape[0], -1))
        for layer in params[:-1]:
            hidden = ACTIVATIONS[self.activation](hidden @ layer["weight"] + layer["bias"])
        return hidden @ params[-1]["weight"] + params[-1]["bias"]

    def spec(self) -> dict[str, Any]:
        return {"kind": "dense", "widths": list(self.widths), "activation": self.activation, "labels": self.labels}


@dataclass(frozen=True)
class Rows(SizedNetwork):
    """One row of outputs for each label."""

    labels: int
    outputs: int

    def init(self, rng: np.random.Generator) -> Params:
        return np.zeros((self.labels, self.outputs))

    def apply(self, params: Params, x: Any) -> jax.Array:
        return jnp.asarray(params)[x]

    def spec(self) -> dict[str, Any]:
        return {"kind": "rows", "labels": self.labels, "outputs": self.outputs}


@dataclass(frozen=True)
class Module(SizedNetwork):
    """An Equinox module of the user's: called on one input, it returns one row of outputs."""

    treedef: Any
    static: tuple[Any, ...]
    initial: Any = field(compare=False, hash=False)
    kind: str = "module"

    def init(self, rng: np.random.Generator) -> Params:
        return self.initial

    def apply(self, params: Params, x: Any) -> jax.Array:
        module = eqx.combine(params, jax.tree.unflatten(self.treedef, self.static))
        return jax.vmap(lambda one: jnp.reshape(module(one), -1))(x)

    def spec(self) -> dict[str, Any]:
        return {"kind": "module", "class": self.kind}


def sized_network(network: Any, inputs: InputSizes, outputs: int) -> SizedNetwork:
    """The network with its sizes settled. Raises `InputError` for an object that is none, or a wrong width."""
    if isinstance(network, type) and hasattr(network, "sized"):
        raise InputError(f"network: {network.__name__} is a class; call it, as in kl.{network.__name__}()")
    if hasattr(network, "sized"):
        return network.sized(inputs, outputs)
    if not isinstance(network, eqx.Module) or not callable(network):
        raise InputError(f"network: {type(network).__name__} is none; pass kl.MLP, kl.Linear, kl.Table or a callable "
                         "Equinox module")  # fmt: skip
    sized = _module(network)
    one = jax.ShapeDtypeStruct((1, *((inputs.labels,) if inputs.labels is not None else inputs.shape)), np.float32)
    width = jax.eval_shape(sized.apply, sized.init(np.random.default_rng(0)), one).shape[-1]
    if width != outputs:
        raise InputError(f"network: it returns {width} numbers, and the distribution's parameters need {outputs}")
    return sized


def _module(network: eqx.Module) -> Module:
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(static, is_leaf=lambda leaf: leaf is None)
    frozen = tuple(_hashable(leaf) for leaf in leaves)
    return Module(treedef, frozen, jax.tree.map(np.asarray, arrays), type(network).__name__)


def _hashable(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | jax.Array):
        raise InputError("network: it holds integer arrays, which are neither learned nor structure; make them static")
    return leaf


def network_from_spec(spec: Mapping[str, Any], network: Any) -> SizedNetwork:
    """The network that a file's specification describes; an Equinox module must be given again."""
    if spec["kind"] == "dense":
        return Dense(tuple(spec["widths"]), spec["activation"], spec["labels"])
    if spec["kind"] == "rows":
        return Rows(spec["labels"], spec["outputs"])
    if network is None:
        raise InputError(f"network: the file holds a {spec['class']} of the user's; pass one with network=")
    return _module(network)
