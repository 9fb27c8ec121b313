"""The families that every library has.

The truths are the plain textbook forms, which need the digits that the library does without; `test_truth.py` checks
them against integrals and sums.
"""

import jax.numpy as jnp
import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.family import Family


def normal(p, q):
    (m, s), (n, t) = p, q
    return mp.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - mp.mpf(1) / 2


def half_normal(p, q):
    return normal((0, p[0]), (0, q[0]))


def gamma(p, q):
    (a, b), (c, d) = p, q
    return (a - c) * mp.digamma(a) - mp.loggamma(a) + mp.loggamma(c) + c * mp.log(b / d) + a * (d - b) / b


def exponential(p, q):
    return gamma((1, p[0]), (1, q[0]))


def chi2(p, q):
    half = mp.mpf(1) / 2
    return gamma((p[0] / 2, half), (q[0] / 2, half))


def dirichlet(p, q):
    (alpha,), (beta,) = p, q
    a, b = mp.fsum(alpha), mp.fsum(beta)
    value = mp.loggamma(a) - mp.loggamma(b)
    for x, y in zip(alpha, beta, strict=True):
        value += mp.loggamma(y) - mp.loggamma(x) + (x - y) * (mp.digamma(x) - mp.digamma(a))
    return value


def beta(p, q):
    return dirichlet((p,), (q,))


def categorical(p, q):
    (x,), (y,) = p, q
    a, b = mp.fsum(x), mp.fsum(y)
    return mp.fsum(u / a * (mp.log(u / a) - mp.log(v / b)) for u, v in zip(x, y, strict=True) if u)


def logits(p, q):
    return categorical((tuple(map(mp.exp, p[0])),), (tuple(map(mp.exp, q[0])),))


def bernoulli(p, q):
    return categorical(((1 - p[0], p[0]),), ((1 - q[0], q[0]),))


def bernoulli_logits(p, q):
    return categorical(((1, mp.exp(p[0])),), ((1, mp.exp(q[0])),))


def poisson(p, q):
    return p[0] * mp.log(p[0] / q[0]) + q[0] - p[0]


def geometric(p, q):
    return mp.log(p[0] / q[0]) + (1 - p[0]) / p[0] * mp.log((1 - p[0]) / (1 - q[0]))


def binomial(p, q):
    return p[1] * bernoulli(p, q)


def laplace(p, q):
    (m, s), (n, t) = p, q
    return mp.log(t / s) + abs(m - n) / t + s / t * mp.exp(-abs(m - n) / s) - 1


def cauchy(p, q):
    (m, s), (n, t) = p, q
    return mp.log(((s + t) ** 2 + (m - n) ** 2) / (4 * s * t))


def half_cauchy(p, q):
    return cauchy((0, p[0]), (0, q[0]))


def gumbel(p, q):
    (m, s), (n, t) = p, q
    rest = mp.exp((n - m) / t) * mp.gamma(s / t + 1) - 1 + (m - n) / t
    return mp.log(t / s) + mp.euler * (s / t - 1) + rest


def weibull(p, q):
    (m, k), (n, j) = p, q
    rest = (k - j) * (mp.log(m) - mp.euler / k) + (m / n) ** j * mp.gamma(j / k + 1) - 1
    return mp.log(k / m**k) - mp.log(j / n**j) + rest


def pareto(p, q):
    (m, a), (n, b) = p, q
    return b * mp.log(m / n) + mp.log(a / b) + b / a - 1 if m >= n else mp.inf


def uniform(p, q):
    (a, b), (c, d) = p, q
    return mp.log((d - c) / (b - a)) if c <= a and b <= d else mp.inf


def multivariate(p, q):
    (m, lower), (n, other) = p, q
    size = len(m)
    a, b = mp.matrix([list(r) for r in lower]), mp.matrix([list(r) for r in other])
    x, z = b**-1 * a, b**-1 * mp.matrix([u - v for u, v in zip(m, n, strict=True)])
    value = mp.fsum(v**2 for v in x) + mp.fsum(v**2 for v in z) - size
    return value / 2 - mp.fsum(mp.log(a[i, i] / b[i, i]) for i in range(size))


# Entropies.


def normal_entropy(p):
    return mp.log(p[1] * mp.sqrt(2 * mp.pi * mp.e))


def gamma_entropy(p):
    a, b = p
    return a - mp.log(b) + mp.loggamma(a) + (1 - a) * mp.digamma(a)


def dirichlet_entropy(p):
    (alpha,) = p
    total = mp.fsum(alpha)
    value = (total - len(alpha)) * mp.digamma(total) - mp.loggamma(total)
    return value + mp.fsum(mp.loggamma(x) - (x - 1) * mp.digamma(x) for x in alpha)


