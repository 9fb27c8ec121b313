"""Fits to counts: overdispersed families on data that are not, against the limit law, and on data that are.

Truth: SciPy's masses of the Poisson and the binomial law, its negative binomial and beta-binomial optimised in double,
and masses in 50 digits.
"""

import jax
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st

import kullback as kl
from kullback.distributions import ZeroInflatedNegativeBinomial
from kullback.minimize import objectives
from kullback.result import Status

UNDERDISPERSED = {
    "one number": np.full(10, 4),
    "binomial": np.random.default_rng(0).binomial(20, 0.8, 60),
    "large": 10**6 + np.arange(-20, 21),
}
NEGATIVE_BINOMIALS = [
    dist.NegativeBinomial2,
    dist.GammaPoisson,
    dist.NegativeBinomialProbs,
    dist.NegativeBinomialLogits,
    dist.ZeroInflatedNegativeBinomial2,
]


def in_double(q, x):
    with jax.enable_x64(True):
        return -float(np.mean(np.asarray(q.log_prob(x))))


@pytest.mark.parametrize("data", UNDERDISPERSED)
@pytest.mark.parametrize("family", NEGATIVE_BINOMIALS, ids=lambda f: f.__name__)
def test_counts_with_no_more_variance_than_mean_are_met_by_the_poisson_limit(family, data):
    """Levin and Reeds (1977): a likelihood of negative binomials has a finite maximum only if the variance exceeds
    the mean."""
    x = UNDERDISPERSED[data]
    fit = kl.KL(x, kl.Family(family)).minimize()
    want = -np.mean(st.poisson(x.mean()).logpmf(x))
    assert fit.status is Status.BOUNDARY
    assert "Poisson" in fit.message
    assert "∞" in fit.message
    assert fit.objective.value == pytest.approx(want, abs=1e-6 * max(1.0, data == "large"))
    assert fit.objective.value >= want - 1e-7
    assert float(np.asarray(fit.q.mean)) == pytest.approx(x.mean(), rel=1e-4)
    if data != "large" and family is not dist.ZeroInflatedNegativeBinomial2:
        assert in_double(fit.q, x) == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("data", ["one number", "binomial"])
def test_counts_with_no_more_variance_than_the_binomial_are_met_by_it(data):
    x = np.full(10, 4) if data == "one number" else np.repeat([9, 10, 11], [15, 30, 15])
    fit = kl.KL(x, kl.Family(dist.BetaBinomial, total_count=20)).minimize()
    want = -np.mean(st.binom(20, x.mean() / 20).logpmf(x))
    assert fit.status is Status.BOUNDARY
    assert "kl.Family(dist.Binomial)" in fit.message
    assert fit.objective.value == pytest.approx(want, abs=1e-6)
    assert float(fit.q.mean) == pytest.approx(x.mean(), rel=1e-4)


@pytest.mark.parametrize("family", NEGATIVE_BINOMIALS[:4], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [0.3, 3.0, 200.0])
def test_overdispersed_counts_reach_the_maximum(family, shape):
    x = st.nbinom(shape, shape / (shape + 5.0)).rvs(60, random_state=1)
    assert x.var() > 1.1 * x.mean()

    def cross_entropy(log_shape):
        c = np.exp(log_shape)
        return -np.mean(st.nbinom(c, c / (c + x.mean())).logpmf(x))  # the mean of the fit is that of the data

    best = scipy.optimize.minimize_scalar(cross_entropy, bounds=(-5, 12), method="bounded", options={"xatol": 1e-9})
    fit = kl.KL(x, kl.Family(family)).minimize()
    assert fit.objective.value == pytest.approx(best.fun, abs=1e-6)
    assert in_double(fit.q, x) == pytest.approx(best.fun, abs=1e-5)


HUGE = {
    "Poisson": np.random.default_rng(2).poisson(1e9, 30),
    "slightly more": np.random.default_rng(2).negative_binomial(10**9, 0.5, 30),
    "much more": np.random.default_rng(2).negative_binomial(5, 1e-8, 30),
}


@pytest.mark.parametrize("family", NEGATIVE_BINOMIALS[:4], ids=lambda f: f.__name__)
@pytest.mark.parametrize("data", HUGE)
def test_counts_of_a_billion(family, data):
    """What is stated is the law's own value in 50 digits, and no concentration near it has a lower one."""
    x = HUGE[data]
    fit = kl.KL(x, kl.Family(family)).minimize()
    assert fit.status is (Status.BOUNDARY if x.var() <= x.mean() else Status.CLOSED_FORM)
    with jax.enable_x64(True):
        mean, c = float(fit.q.mean), float(getattr(fit.q, "concentration", getattr(fit.q, "total_count", None)))
    with mpmath.workdps(50):
        found, *others = (
            -float(sum(_negative_binomial(int(k), c * factor, mean) for k in x) / len(x))
            for factor in (1.0, 0.99, 1.01)
        )
    assert fit.objective.value == pytest.approx(found, abs=1e-7)
    assert min(others) >= found - 1e-9


