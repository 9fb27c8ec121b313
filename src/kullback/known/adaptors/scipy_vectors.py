"""The adaptor for frozen scipy.stats variables of vectors and matrices: NumPyro's distribution, or by callback.

SciPy's log-densities take the axes of an outcome in different places; here these axes are always last. The outcomes of
discrete ones are listed where they are few enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Int
from numpyro.distributions import Distribution, constraints
from scipy import special, stats

from kullback.errors import InputError
from kullback.known.adaptors import numpyro_distributions
from kullback.known.constraints import (
    Surface,
    isospectral_correlations,
    orthogonal_matrices,
    plane,
    unitary_matrices,
)
from kullback.known.host import host_log_prob, host_sampler
from kullback.known.record import Functions, Known, Moments
from kullback.known.static import Static
from kullback.known.support import Support, from_constraint

# Vectors of counts with a given sum, and tables with given margins, listed where there are at most so many.

MAX_LISTED = 100_000


def compositions(total: int, bounds: Sequence[int] | Int[np.ndarray, " d"]) -> Int[np.ndarray, "k d"] | None:
    """Every vector of counts that sum to `total`, each at most its bound, in order; None where there are too many."""
    bounds = [min(int(bound), total) for bound in bounds]
    if _count(total, bounds) > MAX_LISTED:
        return None
    room = np.append(np.cumsum(bounds[::-1])[::-1][1:], 0)
    found = np.zeros((1, 0), np.int64)
    for bound, later in zip(bounds, room, strict=True):
        left = total - found.sum(-1)
        rows = np.repeat(np.arange(len(found)), bound + 1)
        count = np.tile(np.arange(bound + 1), len(found))
        fits = (count <= left[rows]) & (left[rows] - count <= later)
        found = np.column_stack([found[rows[fits]], count[fits]])
    return found.astype(np.int32)


def _count(total: int, bounds: Sequence[int]) -> float:
    """How many there are: a coefficient of the product of the polynomials 1 + t + ... + t^bound."""
    ways = np.ones(1)
    for bound in bounds:
        ways = np.convolve(ways, np.ones(bound + 1))[: total + 1]
    return float(ways[total]) if total < len(ways) else 0.0


def tables(row: Int[np.ndarray, " r"], column: Int[np.ndarray, " c"]) -> Int[np.ndarray, "k r c"] | None:
    """Every table of counts with these sums of rows and columns; None where there are too many."""
    found = np.zeros((1, 0, len(column)), np.int64)
    for total in np.asarray(row):
        grown: list[np.ndarray] = []
        for table in found:
            rows = compositions(int(total), np.asarray(column) - table.sum(0))
            if rows is None or (len(grown) + 1) * len(rows) > MAX_LISTED:
                return None
            head = np.broadcast_to(table, (len(rows), *table.shape))
            grown.append(np.concatenate([head, rows[:, None]], 1))
            if sum(map(len, grown)) > MAX_LISTED:
                return None
        found = np.concatenate(grown)
    whole = (found.sum(1) == np.asarray(column)).all(-1)
    return found[whole].astype(np.int32)


# One reader for each of scipy.stats' kinds.

Frozen = Any  # scipy.stats has no public class of its frozen variables


def accepts(x: object) -> bool:
    return type(x).__module__.startswith("scipy.stats") and type(x).__name__ in READERS


def known(frozen: Frozen) -> Known:
    """What is known of a frozen scipy.stats variable of vectors or matrices."""
    return READERS[type(frozen).__name__](frozen)


def _multivariate_normal(frozen: Frozen) -> Known:
    mean, covariance = np.asarray(frozen.mean, float), np.asarray(frozen.cov, float)
    if frozen.cov_object.rank < len(mean):
        return _on_a_plane(frozen, mean, covariance)
    return numpyro_distributions.known(dist.MultivariateNormal(mean, scale_tril=np.linalg.cholesky(covariance)))


def _multivariate_t(frozen: Frozen) -> Known:
    loc, shape = np.asarray(frozen.loc, float), np.asarray(frozen.shape, float)
    if frozen.shape_info.rank < len(loc):
        return _on_a_plane(frozen, loc, shape)
    tril = np.linalg.cholesky(shape)
    if np.isinf(frozen.df):
        return numpyro_distributions.known(dist.MultivariateNormal(loc, scale_tril=tril))
    known = numpyro_distributions.known(dist.MultivariateStudentT(float(frozen.df), loc, scale_tril=tril))
    # SciPy's draws need no compilation; NumPyro's take seconds of it.
    draw = partial(_draws, frozen, (), loc.shape)
    return known.holding(sampler=host_sampler(draw, loc.shape), reparametrized=False)


def _on_a_plane(frozen: Frozen, origin: np.ndarray, covariance: np.ndarray) -> Known:
    return _called_back(frozen, origin.shape, frozen.logpdf, _on(plane(origin, covariance)))


def _matrix_normal(frozen: Frozen) -> Known:
    row, column = (np.linalg.cholesky(np.asarray(c, float)) for c in (frozen.rowcov, frozen.colcov))
    return numpyro_distributions.known(dist.MatrixNormal(np.asarray(frozen.mean, float), row, column))


def _matrix_t(frozen: Frozen) -> Known:
    support = from_constraint(constraints.independent(constraints.real, 2))
    return _called_back(frozen, np.shape(frozen.mean), frozen.logpdf, support)


def _dirichlet(frozen: Frozen) -> Known:
    return numpyro_distributions.known(dist.Dirichlet(np.asarray(frozen.alpha, float)))


def _wishart(frozen: Frozen) -> Known:
    """In one dimension SciPy draws numbers, not matrices of one: a gamma variable."""
    df, scale = float(frozen.df), np.asarray(frozen.scale, float)
    if len(scale) == 1:
        return numpyro_distributions.known(dist.Gamma(0.5 * df, 0.5 / float(scale[0, 0])))
    return numpyro_distributions.known(dist.Wishart(df, scale_tril=np.linalg.cholesky(scale)))


def _inverse_wishart(frozen: Frozen) -> Known:
    df, scale = float(frozen.df), np.asarray(frozen.scale, float)
    if len(scale) == 1:
        return numpyro_distributions.known(dist.InverseGamma(0.5 * df, 0.5 * float(scale[0, 0])))
    return numpyro_distributions.known(dist.InverseWishart(df, scale_tril=np.linalg.cholesky(scale)))


def _multinomial(frozen: Frozen) -> Known:
    n = _trials(frozen.n)
    return _with_atoms(dist.MultinomialProbs(np.asarray(frozen.p, float), n), n)


def _dirichlet_multinomial(frozen: Frozen) -> Known:
    n = _trials(frozen.n)
    return _with_atoms(dist.DirichletMultinomial(np.asarray(frozen.alpha, float), n), n)


def _with_atoms(law: Distribution, n: int | np.ndarray) -> Known:
    """A law of counts that sum to n, which are few enough to be listed or not."""
    known = numpyro_distributions.known(law)
    return known.holding(atoms=compositions(n, [n] * law.event_shape[0])) if isinstance(n, int) else known


def _multivariate_hypergeometric(frozen: Frozen) -> Known:
    m, n = np.asarray(frozen.m), np.asarray(frozen.n)
    if (m < 0).any() or (n < 0).any() or (n > m.sum(-1)).any():
        raise InputError(f"scipy.stats.multivariate_hypergeom: m={m}, n={n} cannot be drawn; give 0 <= n <= sum of m")
    batch = np.broadcast_shapes(m.shape[:-1], n.shape)
    support = Support("counts with a given sum", True, constraint=lambda x: np.asarray(frozen.logpmf(x)) > -np.inf)
    atoms = compositions(int(n), m) if not batch else None
    return _called_back(frozen, m.shape[-1:], frozen.logpmf, support, batch=batch, atoms=atoms)


def _random_table(frozen: Frozen) -> Known:
    row, column, _ = frozen._params
    support = Support("tables with given margins", True, constraint=lambda x: np.asarray(frozen.logpmf(x)) > -np.inf)
    return _called_back(
        frozen, (len(row), len(column)), partial(_table_mass, frozen), support, atoms=tables(row, column)
    )


def _table_mass(frozen: Frozen, x: np.ndarray) -> np.ndarray:
    """SciPy's log-probability, and −∞ for arrays that are no table of counts, which SciPy refuses."""
    x = np.asarray(x)
    valid = (x >= 0) & (x == np.round(x))
    return np.where(valid.all((-1, -2)), frozen.logpmf(np.where(valid, np.round(x), 0).astype(np.int64)), -np.inf)


