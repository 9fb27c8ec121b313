"""Multivariate normals in each parametrisation, and what is normal along a path or coupled by a copula.

The truth is the textbook form of means and covariances, worked out from the parameters as given. A symmetric matrix is
given by its lower triangle, so that its entries move in pairs.
"""

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.copula import GaussianCopula, GaussianCopulaBeta
from tests.exact.truths.basic import normal
from tests.exact.truths.family import Family


def matrix(rows):
    return mp.matrix([list(row) for row in rows])


def symmetric(lower):
    """The symmetric matrix of a lower triangle."""
    size = range(len(lower))
    return [[lower[max(i, j)][min(i, j)] for j in size] for i in size]


def product(a, b):
    """a bᵀ, of lists of rows."""
    return [[mp.fsum(x * y for x, y in zip(r, s, strict=True)) for s in b] for r in a]


def inverse_and_det(a):
    """By elimination without pivots, which a positive matrix does not need."""
    size, det = len(a), mp.mpf(1)
    work = [[*row, *(mp.mpf(i == j) for j in range(size))] for i, row in enumerate(a)]
    for k in range(size):
        pivot = work[k][k]
        det *= pivot
        work[k] = [x / pivot for x in work[k]]
        for i in range(size):
            if i != k and work[i][k]:
                factor = work[i][k]
                work[i] = [x - factor * y for x, y in zip(work[i], work[k], strict=True)]
    return [row[size:] for row in work], det


def gaussian(mean_p, p, mean_q, q):
    """½(tr Q⁻¹P + dᵀQ⁻¹d − n − log det P/det Q), of means and covariances, for d the difference of the means."""
    inverse, det_q = inverse_and_det(q)
    det_p, n = inverse_and_det(p)[1], range(len(p))
    d = [x - y for x, y in zip(mean_p, mean_q, strict=True)]
    terms = mp.fsum(inverse[i][j] * (p[i][j] + d[i] * d[j]) for i in n for j in n)
    return (terms - len(p) - mp.log(det_p / det_q)) / 2


def by_covariance(p, q):
    return gaussian(p[0], symmetric(p[1]), q[0], symmetric(q[1]))


def by_precision(p, q):
    return gaussian(p[0], inverse_and_det(symmetric(p[1]))[0], q[0], inverse_and_det(symmetric(q[1]))[0])


def low_rank(p, q):
    return gaussian(p[0], low_rank_covariance(p), q[0], low_rank_covariance(q))


def low_rank_covariance(p):
    _, w, d = p
    return [[x + (i == j) * d[i] for j, x in enumerate(row)] for i, row in enumerate(product(w, w))]


def neighbours(p, q):
    return gaussian(p[0], _neighbours(p), q[0], _neighbours(q))


