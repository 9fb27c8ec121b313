"""The strata of a law: the components that it is known to consist of, each of which can be sampled separately."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from operator import mul
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float, Int
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.distributions import Joint, Product
from kullback.estimate.batch import doubled

MOST = 1024
MIXTURES = (dist.MixtureSameFamily, dist.MixtureGeneral)


class Strata(NamedTuple):
    """P = Σₖ wₖ Pₖ, element by element of the batch.

    weights  wₖ, which sum to 1 over the first axis
    sampler  (key, labels [n]) -> draws [n, *batch, *event], each of the component that its label names
    width    how many numbers a draw takes, in units of one outcome
    """

    weights: Float[np.ndarray, " k *batch"]
    sampler: Callable[..., Any]
    width: int = 1


def whole(sampler: Callable[..., Any], batch: tuple[int, ...]) -> Strata:
    """A law as the one stratum of itself."""
    compiled = isinstance(sampler, Partial)
    return Strata(np.ones((1, *batch)), Partial(_unlabelled, sampler) if compiled else sampler)


def strata_of(d: Any) -> Strata | None:
    """The strata of a NumPyro distribution; None where none are known, or more than MOST.

    They are the components of a mixture, the labels of a joint law, and the combinations of the strata of independent
    parts, in any nesting.
    """
    if d is None or count(d) == 1:
        return None
    with jax.enable_x64(True):
        weights = np.broadcast_to(np.asarray(_weights(doubled(d)), np.float64), (count(d), *d.batch_shape))
    return Strata(weights, Partial(_labelled, d), _width(d))


def _unlabelled(sampler: Callable[..., Any], key: Array, labels: Int[Array, " n"]) -> Any:
    return sampler(key, len(labels))


def _labelled(d: Any, key: Array, labels: Int[Array, " n"]) -> Array:
    return _draw(d, key, labels.reshape(-1, *(1,) * len(d.batch_shape)))


def count(d: Any) -> int:
    """How many strata a law is read as; 1 for a law that is read as a whole."""
    found = _count(d)
    return found if found <= MOST else 1


def _count(d: Any) -> int:
    kind = type(d)
    if kind is dist.MixtureGeneral:
        return sum(_inner_counts(d))
    if kind in MIXTURES or kind is Joint:
        inside = _given_label(d)
        return _labels(d) * (1 if inside is None else count(inside))
    if kind is dist.Independent:
        each, copies = count(d.base_dist), math.prod(_copies(d))
        return each**copies if copies * math.log(each) <= math.log(MOST) + 1e-9 else 1
    if kind is Product:
        return math.prod(_counts(d))
    if kind is ExpandedDistribution:
        return count(d.base_dist) if _leading(d) is not None else 1
    if kind is dist.TransformedDistribution:
        return count(d.base_dist) if d.base_dist.batch_shape == d.batch_shape else 1
    return 1


def _weights(d: Any) -> Float[Array, " k *batch"]:
    """The weights of the strata, broadcastable to the batch."""
    kind = type(d)
    if count(d) == 1:
        return jnp.ones((1, *(1,) * len(d.batch_shape)))
    if kind is dist.MixtureGeneral:
        inner = _inner_counts(d)
        pairs = zip(_label_weights(d), d.component_distributions, inner, strict=True)
        each = (weight * _weights(part) if size > 1 else weight[None] for weight, part, size in pairs)
        return jnp.concatenate(
            [jnp.broadcast_to(x, (size, *d.batch_shape)) for x, size in zip(each, inner, strict=True)]
        )
    if kind in MIXTURES or kind is Joint:
        first, inside = _label_weights(d), _given_label(d)
        if inside is None:
            return first
        then = jnp.broadcast_to(_weights(inside), (count(inside), *inside.batch_shape))
        return (first[:, None] * jnp.moveaxis(then, -1, 0)).reshape(count(d), *d.batch_shape)
    if kind is dist.Independent:
        base, copies = d.base_dist, _copies(d)
        each = jnp.broadcast_to(_weights(base), (count(base), *base.batch_shape))
        each = jnp.moveaxis(each.reshape(count(base), *d.batch_shape, -1), -1, 0)
        digits = _digits(jnp.arange(count(d)), (count(base),) * math.prod(copies))
        return reduce(mul, (weights[digit] for weights, digit in zip(each, digits, strict=True)))
    if kind is Product:
        digits = _digits(jnp.arange(count(d)), _counts(d))
        pairs = zip(d.parts, digits, _counts(d), strict=True)
        return reduce(mul, (_weights(part)[digit] for part, digit, size in pairs if size > 1))
    return _weights(d.base_dist) if kind is not ExpandedDistribution else _expanded_weights(d)


def _draw(d: Any, key: Array, labels: Int[Array, " n *batch"]) -> Array:
    """Draws [n, *batch, *event] of the strata that the labels name, which may broadcast along the batch."""
    kind, n = type(d), len(labels)
    if count(d) == 1:
        return jnp.asarray(d.sample(key, (n,)))
    labels = jnp.broadcast_to(labels, (n, *d.batch_shape))
    if kind is dist.MixtureGeneral:
        return _draw_component(d, key, labels)
    if kind in MIXTURES or kind is Joint:
        return _draw_given_label(d, key, labels)
    if kind is dist.Independent:
        digits = _digits(labels, (count(d.base_dist),) * math.prod(_copies(d)))
        return _draw(d.base_dist, key, jnp.stack(digits, -1).reshape(n, *d.base_dist.batch_shape))
    if kind is Product:
        pairs = zip(d.parts, jax.random.split(key, len(d.parts)), _digits(labels, _counts(d)), _counts(d), strict=True)
        draws = [
            _draw(part, k, digit) if size > 1 else jnp.asarray(part.expand(d.batch_shape).sample(k, (n,)))
            for part, k, digit, size in pairs
        ]
        return jnp.concatenate([x.reshape(n, *d.batch_shape, -1) for x in draws], -1)
    if kind is ExpandedDistribution:
        base = d.base_dist
        return _draw(base, key, labels.reshape(-1, *base.batch_shape)).reshape(n, *d.batch_shape, *d.event_shape)
    x = _draw(d.base_dist, key, labels)
    for transform in d.transforms:
        x = transform(x)
    return x


def _draw_component(d: Any, key: Array, labels: Int[Array, " n *batch"]) -> Array:
    """Of components of several kinds: draws of every one, of its own strata where the labels name these."""
    inner, shape = _inner_counts(d), (*labels.shape, *d.event_shape)
    starts = np.cumsum([0, *inner[:-1]])
    every = []
    for part, k, start, size in zip(
        d.component_distributions, jax.random.split(key, len(inner)), starts, inner, strict=True
    ):
        own = jnp.clip(labels - start, 0, size - 1)
        drawn = _draw(part, k, own) if size > 1 else jnp.asarray(part.sample(k, (len(labels),)))
        every.append(jnp.broadcast_to(drawn, shape))
    which = jnp.sum(labels[..., None] >= jnp.asarray(starts[1:]), -1)
    chosen = which.reshape(*which.shape, *(1,) * (len(d.event_shape) + 1))
    return jnp.take_along_axis(jnp.stack(every, labels.ndim), chosen, labels.ndim).squeeze(labels.ndim)


def _draw_given_label(d: Any, key: Array, labels: Int[Array, " n *batch"]) -> Array:
    """The component of a mixture, or the pair of a label and the rest, out of draws of the rest for every label."""
    inside = _given_label(d)
    size = 1 if inside is None else count(inside)
    label, rest = labels // size, labels % size
    if inside is not None:
        every = _draw(inside, key, rest[..., None])
    elif type(d) is Joint:
        every = jnp.asarray(d.then.expand((*d.batch_shape, d.labels)).sample(key, (len(labels),)))
    else:
        every = jnp.moveaxis(d.component_sample(key, (len(labels),)), d.mixture_dim, labels.ndim)
    chosen = label.reshape(*label.shape, *(1,) * (every.ndim - label.ndim))
    chosen = jnp.take_along_axis(every, chosen, label.ndim).squeeze(label.ndim)
    if type(d) is not Joint:
        return chosen
    chosen = chosen.reshape(*label.shape, -1)
    return jnp.concatenate([label[..., None].astype(chosen.dtype), chosen], -1)


def _inner_counts(d: Any) -> list[int]:
    """The strata of each component of a `MixtureGeneral`; one of each where they would be too many."""
    found = [count(part) if part.batch_shape == d.batch_shape else 1 for part in d.component_distributions]
    return found if sum(found) <= MOST else [1] * len(found)


def _labels(d: Any) -> int:
    return d.labels if type(d) is Joint else d.mixture_size


def _given_label(d: Any) -> Any | None:
    """The law given the label, whose last batch axis is over labels, where it has strata of its own; else None."""
    inside = d.then if type(d) is Joint else getattr(d, "component_distribution", None)
    if inside is None or tuple(inside.batch_shape) != (*d.batch_shape, _labels(d)):
        return None
    return inside if 1 < count(inside) <= MOST // _labels(d) else None


def _label_weights(d: Any) -> Float[Array, " k *batch"]:
    if type(d) is Joint:
        labels = jnp.arange(d.labels).reshape(-1, *(1,) * len(d.first.batch_shape))
        return jnp.exp(d.first.log_prob(labels)).reshape(d.labels, *_padded(d, d.first.batch_shape))
    probs = jnp.moveaxis(jnp.asarray(d.mixing_distribution.probs), -1, 0)
    return (probs / probs.sum(0)).reshape(len(probs), *_padded(d, probs.shape[1:]))


def _padded(d: Any, batch: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(d.batch_shape) - len(batch)) + tuple(batch)


def _expanded_weights(d: Any) -> Float[Array, " k *batch"]:
    weights = _weights(d.base_dist)
    return weights.reshape(len(weights), *_padded(d, weights.shape[1:]))


def _copies(d: Any) -> tuple[int, ...]:
    """The batch axes of the base that `Independent` makes axes of the event."""
    return tuple(d.base_dist.batch_shape[len(d.base_dist.batch_shape) - d.reinterpreted_batch_ndims :])


def _counts(d: Any) -> tuple[int, ...]:
    """The strata of each part of a `Product`; a part that is broadcast along the batch is read as a whole."""
    return tuple(count(part) if part.batch_shape == d.batch_shape else 1 for part in d.parts)


def _leading(d: Any) -> tuple[int, ...] | None:
    """The axes that an expansion puts before the batch; None where it stretches axes of the batch as well."""
    own = len(d.batch_shape) - len(d.base_dist.batch_shape)
    return tuple(d.batch_shape[:own]) if tuple(d.batch_shape[own:]) == tuple(d.base_dist.batch_shape) else None


def _digits(labels: Array, sizes: tuple[int, ...]) -> list[Array]:
    """The label of each part, from that of their combination."""
    digits = []
    for size in sizes:
        digits.append(labels % size)
        labels = labels // size
    return digits


def _width(d: Any) -> int:
    if type(d) is dist.MixtureGeneral:
        inner = zip(d.component_distributions, _inner_counts(d), strict=True)
        return sum(_width(part) if size > 1 else 1 for part, size in inner)
    if type(d) in MIXTURES or type(d) is Joint:
        inside = _given_label(d)
        return _labels(d) * (1 if inside is None else _width(inside))
    if type(d) is Product:
        return max(map(_width, d.parts))
    return _width(d.base_dist) if count(d) > 1 else 1