def _normal_inverse_gamma(frozen: Frozen) -> Known:
    """The pair (x, σ²) as one outcome [2]."""
    parameters: list[Any] = [np.asarray(part, float) for part in frozen._shapes]
    law, batch = stats.normal_inverse_gamma(*parameters), np.broadcast_shapes(*map(np.shape, parameters))
    box = constraints.interval(np.array([-np.inf, 0.0]), np.array([np.inf, np.inf]))

    def log_prob(x: np.ndarray) -> np.ndarray:
        inside = x[..., 1] > 0
        return np.where(inside, law.logpdf(x[..., 0], np.where(inside, x[..., 1], 1.0)), -np.inf)

    def moments() -> Moments:
        mean, variance = (np.stack(np.broadcast_arrays(*pair), -1) for pair in (law.mean(), law.var()))
        return Moments(mean, variance[..., None] * np.eye(2))

    support = from_constraint(constraints.independent(box, 1))
    return _called_back(frozen, (2,), log_prob, support, batch=batch).holding(
        sampler=host_sampler(partial(_pairs, law, batch), (*batch, 2)),
        moments=moments,
    )


def _pairs(law: Frozen, batch: tuple[int, ...], random: np.random.Generator, n: int) -> np.ndarray:
    return np.stack(law.rvs(size=(n, *batch), random_state=random), -1)


def _von_mises_fisher(frozen: Frozen) -> Known:
    def log_prob(x: np.ndarray) -> np.ndarray:
        # SciPy refuses a direction whose length is off by the rounding of single precision.
        return frozen.logpdf(x / np.linalg.norm(x, axis=-1, keepdims=True))

    return _called_back(frozen, np.shape(frozen.mu), log_prob, from_constraint(constraints.sphere))


