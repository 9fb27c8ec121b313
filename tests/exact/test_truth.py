"""The 50-digit forms that the other tests trust, against integrals and sums of the densities themselves."""

import mpmath as mp
import pytest
from tests.exact.truths import basic as f
from tests.exact.truths import exact


def _normal(x, m, s):
    return mp.exp(-(((x - m) / s) ** 2) / 2) / (s * mp.sqrt(2 * mp.pi))


def _gamma(x, a, b):
    return b**a * x ** (a - 1) * mp.exp(-b * x) / mp.gamma(a)


def _beta(x, a, b):
    return x ** (a - 1) * (1 - x) ** (b - 1) / mp.beta(a, b)


def _laplace(x, m, s):
    return mp.exp(-abs(x - m) / s) / (2 * s)


def _cauchy(x, m, s):
    return 1 / (mp.pi * s * (1 + ((x - m) / s) ** 2))


def _gumbel(x, m, s):
    z = (x - m) / s
    return mp.exp(-z - mp.exp(-z)) / s


def _weibull(x, m, k):
    return k / m * (x / m) ** (k - 1) * mp.exp(-((x / m) ** k))


def _pareto(x, m, a):
    return a * m**a / x ** (a + 1)


LINE = [-mp.inf, -40, -10, -3, 0, 1, 2, 10, 40, mp.inf]
HALF = [0, 0.1, 1, 2, 5, 20, 60, mp.inf]

INTEGRALS = (
    (f.normal, _normal, (0.5, 1.5), (-1.0, 2.5), [-30, -10, 0, 10, 30]),
    (f.gamma, _gamma, (2.5, 1.5), (0.75, 3.0), HALF),
    (f.beta, _beta, (2.5, 1.5), (0.75, 3.0), [0, 0.1, 0.5, 0.9, 1]),
    (f.laplace, _laplace, (1.0, 1.5), (2.0, 0.75), [-100, -10, 1, 2, 10, 100]),
    (f.cauchy, _cauchy, (1.0, 1.5), (2.0, 0.75), LINE),
    (f.gumbel, _gumbel, (1.0, 1.5), (2.0, 2.0), [-12, -6, -3, 0, 3, 10, 40, 120]),
    (f.weibull, _weibull, (1.0, 1.5), (2.0, 2.5), [0, 0.1, 1, 2, 5, 20]),
    (f.pareto, _pareto, (2.0, 3.0), (1.0, 4.0), [2, 5, 20, 1000, mp.inf]),
)

SUMS = (
    (f.poisson, lambda k, r: mp.exp(-r) * r**k / mp.factorial(k), (2.0,), (3.5,), 120),
    (f.geometric, lambda k, p: p * (1 - p) ** k, (0.3,), (0.6,), 400),
    (f.binomial, lambda k, p, n: mp.binomial(n, k) * p**k * (1 - p) ** (n - k), (0.3, 7.0), (0.6, 7.0), 8),
)


@pytest.mark.parametrize(("form", "density", "p", "q", "points"), INTEGRALS, ids=lambda x: getattr(x, "__name__", ""))
def test_integral(form, density, p, q, points):
    """∫ p (log p − log q)."""
    p, q = exact(p), exact(q)
    with mp.workdps(20):
        found = mp.quad(lambda x: _term(density(x, *p), density(x, *q)), points)
        assert abs(found - form(p, q)) < 1e-10


@pytest.mark.parametrize(("form", "mass", "p", "q", "terms"), SUMS, ids=lambda x: getattr(x, "__name__", ""))
def test_sum(form, mass, p, q, terms):
    """Σ p (log p − log q)."""
    p, q = exact(p), exact(q)
    assert abs(mp.fsum(_term(mass(k, *p), mass(k, *q)) for k in range(terms)) - form(p, q)) < 1e-30


def _term(p, q):
    return p * mp.log(p / q) if p else mp.mpf(0)


def test_multivariate_by_the_chain_rule():
    """log p = log p(x) + log p(y∣x), with both normal: the second averaged over the first."""
    (m, ((a, _), (b, c))), (n, ((d, _), (e, g))) = p, q = (
        exact(((1.0, -2.0), ((0.5, 0.0), (2.0, 0.75)))),
        exact(((0.5, 1.0), ((1.5, 0.0), (-0.5, 1.25)))),
    )
    first = f.normal((m[0], a), (n[0], d))
    # y∣x is normal about m₁ + b (x − m₀)/a with scale c under P, and likewise under Q; their difference is linear in x.
    slope = b / a - e / d
    level = m[1] - n[1] - e / d * (m[0] - n[0])
    second = f.normal((0, c), (0, g)) + (level**2 + slope**2 * a**2) / (2 * g**2)
    assert abs(first + second - f.multivariate(p, q)) < 1e-30