def test_beta_binomial_counts_reach_the_maximum():
    x = st.betabinom(20, 2, 3).rvs(60, random_state=1)
    best = scipy.optimize.minimize(
        lambda v: -np.mean(st.betabinom(20, *np.exp(v)).logpmf(x)), [0.0, 0.0], method="Nelder-Mead", tol=1e-11
    )
    fit = kl.KL(x, kl.Family(dist.BetaBinomial, total_count=20)).minimize()
    assert fit.status is Status.CONVERGED
    assert fit.objective.value == pytest.approx(best.fun, abs=1e-6)


def test_the_limit_of_zero_inflation_is_named():
    x = st.poisson(3).rvs(300, random_state=3)  # no more zeros than the Poisson law has
    assert np.mean(x == 0) < np.exp(-x.mean())
    fit = kl.KL(x, kl.Family(dist.ZeroInflatedPoisson)).minimize()
    assert fit.status is Status.BOUNDARY
    assert "kl.Family(dist.Poisson)" in fit.message
    assert fit.objective.value == pytest.approx(-np.mean(st.poisson(x.mean()).logpmf(x)), abs=1e-6)


def test_a_column_at_the_limit_beside_one_that_is_not():
    x = np.c_[st.binom(20, 0.8).rvs(60, random_state=1), st.nbinom(2, 0.3).rvs(60, random_state=2)]
    fit = kl.KL(x, kl.Family(dist.NegativeBinomial2)).minimize()
    alone = [kl.KL(column, kl.Family(dist.NegativeBinomial2)).minimize() for column in x.T]
    assert fit.status is Status.BOUNDARY
    assert fit.objective.value == pytest.approx(sum(each.objective.value for each in alone), abs=1e-6)


def _negative_binomial(x, c, m):
    c, m = mpmath.mpf(c), mpmath.mpf(m)
    return (
        mpmath.loggamma(x + c) - mpmath.loggamma(c) - mpmath.loggamma(x + 1)
        - c * mpmath.log1p(m / c) + x * mpmath.log(m / (c + m))
    )  # fmt: skip


@pytest.mark.parametrize("c", [0.01, 1.0, 15.9, 16.1, 1e3, 1e8, 1e14])
def test_masses_of_negative_binomials(c):
    x = np.array([0, 1, 4, 30, 1000])
    with mpmath.workdps(50):
        want = [float(_negative_binomial(int(k), c, 4.0)) for k in x]
    with jax.enable_x64(True):
        got = [
            objectives.log_prob(d, x)
            for d in (
                dist.NegativeBinomial2(4.0, c),
                dist.GammaPoisson(c, c / 4.0),
                dist.NegativeBinomialLogits(c, logits=np.log(4.0 / c)),
            )
        ]
        np.testing.assert_allclose(got[:2], [want, want], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(got[2], want, rtol=1e-11, atol=1e-11)  # the logarithm of 4/c is rounded
        inflated = objectives.log_prob(ZeroInflatedNegativeBinomial(0.25, 4.0, c), x)
        np.testing.assert_allclose(inflated[1:], np.log(0.75) + np.array(want[1:]), rtol=1e-13)
        np.testing.assert_allclose(inflated[0], np.log(0.25 + 0.75 * np.exp(want[0])), rtol=1e-12)


@pytest.mark.parametrize("c", [0.1, 10.0, 1e4, 1e10])
def test_masses_of_beta_binomials(c):
    x, n, a, b = np.array([0, 3, 20]), 20, 0.3 * c, 0.7 * c
    with mpmath.workdps(50):
        want = [
            float(mpmath.log(mpmath.binomial(n, int(k)) * mpmath.beta(k + mpmath.mpf(a), n - k + mpmath.mpf(b))
                  / mpmath.beta(mpmath.mpf(a), mpmath.mpf(b))))
            for k in x
        ]  # fmt: skip
    with jax.enable_x64(True):
        np.testing.assert_allclose(objectives.log_prob(dist.BetaBinomial(a, b, n), x), want, rtol=1e-12, atol=1e-12)


def test_masses_of_composed_laws_are_those_of_numpyro():
    """At moderate parameters: independent counts, expanded batches, mixtures, and laws that are left to NumPyro."""
    x = np.array([[0, 3], [5, 1]])
    part = dist.NegativeBinomial2(np.array([2.0, 4.0]), 3.0)
    mixture = dist.MixtureSameFamily(dist.CategoricalLogits(np.array([0.3, -0.3])), part)
    laws = (part.to_event(1), dist.NegativeBinomial2(2.0, 3.0).expand((2,)), dist.Poisson(np.ones(2)), mixture)
    both = jax.jit(lambda x: [(objectives.log_prob(d, x), d.log_prob(x)) for d in laws])
    for got, want in both(x[0]):
        np.testing.assert_allclose(got, want, rtol=2e-5)
