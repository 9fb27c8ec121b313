"""Normals truncated to an interval, on one side or both, the half normal and the normal among them; and folded laws.

The integrals are of positive densities, by Gauss and Legendre within the stretch where the exponent is less than 40
below its greatest value, and are taken relative to that value: far tails and narrow intervals keep their digits.

A folded law is that of |x|. Its divergence is exact where the base is symmetric about 0, or where the bases are equal;
for any other the divergence of the bases is only a bound.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.distributions import TruncatedNormal
from kullback.exact.closed_forms import gamma, location_scale
from kullback.exact.type_keys import TRUNCATED, UNKNOWN, Form, equal_parameters
from kullback.numerics.double_precision import floats
from kullback.numerics.quadrature import gauss_legendre
from kullback.numerics.ratios import psi

TruncatedLaw = dist.LeftTruncatedDistribution | dist.RightTruncatedDistribution | dist.TwoSidedTruncatedDistribution
NormalOnInterval = dist.Normal | dist.HalfNormal | TruncatedNormal | TruncatedLaw


class Gaussian(NamedTuple):
    """The parameters of exp(−½((x − loc)/scale)²) on (low, high)."""

    loc: Float[Array, "*s"]
    scale: Float[Array, "*s"]
    low: Float[Array, "*s"]
    high: Float[Array, "*s"]


class Nodes(NamedTuple):
    """Points x within (low, high), about the likeliest point x₀.

    offset  x − x₀
    weight  the density relative to that at x₀, times the weight of the rule; not normalised
    peak    x₀
    """

    offset: Float[Array, "*s n"]
    weight: Float[Array, "*s n"]
    peak: Float[Array, "*s 1"]


def gaussian(d: NormalOnInterval) -> Gaussian:
    """The parameters of a truncated normal, a half normal or a normal."""
    if isinstance(d, dist.HalfNormal):
        (scale,) = floats(d.scale)
        zero, infinite = jnp.zeros_like(scale), jnp.full_like(scale, jnp.inf)
        return Gaussian(loc=zero, scale=scale, low=zero, high=infinite)
    base: Any = getattr(d, "base_dist", d)
    low, high = getattr(d, "low", None), getattr(d, "high", None)
    low, high = -jnp.inf if low is None else low, jnp.inf if high is None else high
    return Gaussian(*jnp.broadcast_arrays(*floats(base.loc, base.scale, low, high)))


def nodes_of(g: Gaussian) -> Nodes:
    """The points of the rule; the integral and its derivatives do not depend on x₀, whose gradient is stopped."""
    peak = jax.lax.stop_gradient(jnp.clip(g.loc, g.low, g.high))
    z = jnp.abs(peak - g.loc) / g.scale
    # ½((z + r)² − z²) = 40.
    reach = jax.lax.stop_gradient(g.scale * 80.0 / (jnp.sqrt(jnp.square(z) + 80.0) + z))
    left, right = jnp.minimum(peak - g.low, reach), jnp.minimum(g.high - peak, reach)
    nodes, weights = gauss_legendre(48 if peak.dtype == jnp.float32 else 80, peak.dtype)
    length = (left + right)[..., None]
    offset = length * nodes - left[..., None]
    exponent = _exponent(g, peak[..., None], offset)
    return Nodes(offset, length * weights * jnp.exp(-exponent), peak[..., None])


def _exponent(g: Gaussian, origin: Array, offset: Array) -> Array:
    """½((x − loc)² − (x₀ − loc)²)/scale² at x = x₀ + offset, [..., n]."""
    loc, scale = g.loc[..., None], g.scale[..., None]
    return 0.5 * offset * (offset + 2.0 * (origin - loc)) / jnp.square(scale)


def _within(p: Gaussian, q: Gaussian, inside: Nodes) -> Array:
    """KL from Q truncated to P's interval: log(1 + E ψ(E D − D)) for D = log p/q, or E D + log E e^−D."""
    points = nodes_of(p)
    mass = points.weight.sum(-1, keepdims=True)
    weight, offset = points.weight / mass, points.offset
    (loc_p, scale_p), (loc_q, scale_q) = ((g.loc[..., None], g.scale[..., None]) for g in (p, q))
    # log p/q less its value at x₀, from differences of the parameters.
    inverse = (scale_p - scale_q) * (scale_p + scale_q) / jnp.square(scale_p * scale_q)
    slope = (offset + 2.0 * (points.peak - loc_p)) * inverse + 2.0 * (loc_p - loc_q) / jnp.square(scale_q)
    log_ratio = 0.5 * offset * slope
    mean = (weight * log_ratio).sum(-1, keepdims=True)
    # Where D varies little, P and Q have their mass in the same place.
    near = (weight * jnp.square(log_ratio - mean)).sum(-1) < (0.2 if mean.dtype == jnp.float32 else 0.02)
    centred = jnp.where(near[..., None], mean - log_ratio, 0.0)
    close = jnp.log1p((weight * psi(centred)).sum(-1))
    rise = _exponent(q, inside.peak, points.peak - inside.peak)[..., 0]
    return jnp.where(near, close, jnp.log(inside.weight.sum(-1)) + rise - jnp.log(mass[..., 0]) + mean[..., 0])


