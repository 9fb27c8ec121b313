"""Distributions of matrices: normal, Wishart and its inverse, correlations."""

import jax.numpy as jnp
import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.family import Family
from tests.exact.truths.multivariate import inverse_and_det, product, symmetric


def matrix_normal(p, q):
    """As for the columns one below the other, whose covariance is a Kronecker product."""
    (rows_p, columns_p), (rows_q, columns_q) = ([_square(x) for x in side[1:]] for side in (p, q))
    (left, det_left), (right, det_right) = inverse_and_det(rows_q), inverse_and_det(columns_q)
    n, m = range(len(rows_p)), range(len(columns_p))
    d = [[x - y for x, y in zip(*both, strict=True)] for both in zip(p[0], q[0], strict=True)]
    traces = [
        mp.fsum(a[i][j] * b[i][j] for i in k for j in k) for a, b, k in ((left, rows_p, n), (right, columns_p, m))
    ]
    half = product(product(left, [*zip(*d, strict=True)]), right)
    square = mp.fsum(half[i][j] * d[i][j] for i in n for j in m)
    logs = len(m) * mp.log(inverse_and_det(rows_p)[1] / det_left)
    logs += len(n) * mp.log(inverse_and_det(columns_p)[1] / det_right)
    return (traces[0] * traces[1] - len(n) * len(m) + square - logs) / 2


def matrix_normal_entropy(p):
    rows, columns = (inverse_and_det(_square(x))[1] for x in p[1:])
    n, m = len(p[1]), len(p[2])
    return (n * m * mp.log(2 * mp.pi * mp.e) + m * mp.log(rows) + n * mp.log(columns)) / 2


def multi_gamma(a, d):
    """log Γ_d(a) and its derivative."""
    value = d * (d - 1) * mp.log(mp.pi) / 4 + mp.fsum(mp.loggamma(a - mp.mpf(i) / 2) for i in range(d))
    return value, mp.fsum(mp.digamma(a - mp.mpf(i) / 2) for i in range(d))


def wishart(p, q):
    """Of ν and scale matrices V."""
    (n, v), (m, w) = p, q
    inverse, det_w = inverse_and_det(w)
    d, det_v = range(len(v)), inverse_and_det(v)[1]
    trace = mp.fsum(inverse[i][j] * v[i][j] for i in d for j in d)
    (at_p, slope), (at_q, _) = multi_gamma(n / 2, len(v)), multi_gamma(m / 2, len(v))
    value = n * (trace - len(v)) / 2 - m * mp.log(det_v / det_w) / 2
    return value + at_q - at_p + (n - m) * slope / 2


def wishart_entropy(n, v):
    d = len(v)
    value, slope = multi_gamma(n / 2, d)
    logs = (d + 1) * mp.log(inverse_and_det(v)[1]) / 2 + mp.mpf(d * (d + 1)) / 2 * mp.log(2)
    return logs + value - (n - d - 1) * slope / 2 + n * d / 2


def inverse_wishart_entropy(n, psi):
    """That of W⁻¹ for W of scale Ψ⁻¹: less (d + 1) E log det W."""
    d, (inverse, det) = len(psi), inverse_and_det(psi)
    log_det = multi_gamma(n / 2, d)[1] + d * mp.log(2) - mp.log(det)
    return wishart_entropy(n, inverse) - (d + 1) * log_det


def by_scale(p, q):
    return wishart((p[0], symmetric(p[1])), (q[0], symmetric(q[1])))


def by_factor(p, q):
    return wishart((p[0], _square(p[1])), (q[0], _square(q[1])))


def _inverse(a):
    return inverse_and_det(a)[0]


def _square(lower):
    return product(lower, lower)


def lkj(p, q):
    """The Bregman difference of the log-normaliser of det^(η−1), which has the mean of log det as its slope."""
    (eta,), (other,) = p, q
    (at_p, slope), (at_q, _) = (_normaliser(x, DIMENSION) for x in (eta, other))
    return at_q - at_p - (other - eta) * slope


DIMENSION = 3


def _normaliser(eta, d):
    """log ∫ det^(η−1) over correlations of order d, and its derivative. Source: Lewandowski et al. (2009), eq. 16."""
    value, slope = mp.mpf(0), mp.mpf(0)
    for k in range(1, d):
        b = eta + mp.mpf(d - 1 - k) / 2
        value += mp.mpf(k) * mp.log(mp.pi) / 2 + mp.loggamma(b) - mp.loggamma(b + mp.mpf(k) / 2)
        slope += mp.digamma(b) - mp.digamma(b + mp.mpf(k) / 2)
    return value, slope


def lkj_entropy(p):
    value, slope = _normaliser(p[0], DIMENSION)
    return value - (p[0] - 1) * slope


def _full(lower):
    return jnp.tril(lower) + jnp.tril(lower, -1).mT


def _wishart(make, name, filled=_full):
    return lambda nu, lower: make(nu, **{name: filled(lower)})


SCALES = (
    (1.25, ((0.5, 0.0), (0.25, 2.0))),
    (40.0, ((3.0, 0.0), (-5.0, 20.0))),
    (2e3, ((1.0, 0.0), (0.5, 1.0))),
)

FAMILIES = (
    Family(
        "matrix normal",
        lambda loc, row, column: dist.MatrixNormal(loc, jnp.tril(row), jnp.tril(column)),
        matrix_normal,
        (
            (((1.0, 3.0), (-2.0, 0.5)), ((0.5, 0.0), (2.0, 0.1)), ((3.0, 0.0), (-1.0, 20.0))),
            (((1.0, 3.0), (-2.0, 0.5)), ((2.0, 0.0), (0.5, 1.0)), ((0.5, 0.0), (0.1, 0.25))),
        ),
        without_slope=(5, 9),
        entropy=matrix_normal_entropy,
    ),
    Family(
        "wishart by scale",
        _wishart(dist.Wishart, "scale_matrix"),
        by_scale,
        SCALES,
        without_slope=(2,),
        entropy=lambda p: wishart_entropy(p[0], symmetric(p[1])),
    ),
    Family(
        "wishart by factor",
        _wishart(dist.WishartCholesky, "scale_tril", jnp.tril),
        by_factor,
        SCALES,
        without_slope=(2,),
    ),
    Family(
        "inverse wishart by rate",
        _wishart(dist.InverseWishart, "rate_matrix"),
        by_scale,
        SCALES,
        without_slope=(2,),
        entropy=lambda p: inverse_wishart_entropy(p[0], _inverse(symmetric(p[1]))),
    ),
    Family(
        "lkj",
        lambda eta: dist.LKJ(DIMENSION, eta),
        lkj,
        ((0.01,), (0.5,), (3.0,), (1e4,)),
        entropy=lkj_entropy,
    ),
)
