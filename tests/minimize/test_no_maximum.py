"""Data on which a family has no best member: limits at its boundary, and likelihoods without a maximum, by name."""

import jax
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError
from kullback.result import Status

ONE = np.full(12, 0.3)
TWO_COLUMNS = np.random.default_rng(1).normal(size=(20, 2))


def minimum(x, family, weights=None, **fixed):
    return kl.KL(kl.Samples(x, weights), kl.Family(family, **fixed)).minimize(quiet=True)


# Families with a closed form, then those that are descended on.
COLLAPSING = [
    (family, ONE)
    for family in (
        dist.Normal, dist.Laplace, dist.AsymmetricLaplace, dist.AsymmetricLaplaceQuantile, dist.Uniform, dist.LogNormal,
        dist.Gamma, dist.InverseGamma, dist.Weibull, dist.Pareto, dist.LogUniform, dist.LowerTruncatedPowerLaw,
        dist.DoublyTruncatedPowerLaw, dist.Beta, dist.BetaProportion, dist.VonMises, dist.StudentT, dist.Gumbel,
        dist.Levy, dist.Gompertz, dist.Dagum, dist.Kumaraswamy,
    )
]  # fmt: skip
COLLAPSING += [
    (dist.Normal, np.array([5.0])),
    (dist.StudentT, np.array([5.0])),
    (dist.StudentT, np.r_[np.zeros(80), np.random.default_rng(1).normal(size=20)]),
    (dist.Dirichlet, np.tile([0.2, 0.3, 0.5], (9, 1))),
    (dist.MultivariateNormal, TWO_COLUMNS[:1]),
    (dist.MultivariateNormal, np.random.default_rng(1).normal(size=(3, 5))),
    (dist.MultivariateNormal, np.c_[TWO_COLUMNS, 3.0 - 2.0 * TWO_COLUMNS[:, 0]]),
    (dist.MultivariateNormal, np.c_[TWO_COLUMNS * [1e-8, 1e8], np.full(20, 7.0)]),
    (dist.MultivariateStudentT, np.random.default_rng(1).normal(size=(3, 4))),
]


@pytest.mark.parametrize(("family", "x"), COLLAPSING, ids=[f"{i}-{f.__name__}" for i, (f, _) in enumerate(COLLAPSING)])
def test_a_likelihood_without_maximum_is_said_and_leaves_a_law_to_use(family, x):
    fit = minimum(x, family)
    assert fit.status is Status.UNBOUNDED
    assert fit.objective.value == -np.inf
    assert "without bound" in fit.message
    assert np.isfinite(fit.q.log_prob(x.astype(np.float32))).all()
    assert not np.isnan(fit.q.sample(jax.random.key(0), (5,))).any()


@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace, dist.StudentT, dist.Gumbel])
def test_all_outcomes_at_a_location_that_is_held_fixed(family):
    """Elsewhere the scale is the distance; there it goes to 0."""
    assert minimum(np.full(5, 2.0), family, loc=2.0).status is Status.UNBOUNDED
    fit = minimum(np.full(5, 3.0), family, loc=2.0)
    assert fit.status.ok
    assert np.isfinite(fit.objective.value)


def test_a_descent_that_is_cut_short_claims_nothing(rng):
    x = np.r_[np.zeros(80), rng.normal(size=20)]
    fit = kl.KL(x, kl.Family(dist.StudentT)).minimize(steps=1, quiet=True)
    assert fit.status is Status.STEP_LIMIT
    assert np.isfinite(fit.objective.value)


def test_one_flat_column_among_others():
    x = np.random.default_rng(0).standard_t(5, size=(40, 3))
    x[:, 1] = 1e7
    for family in (dist.Normal, dist.Logistic):
        fit = minimum(x, family)
        assert fit.status is Status.UNBOUNDED
        assert "column 1" in fit.message
        alone = minimum(x[:, 2], family).q
        np.testing.assert_allclose(fit.q.base_dist.loc[2], alone.loc, atol=1e-5)
        np.testing.assert_allclose(fit.q.base_dist.scale[2], alone.scale, rtol=1e-5)


def poisson_limit(x):
    return -st.poisson(x.mean()).logpmf(x).mean()


def exponential_limit(x):
    return 1.0 + np.log(x.mean())


def power_law_limit(x):
    # Of the density ∝ x^(c − 1) up to the greatest outcome b, with 1/c = E[log(b/x)].
    b = x.max()
    c = 1.0 / np.log(b / x).mean()
    return np.log(b / c) + 1.0 - 1.0 / c


