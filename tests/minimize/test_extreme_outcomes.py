"""Outcomes at the ends of what doubles hold, and one count far beyond all others."""

import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import minimize

import kullback as kl
from kullback.errors import InputError

R = np.random.default_rng(0)
X, Z = R.normal(size=(60, 2)), R.normal(size=60)
COUNTS = np.append(R.poisson(3.0, 99), 10**9)


def minimised(y, side, x=None):
    return kl.KL(y if x is None else kl.Pairs(x, y), side).minimize(quiet=True)


@pytest.mark.parametrize(
    "family", [dist.Normal, dist.Laplace, dist.StudentT, dist.Gamma, dist.Exponential, dist.HalfNormal]
)
@pytest.mark.parametrize("unit", [1e-308, 1e-310, 1e-320])
def test_subnormal_outcomes_are_named(family, unit):
    with pytest.raises(InputError, match="doubles below 1e-305 lose their digits; multiply it by a power of 10"):
        minimised(np.exp(Z) * unit, kl.Family(family))


def test_subnormal_pairs_are_named():
    side = kl.Conditional(kl.MLP(hidden=(2,)), dist.Normal)
    with pytest.raises(InputError, match=r"^p: a column"):
        minimised(np.c_[Z, Z * 1e-310], kl.Conditional(kl.MLP(hidden=(2,)), dist.Normal), X)
    with pytest.raises(InputError, match=r"^x: a column"):
        minimised(Z, side, X * [1.0, 1e-310])


def test_the_smallest_outcomes_that_are_not_refused():
    fit = minimised(Z * 1e-304, kl.Family(dist.Normal))
    assert float(fit.q.scale) == pytest.approx(Z.std() * 1e-304, rel=1e-9)
    assert minimised(np.zeros(5, int), kl.Family(dist.Poisson)).status.ok  # 0 is no small number


def test_one_large_count():
    with mp.workdps(50):
        m = mp.mpf(int(COUNTS.sum())) / 100
        poisson = float(mp.fsum(m - int(k) * mp.log(m) + mp.loggamma(int(k) + 1) for k in COUNTS) / 100)

        def loss(mean, c):
            each = [mp.loggamma(int(k) + 1) + mp.loggamma(c) - mp.loggamma(c + int(k)) for k in COUNTS]
            return float(mp.fsum(each) / 100 - c * mp.log(c / (c + mean)) - mean * mp.log(mean / (c + mean)))

        best = minimize(lambda c: loss(m, mp.exp(c[0])), [-3.0], method="Nelder-Mead", options={"xatol": 1e-4})
    assert minimised(COUNTS, kl.Family(dist.Poisson)).objective.value == pytest.approx(poisson, rel=1e-12)
    assert minimised(COUNTS, kl.Family(dist.NegativeBinomial2)).objective.value == pytest.approx(best.fun, rel=1e-6)


def test_a_network_says_that_one_count_decides():
    x, side = np.linspace(-1, 1, 100), kl.Conditional(kl.MLP(hidden=(4,)), dist.Poisson)
    fit = minimised(COUNTS, side, x)
    assert "few rows decide it" in fit.message
    assert minimised(COUNTS[:-1], side, x[:-1]).message == ""