def _uniform_direction(frozen: Frozen) -> Known:
    """Of density 1/area on the sphere, whose area is 2 π^(d/2) / Γ(d/2)."""
    d = int(frozen.dim)
    area = np.log(2.0) + 0.5 * d * np.log(np.pi) - special.gammaln(0.5 * d)
    return _called_back(frozen, (d,), Partial(_uniform, -area, Static(1)), from_constraint(constraints.sphere))


def _orthogonal(frozen: Frozen) -> Known:
    """The Haar measure of the orthogonal matrices, which densities on them are with respect to."""
    d = int(frozen.dim)
    return _called_back(frozen, (d, d), Partial(_uniform, 0.0, Static(2)), _on(orthogonal_matrices(d)))


def _special_orthogonal(frozen: Frozen) -> Known:
    """Half of the orthogonal matrices, those of determinant 1, each with twice the density."""
    d = int(frozen.dim)
    return _called_back(frozen, (d, d), Partial(_half_of_the_orthogonal), _on(orthogonal_matrices(d)))


def _unitary(frozen: Frozen) -> Known:
    d = int(frozen.dim)
    return _called_back(frozen, (d, d), Partial(_uniform, 0.0, Static(2)), _on(unitary_matrices(d)))


def _random_correlation(frozen: Frozen) -> Known:
    """SciPy's law of matrices with given eigenvalues, of density 1 with respect to itself: no other lives there."""
    d = len(frozen.eigs)
    support = _on(isospectral_correlations(frozen.eigs))
    known = _called_back(frozen, (d, d), Partial(_uniform, 0.0, Static(2)), support)
    return known.holding(sampler=host_sampler(partial(_one_by_one, frozen), (d, d)))


def _one_by_one(frozen: Frozen, random: np.random.Generator, n: int) -> np.ndarray:
    return np.stack([frozen.rvs(random_state=random) for _ in range(n)])


def _uniform(value: float, rank: Static, x: ArrayLike) -> jax.Array:
    """One log-density everywhere."""
    return jnp.full(jnp.shape(x)[: jnp.ndim(x) - rank.value], value, jnp.result_type(float))


def _half_of_the_orthogonal(x: ArrayLike) -> jax.Array:
    return jnp.where(jnp.linalg.det(jnp.asarray(x)) > 0, jnp.log(2.0), -jnp.inf)


def _on(surface: Surface) -> Support:
    return Support(surface.name, False, constraint=surface)


def _trials(n: int | np.ndarray) -> int | np.ndarray:
    return int(n) if np.ndim(n) == 0 else np.asarray(n).astype(int)


def _called_back(
    frozen: Frozen,
    event: tuple[int, ...],
    log_prob: Callable[[np.ndarray], np.ndarray],
    support: Support,
    batch: tuple[int, ...] = (),
    atoms: np.ndarray | None = None,
) -> Known:
    """A side whose draws are SciPy's, and its log-probability [..., *batch, *event] -> [..., *batch], too, unless that
    is a `Partial` of functions of JAX."""
    return Known(
        name=f"scipy.stats.{type(frozen).__name__.removesuffix('_frozen')}",
        event_shape=tuple(event),
        batch_shape=batch,
        support=support,
        atoms=atoms,
        functions=Functions(
            sampler=host_sampler(
                partial(_draws, frozen, batch, tuple(event)), (*batch, *event), whole=support.discrete
            ),
            log_prob=log_prob if isinstance(log_prob, Partial) else host_log_prob(log_prob, len(event), batch),
            differentiable=False,
        ),
    )


def _draws(
    frozen: Frozen, batch: tuple[int, ...], event: tuple[int, ...], random: np.random.Generator, n: int
) -> np.ndarray:
    size = (n, *batch) if batch else n
    return np.reshape(frozen.rvs(size=size, random_state=random), (n, *batch, *event))


READERS: dict[str, Callable[[Frozen], Known]] = {
    "dirichlet_frozen": _dirichlet,
    "dirichlet_multinomial_frozen": _dirichlet_multinomial,
    "invwishart_frozen": _inverse_wishart,
    "matrix_normal_frozen": _matrix_normal,
    "matrix_t_frozen": _matrix_t,
    "multinomial_frozen": _multinomial,
    "multivariate_hypergeom_frozen": _multivariate_hypergeometric,
    "multivariate_normal_frozen": _multivariate_normal,
    "multivariate_t_frozen": _multivariate_t,
    "normal_inverse_gamma_frozen": _normal_inverse_gamma,
    "ortho_group_frozen": _orthogonal,
    "random_correlation_frozen": _random_correlation,
    "random_table_frozen": _random_table,
    "special_ortho_group_frozen": _special_orthogonal,
    "uniform_direction_frozen": _uniform_direction,
    "unitary_group_frozen": _unitary,
    "vonmises_fisher_frozen": _von_mises_fisher,
    "wishart_frozen": _wishart,
}