def beta_entropy(p):
    return dirichlet_entropy((p,))


def _multivariate_normal(loc, lower):
    return dist.MultivariateNormal(loc, scale_tril=jnp.tril(lower))


def _below_one(row):
    return row[0] < 1.0


SHAPES = ((0.01, 1.0), (0.3, 20.0), (1.0, 0.5), (2.5, 2.5), (40.0, 3.0), (1e4, 1e3))
WEIGHTS = ((0.2, 0.3, 0.5), (0.98, 0.01, 0.01), (1e-6, 0.4, 0.6), (0.1, 0.1, 0.8), (0.4999, 0.5, 1e-4))
LOGITS = ((0.0, 1.0, -1.0), (12.0, -9.0, 0.5), (5.0, 5.5, 4.0), (-3.0, 1.0, 7.0))
PLACES = ((0.0, 1.0), (3.0, 0.1), (-20.0, 5.0), (0.5, 200.0))

FAMILIES = (
    Family("normal", dist.Normal, normal, PLACES, entropy=normal_entropy),
    Family("log normal", dist.LogNormal, normal, PLACES),
    Family("half normal", dist.HalfNormal, half_normal, ((0.01,), (1.0,), (30.0,))),
    Family("gamma", dist.Gamma, gamma, SHAPES, entropy=gamma_entropy),
    Family("inverse gamma", dist.InverseGamma, gamma, SHAPES),
    Family("chi squared", dist.Chi2, chi2, ((0.1,), (1.0,), (7.0,), (500.0,))),
    Family("exponential", dist.Exponential, exponential, ((0.01,), (1.0,), (30.0,))),
    Family(
        "beta", dist.Beta, beta, ((0.01, 3.0), (0.5, 0.5), (2.0, 7.0), (300.0, 20.0), (1e4, 2e4)), entropy=beta_entropy
    ),
    Family(
        "dirichlet",
        dist.Dirichlet,
        dirichlet,
        (((0.01, 3.0, 1.0),), ((0.5, 0.5, 0.5),), ((2.0, 7.0, 40.0),), ((1e3, 2e3, 5.0),)),
    ),
    Family(
        "categorical",
        lambda p: dist.CategoricalProbs(p, validate_args=False),
        categorical,
        tuple((w,) for w in WEIGHTS),
    ),
    Family("categorical logits", lambda x: dist.Categorical(logits=x), logits, tuple((w,) for w in LOGITS)),
    Family(
        "bernoulli",
        lambda p: dist.BernoulliProbs(p, validate_args=False),
        bernoulli,
        ((1e-6,), (0.01,), (0.5,), (0.9,), (0.999,)),
        valid=_below_one,
    ),
    Family(
        "bernoulli logits", lambda x: dist.Bernoulli(logits=x), bernoulli_logits, ((-30.0,), (-1.0,), (0.2,), (12.0,))
    ),
    Family("poisson", dist.Poisson, poisson, ((1e-4,), (0.5,), (3.0,), (1e5,))),
    Family(
        "geometric",
        lambda p: dist.GeometricProbs(p, validate_args=False),
        geometric,
        ((1e-5,), (0.1,), (0.6,), (0.99,)),
        valid=_below_one,
    ),
    Family(
        "binomial",
        lambda p, n: dist.BinomialProbs(p, 7),
        binomial,
        ((1e-5, 7.0), (0.1, 7.0), (0.6, 7.0), (0.99, 7.0)),
        fixed=(1,),
        without_slope=(1,),
        valid=_below_one,
    ),
    Family("laplace", dist.Laplace, laplace, PLACES),
    Family("cauchy", dist.Cauchy, cauchy, PLACES),
    Family("half cauchy", dist.HalfCauchy, half_cauchy, ((0.01,), (1.0,), (30.0,))),
    Family("gumbel", dist.Gumbel, gumbel, ((0.0, 1.0), (3.0, 0.5), (-2.0, 5.0), (0.5, 20.0))),
    Family("weibull", dist.Weibull, weibull, ((1.0, 1.0), (0.2, 3.0), (10.0, 0.7), (2.0, 8.0))),
    Family("pareto", dist.Pareto, pareto, ((1.0, 1.0), (0.2, 3.0), (10.0, 0.7), (2.0, 8.0))),
    Family("uniform", dist.Uniform, uniform, ((0.0, 1.0), (-3.0, 2.5), (0.25, 0.5), (-1e4, 1e4))),
    Family(
        "multivariate normal",
        _multivariate_normal,
        multivariate,
        (
            ((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))),
            ((1.0, -2.0), ((0.5, 0.0), (2.0, 0.1))),
            ((10.0, 3.0), ((3.0, 0.0), (-1.0, 20.0))),
        ),
        without_slope=(3,),
    ),
)
