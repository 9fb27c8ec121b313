"""Mixtures P = Σₖ wₖ fₖ: what is exact of them, by reduction to pairs of components.

Weights, supports and parameters are read, so most of this needs numbers: traced ones are not known to be 0, to be equal
or to be disjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.closed_forms.categorical import categorical_kl, labels_entropy, weighted_sum
from kullback.exact.composite import Parts
from kullback.exact.composite.broadcasting import unsqueezed
from kullback.exact.composite.disjoint_support import (
    Mixture,
    disjoint,
    has_separate_components,
    is_discrete,
    is_mixture,
    mutually_disjoint,
    one_hot,
    weighted_components,
    weights_of,
)
from kullback.exact.type_keys import equal_parameters


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
