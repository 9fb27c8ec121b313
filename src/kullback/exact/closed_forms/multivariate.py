"""The multivariate normal in any of its parametrisations, and independent normals beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from kullback.exact.type_keys import INDEPENDENT_NORMAL, every_pair, unexpanded
from kullback.numerics.double_precision import batched_in_double, floats
from kullback.numerics.log_gamma import HALF_LOG_2PI
from kullback.numerics.ratios import phi

HasFactor = dist.MultivariateNormal | dist.WishartCholesky | dist.InverseWishartCholesky  # with a `scale_tril`


class Covariance(NamedTuple):
    """A covariance as it was given: by one of these, the others None.

    factor      lower triangular
    covariance  the matrix itself
    precision   its inverse
    low_rank    W and D of W Wᵀ + diag D
    scale       of independent coordinates
    neighbours  τ, ρ and A of the precision τ (diag(A 1) − ρ A)
    """

    factor: Float[Array, "*batch d d"] | None = None
    covariance: Float[Array, "*batch d d"] | None = None
    precision: Float[Array, "*batch d d"] | None = None
    low_rank: tuple[Float[Array, "*batch d r"], Float[Array, "*batch d"]] | None = None
    scale: Float[Array, "*batch d"] | None = None
    neighbours: tuple[Float[Array, "*batch 1 1"], Float[Array, "*batch 1 1"], Float[Array, "*batch d d"]] | None = None


def covariance_as_given(
    d: HasFactor, covariance: str = "covariance_matrix", precision: str = "precision_matrix"
) -> Covariance:
    """What a distribution with a `scale_tril` was given; the two names are those that its class has for them.

    NumPyro keeps a matrix that it was given before the factor that it derives from it, and one that it derives on
    request after. A distribution that crosses into a compiled program keeps the factor alone.
    """
    kept = list(d.__dict__)
    first = kept[: kept.index("scale_tril")] if "scale_tril" in kept else kept
    given: Mapping[str, Any] = d.__dict__
    if covariance in first:
        return Covariance(covariance=given[covariance])
    if precision in first:
        return Covariance(precision=given[precision])
    factor: Any = d.scale_tril
    return Covariance(factor=factor)


def mean_and_covariance(d: dist.Distribution) -> tuple[Any, Covariance]:
    """The mean [..., d] and the covariance of a distribution that is a multivariate normal."""
    if type(d) is dist.Independent:
        base, shape = unexpanded(d.base_dist), d.event_shape
        assert isinstance(base, dist.Normal)
        loc, scale = (
            jnp.broadcast_to(x, jnp.broadcast_shapes(jnp.shape(x), shape)) for x in floats(base.loc, base.scale)
        )
        return loc, Covariance(scale=scale)
    if type(d) is dist.LowRankMultivariateNormal:
        low_rank: Any = d.cov_factor, d.cov_diag
        return d.loc, Covariance(low_rank=low_rank)
    if type(d) is dist.CAR:
        adjacency: Any = d.adj_matrix
        adjacency = adjacency.toarray() if d.is_sparse else adjacency
        precision, correlation, adjacency = floats(d.conditional_precision, d.correlation, adjacency)
        return d.loc, Covariance(neighbours=(precision[..., None, None], correlation[..., None, None], adjacency))
    if type(d) is dist.CirculantNormal:
        covariance: Any = d.covariance_matrix
        return d.loc, Covariance(covariance=covariance)
    assert isinstance(d, dist.MultivariateNormal)
    return d.loc, covariance_as_given(d)


def factor_of(s: Covariance) -> Float[Array, "*batch d d"]:
    """The lower-triangular factor of the covariance that has a positive diagonal."""
    if s.covariance is not None:
        return jnp.linalg.cholesky(s.covariance)
    if (precision := _precision_of(s)) is not None:
        return _inverse_factor(precision)
    if s.low_rank is not None:
        return _low_rank_factor(*s.low_rank)
    if s.scale is not None:
        return s.scale[..., None] * jnp.eye(s.scale.shape[-1], dtype=s.scale.dtype)
    assert s.factor is not None
    return s.factor * jnp.where(diagonal(s.factor) < 0, -1.0, 1.0)[..., None, :]


def _precision_of(s: Covariance) -> Any:
    if s.neighbours is None:
        return s.precision
    precision, correlation, adjacency = s.neighbours
    return precision * _laplacian(correlation, adjacency)


def _laplacian(correlation: Array, adjacency: Array) -> Array:
    """diag(A 1) − ρ A."""
    eye = jnp.eye(adjacency.shape[-1], dtype=adjacency.dtype)
    return adjacency.sum(-1, keepdims=True) * eye - correlation * adjacency


def _inverse_factor(precision: Array) -> Array:
    """The inverse of L⁻¹ where the precision is L⁻ᵀ L⁻¹: a Cholesky factor in the reverse order of coordinates."""
    reverse = jnp.linalg.cholesky(precision[..., ::-1, ::-1])[..., ::-1, ::-1].mT
    eye = jnp.broadcast_to(jnp.eye(reverse.shape[-1], dtype=reverse.dtype), reverse.shape)
    return solve_triangular(reverse, eye, lower=True)


def _low_rank_factor(w: Array, d: Array) -> Array:
    """D^½ chol(I + D^−½ W Wᵀ D^−½): no eigenvalue within is below 1. Source: Rasmussen and Williams (2006), 3.4.3."""
    root = jnp.sqrt(d)[..., None]
    scaled = w / root
    return root * jnp.linalg.cholesky(scaled @ scaled.mT + jnp.eye(w.shape[-2], dtype=w.dtype))


def factor_ratio(p: Covariance, q: Covariance) -> Float[Array, "*batch d d"]:
    """X = Lq⁻¹ Lp − I, lower triangular, to relative accuracy also where P is near Q.

    From two factors, Lq X = Lp − Lq. From two matrices the factors have rounding of their own, as large as X when P is
    near Q; but X + Xᵀ + X Xᵀ = Lq⁻¹ (Σp − Σq) Lq⁻ᵀ, and X + Xᵀ + Xᵀ X = Lpᵀ (Λq − Λp) Lp, whose right sides are
    accurate; and the residual, with its diagonal halved, corrects a small X to first order.
    """
    factor_p, factor_q = jnp.broadcast_arrays(factor_of(p), factor_of(q))
    x = jnp.tril(_solve(factor_q, factor_p - factor_q, q))
    if (change := _covariance_change(p, q)) is not None:
        change = jnp.broadcast_to(_symmetric(change), x.shape)
        square, found = x @ x.mT, _solve(factor_q, _solve(factor_q, change, q).mT, q)
    elif (change := _precision_change(p, q)) is not None:
        square, found = x.mT @ x, factor_p.mT @ _symmetric(change) @ factor_p
    else:
        return x
    near = jnp.square(x).sum((-2, -1), keepdims=True) < 0.25
    halved = jnp.tril(found - x - x.mT - square) * (1.0 - 0.5 * jnp.eye(x.shape[-1], dtype=x.dtype))
    x = x + jnp.where(near, halved, 0.0)
    # Equal parameters give 0 also where the compiler rounds the two factors differently.
    equal = (change == 0).all((-2, -1), keepdims=True)
    return x - jnp.where(equal, jax.lax.stop_gradient(x), 0.0)


def _solve(factor: Array, right: Array, s: Covariance) -> Array:
    if s.scale is not None:
        return right / s.scale[..., None]
    return solve_triangular(factor, right, lower=True)


def _covariance_change(p: Covariance, q: Covariance) -> Any:
    """Σp − Σq, where it is known better than from the factors."""
    if p.covariance is not None and q.covariance is not None:
        return p.covariance - q.covariance
    if p.low_rank is None or q.low_rank is None or p.low_rank[0].shape[-1] != q.low_rank[0].shape[-1]:
        return None
    (w_p, d_p), (w_q, d_q) = p.low_rank, q.low_rank
    eye = jnp.eye(d_p.shape[-1], dtype=d_p.dtype)
    return (d_p - d_q)[..., None] * eye + _symmetric((w_p - w_q) @ (w_p + w_q).mT)


def _precision_change(p: Covariance, q: Covariance) -> Any:
    """Λq − Λp, where it is known better than from the factors."""
    if p.precision is not None and q.precision is not None:
        return q.precision - p.precision
    if p.neighbours is None or q.neighbours is None:
        return None
    (t_p, r_p, a_p), (t_q, r_q, a_q) = p.neighbours, q.neighbours
    inner = _laplacian(r_p, a_q - a_p) - (r_q - r_p) * a_q
    return (t_q - t_p) * _laplacian(r_q, a_q) + t_p * inner


def _symmetric(x: Array) -> Array:
    return 0.5 * (x + x.mT)


def covariance_gap(x: Float[Array, "*batch d d"]) -> Float[Array, "*batch"]:
    """½(tr M − d − log det M) for M = (I + X)(I + X)ᵀ: Σ (φ(uᵢ) + ½uᵢ²) + ½‖X below its diagonal u‖²."""
    return phi(diagonal(x)).sum(-1) + 0.5 * jnp.square(x).sum((-2, -1))


def diagonal(x: Float[Array, "*batch d d"]) -> Float[Array, "*batch d"]:
    """The diagonals [..., d] of matrices [..., d, d]."""
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def multivariate_kl(
    mean_p: Float[Array, "*batch d"], p: Covariance, mean_q: Float[Array, "*batch d"], q: Covariance
) -> Float[Array, "*batch"]:
    """KL = Σ (φ(uᵢ) + ½uᵢ²) + ½‖X below its diagonal u‖² + ½‖Lq⁻¹(μp − μq)‖², where Lq X = Lp − Lq.

    Source: Kullback (1959), chapter 9, eq. 1.2, with Σq⁻¹Σp = (I + X)(I + X)ᵀ up to similarity.
    """
    shift, factor = (mean_p - mean_q)[..., None], factor_of(q)
    batch, size = jnp.broadcast_shapes(shift.shape[:-2], factor.shape[:-2]), factor.shape[-1]
    shift, factor = jnp.broadcast_to(shift, (*batch, size, 1)), jnp.broadcast_to(factor, (*batch, size, size))
    return covariance_gap(factor_ratio(p, q)) + 0.5 * jnp.square(_solve(factor, shift, q)).sum((-2, -1))


def multivariate_entropy(mean: Float[Array, "*batch d"], s: Covariance) -> Float[Array, "*batch"]:
    """H = ½ log det Σ + (d/2) log 2πe; for W Wᵀ + D, det Σ = det D det(I + Wᵀ D⁻¹ W).

    Source: Cover and Thomas (2006), theorem 8.4.1.
    """
    logs = _log_scales(s)
    half, size = logs.sum(-1), logs.shape[-1] if s.low_rank is None else s.low_rank[1].shape[-1]
    return jnp.broadcast_to(half, jnp.broadcast_shapes(half.shape, mean.shape[:-1])) + size * NORMAL_ENTROPY


def _log_scales(s: Covariance) -> Array:
    """Terms [..., k] that add up to ½ log det Σ."""
    if s.low_rank is None:
        return jnp.log(diagonal(factor_of(s)))
    w, d = s.low_rank
    inner = jnp.linalg.cholesky(w.mT @ (w / d[..., None]) + jnp.eye(w.shape[-1], dtype=w.dtype))
    logs = 0.5 * jnp.log(d), jnp.log(diagonal(inner))
    batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in logs))
    return jnp.concatenate([jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in logs], -1)


NORMAL_ENTROPY = HALF_LOG_2PI + 0.5  # of a standard normal coordinate

# How many axes of each field of `Covariance` are not the batch.
_AXES = (2, 2, 2, (2, 1), 1, (2, 2, 2))


def covariance_form(form: Callable[..., Array], axes: int) -> Callable[..., Array]:
    """A compiled form of (parameters [*batch, *event], covariance) of each side.

    It runs in double precision if a matrix has to be factored, which in single precision leaves few digits. `axes` is
    the number of event axes of the parameters.
    """

    def run(*parts: Any) -> Array:
        leaves, structure = jax.tree.flatten(parts)
        leaves = floats(*leaves)
        if all(s.factor is not None or s.scale is not None for s in parts[1::2]):
            return form(*jax.tree.unflatten(structure, leaves))
        own = [axes if i % 2 == 0 else _axes(part) for i, part in enumerate(parts)]
        counts = jax.tree.leaves(own)
        batch = jnp.broadcast_shapes(*(x.shape[: x.ndim - n] for x, n in zip(leaves, counts, strict=True)))
        spread = [jnp.broadcast_to(x, batch + x.shape[x.ndim - n :]) for x, n in zip(leaves, counts, strict=True)]
        return batched_in_double(lambda *xs: form(*jax.tree.unflatten(structure, xs)), counts)(*spread)

    return jax.jit(run)


def _axes(s: Covariance) -> tuple[Any, ...]:
    return tuple(None if given is None else axes for given, axes in zip(s, _AXES, strict=True))


_KL, _ENTROPY = covariance_form(multivariate_kl, 1), covariance_form(multivariate_entropy, 1)


def _kl(p: dist.Distribution, q: dist.Distribution) -> Callable[[], Array]:
    return partial(_KL, *_covariances(p, q))


def _entropy(p: dist.Distribution) -> Callable[[], Array]:
    return partial(_ENTROPY, *_covariances(p))


def _covariances(*laws: dist.Distribution) -> tuple[Any, ...]:
    """The arguments of the forms; none for shapes alone, where only the existence of a form is asked for."""
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(laws)):
        return ()
    return tuple(part for law in laws for part in mean_and_covariance(law))


_KINDS = (
    dist.MultivariateNormal,
    dist.LowRankMultivariateNormal,
    dist.CAR,
    dist.CirculantNormal,
    INDEPENDENT_NORMAL,
)

# Two independent normals are compared coordinate by coordinate, and two circulant ones by frequencies.
_ELSEWHERE = ((INDEPENDENT_NORMAL, INDEPENDENT_NORMAL), (dist.CirculantNormal, dist.CirculantNormal))

BUILD_KL = {pair: form for pair, form in every_pair(_kl, *_KINDS).items() if pair not in _ELSEWHERE}

BUILD_ENTROPY = dict.fromkeys(_KINDS[:3], _entropy)
