"""Networks whose sizes are inferred, `MLP`, `Linear` and `Table`, and Equinox modules of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from kullback.arguments import flag, share, whole
from kullback.errors import InputError
from kullback.families.dense import ACTIVATIONS, NORMALIZATIONS, Dense, InputSizes, Rows, SizedNetwork
from kullback.families.learnable import Params
from kullback.families.pickled import dumped, loaded, refuse_state

__all__ = [
    "MLP",
    "Dense",
    "InputSizes",
    "Linear",
    "Module",
    "Rows",
    "SizedNetwork",
    "Table",
    "network_from_spec",
    "sized_network",
]


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
        raise InputError(
            f"network: {type(network).__name__} is not a network; pass kl.MLP, kl.Linear, kl.Table or a callable "
            "Equinox module"
        )
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


# Equinox modules


@dataclass(frozen=True)
class Module(SizedNetwork):
    """An Equinox module: called on one input, it returns one row of outputs; labels enter one-hot.

    Where its call takes a `key`, each row gets one of its own in training, and None in Equinox's inference mode
    otherwise. A prior speaks of its arrays of two axes and more.
    """

    treedef: Any
    static: tuple[Any, ...]
    initial: Any = field(compare=False, hash=False)
    kind: str = "module"
    labels: int | None = None
    keyed: bool = False
    random: bool = False

    def init(self, rng: np.random.Generator, start: int = 0) -> Params:
        """The module's own parameters first; after it its weights in another order, which keeps their scale."""
        return self.initial if start == 0 else jax.tree.map(lambda leaf: _shuffled(leaf, rng), self.initial)

    def free_shapes(self) -> Params:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.initial)

    def apply(self, params: Params, x: Any, key: jax.Array | None = None) -> jax.Array:
        module = eqx.combine(params, jax.tree.unflatten(self.treedef, self.static))
        if self.labels is not None:
            x = jax.nn.one_hot(x, self.labels)
        if key is not None and self.keyed:
            keys = jax.random.split(key, x.shape[0])
            return jax.vmap(lambda one, k: jnp.reshape(module(one, key=k), -1))(x, keys)
        module = module if key is not None else eqx.nn.inference_mode(module)
        given = {"key": None} if self.keyed else {}
        return jax.vmap(lambda one: jnp.reshape(module(one, **given), -1))(x)

    def __copy__(self) -> Module:
        return self

    def __deepcopy__(self, memo: Any) -> Module:
        return self

    def __reduce__(self) -> Any:
        module = eqx.combine(self.initial, jax.tree.unflatten(self.treedef, self.static))
        return _restored, (dumped(module), self.kind, self.labels, self.keyed, self.random)

    def __getstate__(self) -> Any:
        refuse_state()

    @property
    def stochastic(self) -> bool:
        return self.random

    @property
    def linear(self) -> bool:
        return False

    def penalized(self, params: Params) -> list[Any]:
        return [leaf for leaf in jax.tree.leaves(params) if np.ndim(leaf) >= 2]

    def spec(self) -> dict[str, Any]:
        return {"kind": "module", "class": self.kind, "labels": self.labels, "random": self.random}


def module_network(network: eqx.Module, inputs: InputSizes | None, spec: Any = None) -> Module:
    """The module without its arrays; whether it draws at random is found from its inputs, or taken from a file."""
    treedef, frozen, arrays = _apart(network)
    keyed = _takes_key(network)
    labels = inputs.labels if inputs is not None else spec.get("labels")
    random = keyed and (_draws(network, inputs) if inputs is not None else spec.get("random", False))
    return Module(
        treedef=treedef,
        static=frozen,
        initial=arrays,
        kind=type(network).__name__,
        labels=labels,
        keyed=keyed,
        random=random,
    )


def _apart(network: eqx.Module) -> tuple[Any, tuple[Any, ...], Params]:
    """The structure of a module, its leaves that are no arrays, and its arrays on the host."""
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(static, is_leaf=lambda leaf: leaf is None)
    return treedef, tuple(_hashable(leaf) for leaf in leaves), jax.tree.map(np.asarray, arrays)


def _restored(data: bytes, *settings: Any) -> Module:
    return Module(*_apart(loaded(data)), *settings)


def one_input(inputs: InputSizes) -> jax.ShapeDtypeStruct:
    """The shape of one input of a module."""
    return jax.ShapeDtypeStruct((inputs.labels,) if inputs.labels is not None else inputs.shape, np.float32)


def _takes_key(network: Any) -> bool:
    try:
        return "key" in inspect.signature(network).parameters
    except (TypeError, ValueError):
        return False


def _draws(network: Any, inputs: InputSizes) -> bool:
    """Whether the module's call uses the key that it is given, read off its trace."""
    key = jax.eval_shape(jax.random.key, 0)
    jaxpr = jax.make_jaxpr(lambda one, k: network(one, key=k))(one_input(inputs), key).jaxpr
    return any(jaxpr.invars[1] is variable for equation in jaxpr.eqns for variable in equation.invars)


def _shuffled(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(leaf.ravel()).reshape(leaf.shape) if leaf.ndim >= 2 else leaf


def _hashable(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | jax.Array):
        raise InputError("network: it holds integer arrays, which are neither learned nor structure; make them static")
    return leaf
