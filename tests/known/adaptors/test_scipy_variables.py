"""SciPy's newer random variables, and its kernel density estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from scipy import integrate

import kullback as kl
from kullback.catalogue import ClosedForm, CountableSum, FiniteSum, Quadrature
from kullback.known import describe

KEY = jax.random.key(0)
newer = pytest.mark.skipif(not hasattr(st, "make_distribution"), reason="SciPy before 1.15")


def variables():
    normal = st.Normal(mu=0.5, sigma=1.5)
    return {
        "normal": normal,
        "normal in standard units": st.Normal(),
        "uniform": st.Uniform(a=-1.0, b=3.0),
        "made of gamma": st.make_distribution(st.gamma)(a=2.5),
        "mixture": st.Mixture([normal, st.Normal(mu=4.0, sigma=0.5)], weights=[0.25, 0.75]),
        "mixture of unlike": st.Mixture([normal, st.Uniform(a=0.0, b=1.0)], weights=[0.25, 0.75]),
        "truncated": st.truncate(normal, -1.0, 2.0),
        "absolute": abs(normal),
        "exponential of": st.exp(normal),
        "logarithm of": st.log(st.Uniform(a=1.0, b=2.0)),
        "shifted and scaled": 2.0 * normal + 1.0,
        "reflected": 1.0 - st.make_distribution(st.gamma)(a=2.5),
        "order statistic": st.order_statistic(normal, r=2, n=3),
    }


@newer
@pytest.mark.parametrize("name", variables() if hasattr(st, "make_distribution") else ())
def test_what_is_known(name):
    variable = variables()[name]
    with jax.enable_x64(True):
        known = describe(variable)
        draws = np.asarray(known.sampler(KEY, 400))
        np.testing.assert_allclose(known.log_prob(jnp.asarray(draws)), variable.logpdf(draws), atol=1e-9)
        np.testing.assert_array_equal(draws, known.sampler(KEY, 400))
        # A false alarm in 10,000, and the key is fixed.
        assert st.kstest(draws, variable.cdf).pvalue > 1e-4
        low, high = variable.support()
        np.testing.assert_allclose([known.support.lower, known.support.upper], [low, high])
        for end, beyond in ((low, low - 1.0), (high, high + 1.0)):
            assert np.isinf(end) or known.log_prob(jnp.asarray(beyond)) == -np.inf


def by_integration(p, q, low, high):
    return integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, epsabs=1e-10, limit=200)[0]


@newer
def test_divergences():
    normal, other = st.Normal(mu=0.0, sigma=1.0), st.Normal(mu=1.0, sigma=2.0)
    found = kl.KL(normal, other).estimate()
    assert isinstance(found.plan.rule, ClosedForm)
    assert found.value == pytest.approx(np.log(2) + 2 / 8 - 0.5, rel=1e-6)
    a, b = (st.make_distribution(st.gamma)(a=a) for a in (2.0, 3.0))
    found = kl.KL(a, b).estimate()
    assert isinstance(found.plan.rule, Quadrature)
    assert abs(found.value - (np.log(2.0) - st.gamma(2.0).expect(np.log))) <= found.numerical_error + 1e-9
    cut = st.truncate(normal, -1.0, 2.0)
    assert kl.KL(cut, other).estimate().value == pytest.approx(by_integration(cut, other, -1, 2), abs=1e-8)
    assert kl.KL(normal, cut).estimate().value == np.inf
    wide = st.Mixture([normal, st.Normal(mu=4.0, sigma=0.5)], weights=[0.25, 0.75])
    assert kl.KL(wide, other).estimate().value == pytest.approx(by_integration(wide, other, -9, 9), abs=1e-8)


@pytest.mark.skipif(not hasattr(st, "Binomial"), reason="SciPy before 1.16 has none of counts")
def test_counts():
    a, b = st.Binomial(n=5, p=0.25), st.Binomial(n=5, p=0.5)
    expected = 5 * (0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert kl.KL(a, b).estimate().value == pytest.approx(expected, rel=1e-6)
    made = [st.make_distribution(st.poisson)(mu=mu) for mu in (2.0, 3.0)]
    found = kl.KL(*made).estimate()
    assert isinstance(found.plan.rule, CountableSum)
    assert found.value == pytest.approx(2.0 * np.log(2 / 3) + 1.0, rel=1e-12)
    made = [st.make_distribution(st.nhypergeom)(M=20, n=7, r=r) for r in (4, 3)]
    found = kl.KL(*made).estimate()
    assert isinstance(found.plan.rule, FiniteSum)
    p, q = (st.nhypergeom(20, 7, r).pmf(np.arange(8)) for r in (4, 3))
    assert found.value == pytest.approx((p * np.log(p / q)).sum(), rel=1e-9)


@newer
def test_arrays_of_parameters_are_a_batch():
    found = kl.KL(st.Normal(mu=[0.0, 1.0], sigma=1.0), st.Normal(mu=0.0, sigma=2.0)).estimate()
    np.testing.assert_allclose(found.value, np.log(2) - 0.5 + np.array([1, 2]) / 8, rtol=1e-6)
    known = describe(st.truncate(st.Normal(mu=[0.0, 1.0], sigma=1.0), -1.0, 2.0))
    assert known.batch_shape == (2,)
    assert known.sampler(KEY, 5).shape == (5, 2)


KDES = {
    "on a line": st.gaussian_kde(np.random.default_rng(0).normal(size=40)),
    "of many points": st.gaussian_kde(np.random.default_rng(0).normal(1e3, 1e-2, size=700), bw_method=0.3),
    "in five dimensions": st.gaussian_kde(np.random.default_rng(2).normal(size=(5, 90))),
    "weighted": st.gaussian_kde(np.array([0.0, 1.0, 5.0]), weights=[0.5, 0.5, 0.0]),
}


@pytest.mark.parametrize("name", KDES)
def test_kernel_density(name):
    """The density at its own draws, and their moments: the mean of the points, and their spread with the kernel's."""
    kde = KDES[name]
    with jax.enable_x64(True):
        known = describe(kde)
        draws = np.asarray(known.sampler(KEY, 4000))
        points = draws if kde.d == 1 else draws.T
        found = known.log_prob(jnp.asarray(draws).reshape(4, 1000, *known.event_shape)).ravel()
        np.testing.assert_allclose(found, kde.logpdf(points), atol=1e-7)
    moments, covariance = known.moments(), np.atleast_2d(known.moments().covariance)
    error = np.sqrt(np.diagonal(covariance) / len(draws))
    # Five standard errors in each of at most five coordinates: a false alarm in 300,000, and the key is fixed.
    assert (np.abs(draws.mean(0) - moments.mean) < 5 * error).all()
    # The relative error of a variance is about √(2/n) = 0.022.
    np.testing.assert_allclose(np.diagonal(np.atleast_2d(np.cov(draws.T))), np.diagonal(covariance), rtol=0.12)


