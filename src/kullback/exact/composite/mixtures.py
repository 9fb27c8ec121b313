"""Mixtures P = Σₖ wₖ fₖ: what is exact of them, by reduction to pairs of components.

Weights, supports and parameters are read, so most of this needs numbers: traced ones are not known to be 0, to be equal
or to be disjoint. To compare each component of one side with each of the other, an axis of length 1 is inserted into
their batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions import MaskedDistribution, constraints
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.exact.closed_forms.categorical import categorical_kl, labels_entropy, weighted_sum
from kullback.exact.composite import Parts
from kullback.exact.type_keys import UNKNOWN, equal_parameters
from kullback.known.constraints import constraint_of
from kullback.known.support import from_constraint

Mixture = dist.MixtureSameFamily | dist.MixtureGeneral

KINDS = (dist.MixtureSameFamily, dist.MixtureGeneral)


def is_mixture(d: dist.Distribution) -> TypeGuard[Mixture]:
    return type(d) in KINDS


def has_support(d: dist.Distribution) -> bool:
    """Whether NumPyro's support is right: for a mixture of several kinds it is that of the first component."""
    return type(d) is not dist.MixtureGeneral or d._support is not None


def weights_of(d: dist.Distribution) -> Float[Array, "*batch k"]:
    if not is_mixture(d):
        return jnp.ones((1,))
    probs: Any = d.mixing_distribution.probs
    return probs


def _numbers(x: object) -> bool:
    return not any(isinstance(leaf, UNKNOWN) for leaf in jax.tree.leaves(x))


def one_hot(d: Mixture) -> bool:
    if d.mixture_size == 1 or not _numbers(d.mixing_distribution):
        return d.mixture_size == 1
    return bool(((np.asarray(weights_of(d)) > 0).sum(-1) == 1).all())


def has_separate_components(d: dist.Distribution) -> bool:
    """Whether the components are separate distributions, whose supports may be disjoint."""
    return type(d) is not dist.MixtureSameFamily or type(d.component_distribution) is dist.Delta


def weighted_components(d: dist.Distribution) -> tuple[list[int], list[dist.Distribution]]:
    """The numbers of the components whose weight is not known to be 0 in the whole batch, and these components."""
    if type(d) is dist.MixtureSameFamily:
        points = d.component_distribution
        assert isinstance(points, dist.Delta)
        parts: list[dist.Distribution] = [_point(points, k) for k in range(d.mixture_size)]
    else:
        parts = d.component_distributions if type(d) is dist.MixtureGeneral else [d]
    if not is_mixture(d) or not _numbers(d.mixing_distribution):
        return list(range(len(parts))), parts
    weights = np.asarray(weights_of(d))
    labels = [k for k in range(len(parts)) if (weights[..., k] > 0).any()]
    return labels, [parts[k] for k in labels]


def _point(d: dist.Delta, k: int) -> dist.Delta:
    """The k-th point of a batch."""
    event = len(d.event_shape)
    v = jnp.broadcast_to(d.v, (*d.batch_shape, *d.event_shape))
    v = jnp.moveaxis(v, v.ndim - event - 1, 0)[k]
    log_density = jnp.broadcast_to(jnp.asarray(d.log_density), d.batch_shape)[..., k]
    return dist.Delta(v, log_density, event_dim=event, validate_args=False)


def disjoint(a: dist.Distribution, b: dist.Distribution) -> bool:
    """Whether two distributions are known to share no set of positive probability."""
    if is_discrete(a) != is_discrete(b):
        return True
    box_a, box_b = _box(a), _box(b)
    if box_a is None or box_b is None:
        return False
    (low_a, high_a), (low_b, high_b) = box_a, box_b
    beyond = np.less if is_discrete(a) else np.less_equal
    apart = np.asarray(beyond(high_a, low_b) | beyond(high_b, low_a))
    event = min(len(a.event_shape), apart.ndim)
    return bool(apart.any(tuple(range(apart.ndim - event, apart.ndim))).all())


def mutually_disjoint(parts: list[dist.Distribution]) -> bool:
    return all(disjoint(f, g) for f, g in combinations(parts, 2))


def is_discrete(d: dist.Distribution) -> bool:
    return type(d) is dist.Delta or bool(d.support is not None and d.support.is_discrete)