ADJACENCY = np.asarray([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def _neighbours(p):
    _, correlation, precision = p
    laplacian = np.diag([1.0, 2.0, 1.0]).tolist(), ADJACENCY.tolist()
    rows = [
        [precision * (x - correlation * y) for x, y in zip(*both, strict=True)] for both in zip(*laplacian, strict=True)
    ]
    return inverse_and_det(rows)[0]


def circulant(p, q):
    return gaussian(p[0], circle(p[1]), q[0], circle(q[1]))


def circle(spectrum):
    """The covariance over 3 places of a real spectrum of 2: (λ₀ + 2λ₁ cos(2π(i − j)/3))/3."""
    one, other = spectrum
    return [[(one + (2 if i == j else -1) * other) / 3 for j in range(3)] for i in range(3)]


def walk(p, q):
    return 5 * normal((0, p[0]), (0, q[0]))


def walk_covariance(scale, steps):
    return [[scale**2 * (min(i, j) + 1) for j in range(steps)] for i in range(steps)]


def copula(p, q):
    return gaussian((0, 0), correlation(p[0]), (0, 0), correlation(q[0]))


def correlation(r):
    return [[mp.mpf(1), r], [r, mp.mpf(1)]]


def entropy_of(covariance):
    return (len(covariance) * mp.log(2 * mp.pi * mp.e) + mp.log(inverse_and_det(covariance)[1])) / 2


def _full(lower):
    return jnp.tril(lower) + jnp.tril(lower, -1).mT


def _pair(r):
    return jnp.stack([jnp.stack([jnp.ones_like(r), r], -1), jnp.stack([r, jnp.ones_like(r)], -1)], -2)


MATRICES = (
    ((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))),
    ((1.0, -2.0), ((0.5, 0.0), (0.25, 2.0))),
    ((10.0, 3.0), ((3.0, 0.0), (-5.0, 20.0))),
)

FAMILIES = (
    Family(
        "normal by covariance",
        lambda loc, lower: dist.MultivariateNormal(loc, covariance_matrix=_full(lower)),
        by_covariance,
        MATRICES,
        without_slope=(3,),
        entropy=lambda p: entropy_of(symmetric(p[1])),
    ),
    Family(
        "normal by precision",
        lambda loc, lower: dist.MultivariateNormal(loc, precision_matrix=_full(lower)),
        by_precision,
        MATRICES,
        without_slope=(3,),
        entropy=lambda p: -entropy_of(symmetric(p[1])) + 2 * mp.log(2 * mp.pi * mp.e),
    ),
    Family(
        "normal of low rank",
        lambda loc, w, d: dist.LowRankMultivariateNormal(loc, w, d),
        low_rank,
        (
            ((0.0, 0.0), ((1.0,), (-2.0,)), (1.0, 0.75)),
            ((1.0, -2.0), ((30.0,), (0.5,)), (0.1, 20.0)),
            ((3.0, 1.0), ((0.01,), (0.25,)), (1.0, 0.5)),
        ),
        entropy=lambda p: entropy_of(low_rank_covariance(p)),
    ),
    Family(
        "normal over neighbours",
        lambda loc, correlation, precision: dist.CAR(loc, correlation, precision, ADJACENCY.astype(loc.dtype)),
        neighbours,
        (((0.0, 0.0, 0.0), 0.5, 2.0), ((1.0, -2.0, 0.5), 0.95, 0.1), ((3.0, 1.0, 1.0), -0.25, 10.0)),
        entropy=lambda p: entropy_of(_neighbours(p)),
        valid=lambda row: abs(row[1]) < 1.0,
    ),
    Family(
        "normal on a circle",
        lambda loc, spectrum: dist.CirculantNormal(loc, covariance_rfft=spectrum),
        circulant,
        (
            ((0.0, 0.0, 0.0), (1.0, 1.0)),
            ((1.0, -2.0, 0.5), (30.0, 0.01)),
            ((3.0, 1.0, 1.0), (0.1, 2.0)),
        ),
        entropy=lambda p: entropy_of(circle(p[1])),
    ),
    Family(
        "random walk",
        lambda scale: dist.GaussianRandomWalk(scale, num_steps=5),
        walk,
        ((0.01,), (1.0,), (30.0,)),
        entropy=lambda p: entropy_of(walk_covariance(p[0], 5)),
    ),
    Family(
        "copula of log normals",
        lambda r: GaussianCopula(dist.LogNormal(np.zeros(2, r.dtype), np.ones(2, r.dtype)), _pair(r)),
        copula,
        ((0.0,), (0.3,), (-0.9,), (0.999,)),
        entropy=lambda p: entropy_of(correlation(p[0])),
        valid=lambda row: abs(row[0]) < 1.0,
    ),
    Family(
        "copula of betas",
        lambda r: GaussianCopulaBeta(np.full(2, 2.0, r.dtype), np.ones(2, r.dtype), _pair(r)),
        copula,
        ((0.3,), (-0.9,)),
        valid=lambda row: abs(row[0]) < 1.0,
    ),
)