# Data, and the cross entropy of the limit law in closed form.
LIMITS = [
    (dist.StudentT, np.random.default_rng(0).uniform(size=200), lambda x: 0.5 + np.log(x.std() * np.sqrt(2 * np.pi))),
    (dist.NegativeBinomial2, np.full(10, 4), poisson_limit),
    (dist.Gompertz, np.random.default_rng(1).pareto(1.0, 300), exponential_limit),
    (dist.AsymmetricLaplace, np.random.default_rng(1).exponential(size=300), lambda x: exponential_limit(x - x.min())),
    (dist.Dagum, np.random.default_rng(5).uniform(size=20), power_law_limit),
    (dist.Dagum, np.array([0.25, 0.5]), power_law_limit),
    (dist.Bernoulli, np.ones(9, int), lambda x: 0.0),
    (dist.BernoulliProbs, np.zeros(9, int), lambda x: 0.0),
    (dist.Poisson, np.zeros(9, int), lambda x: 0.0),
    (dist.Geometric, np.zeros(9, int), lambda x: 0.0),
]


@pytest.mark.parametrize(
    ("family", "x", "limit"), LIMITS, ids=[f"{i}-{f.__name__}" for i, (f, *_) in enumerate(LIMITS)]
)
def test_a_limit_law_is_said_and_reached(family, x, limit):
    fit = minimum(x, family)
    assert fit.status is Status.BOUNDARY
    assert fit.status.ok
    # A t law of 1,000 degrees stands for the normal: the gap is about kurtosis over 4·1,000.
    assert fit.objective.value == pytest.approx(limit(x), abs=1e-3 if family is dist.StudentT else 1e-4)
    assert np.isfinite(fit.q.log_prob(x.astype(np.float32) if x.dtype.kind == "f" else x)).all()


def test_what_runs_far_but_has_an_optimum_is_no_limit():
    """Nearly equal outcomes have large concentrations, and two scales a million apart an optimum all the same."""
    x = 1e3 + np.random.default_rng(1).normal(size=500)
    for family in (dist.Gamma, dist.InverseGamma, dist.Weibull):
        fit = minimum(x, family)
        assert fit.status is Status.CLOSED_FORM
    columns = np.random.default_rng(1).logistic(size=(60, 2)) * [1e-9, 1e9]
    assert minimum(columns, dist.Logistic).status is Status.CONVERGED


def test_concentrations_have_all_digits():
    """The gamma law of 1000 ± 1, against its likelihood in 40 digits."""
    x = 1e3 + np.random.default_rng(1).normal(size=50)
    fit = minimum(x, dist.Gamma)
    with mpmath.workdps(40):
        a, b = mpmath.mpf(float(fit.q.concentration)), mpmath.mpf(float(fit.q.rate))
        logs = [a * mpmath.log(b) - mpmath.loggamma(a) + (a - 1) * mpmath.log(v) - b * v for v in map(mpmath.mpf, x)]
        want = -sum(logs) / len(x)
        gap = mpmath.log(sum(map(mpmath.mpf, x)) / 50) - sum(mpmath.log(v) for v in x) / 50
        best = mpmath.findroot(lambda t: mpmath.log(t) - mpmath.digamma(t) - gap, a)
    assert fit.objective.value == pytest.approx(float(want), abs=1e-9)
    assert float(a) == pytest.approx(float(best), rel=1e-6)


@pytest.mark.parametrize("spread", [1e-2, 1e-5])
def test_narrow_shares_have_the_normal_limit(spread):
    """A beta law of a standard deviation far below its mean is normal, to terms of its order."""
    x = 0.4 + spread * np.random.default_rng(2).normal(size=400)
    fit = minimum(x, dist.Beta)
    assert fit.status is Status.CLOSED_FORM
    assert fit.objective.value == pytest.approx(0.5 + np.log(x.std() * np.sqrt(2 * np.pi)), abs=spread)
    pairs = minimum(np.c_[x, 1.0 - x], dist.Dirichlet)
    assert pairs.objective.value == pytest.approx(fit.objective.value, abs=1e-6)


def test_small_concentrations():
    x = np.random.default_rng(1).dirichlet([0.1, 0.2, 0.05], 300)
    x = x[(x > 0).all(1)]
    fit = minimum(x, dist.Dirichlet)
    least = scipy.optimize.minimize(
        lambda t: -st.dirichlet(np.exp(t)).logpdf(x.T).mean(), np.log([0.1, 0.2, 0.05]), method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10},
    )  # fmt: skip
    assert fit.objective.value == pytest.approx(least.fun, abs=1e-6)
    np.testing.assert_allclose(fit.q.concentration, np.exp(least.x), rtol=1e-3)


