"""How parameters become q(y∣x): a network's outputs are the distribution's parameters; and its evaluation over rows.

Functions of a fitted conditional are compiled for three sizes of blocks, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from kullback.families.dense import product
from kullback.families.form import Form
from kullback.families.learnable import Params, Structure
from kullback.families.networks import SizedNetwork, network_from_spec
from kullback.runtime.export_cache import Effort, program

# Standard deviations: what lies farther out is taken to lie there. A network has seen nothing beyond, and would be as
# sure of what it makes up as it pleases.
FARTHEST = 10.0
SHARED = {"OrderedLogistic": "cutpoints"}  # parameters of a class that no input moves


@dataclass(frozen=True)
class ConditionalStructure(Structure):
    """A network's outputs, offset and scaled, as the unconstrained parameters of a form, or of a mixture of it.

    Inputs are standardised; those of a network that is not linear are taken as at most `FARTHEST` from their mean.

    components  0 for the form itself; else so many components, whose logits come first among the outputs
    """

    form: Form
    network: SizedNetwork
    components: int = 0

    def distribution(self, free: Params, fixed: Params, inputs: Any = None, key: jax.Array | None = None) -> Any:
        """The NumPyro distribution of one member, of batch [n]; a key means training mode.

        `fixed` has the scaling of inputs (x_mean, x_scale) and of outputs (offset, gain, reach), in training the
        `slope` of a linear model that is added to the offset, and after it `least`: what each output beyond its offset
        is at the least.
        """
        return self._of_outputs(self._outputs(free, fixed, inputs, key), fixed["given"])

    def predictive(self, free: Params, fixed: Params, inputs: Any, members: int = 1) -> Any:
        """The NumPyro distribution 1/M Σ_m q_m(y∣x) of batch [n]; `free` has a leading axis [M] if M > 1.

        Categorical and Bernoulli members stay what they are, with averaged probabilities.
        """
        if members == 1:
            d = self.distribution(free, fixed, inputs)
        else:
            outputs = jax.vmap(lambda one: self._outputs(one, fixed, inputs, None), out_axes=1)(free)
            d = self._pooled(outputs, fixed["given"])
        return _tempered(d, fixed["temperature"]) if "temperature" in fixed else d

    def negative_log_prior(self, free: Params, fixed: Params) -> Float[Array, ""]:
        """½ Σ (w/s)² over the weights w of one member, in nats up to a constant; 0 where there is no prior."""
        if "prior_scale" not in fixed:
            return jnp.zeros(())
        squares = [jnp.sum(jnp.square(w / fixed["prior_scale"])) for w in self.network.penalized(free)]
        return 0.5 * jnp.sum(jnp.stack(squares)) if squares else jnp.zeros(())

    def _outputs(self, free: Params, fixed: Params, inputs: Any, key: jax.Array | None) -> jax.Array:
        beyond = self.beyond_offset(free, fixed, inputs, key)
        if "slope" not in fixed:
            return fixed["offset"] + beyond
        x = self._standardised(fixed, inputs)
        return fixed["offset"] + product(x.reshape(x.shape[0], -1), jnp.asarray(fixed["slope"])) + beyond

    def _standardised(self, fixed: Params, inputs: Any) -> jax.Array:
        x = jnp.asarray(inputs)
        if self.network.labels is not None:
            return x
        x = (x - fixed["x_mean"]) / fixed["x_scale"]
        return x if self.network.linear else jnp.clip(x, -FARTHEST, FARTHEST)

    def beyond_offset(self, free: Params, fixed: Params, inputs: Any, key: jax.Array | None = None) -> jax.Array:
        """The network's outputs [n, width] of one member, scaled and within their bounds, less their offset."""
        x = self._standardised(fixed, inputs)
        outputs = self.network.apply(free, x, key)
        if (shared := self.shared()) is not None:
            at_mean = self.network.apply(free, jnp.zeros_like(x[:1]), key)
            outputs = jnp.where(shared, at_mean, outputs - at_mean)
        outputs = fixed["gain"] * outputs
        if "reach" in fixed:
            outputs = jnp.clip(outputs, fixed.get("least", -fixed["reach"]), fixed["reach"])
        return outputs

    def shared(self) -> np.ndarray | None:
        """Which outputs [width] are the same for all inputs; None where each depends on them.

        They are the network's at the mean input, and the others are counted from theirs there: cutpoints that moved
        with the inputs would say what the predictor says.
        """
        name = SHARED.get(self.form.cls.__name__)
        if name not in self.form.names or self.components:
            return None
        sizes = [(other, int(np.prod(self.form.free_shape(other)))) for other in self.form.names]
        return np.concatenate([np.full(size, other == name) for other, size in sizes])

    def _of_outputs(self, outputs: jax.Array, given: Params) -> Any:
        if not self.components:
            return self.form.distribution(self._split(outputs), given)
        logits, parameters = self._components(outputs)
        return _mixture(logits, self.form.distribution(parameters, given))

    def _pooled(self, outputs: jax.Array, given: Params) -> Any:
        """The mixture of members from their outputs [n, M, width]."""
        n, members, _ = outputs.shape
        if not self.components:
            d = self.form.distribution(self._split(outputs), given)
            averaged = _averaged(d)
            return _mixture(jnp.zeros((n, members)), d) if averaged is None else averaged
        logits, parameters = self._components(outputs)
        flat = jax.tree.map(lambda leaf: leaf.reshape(n, -1, *leaf.shape[3:]), parameters)
        return _mixture(jax.nn.log_softmax(logits).reshape(n, -1), self.form.distribution(flat, given))

    def _components(self, outputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, rest = outputs[..., : self.components], outputs[..., self.components :]
        return logits, self._split(rest.reshape(*rest.shape[:-1], self.components, -1))

    def _split(self, outputs: jax.Array) -> dict[str, jax.Array]:
        parameters, start = {}, 0
        for name in self.form.names:
            shape = self.form.free_shape(name)
            stop = start + int(np.prod(shape))
            parameters[name] = outputs[..., start:stop].reshape(*outputs.shape[:-1], *shape)
            start = stop
        return parameters

    def free_shapes(self) -> Params:
        return self.network.free_shapes()

    def spec(self) -> dict[str, Any] | None:
        form = self.form.spec()
        if form is None:
            return None
        spec = {"kind": "conditional", "form": form, "network": self.network.spec()}
        return {**spec, "components": self.components} if self.components else spec

    @staticmethod
    def from_spec(spec: Mapping[str, Any], network: Any = None) -> ConditionalStructure:
        sized = network_from_spec(spec["network"], network)
        return ConditionalStructure(Form.from_spec(spec["form"]), sized, spec.get("components", 0))


def width_of(form: Form, components: int) -> int:
    """How many numbers a network returns for one input: the parameters', or those and a logit for each component."""
    one = sum(int(np.prod(form.free_shape(name))) for name in form.names)
    return one if not components else components * (1 + one)


def _mixture(logits: jax.Array, components: Any) -> Any:
    return dist.MixtureSameFamily(dist.CategoricalLogits(logits, validate_args=False), components, validate_args=False)


def _averaged(d: Any) -> Any:
    """Members [n, M] of one categorical or Bernoulli each, as one with the average of their probabilities."""
    if isinstance(d, dist.CategoricalLogits):
        logits = jax.nn.logsumexp(jax.nn.log_softmax(d.logits), 1) - np.log(d.batch_shape[1])
        return dist.CategoricalLogits(logits, validate_args=False)
    if isinstance(d, dist.BernoulliLogits):
        yes, no = (jax.nn.logsumexp(jax.nn.log_sigmoid(sign * d.logits), 1) for sign in (1.0, -1.0))
        return dist.BernoulliLogits(yes - no, validate_args=False)
    return None


def _tempered(d: Any, temperature: Any) -> Any:
    """The same with logits divided by the temperature, in each part of a product or a mixture."""
    if isinstance(d, dist.CategoricalLogits | dist.BernoulliLogits):
        return type(d)(d.logits / temperature, validate_args=False)
    if isinstance(d, dist.Independent):
        return _tempered(d.base_dist, temperature).to_event(d.reinterpreted_batch_ndims)
    components = _tempered(d.component_distribution, temperature)
    return dist.MixtureSameFamily(d.mixing_distribution, components, validate_args=False)


# Evaluation in blocks of rows


FEW, SOME, MANY = 64, 512, 4096


def rows_like(x: Any, n: int) -> jax.ShapeDtypeStruct:
    """n rows like those of x [m, ...], in the type that they have on the device."""
    return jax.ShapeDtypeStruct((n, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype))


def block_size(n: int) -> int:
    """Rows a block for n rows in all: one of three, so that a function is compiled three times at most."""
    return FEW if n <= FEW else SOME if n <= 16 * SOME else MANY


def blocks(arrays: tuple[np.ndarray, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Arrays [n, ...] in blocks of equally many rows; the last repeats its last row until it is full."""
    n = len(arrays[0])
    size = block_size(n)
    for start in range(0, n, size):
        block = tuple(np.asarray(array[start : start + size]) for array in arrays)
        lacking = size - len(block[0])
        if lacking:
            block = tuple(np.concatenate([part, np.repeat(part[-1:], lacking, 0)]) for part in block)
        yield block


def in_double(
    function: Callable[..., Any], structure: ConditionalStructure, members: int, free: Params, fixed: Params, rows: Any
) -> Any:
    """`function(d, *rows)` on d = q(y∣x), with x = rows[0], in double precision; NumPy arrays [n, ...]."""
    n = len(rows[0])
    with jax.enable_x64(True):
        free, fixed = jax.tree.map(_double, (free, fixed))
        parts = [
            jax.tree.map(np.asarray, _apply(function, structure, members, free, fixed, block[0], block[1:]))
            for block in ((tuple(_double(part) for part in block)) for block in blocks(rows))
        ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *parts)


@program(static=(0, 1, 2), effort=Effort.SOME)
def _apply(
    function: Any, structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: Any, rows: Any
) -> Any:
    return function(structure.predictive(free, fixed, x, members), *rows)


def predictive(structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: np.ndarray) -> Any:
    """q(y∣x) at inputs x [n, ...]: the blocks' parameters, cut to n rows on the host.

    Only its shapes are traced for each n; what is compiled are blocks.
    """
    n = len(x)
    parts = [_predictive(structure, members, free, fixed, *block) for block in blocks((x,))]
    if len(parts) == 1 and block_size(n) == n:
        return parts[0]
    whole = _predictive.eval_shape(structure, members, free, fixed, rows_like(x, n))
    leaves, treedef = jax.tree.flatten(whole)
    joined = [_joined(leaf.shape, found) for leaf, *found in zip(leaves, *map(jax.tree.leaves, parts), strict=True)]
    return jax.tree.unflatten(treedef, [jax.numpy.asarray(leaf) for leaf in joined])


def predictive_in_double(
    structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: np.ndarray
) -> Any:
    """q(y∣x) as `predictive` has it, with parameters in double precision."""
    with jax.enable_x64(True):
        free, fixed = jax.tree.map(_double, (free, fixed))
        return predictive(structure, members, free, fixed, _double(x))


@program(static=(0, 1), effort=Effort.SOME)
def _predictive(structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: Any) -> Any:
    return structure.predictive(free, fixed, x, members)


def _joined(shape: tuple[int, ...], parts: list[Any]) -> Any:
    """Blocks of a parameter joined to the shape that it has for all rows; one that all rows share is left alone."""
    if np.shape(parts[0]) == shape and len(parts) == 1:
        return parts[0]
    axis = next((i for i, (a, b) in enumerate(zip(shape, np.shape(parts[0]), strict=True)) if a != b), None)
    if axis is None:
        return parts[0]
    whole = np.concatenate([np.asarray(part) for part in parts], axis)
    return whole[(slice(None),) * axis + (slice(shape[axis]),)]


def _double(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64) if array.dtype.kind in "fiub" else array
