"""An Equinox module of the user's as a network."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from kullback.errors import InputError
from kullback.families.learnable import Params
from kullback.families.pickled import dumped, loaded, refuse_state
from kullback.families.sized import InputSizes, SizedNetwork


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
    return Module(treedef, frozen, arrays, type(network).__name__, labels, keyed, random)


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