def test_kernel_density_single_precision():
    """Far from 0 and narrow, where distances that were not taken from the middle would be lost."""
    kde = KDES["of many points"]
    x = np.linspace(999.97, 1000.03, 50).astype(np.float32)
    np.testing.assert_allclose(describe(kde).log_prob(jnp.asarray(x)), kde.logpdf(x.astype(float)), atol=5e-2)


def test_divergences_of_kernel_densities():
    kde = KDES["on a line"]
    found = kl.KL(kde, dist.Normal(0.0, 1.0)).estimate()
    assert isinstance(found.plan.rule, Quadrature)
    # The rule of trapezoids is exact but for exp(−1000) on these normals, whose width is far above its step.
    x = np.linspace(-8, 8, 1001)
    truth = integrate.trapezoid(kde(x) * (kde.logpdf(x) - st.norm.logpdf(x)), x)
    assert found.value == pytest.approx(truth, abs=1e-7)
    assert kl.KL(kde, kde).estimate().value == pytest.approx(0.0, abs=1e-9)
    many = KDES["of many points"]
    found = kl.KL(many, st.norm(1e3, 1e-2)).estimate()
    x = np.linspace(999.9, 1000.1, 1001)
    truth = integrate.trapezoid(many(x) * (many.logpdf(x) - st.norm.logpdf(x, 1e3, 1e-2)), x)
    assert found.value == pytest.approx(truth, abs=1e-6)
