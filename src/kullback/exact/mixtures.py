"""Mixtures P = Σₖ wₖ fₖ: what is exact of them, by reduction to pairs of components.

Weights, supports and parameters are looked at, so that most of this needs numbers: traced ones are not known to be 0,
to be equal, or to lie apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer

from kullback.exact.batches import unsqueezed
from kullback.exact.forms.categorical import categorical_kl, labels_entropy
from kullback.exact.structure import Parts
from kullback.known.support import from_constraint

KINDS = (dist.MixtureSameFamily, dist.MixtureGeneral)


def is_mixture(d: Any) -> bool:
    return type(d) in KINDS


def has_support(d: Any) -> bool:
    """Whether its support can be relied on: a mixture of several kinds gives that of its first component."""
    return type(d) is not dist.MixtureGeneral or d._support is not None


class Weighted(NamedTuple):
    """Weights [*batch, K], and distributions with a last batch axis of the `sizes`, which sum to K."""

    weights: Array
    blocks: tuple[Any, ...]
    sizes: tuple[int, ...]


def components(d: Any) -> Weighted | None:
    """The components of a mixture in blocks, without those whose weight is known to be 0 where they come one by one;
    any other distribution is a mixture of one. None if they cannot be laid out along an axis.
    """
    if type(d) is dist.MixtureSameFamily:
        return Weighted(_weights(d), (d.component_distribution,), (d.mixture_size,))
    labels, parts = _live(d)
    blocks = tuple(unsqueezed(part) for part in parts)
    return None if any(b is None for b in blocks) else Weighted(_weights(d)[..., labels], blocks, (1,) * len(blocks))


def along_axis(values: Sequence[Array], sizes: Sequence[int], batch: Any) -> Array:
    """The values of blocks, each broadcast to [*batch, size], as one array [*batch, K]."""
    spread = [jnp.broadcast_to(v, (*batch, size)) for v, size in zip(values, sizes, strict=True)]
    return jnp.concatenate(spread, -1)


def reduce_kl(p: Any, q: Any) -> Parts | None:
    """KL(P‖Q) of which a side is a mixture, by that of components, where it is exact."""
    if same_law(p, q):
        return Parts((), lambda: jnp.zeros(p.batch_shape))
    if is_mixture(p) and _one_hot(p):
        return _one_component(p, q)
    if is_mixture(q) and _one_hot(q):
        return _one_target(p, q)
    return _apart(p, q)


def _one_component(p: Any, q: Any) -> Parts | None:
    """KL = Σₖ wₖ KL(fₖ ‖ Q), for P of which one component has all the weight. Source: P is that component."""
    return _over_components(p, q)


def _one_target(p: Any, q: Any) -> Parts | None:
    """KL = Σₗ vₗ KL(P ‖ gₗ), for Q of which one component has all the weight. Source: Q is that component."""
    swapped = _over_components(q, p)
    return None if swapped is None else Parts(tuple((b, a) for a, b in swapped.pairs), swapped.finish)


def _apart(p: Any, q: Any) -> Parts | None:
    """KL = Σₖ wₖ log(wₖ/vₗ) + Σₖ wₖ KL(fₖ ‖ gₗ), for fₖ that do not meet, each of which meets one component l of Q.

    Source: Cover and Thomas (2006), theorem 2.5.3: the chain rule for the label, which the outcome then tells.
    """
    if not (_comes_in_parts(p) and _comes_in_parts(q)):
        return None
    (labels, own), (others, targets) = _live(p), _live(q)
    meets = [[j for j, g in enumerate(targets) if not disjoint(f, g)] for f in own]
    if any(len(found) > 1 for found in meets) or not _mutually_disjoint(own):
        return None
    batch = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    if not all(meets):
        return Parts((), lambda: jnp.full(batch, jnp.inf))
    met = [found[0] for found in meets]
    w, v, chosen = _weights(p)[..., labels], _weights(q), [others[j] for j in met]
    pairs = tuple((f, targets[j]) for f, j in zip(own, met, strict=True))
    return Parts(pairs, lambda *values: _labels_kl(w, v, chosen) + _mean(w, _stacked(values, batch)))


def _labels_kl(w: Array, v: Array, chosen: list[int]) -> Array:
    """Σₖ wₖ log(wₖ/vₗ), with l the one `chosen` for k."""
    if len(set(chosen)) == len(chosen):
        rest = [label for label in range(v.shape[-1]) if label not in chosen]
        return categorical_kl(*(dist.CategoricalProbs(x, validate_args=False) for x in (w, v[..., [*chosen, *rest]])))
    live = w > 0
    return jnp.where(live, w * (jnp.log(jnp.where(live, w, 1.0)) - jnp.log(v[..., chosen])), 0.0).sum(-1)


def reduce_entropy(p: Any) -> Parts | None:
    """H(P) of a mixture of which one component has all the weight, or whose components lie apart."""
    return _over_components(p, None) if _one_hot(p) else _entropy_apart(p)


def _entropy_apart(p: Any) -> Parts | None:
    """H = H(w) + Σₖ wₖ H(fₖ), for components that do not meet.

    Source: Cover and Thomas (2006), theorem 2.2.1: the chain rule for the label, which the outcome then tells.
    """
    labels, own = _live(p) if _comes_in_parts(p) else ([], [])
    if not own or not _mutually_disjoint(own) or len({_is_discrete(f) for f in own}) > 1:
        return None
    w, batch = _weights(p)[..., labels], tuple(p.batch_shape)
    pairs = tuple((f, f) for f in own)
    return Parts(pairs, lambda *values: labels_entropy(w, True) + _mean(w, _stacked(values, batch)))


def reduce_cross_entropy(p: Any, q: Any) -> Parts | None:
    """H(P, Q) of which a side is a mixture: exact for P if it is for every component; for Q if P meets one of it."""
    return _mean_cross_entropy(p, q) if is_mixture(p) else _one_met(p, q)


def _mean_cross_entropy(p: Any, q: Any) -> Parts | None:
    """H(P, Q) = Σₖ wₖ H(fₖ, Q). Source: an expectation under a mixture is the mean of those under its components."""
    return _over_components(p, q)


def _one_met(p: Any, q: Any) -> Parts | None:
    """H(P, Q) = H(P, gₗ) − log vₗ, for P that meets one component l of Q only. Source: q = vₗ gₗ wherever p > 0."""
    if not _comes_in_parts(q):
        return _one_target(p, q) if _one_hot(q) else None
    labels, parts = _live(q)
    met = [j for j, g in enumerate(parts) if not disjoint(p, g)]
    if len(met) != 1:
        return None
    share = _weights(q)[..., labels[met[0]]]
    return Parts(((p, parts[met[0]]),), lambda value: value - jnp.log(share))


def _over_components(p: Any, q: Any) -> Parts | None:
    """Σₖ wₖ (the value at component k of P), at Q or, without one, at the component alone."""
    weighted, wider = components(p), None if q is None else unsqueezed(q)
    if weighted is None or (q is not None and wider is None):
        return None
    batch = jnp.broadcast_shapes(p.batch_shape, () if q is None else q.batch_shape)
    pairs = tuple((block, block if q is None else wider) for block in weighted.blocks)
    return Parts(pairs, lambda *values: _mean(weighted.weights, along_axis(values, weighted.sizes, batch)))


def _mean(weights: Array, values: Array) -> Array:
    """Σₖ wₖ xₖ, in which a weight of 0 leaves its value out, be it ∞."""
    live = weights > 0
    return jnp.where(live, weights * jnp.where(live, values, 0.0), 0.0).sum(-1)


def _stacked(values: Sequence[Array], batch: Any) -> Array:
    return jnp.stack([jnp.broadcast_to(value, batch) for value in values], -1)


# What is known of weights, supports and parameters, where they are numbers.


def _weights(d: Any) -> Array:
    return d.mixing_distribution.probs if is_mixture(d) else jnp.ones((1,))


def _numbers(x: Any) -> bool:
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x))


def _one_hot(d: Any) -> bool:
    weights = _weights(d)
    return d.mixture_size == 1 or (_numbers(weights) and bool(((np.asarray(weights) > 0).sum(-1) == 1).all()))


def _comes_in_parts(d: Any) -> bool:
    """Whether the components are distributions of their own, whose supports may lie apart."""
    return type(d) is not dist.MixtureSameFamily or type(d.component_distribution) is dist.Delta


def _live(d: Any) -> tuple[list[int], list[Any]]:
    """The components whose weight is not known to be 0 throughout the batch, after their numbers."""
    if type(d) is dist.MixtureSameFamily:
        parts = [_point(d.component_distribution, k) for k in range(d.mixture_size)]
    else:
        parts = d.component_distributions if is_mixture(d) else [d]
    weights = _weights(d)
    known = _numbers(weights)
    labels = [k for k in range(len(parts)) if not known or (np.asarray(weights)[..., k] > 0).any()]
    return labels, [parts[k] for k in labels]


def _point(d: Any, k: int) -> Any:
    """The k-th of a batch of points."""
    event = len(d.event_shape)
    v = jnp.broadcast_to(d.v, (*d.batch_shape, *d.event_shape))
    v = jnp.moveaxis(v, v.ndim - event - 1, 0)[k]
    log_density = jnp.broadcast_to(d.log_density, d.batch_shape)[..., k]
    return dist.Delta(v, log_density, event_dim=event, validate_args=False)


def same_law(p: Any, q: Any) -> bool:
    """Whether two distributions are known to have one form and equal parameters."""
    if p is q:
        return True
    (a, form_a), (b, form_b) = jax.tree.flatten(p), jax.tree.flatten(q)
    return type(p) is type(q) and form_a == form_b and all(map(_equal, a, b))


def _equal(a: Any, b: Any) -> bool:
    return a is b or (_numbers((a, b)) and np.array_equal(a, b))


def disjoint(a: Any, b: Any) -> bool:
    """Whether two distributions are known to share no set of positive probability."""
    if _is_discrete(a) != _is_discrete(b):
        return True
    box_a, box_b = _box(a), _box(b)
    if box_a is None or box_b is None:
        return False
    (low_a, high_a), (low_b, high_b) = box_a, box_b
    beyond = np.less if _is_discrete(a) else np.less_equal
    apart = np.asarray(beyond(high_a, low_b) | beyond(high_b, low_a))
    event = min(len(a.event_shape), apart.ndim)
    return bool(apart.any(tuple(range(apart.ndim - event, apart.ndim))).all())


def _mutually_disjoint(parts: list[Any]) -> bool:
    return all(disjoint(f, g) for f, g in combinations(parts, 2))


def _is_discrete(d: Any) -> bool:
    return type(d) is dist.Delta or bool(d.support is not None and d.support.is_discrete)


def _box(d: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the greatest outcome, coordinate by coordinate, where the support is a box of known bounds."""
    if type(d) is dist.Delta:
        return (np.asarray(d.v), np.asarray(d.v)) if _numbers(d.v) else None
    if is_mixture(d) or d.support is None or not _numbers(d):
        return None
    support = from_constraint(d.support)
    return (np.asarray(support.lower), np.asarray(support.upper)) if support.bounded else None
