"""Networks with their sizes settled: what one is, dense layers, and tables of outputs."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kullback.families.learnable import Params


@dataclass(frozen=True)
class InputSizes:
    """The shape of one input, and the number of labels where inputs are integers 0 … labels − 1."""

    shape: tuple[int, ...]
    labels: int | None = None

    @property
    def width(self) -> int:
        return self.labels if self.labels is not None else int(np.prod(self.shape))


class SizedNetwork(abc.ABC):
    """A network with its sizes settled: hashable, without arrays. `labels` is None unless its inputs are labels."""

    labels: int | None

    @abc.abstractmethod
    def init(self, rng: np.random.Generator, start: int = 0) -> Params:
        """Parameters of the start-th start, on the host, drawn so that the outputs start near 0."""

    @abc.abstractmethod
    def free_shapes(self) -> Params:
        """The parameters as shapes."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Any, key: jax.Array | None = None) -> jax.Array:
        """Inputs [n, ...] to outputs [n, width]; a key means training, where parts may be dropped at random."""

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether training draws at random, so that `apply` then needs a key."""

    @property
    @abc.abstractmethod
    def linear(self) -> bool:
        """Whether outputs are linear in real inputs, and must stay so however far these lie from the rest."""

    @abc.abstractmethod
    def penalized(self, params: Params) -> list[Any]:
        """The weights that a prior speaks of: those that multiply inputs; never biases, gains or shifts."""

    @abc.abstractmethod
    def spec(self) -> dict[str, Any]:
        """The network in JSON."""


# Dense layers and tables, whose forward pass is ours


NORMALIZATIONS = ("layer",)
EPSILON = 1e-5  # added to the variance of a layer
_FEW = 32  # columns, at most, that are worth another order of a product


@jax.custom_jvp
def rectified(x: jax.Array) -> jax.Array:
    """max(x, 0), with derivative 0 at 0."""
    return jnp.maximum(x, 0.0)


@rectified.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # A product by the sign: of a choice between the tangent and 0, XLA makes a branch for each element.
    value = rectified(*primals)
    return value, jnp.sign(value) * tangents[0]


ACTIVATIONS = {"relu": rectified, "silu": jax.nn.silu, "gelu": jax.nn.gelu, "tanh": jnp.tanh, "elu": jax.nn.elu}


@dataclass(frozen=True)
class Dense(SizedNetwork):
    """A chain of dense layers; labels enter one-hot.

    A hidden layer is h + dropout(activation(norm(h W + b))), where h is added only if `residual` and the widths match,
    and norm and dropout are left out unless asked for. Sources: He et al. (2016) for the skips; Ba, Kiros and Hinton
    (2016), equation 4, for layer normalisation; Srivastava et al. (2014) for dropout, here scaled in training.
    """

    widths: tuple[int, ...]
    activation: str
    labels: int | None = None
    residual: bool = False
    normalization: str | None = None
    dropout: float = 0.0

    def init(self, rng: np.random.Generator, start: int = 0) -> Params:
        layers, depth = [], len(self.widths) - 2
        for i, (fan_in, fan_out) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            scale = 0.01 / np.sqrt(fan_in) if i == depth else np.sqrt(2.0 / fan_in)
            if self.residual and fan_in == fan_out and i < depth:
                # A sum of `depth` branches keeps the variance of one.
                scale /= np.sqrt(depth)
            layer = {"weight": scale * rng.normal(size=(fan_in, fan_out)), "bias": np.zeros(fan_out)}
            if self.normalization is not None and i < depth:
                layer |= {"gain": np.ones(fan_out), "shift": np.zeros(fan_out)}
            layers.append(layer)
        return layers

    def free_shapes(self) -> Params:
        layers = []
        for i, (fan_in, fan_out) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            inner = self.normalization is not None and i < len(self.widths) - 2
            layer = {"weight": (fan_in, fan_out), "bias": (fan_out,)}
            layer |= {"gain": (fan_out,), "shift": (fan_out,)} if inner else {}
            layers.append({name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in layer.items()})
        return layers

    def apply(self, params: Params, x: Any, key: jax.Array | None = None) -> jax.Array:
        hidden = jax.nn.one_hot(x, self.labels) if self.labels is not None else jnp.reshape(x, (x.shape[0], -1))
        for i, layer in enumerate(params[:-1]):
            entered = self.labels is not None and i == 0
            new = (chosen_rows(layer["weight"], x) if entered else hidden @ layer["weight"]) + layer["bias"]
            if self.normalization is not None:
                new = layer_norm(new, layer["gain"], layer["shift"])
            new = ACTIVATIONS[self.activation](new)
            if key is not None and self.dropout > 0:
                new = _dropped(new, self.dropout, jax.random.fold_in(key, i))
            hidden = hidden + new if self.residual and hidden.shape == new.shape else new
        entered = self.labels is not None and len(params) == 1
        last = params[-1]["weight"]
        return (chosen_rows(last, x) if entered else product(hidden, last)) + params[-1]["bias"]

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    @property
    def linear(self) -> bool:
        return len(self.widths) == 2

    def penalized(self, params: Params) -> list[Any]:
        return [layer["weight"] for layer in params]

    def spec(self) -> dict[str, Any]:
        plain = {"kind": "dense", "widths": list(self.widths), "activation": self.activation, "labels": self.labels}
        options = {"residual": self.residual, "normalization": self.normalization, "dropout": self.dropout}
        return {**plain, **{name: value for name, value in options.items() if value}}


@dataclass(frozen=True)
class Rows(SizedNetwork):
    """One row of outputs for each label; a prior speaks of all of it."""

    labels: int | None
    outputs: int

    def init(self, rng: np.random.Generator, start: int = 0) -> Params:
        assert self.labels is not None
        return np.zeros((self.labels, self.outputs))

    def free_shapes(self) -> Params:
        return jax.ShapeDtypeStruct((self.labels or 0, self.outputs), np.float32)

    def apply(self, params: Params, x: Any, key: jax.Array | None = None) -> jax.Array:
        return jnp.asarray(params)[x]

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def linear(self) -> bool:
        return False

    def penalized(self, params: Params) -> list[Any]:
        return [params]

    def spec(self) -> dict[str, Any]:
        return {"kind": "rows", "labels": self.labels, "outputs": self.outputs}


def chosen_rows(weight: Float[Array, "labels k"], labels: Int[Array, " n"]) -> Float[Array, "n k"]:
    """One-hot labels times W, which takes a row of W for each label and 0 for a label that W has no row for."""
    return jnp.asarray(weight).at[labels].get(mode="fill", fill_value=0.0, wrap_negative_indices=False)


def product(x: Float[Array, "n d"], weight: Float[Array, "d k"]) -> Float[Array, "n k"]:
    """x W; as (Wᵀ xᵀ)ᵀ where W has few columns, since its gradient then is a product of rows, and not one of columns.

    The latter takes a processor as long for two columns as for thirty. The barrier keeps XLA from turning it back.
    """
    if weight.shape[1] > _FEW:
        return x @ weight
    rows = jax.lax.optimization_barrier(weight.T)
    return jax.lax.dot_general(rows, x, (((1,), (1,)), ((), ()))).T


def layer_norm(x: Float[Array, "n d"], gain: Float[Array, " d"], shift: Float[Array, " d"]) -> Float[Array, "n d"]:
    """Each row with mean 0 and variance 1, then a learned gain and shift: Ba, Kiros and Hinton (2016), equation 4."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + EPSILON) * gain + shift


def _dropped(x: jax.Array, share: float, key: jax.Array) -> jax.Array:
    kept = jax.random.bernoulli(key, 1.0 - share, x.shape)
    return jnp.where(kept, x / (1.0 - share), 0.0)
