"""Families on the line and the circle that few libraries have."""

from functools import cache

import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.basic import cauchy, gamma
from tests.exact.truths.family import Family


def asymmetric_laplace(p, q):
    return two_sided(*((m, s * k, s / k) for m, s, k in (p, q)))


def asymmetric_laplace_quantile(p, q):
    return two_sided(*((m, s / (1 - k), s / k) for m, s, k in (p, q)))


def two_sided(p, q):
    """Of densities exp((x − m)/l)/(l + r) below m and exp(−(x − m)/r)/(l + r) above."""
    (m, left, right), (n, low, high) = p, q
    below = _shortfall(m, left, right, n)
    return mp.log((low + high) / (left + right)) - 1 + (m + right - left - n + below) / high + below / low


def _shortfall(m, left, right, n):
    """E (n − x)₊."""
    if n <= m:
        return left**2 / (left + right) * mp.exp((n - m) / left)
    return n - m + left - right + right**2 / (left + right) * mp.exp((m - n) / right)


def asymmetric_laplace_entropy(p):
    return 1 + mp.log(p[1] * (p[2] + 1 / p[2]))


def logistic(p, q):
    d = p[0] - q[0]
    return d * mp.coth(d / 2) - 2 if d else mp.mpf(0)


def logistic_of_scale(scale):
    return lambda p, q: logistic((p[0] / scale,), (q[0] / scale,))


def soft_laplace(p, q):
    return 2 * mp.log(mp.cosh((p[0] - q[0]) / 2))


def levy(p, q):
    half = mp.mpf(1) / 2
    return gamma((half, p[0] / 2), (half, q[0] / 2))


def dagum(p, q):
    return mp.log(p[0] / q[0]) + q[0] / p[0] - 1


def von_mises(p, q):
    (m, k), (n, c) = p, q
    ratio = mp.besseli(1, k) / mp.besseli(0, k)
    return mp.log(mp.besseli(0, c) / mp.besseli(0, k)) + ratio * (k - c * mp.cos(m - n))


def von_mises_entropy(p):
    k = p[1]
    return mp.log(2 * mp.pi * mp.besseli(0, k)) - k * mp.besseli(1, k) / mp.besseli(0, k)


def gompertz(p, q):
    (c, b), (d, r) = p, q
    k = r / b
    level = mp.exp(c) * mp.e1(c)  # E bx
    power = mp.exp(c) * c**-k * mp.gammainc(k + 1, c)  # E e^rx
    return mp.log(c * b / (d * r)) + (1 - k) * level - 1 + d * (power - 1)


def gompertz_entropy(p):
    return 1 - mp.log(p[0] * p[1]) - mp.exp(p[0]) * mp.e1(p[0])


def kumaraswamy(p, q):
    (a, b), (c, d) = p, q
    level = -(mp.digamma(b + 1) + mp.euler) / a  # E log x
    return mp.log(a * b / (c * d)) + (a - c) * level - (b - 1) / b - (d - 1) * mean_log_complement(c / a, b)


@cache
def mean_log_complement(r, b):
    """E log(1 − yʳ) for y ~ Beta(1, b): −∫ (1 − w^(1/r))ᵇ/(1 − w) over w = yʳ, where near its end 1 − w = u^(1/b)."""
    if r == 1:
        return -1 / b
    half = mp.mpf(1) / 2
    with mp.workdps(34):
        lower = mp.quad(lambda w: (1 - w ** (1 / r)) ** b / (1 - w), [0, half])
        upper = mp.quad(lambda u: (-mp.expm1(mp.log1p(-(u ** (1 / b))) / r)) ** b / (b * u), [0, half**b])
        return -lower - upper


def kumaraswamy_entropy(p):
    a, b = p
    return (1 - 1 / a) * (mp.digamma(b + 1) + mp.euler) + 1 - 1 / b - mp.log(a * b)


def student_entropy(p):
    df, _, scale = p
    half = mp.mpf(1) / 2
    spread = (df + 1) / 2 * (mp.digamma((df + 1) / 2) - mp.digamma(df / 2))
    return spread + mp.log(mp.sqrt(df) * mp.beta(df / 2, half)) + mp.log(scale)


PLACES = ((0.0,), (0.5,), (-3.0,), (40.0,))
SIDES = ((0.0, 1.0, 1.0), (3.0, 0.1, 0.5), (-20.0, 5.0, 8.0), (0.5, 200.0, 1.25))
RATES = ((0.01,), (1.0,), (30.0,))

FAMILIES = (
    Family("asymmetric laplace", dist.AsymmetricLaplace, asymmetric_laplace, SIDES, entropy=asymmetric_laplace_entropy),
    Family(
        "asymmetric laplace by quantile",
        dist.AsymmetricLaplaceQuantile,
        asymmetric_laplace_quantile,
        ((0.0, 1.0, 0.5), (3.0, 0.1, 0.01), (-20.0, 5.0, 0.75)),
    ),
    Family("logistic of one scale", lambda m: dist.Logistic(m, 2.5), logistic_of_scale(2.5), PLACES),
    Family("relaxed bernoulli", lambda x: dist.RelaxedBernoulliLogits(0.5, x), logistic, PLACES),
    Family("soft laplace of one scale", lambda m: dist.SoftLaplace(m, 1.0), soft_laplace, PLACES),
    Family("levy of one place", lambda c: dist.Levy(1.5, c), levy, RATES),
    Family("dagum of one scale", lambda k: dist.Dagum(k, 2.5, 0.5), dagum, RATES),
    Family("student of one degree of freedom", lambda m, s: dist.StudentT(1.0, m, s), cauchy, ((0.5, 1.0), (3.0, 0.1))),
    Family(
        "von mises",
        dist.VonMises,
        von_mises,
        ((0.5, 1.0), (-2.0, 1e-3), (1.0, 25.0), (3.0, 60.0), (0.25, 1e4), (0.5, 1e6)),
        entropy=von_mises_entropy,
    ),
    Family(
        "gompertz",
        dist.Gompertz,
        gompertz,
        ((0.5, 1.0), (0.01, 0.25), (40.0, 3.0)),
        entropy=gompertz_entropy,
    ),
    # Its truth is a quadrature; `test_continuous.py` has the gradients of a few pairs.
    Family(
        "kumaraswamy",
        dist.Kumaraswamy,
        kumaraswamy,
        ((1.0, 1.0), (0.25, 7.0), (20.0, 0.1)),
        without_slope=(0, 1),
        entropy=kumaraswamy_entropy,
    ),
)
