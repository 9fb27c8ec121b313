"""Joint laws of several variables, whose outcome is one vector: the coordinates of the first, then of the next."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints

from kullback.arguments import distribution
from kullback.errors import InputError


class _Blocks(constraints.Constraint):
    """Vectors whose blocks of coordinates each lie in a support of their own."""

    event_dim = 1

    def __init__(self, law: Product | Joint) -> None:
        self.law = law
        self.is_discrete = all(part.support.is_discrete for part in law.parts)

    def __call__(self, x: ArrayLike) -> Any:
        return self.law.contains(x)

    def feasible_like(self, prototype: ArrayLike) -> Any:
        return self.law.feasible(prototype)

    def tree_flatten(self) -> Any:
        return (self.law,), (("law",), {"is_discrete": self.is_discrete})


class Product(dist.Distribution):
    """The joint law of independent variables.

    parts  distributions, whose batch shapes broadcast

    An outcome is one vector, the coordinates of the parts in order. The divergence of two products is the sum of those
    of their parts. Source: Kullback and Leibler (1951), theorem 3.1.
    """

    pytree_data_fields = ("parts",)

    def __init__(self, *parts: dist.Distribution, validate_args: bool | None = None) -> None:
        if not parts:
            raise InputError("Product: no parts; give one distribution or more")
        for part in parts:
            distribution("parts", part)
        self.parts: tuple[Any, ...] = parts
        batch = jnp.broadcast_shapes(*(part.batch_shape for part in parts))
        super().__init__(batch, (sum(map(_size, parts)),), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        return all(part.has_rsample for part in self.parts)

    @property
    def support(self) -> Any:
        return _Blocks(self)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        assert key is not None
        keys = jax.random.split(key, len(self.parts))
        shape = sample_shape + self.batch_shape
        draws = [
            part.expand(self.batch_shape).sample(k, sample_shape) for part, k in zip(self.parts, keys, strict=True)
        ]
        return jnp.concatenate([x.reshape(*shape, -1) for x in draws], -1)

    rsample = sample

    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        """log of the mass or density, at vectors [..., n]."""
        return sum((part.log_prob(_typed(x, part)) for part, x in self._blocks(value)), start=jnp.zeros(()))

    def contains(self, value: ArrayLike) -> Any:
        """Whether each part is in its support."""
        inside = [part.support(x) for part, x in self._blocks(value)]
        return jnp.stack(jnp.broadcast_arrays(*inside), -1).all(-1)

    def feasible(self, prototype: ArrayLike) -> Array:
        """Some outcome, of the shape and type of the prototype."""
        blocks = [(part.support.feasible_like(x), part) for part, x in self._blocks(prototype)]
        return jnp.concatenate([_flat(x, part) for x, part in blocks], -1)

    def _blocks(self, value: ArrayLike) -> list[tuple[Any, Array]]:
        value, start, found = jnp.asarray(value), 0, []
        for part in self.parts:
            found.append((part, _shaped(value[..., start : start + _size(part)], part)))
            start += _size(part)
        return found


class Joint(dist.Distribution):
    """The joint law of a label x and of y, whose law depends on x.

    first  the law of x, over the labels 0, ..., K − 1
    then   the law of y given x: a distribution whose last batch axis, of length K, is over the labels

    An outcome is the vector of the label and the coordinates of y. The divergence of two joint laws is
    KL(x) + Σ p(x) KL(y∣x). Source: Cover and Thomas (2006), theorem 2.5.3.
    """

    pytree_data_fields = ("first", "then")

    def __init__(self, first: dist.Distribution, then: dist.Distribution, *, validate_args: bool | None = None) -> None:
        distribution("first", first)
        distribution("then", then)
        if first.event_shape or first.support is None or not first.support.is_discrete:
            raise InputError(f"first: a {type(first).__name__} is not over labels; a Categorical is")
        if not then.batch_shape:
            raise InputError("then: it has no batch; its last batch axis is over the labels of `first`")
        self.first: Any = first
        self.then: Any = then
        batch = jnp.broadcast_shapes(first.batch_shape, then.batch_shape[:-1])
        super().__init__(batch, (1 + _size(then),), validate_args=validate_args)

    @property
    def labels(self) -> int:
        """How many labels there are."""
        return self.then.batch_shape[-1]

    @property
    def parts(self) -> tuple[Any, Any]:
        """The law of the label, and that of the rest given it."""
        return self.first, self.then

    @property
    def has_rsample(self) -> bool:
        return False

    @property
    def support(self) -> Any:
        return _Blocks(self)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        assert key is not None
        one, other = jax.random.split(key)
        label = jnp.asarray(self.first.expand(self.batch_shape).sample(one, sample_shape))
        every = jnp.asarray(self.then.expand((*self.batch_shape, self.labels)).sample(other, sample_shape))
        every = every.reshape(*label.shape, self.labels, -1)
        chosen = jnp.take_along_axis(every, label[..., None, None].astype(int), -2)[..., 0, :]
        return jnp.concatenate([label[..., None].astype(chosen.dtype), chosen], -1)

    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        """log of the mass or density, at vectors [..., 1 + n]."""
        label, rest = self._split(value)
        known = (label >= 0) & (label < self.labels)
        safe = jnp.where(known, label, 0)
        given = _at(self.then.log_prob(_typed(rest, self.then)), safe)
        return jnp.where(known, self.first.log_prob(safe) + given, -jnp.inf)

    def contains(self, value: ArrayLike) -> Any:
        """Whether the label is one, and the rest in the support that it has."""
        label, rest = self._split(value)
        whole = jnp.asarray(value)[..., 0] == label
        known = whole & (label >= 0) & (label < self.labels) & self.first.support(label)
        return known & _at(self.then.support(rest), jnp.where(known, label, 0))

    def feasible(self, prototype: ArrayLike) -> Array:
        """Some outcome, of the shape and type of the prototype: one with the label 0."""
        _, rest = self._split(prototype)
        y = _flat(self.then.support.feasible_like(rest), self.then)
        y = jnp.broadcast_to(y, (*jnp.shape(prototype)[:-1], *y.shape[-2:]))[..., 0, :]
        return jnp.concatenate([jnp.zeros_like(y[..., :1]), y], -1)

    def _split(self, value: ArrayLike) -> tuple[Array, Array]:
        """The label [...], and the rest with an axis of length 1 for the labels, [..., 1, *event]."""
        value = jnp.asarray(value)
        return jnp.floor(value[..., 0]).astype(int), _shaped(value[..., None, 1:], self.then)


def _size(d: Distribution) -> int:
    return math.prod(d.event_shape)


def _shaped(x: Array, d: Distribution) -> Array:
    """The coordinates of a part in the shape of its event."""
    return x.reshape(x.shape[:-1] + d.event_shape)


def _typed(x: Array, d: Distribution) -> Array:
    """Labels and counts as integers."""
    return x.astype(int) if d.is_discrete else x


def _flat(x: Array, d: Distribution) -> Array:
    return x.reshape(*x.shape[: x.ndim - len(d.event_shape)], _size(d))


def _at(values: Array, label: Array) -> Array:
    """The values [..., K] at the labels [...]."""
    batch = jnp.broadcast_shapes(values.shape[:-1], label.shape)
    values = jnp.broadcast_to(values, (*batch, values.shape[-1]))
    return jnp.take_along_axis(values, jnp.broadcast_to(label, batch)[..., None], -1)[..., 0]
