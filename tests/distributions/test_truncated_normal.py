"""The truncated normal law, against mpmath at 50 digits and SciPy's."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

import kullback as kl
from kullback.distributions import TruncatedNormal
from kullback.errors import InputError
from kullback.result import Status

mpmath.mp.dps = 50
# loc, scale, low, high: one end and both, the location inside and far outside, narrow, and without ends.
LAWS = (
    (0.0, 1.0, 0.0, None),
    (-5.0, 1.0, 0.0, None),
    (-1000.0, 2.0, 0.0, None),
    (1.0, 2.0, -1.0, 4.0),
    (0.0, 1.0, None, -32.0),
    (0.0, 1.0, 8.0, 8.0625),
    (0.5, 1.0, -0.0078125, 0.0078125),
    (2.0, 0.5, None, None),
)


def density(loc, scale, low, high):
    """exp(−½((x − loc)² − (m − loc)²)/scale²), its ends in reach of the mode m, and its mass."""
    loc, scale = mpmath.mpf(loc), mpmath.mpf(scale)
    low, high = (None if end is None else mpmath.mpf(end) for end in (low, high))
    mode = loc if low is None else max(loc, low)
    mode = mode if high is None else min(mode, high)

    def f(x):
        return mpmath.exp(-((x - loc) ** 2 - (mode - loc) ** 2) / (2 * scale**2))

    reach = 200 * scale / (mpmath.sqrt(((mode - loc) / scale) ** 2 + 200) + abs(mode - loc) / scale)
    ends = (
        (mode - reach if low is None else max(low, mode - reach)),
        (mode + reach if high is None else min(high, mode + reach)),
    )
    return f, ends, mpmath.quad(f, mpmath.linspace(*ends, 12))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_log_probability_and_the_moments(precision, law):
    f, (first, last), mass = density(*law)
    loc, scale, *ends = law
    d = TruncatedNormal(precision(loc), precision(scale), *ends)
    points = [precision(first + (last - first) * share) for share in (0.25, 0.5, 0.75)]
    exact = [float(mpmath.log(f(mpmath.mpf(float(x))) / mass)) for x in points]
    rounding = 200 * np.finfo(precision).eps
    np.testing.assert_allclose(d.log_prob(np.array(points)), exact, rtol=rounding, atol=rounding)
    nodes = mpmath.linspace(first, last, 12)
    mean = mpmath.quad(lambda x: x * f(x), nodes) / mass
    variance = mpmath.quad(lambda x: (x - mean) ** 2 * f(x), nodes) / mass
    assert float(d.mean) == pytest.approx(float(mean), rel=2 * rounding, abs=rounding * float(mpmath.sqrt(variance)))
    assert float(d.variance) == pytest.approx(float(variance), rel=rounding)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_draws(precision, law):
    """By the Kolmogorov–Smirnov statistic of 2,000 draws: a false alarm in a million for each law."""
    loc, scale, low, high = law
    d = TruncatedNormal(precision(loc), precision(scale), low, high)
    x = np.asarray(jax.jit(lambda d, key: d.sample(key, (2000,)))(d, jax.random.key(3)))
    a, b = -np.inf if low is None else (low - loc) / scale, np.inf if high is None else (high - loc) / scale
    assert stats.kstest(x, stats.truncnorm(a, b, loc, scale).cdf).pvalue > 1e-6


@pytest.mark.parametrize("law", [LAWS[i] for i in (1, 3, 4, 6, 7)], ids=str)
def test_draws_and_log_probabilities_are_differentiable(law):
    loc, scale, *ends = law
    with jax.enable_x64(True):
        point = float(np.mean([end for end in ends if end is not None] or [loc]))
        for value in (
            lambda p: jnp.mean(TruncatedNormal(p[0], p[1], *ends).sample(jax.random.key(1), (5,))),
            lambda p: TruncatedNormal(p[0], p[1], *ends).log_prob(point),
        ):
            value, here = jax.jit(value), jnp.asarray([loc, scale])
            for i, slope in enumerate(jax.grad(value)(here)):
                step = 1e-5 * np.eye(2)[i]
                secant = (float(value(here + step)) - float(value(here - step))) / 2e-5
                assert float(slope) == pytest.approx(secant, rel=1e-5, abs=1e-6)


def negative_log_likelihood(y, low, high):
    def value(p):
        loc, scale = p[0], np.exp(p[1])
        return -stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale).logpdf(y).mean()

    return value


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e5])
@pytest.mark.parametrize("ends", [{"low": 0.0}, {"high": 3.0}, {"low": 0.0, "high": 3.0}], ids=str)
def test_a_family_with_given_ends_is_fitted(unit, ends):
    low, high = ends.get("low", -np.inf), ends.get("high", np.inf)
    y = stats.truncnorm(low - 1.0, high - 1.0, 1.0, 1.0).rvs(800, random_state=1)
    best = optimize.minimize(
        negative_log_likelihood(y, low, high), [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-13}
    )
    family = kl.Family(dist.TruncatedNormal, **{name: unit * end for name, end in ends.items()})
    fit = kl.KL(unit * y, family).minimize(quiet=True)
    assert fit.status is Status.CONVERGED
    assert fit.objective.value == pytest.approx(best.fun + np.log(unit), abs=1e-8)
    assert float(fit.q.loc) / unit == pytest.approx(best.x[0], abs=1e-4)


def test_outcomes_more_spread_than_exponential_have_the_exponential_as_the_limit(rng):
    """The likelihood has a maximum only where the standard deviation is below the mean (del Castillo 1994)."""
    y = rng.gamma(0.5, 2.0, 500)
    assert y.std() > y.mean()
    fit = kl.KL(y, kl.Family(dist.TruncatedNormal, low=0.0)).minimize(quiet=True)
    assert fit.status is Status.BOUNDARY
    assert "exponential on the support, as loc goes to −∞" in str(fit)
    assert fit.objective.value == pytest.approx(1 + np.log(y.mean()), abs=1e-5)


def test_divergences_of_a_fit_are_exact_and_it_can_be_saved(rng, tmp_path):
    fit = kl.KL(np.abs(rng.normal(size=200)), kl.Family(dist.TruncatedNormal, low=0.0)).minimize(quiet=True)
    assert float(kl.KL(fit.q, fit.q).estimate()) == 0.0
    f, (first, last), mass = density(float(fit.q.loc), float(fit.q.scale), 0.0, None)
    nodes = mpmath.linspace(first, last, 12)
    # KL to Normal(0, 1), whose log-density is −½x² − ½ log 2π.
    exact = mpmath.quad(
        lambda x: f(x) / mass * (mpmath.log(f(x) / mass) + x**2 / 2 + mpmath.log(2 * mpmath.pi) / 2), nodes
    )
    found = kl.KL(fit.q, dist.Normal(0.0, 1.0)).estimate()
    assert found.guarantee is kl.Guarantee.EXACT
    assert float(found) == pytest.approx(float(exact), rel=1e-5)
    fit.save(tmp_path / "fit")
    assert float(kl.load(tmp_path / "fit").q.loc) == float(fit.q.loc)


def test_a_regression_of_outcomes_that_are_cut_off():
    r = np.random.default_rng(2)
    x = r.normal(size=600)
    y = stats.truncnorm(-(1 + x) / 0.7, np.inf, 1 + x, 0.7).rvs(random_state=2)
    model = kl.KLRegressor(dist.TruncatedNormal, "linear", prior_scale=None, fixed={"low": 0.0}).fit(x[:, None], y)

    def value(p):
        loc, scale = p[0] + p[1] * x, np.exp(p[2] + p[3] * x)
        return -stats.truncnorm(-loc / scale, np.inf, loc, scale).logpdf(y).mean()

    best = optimize.minimize(value, [1.0, 1.0, 0.0, 0.0], method="BFGS")
    assert model.fit_.objective.value == pytest.approx(best.fun, abs=1e-8)
    assert model.coef_[0] == pytest.approx(best.x[1], abs=1e-3)
    scale = np.exp(best.x[2] + best.x[3] * x[:3])
    law = stats.truncnorm(-(best.x[0] + best.x[1] * x[:3]) / scale, np.inf, best.x[0] + best.x[1] * x[:3], scale)
    np.testing.assert_allclose(model.predict(x[:3, None]), law.mean(), rtol=1e-3)
    np.testing.assert_allclose(model.predict_quantile(x[:3, None], 0.3), law.ppf(0.3), rtol=1e-2)


def test_what_a_truncated_family_needs_is_said():
    with pytest.raises(InputError, match=r"^low, high: TruncatedNormal has its ends fixed"):
        kl.KL(np.array([1.0, 2.0]), kl.Family(dist.TruncatedNormal)).minimize()
    with pytest.raises(InputError, match=r"lies beyond the end low=1\.5"):
        kl.KL(np.array([1.0, 2.0]), kl.Family(dist.TruncatedNormal, low=1.5)).minimize()
    with pytest.raises(InputError, match="lies outside the support"):
        kl.KLRegressor(dist.TruncatedNormal, fixed={"low": 1.5}).fit([[0.0], [1.0]], [1.0, 2.0])