def test_nearly_collinear_columns_keep_their_digits():
    """Correlation 1 − 1e-10, at an offset: −½ log det of the covariance by the residual of one column on the other."""
    z, rho = np.random.default_rng(1).normal(size=(1000, 2)), 1 - 1e-10
    x = np.c_[z[:, 0], rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]]
    residual = np.linalg.lstsq(np.c_[np.ones(1000), x[:, 0]], x[:, 1], rcond=None)[1][0] / 1000
    want = 1.0 + np.log(2 * np.pi) + 0.5 * np.log(x[:, 0].var() * residual)
    for scale, offset in (([1.0, 1.0], 0.0), ([1e-6, 1e6], 0.0), ([1e3, 1e3], 1e6)):
        fit = minimum(x * scale + offset, dist.MultivariateNormal)
        assert fit.status is Status.CLOSED_FORM
        # At the offset the draws are rounded to 1e-13 of their spread, which is 1e-8 of the residual's.
        assert fit.objective.value - np.log(scale).sum() == pytest.approx(want, abs=1e-4 if offset else 1e-7)


def test_an_outlier_does_not_carry_the_fit_away():
    """One outcome at 1e6 among 30: the optimum near the others, by a search over SciPy's density from there."""
    x = np.r_[np.random.default_rng(1).normal(size=30), 1e6]
    fit = minimum(x, dist.StudentT)
    least = scipy.optimize.minimize(
        lambda t: -st.t(np.exp(t[0]), t[1], np.exp(t[2])).logpdf(x).mean(), [0.0, 0.0, 0.0], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000},
    )  # fmt: skip
    assert fit.objective.value == pytest.approx(least.fun, abs=1e-6)
    assert float(fit.q.loc) == pytest.approx(least.x[1], abs=1e-3)


def test_unix_times_in_both_precisions(precision):
    x = 1.7e9 + np.arange(10)
    fit = minimum(x, dist.Normal)
    assert float(fit.q.loc) == 1.7e9 + 4.5
    assert float(fit.q.scale) == pytest.approx(np.sqrt(8.25), rel=1e-12)
    assert fit.objective.value == pytest.approx(0.5 + 0.5 * np.log(2 * np.pi * 8.25), abs=1e-9)
    np.testing.assert_allclose(fit.q.log_prob(x), st.norm(1.7e9 + 4.5, np.sqrt(8.25)).logpdf(x), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "x"),
    [
        (dist.Beta, [0.0, 0.2, 0.5]),
        (dist.Beta, [0.2, 0.5, 1.0]),
        (dist.BetaProportion, [0.2, 0.5, 1.0]),
        (dist.Kumaraswamy, [0.0, 0.2, 0.5]),
        (dist.Dirichlet, [[0.2, 0.8], [0.0, 1.0]]),
    ],
)
def test_outcomes_at_an_end_where_the_density_is_0_or_infinite_are_named(family, x):
    with pytest.raises(InputError, match="end of the support"):
        minimum(np.array(x), family)


def test_outcomes_beyond_an_end_that_is_held_fixed_are_named():
    for family, fixed in ((dist.Pareto, {"scale": 1.5}), (dist.Uniform, {"low": 1.5}), (dist.Uniform, {"high": 3.0})):
        with pytest.raises(InputError, match=f"beyond the end {next(iter(fixed))}"):
            minimum(np.array([1.0, 2.0, 4.0]), family, **fixed)


@pytest.mark.parametrize("family", [dist.Pareto, dist.Uniform, dist.LogUniform, dist.LowerTruncatedPowerLaw])
def test_an_end_is_at_the_data_and_holds_them(family, rng):
    x = 1.0 + rng.pareto(2.0, 40)
    q = minimum(x, family).q
    assert kl.KL(x, q).estimate().value != np.inf
    with jax.enable_x64(True):
        assert np.asarray(q.support(x)).all()


def test_pareto_of_three():
    fit = minimum(np.array([1.0, 2.0, 4.0]), dist.Pareto)
    assert (float(fit.q.scale), float(fit.q.alpha)) == pytest.approx((1.0, 1 / np.log(2)), rel=1e-12)
    held = minimum(np.array([1.0, 2.0, 4.0]), dist.Pareto, scale=1.0)
    # −log α + (1 + α) E[log x], with E[log x] = log 2 and α = 1/log 2.
    want = np.log(np.log(2)) + np.log(2) + 1.0
    assert fit.objective.value == pytest.approx(want, abs=1e-12)
    assert held.objective.value == pytest.approx(want, abs=1e-12)