def _outside(p: Gaussian, q: Gaussian, inside: Nodes) -> Array:
    """−log of the mass of Q in P's interval: log(1 + the mass outside over that inside)."""
    sides = []
    for low, high in ((q.low, p.low), (p.high, q.high)):
        there = low < high
        ends = jnp.where(there, low, q.loc), jnp.where(there, high, q.loc)
        side = nodes_of(q._replace(low=ends[0], high=ends[1]))
        mass = jnp.where(there, side.weight.sum(-1), 1.0)
        rise = _exponent(q, side.peak, inside.peak - side.peak)[..., 0]
        sides.append(jnp.where(there, jnp.log(mass) - jnp.log(inside.weight.sum(-1)) + rise, -1e30))
    return jax.nn.softplus(jnp.logaddexp(*sides))


def truncated_normal_kl(p: NormalOnInterval, q: NormalOnInterval) -> Float[Array, "*batch"]:
    """KL = KL(P ‖ Q within P's interval) − log Q(P's interval), and ∞ unless that interval lies within Q's.

    Source: Nielsen (2022), Statistical divergences between densities of truncated exponential families with nested
    supports, theorem 1.
    """
    both = jnp.broadcast_arrays(*floats(*gaussian(p), *gaussian(q)))
    a, b = Gaussian(*both[:4]), Gaussian(*both[4:])
    nested = (b.low <= a.low) & (a.high <= b.high)
    inside = nodes_of(b._replace(low=a.low, high=a.high))
    return jnp.where(nested, _within(a, b, inside) + _outside(a, b, inside), jnp.inf)


def log_normaliser(g: Gaussian) -> Float[Array, "*batch"]:
    """log ∫ exp(−½((x − loc)/scale)²) over the interval."""
    points = nodes_of(g)
    top = 0.5 * jnp.square((points.peak[..., 0] - g.loc) / g.scale)
    return jnp.log(points.weight.sum(-1)) - top


def mean_and_variance(g: Gaussian) -> tuple[Array, Array]:
    """E x and the variance of x."""
    points = nodes_of(g)
    weight = points.weight / points.weight.sum(-1, keepdims=True)
    mean = (weight * points.offset).sum(-1, keepdims=True)
    return (points.peak + mean)[..., 0], (weight * jnp.square(points.offset - mean)).sum(-1)


def truncated_normal_entropy(p: NormalOnInterval) -> Float[Array, "*batch"]:
    """H = log ∫ e^−f + E f, for f the exponent less its least value.

    Source: Johnson, Kotz and Balakrishnan (1994), section 13.10.1, for the density.
    """
    g = gaussian(p)
    points = nodes_of(g)
    mass = points.weight.sum(-1, keepdims=True)
    return jnp.log(mass[..., 0]) + (points.weight / mass * _exponent(g, points.peak, points.offset)).sum(-1)


TRUNCATED_NORMALS = (TruncatedNormal, *((kind, dist.Normal) for kind in TRUNCATED))


# The law of |x| by the scale of a law that is symmetric about 0.
_HALVES = {
    dist.Normal: lambda scale: dist.HalfNormal(scale, validate_args=False),
    dist.Cauchy: lambda scale: dist.HalfCauchy(scale, validate_args=False),
    dist.Laplace: lambda scale: dist.Exponential(1.0 / scale, validate_args=False),
}
_FORMS = {
    dist.HalfNormal: jax.jit(location_scale.half_normal_kl),
    dist.HalfCauchy: jax.jit(location_scale.half_cauchy_kl),
    dist.Exponential: jax.jit(gamma.exponential_kl),
}
_ENTROPIES = {
    dist.HalfNormal: jax.jit(location_scale.half_normal_entropy),
    dist.HalfCauchy: jax.jit(location_scale.half_cauchy_entropy),
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


KL = {
    **{
        (p, q): truncated_normal_kl
        for p in (*TRUNCATED_NORMALS, dist.HalfNormal, dist.Normal)
        for q in (*TRUNCATED_NORMALS, dist.HalfNormal, dist.Normal)
        if p in TRUNCATED_NORMALS or q in TRUNCATED_NORMALS
    },
}
BUILD_KL = {
    **(
        {(dist.FoldedDistribution, dist.FoldedDistribution): folded_kl}
        | {
            pair: folded_kl
            for kind in _HALF_KINDS
            for pair in ((kind, dist.FoldedDistribution), (dist.FoldedDistribution, kind))
        }
    ),
}
ENTROPY = {
    **dict.fromkeys(TRUNCATED_NORMALS, truncated_normal_entropy),
}
BUILD_ENTROPY = {
    dist.FoldedDistribution: folded_entropy,
}
