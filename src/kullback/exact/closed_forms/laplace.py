"""The Laplace distribution, and the asymmetric Laplace distribution in both parametrisations."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats
from kullback.numerics.ratios import gap, psi, scale_gap

LaplaceLaw = dist.Laplace | dist.AsymmetricLaplace | dist.AsymmetricLaplaceQuantile


def laplace_kl(p: dist.Laplace, q: dist.Laplace) -> Float[Array, "*batch"]:
    """KL = φ(u) + (1 + u) ψ(−|μp − μq|/bp), with u = (bp − bq)/bq.

    Source: Gil, Alajaji and Linder (2013), Laplace, written as a sum of non-negative terms.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    distance = jnp.abs(mean_p - mean_q) / scale_p
    return scale_gap(scale_p, scale_q) + scale_p / scale_q * psi(-distance)


def two_sided(d: LaplaceLaw) -> tuple[Array, Array, Array]:
    """The location, and the mean distances l to its left and r to its right of a Laplace distribution of any kind."""
    if isinstance(d, dist.AsymmetricLaplace):
        loc, scale, asymmetry = floats(d.loc, d.scale, d.asymmetry)
        return loc, scale * asymmetry, scale / asymmetry
    if isinstance(d, dist.AsymmetricLaplaceQuantile):
        loc, scale, quantile = floats(d.loc, d.scale, d.quantile)
        return loc, scale / (1.0 - quantile), scale / quantile
    loc, scale = floats(d.loc, d.scale)
    return loc, scale, scale


def _steps(p: LaplaceLaw, q: LaplaceLaw) -> tuple[Array, Array]:
    """lq − lp and rq − rp, from differences of the parameters themselves where both have the same ones."""
    if isinstance(p, dist.AsymmetricLaplace) and isinstance(q, dist.AsymmetricLaplace):
        s, k, t, j = floats(p.scale, p.asymmetry, q.scale, q.asymmetry)
        return (t - s) * k + t * (j - k), ((t - s) * k - s * (j - k)) / (j * k)
    if isinstance(p, dist.AsymmetricLaplaceQuantile) and isinstance(q, dist.AsymmetricLaplaceQuantile):
        s, k, t, j = floats(p.scale, p.quantile, q.scale, q.quantile)
        left = ((t - s) * (1.0 - k) + s * (j - k)) / ((1.0 - j) * (1.0 - k))
        return left, ((t - s) * k - s * (j - k)) / (j * k)
    (_, left_p, right_p), (_, left_q, right_q) = two_sided(p), two_sided(q)
    return left_q - left_p, right_q - right_p


def asymmetric_kl(p: LaplaceLaw, q: LaplaceLaw) -> Float[Array, "*batch"]:
    """KL = KL(w ‖ w') + Σ w φ((s − s')/s') + (1/l' + 1/r') (d (v' − v) + v s ψ(−d/s)), d = |μ − μ'|.

    The sum is over the sides s = l, r of P with weights w = l/(l + r), r/(l + r), and v, s in the last term are those
    of the side of P's location where Q's location is. Source: the means of (x − μ')₊ and (μ' − x)₊ are elementary; then
    the part at d = 0 is split by the chain rule over the side.
    """
    (mean_p, left_p, right_p), (mean_q, left_q, right_q) = two_sided(p), two_sided(q)
    step_left, step_right = _steps(p, q)
    size_p, size_q = left_p + right_p, left_q + right_q
    weight_left, weight_right = left_p / size_p, right_p / size_p
    change = (step_left * right_p - left_p * step_right) / (size_p * size_q)
    sides = gap(weight_left, left_q / size_q, change) + gap(weight_right, right_q / size_q, -change)
    scales_left = weight_left * gap(left_q, left_p, -step_left) / left_q
    scales_right = weight_right * gap(right_q, right_p, -step_right) / right_q
    is_left = mean_p >= mean_q
    distance, scale = jnp.abs(mean_p - mean_q), jnp.where(is_left, left_p, right_p)
    tilt = distance * jnp.where(is_left, change, -change)
    moved = tilt + jnp.where(is_left, weight_left, weight_right) * scale * psi(-distance / scale)
    return sides + scales_left + scales_right + size_q / (left_q * right_q) * moved


def laplace_entropy(p: LaplaceLaw) -> Float[Array, "*batch"]:
    """H = 1 + log(l + r), for the mean distances l and r to either side; they are b for Laplace.

    Source: Cover and Thomas (2006), table 17.1, for equal sides; −log p is log(l + r) and an exponential variable.
    """
    loc, left, right = two_sided(p)
    return 1.0 + jnp.log(left + right) + jnp.zeros_like(loc)


_KINDS = (dist.Laplace, dist.AsymmetricLaplace, dist.AsymmetricLaplaceQuantile)

KL = {**every_pair(asymmetric_kl, *_KINDS), (dist.Laplace, dist.Laplace): laplace_kl}

ENTROPY = dict.fromkeys(_KINDS, laplace_entropy)
