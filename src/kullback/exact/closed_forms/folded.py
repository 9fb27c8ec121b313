"""|x| of a law symmetric about 0, or of equal bases: for any other the divergence of the bases is only a bound."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from kullback.exact.closed_forms import gamma, location, normal
from kullback.exact.type_keys import UNKNOWN, Form, equal_parameters

# The law of |x| by the scale of a law that is symmetric about 0.
_HALVES = {
    dist.Normal: lambda scale: dist.HalfNormal(scale, validate_args=False),
    dist.Cauchy: lambda scale: dist.HalfCauchy(scale, validate_args=False),
    dist.Laplace: lambda scale: dist.Exponential(1.0 / scale, validate_args=False),
}
_FORMS = {
    dist.HalfNormal: jax.jit(normal.half_normal_kl),
    dist.HalfCauchy: jax.jit(location.half_cauchy_kl),
    dist.Exponential: jax.jit(gamma.exponential_kl),
}
_ENTROPIES = {
    dist.HalfNormal: jax.jit(normal.half_normal_entropy),
    dist.HalfCauchy: jax.jit(location.half_cauchy_entropy),
    dist.Exponential: jax.jit(gamma.exponential_entropy),
}
_SYMMETRIC = (dist.Normal, dist.Cauchy, dist.Laplace, dist.Logistic, dist.SoftLaplace, dist.StudentT)


def folded_kl(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """KL = 0 where Q's base is P's or its mirror image, and that of the half laws where both bases are about 0.

    Source: |x| and |−x| are one variable, and |x| is sufficient for the scale of a law that is symmetric about 0.
    """
    one, two = half(p), half(q)
    if type(one) is type(two) and type(one) in _FORMS:
        return partial(_FORMS[type(one)], one, two)
    if isinstance(p, dist.FoldedDistribution) and isinstance(q, dist.FoldedDistribution) and _same_law(p, q):
        return lambda: jnp.zeros(jnp.broadcast_shapes(p.batch_shape, q.batch_shape))
    return None


def folded_entropy(p: dist.Distribution) -> Form | None:
    """H of the half law, where the base is about 0. Source: as for the divergence."""
    known = half(p)
    return partial(_ENTROPIES[type(known)], known) if type(known) in _ENTROPIES else None


def half(d: dist.Distribution) -> Any:
    """The half law that a folded one is known to be; anything else as it is."""
    if not isinstance(d, dist.FoldedDistribution) or type(d.base_dist) not in _HALVES:
        return d
    base: Any = d.base_dist
    loc = base.loc
    about_zero = not isinstance(loc, UNKNOWN) and not np.any(np.asarray(loc))
    return _HALVES[type(d.base_dist)](jnp.broadcast_to(base.scale, d.batch_shape)) if about_zero else d


def _same_law(p: dist.FoldedDistribution, q: dist.FoldedDistribution) -> bool:
    return equal_parameters(p.base_dist, q.base_dist) or equal_parameters(p.base_dist, _mirrored(q.base_dist))


def _mirrored(d: dist.Distribution) -> Any:
    if type(d) not in _SYMMETRIC:
        return d
    assert isinstance(d, _SYMMETRIC)
    image = jax.tree.map(lambda leaf: leaf, d)
    loc: Any = d.loc
    image.loc = -jnp.asarray(loc) if isinstance(loc, jax.Array) else -loc
    return image


_HALF_KINDS = tuple(_FORMS)

BUILD_KL = {(dist.FoldedDistribution, dist.FoldedDistribution): folded_kl} | {
    pair: folded_kl
    for kind in _HALF_KINDS
    for pair in ((kind, dist.FoldedDistribution), (dist.FoldedDistribution, kind))
}

BUILD_ENTROPY = {dist.FoldedDistribution: folded_entropy}