def _box(d: dist.Distribution) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the greatest outcome, coordinate by coordinate, where the support is a box of known bounds."""
    if type(d) is dist.Delta:
        return (np.asarray(d.v), np.asarray(d.v)) if _numbers(d.v) else None
    constraint = None if is_mixture(d) or not _numbers(d) else constraint_of(d)
    if constraint is None:
        return None
    support = from_constraint(constraint)
    return (np.asarray(support.lower), np.asarray(support.upper)) if support.bounded else None


_INTERVALS = (
    constraints.interval | constraints.integer_interval | constraints.greater_than | constraints.integer_greater_than
)


def unsqueezed(d: dist.Distribution, right: int = 0) -> dist.Distribution | None:
    """The distribution with a batch axis of length 1 before the last `right` ones; None where it cannot be inserted.

    Fewer batch axes than that broadcast as they are.
    """
    rank = len(d.batch_shape)
    if rank <= right:
        return d
    shape = (*d.batch_shape[: rank - right], 1, *d.batch_shape[rank - right :])
    if type(d) is ExpandedDistribution:
        base = unsqueezed(d.base_dist, right)
        return None if base is None else base.expand(shape)
    if type(d) is MaskedDistribution:
        return None
    names, (fields, about) = type(d).gather_pytree_data_fields(), d.tree_flatten()
    moved = [_field(d, name, value, right) for name, value in zip(names, fields, strict=True)]
    if any(new is None and old is not None for new, old in zip(moved, fields, strict=True)):
        return None
    wider = type(d).tree_unflatten(about, tuple(moved))
    wider._batch_shape = shape
    return wider


def _field(d: dist.Distribution, name: str, value: Any, right: int) -> Any | None:
    """One field of a distribution with the axis inserted; None where it is unknown which of its axes are the batch."""
    if isinstance(value, dist.Distribution):
        return unsqueezed(value, right + _own_axes(d, name, value))
    if name == "_component_distributions":
        parts = [unsqueezed(part, right) for part in value]
        return None if any(part is None for part in parts) else parts
    if name in d.arg_constraints and not isinstance(value, list):
        return _array(value, right, d.arg_constraints[name].event_dim)
    if isinstance(value, _INTERVALS):
        return jax.tree.map(lambda leaf: _array(leaf, right, 0), value)
    return value if all(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(value)) else None


def _own_axes(d: dist.Distribution, name: str, part: dist.Distribution) -> int:
    """How many batch axes of the part belong to the whole's event, or to the components of a mixture."""
    if name == "_component_distribution":
        return 1
    return max(len(part.batch_shape) - len(d.batch_shape), 0)


def _array(x: ArrayLike, right: int, event: int) -> Any:
    place = jnp.ndim(x) - event - right
    return jnp.expand_dims(x, place) if place > 0 else x


class Weighted(NamedTuple):
    """Weights [*batch, K], and distributions with a last batch axis of the `sizes`, which sum to K."""

    weights: Float[Array, "*batch k"]
    blocks: tuple[dist.Distribution, ...]
    sizes: tuple[int, ...]


def components(d: dist.Distribution) -> Weighted | None:
    """The components of a mixture in blocks; any other distribution is a mixture of one.

    Separate components whose weight is known to be 0 are left out. None if they cannot be arranged along one axis.
    """
    if type(d) is dist.MixtureSameFamily:
        return Weighted(weights=weights_of(d), blocks=(d.component_distribution,), sizes=(d.mixture_size,))
    labels, parts = weighted_components(d)
    blocks = [block for block in map(unsqueezed, parts) if block is not None]
    if len(blocks) < len(parts):
        return None
    return Weighted(weights=weights_of(d)[..., labels], blocks=tuple(blocks), sizes=(1,) * len(blocks))


def along_axis(values: Sequence[Array], sizes: Sequence[int], batch: tuple[int, ...]) -> Array:
    """The values of blocks, each broadcast to [*batch, size], as one array [*batch, K]."""
    spread = [jnp.broadcast_to(v, (*batch, size)) for v, size in zip(values, sizes, strict=True)]
    return jnp.concatenate(spread, -1)


def reduce_kl(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """KL(P‖Q) where a side is a mixture, from those of components, where that is exact."""
    if equal_parameters(p, q):
        return Parts((), lambda: jnp.zeros(p.batch_shape))
    if is_mixture(p) and one_hot(p):
        return _one_component_with_all_the_weight(p, q)
    if is_mixture(q) and one_hot(q):
        return _one_target_with_all_the_weight(p, q)
    return _disjoint_components(p, q)


def _one_component_with_all_the_weight(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """KL = Σₖ wₖ KL(fₖ ‖ Q), for P of which one component has all the weight. Source: P is that component."""
    return _over_components(p, q)


def _one_target_with_all_the_weight(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """KL = Σₗ vₗ KL(P ‖ gₗ), for Q of which one component has all the weight. Source: Q is that component."""
    swapped = _over_components(q, p)
    return None if swapped is None else Parts(tuple((b, a) for a, b in swapped.pairs), swapped.finish)


def _disjoint_components(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """KL = Σₖ wₖ log(wₖ/vₗ) + Σₖ wₖ KL(fₖ ‖ gₗ), for disjoint fₖ, each of which overlaps one component l of Q.

    Source: Cover and Thomas (2006), theorem 2.5.3: the chain rule for the label, which the outcome then tells.
    """
    if not (has_separate_components(p) and has_separate_components(q)):
        return None
    (labels, own), (others, targets) = weighted_components(p), weighted_components(q)
    meets = [[j for j, g in enumerate(targets) if not disjoint(f, g)] for f in own]
    if any(len(found) > 1 for found in meets) or not mutually_disjoint(own):
        return None
    batch = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    if not all(meets):
        return Parts((), lambda: jnp.full(batch, jnp.inf))
    met = [found[0] for found in meets]
    w, v, chosen = weights_of(p)[..., labels], weights_of(q), [others[j] for j in met]
    pairs = tuple((f, targets[j]) for f, j in zip(own, met, strict=True))

    def finish(*values: Array) -> Array:
        value = _labels_kl(w, v, chosen) + weighted_sum(w, _stacked(values, batch))
        # A value below 0 is due to rounding; the first term alone may be, where two components overlap one of Q.
        return value + jax.lax.stop_gradient(jnp.maximum(-value, 0.0))

    return Parts(pairs, finish)


def _labels_kl(w: Array, v: Array, chosen: list[int]) -> Array:
    """Σₖ wₖ log(wₖ/vₗ), with l the one `chosen` for k."""
    if len(set(chosen)) == len(chosen):
        rest = [label for label in range(v.shape[-1]) if label not in chosen]
        return categorical_kl(*(dist.CategoricalProbs(x, validate_args=False) for x in (w, v[..., [*chosen, *rest]])))
    live = w > 0
    return jnp.where(live, w * (jnp.log(jnp.where(live, w, 1.0)) - jnp.log(v[..., chosen])), 0.0).sum(-1)


def reduce_entropy(p: Mixture) -> Parts | None:
    """H(P) of a mixture of which one component has all the weight, or whose components are disjoint."""
    return _over_components(p, None) if one_hot(p) else _entropy_of_disjoint_components(p)


def _entropy_of_disjoint_components(p: Mixture) -> Parts | None:
    """H = H(w) + Σₖ wₖ H(fₖ), for disjoint components.

    Source: Cover and Thomas (2006), theorem 2.2.1: the chain rule for the label, which the outcome then tells.
    """
    labels, own = weighted_components(p) if has_separate_components(p) else ([], [])
    if not own or not mutually_disjoint(own) or len({is_discrete(f) for f in own}) > 1:
        return None
    w, batch = weights_of(p)[..., labels], tuple(p.batch_shape)
    pairs = tuple((f, f) for f in own)
    return Parts(pairs, lambda *values: labels_entropy(w, True) + weighted_sum(w, _stacked(values, batch)))


def reduce_cross_entropy(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """H(P, Q) for a mixture P that is exact for each component, or a mixture Q of which P overlaps one component."""
    if is_mixture(p):
        return _cross_entropy_of_components(p, q)
    return _one_target_overlapped(p, q) if is_mixture(q) else None


def _cross_entropy_of_components(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """H(P, Q) = Σₖ wₖ H(fₖ, Q). Source: an expectation under a mixture is the mean of those under its components."""
    return _over_components(p, q)


def _one_target_overlapped(p: dist.Distribution, q: Mixture) -> Parts | None:
    """H(P, Q) = H(P, gₗ) − log vₗ, for P that overlaps one component l of Q only. Source: q = vₗ gₗ where p > 0."""
    if not has_separate_components(q):
        return _one_target_with_all_the_weight(p, q) if one_hot(q) else None
    labels, parts = weighted_components(q)
    met = [j for j, g in enumerate(parts) if not disjoint(p, g)]
    if len(met) != 1:
        return None
    share = weights_of(q)[..., labels[met[0]]]
    return Parts(((p, parts[met[0]]),), lambda value: value - jnp.log(share))


def _over_components(p: dist.Distribution, q: dist.Distribution | None) -> Parts | None:
    """Σₖ wₖ (the value at component k of P), at Q or, without one, at the component alone."""
    weighted, wider = components(p), None if q is None else unsqueezed(q)
    if weighted is None or (q is not None and wider is None):
        return None
    batch = jnp.broadcast_shapes(p.batch_shape, () if q is None else q.batch_shape)
    pairs = tuple((block, block if wider is None else wider) for block in weighted.blocks)
    return Parts(pairs, lambda *values: weighted_sum(weighted.weights, along_axis(values, weighted.sizes, batch)))


def _stacked(values: Sequence[Array], batch: tuple[int, ...]) -> Array:
    return jnp.stack([jnp.broadcast_to(value, batch) for value in values], -1)
