"""Monte Carlo and cross entropy: unbiased, with standard errors that are right.

Bounds on statistics over seeds are set for one false alarm in 10,000 runs; seeds are fixed.
"""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro.distributions import constraints
from scipy.special import i0e

import kullback as kl
from kullback.errors import EstimateError, InputError
from kullback.estimate.control_variate import ratio_second_moment
from kullback.known import describe

SEEDS = 150
FALSE_ALARM = 1e-4
WIDE = st.norm.isf(FALSE_ALARM / 2)


def assert_calibrated(values, errors, truth):
    """The mean of z-scores is 0 and their variance 1, each within its bound."""
    z = (np.asarray(values) - truth) / np.asarray(errors)
    assert abs(z.mean()) < WIDE / np.sqrt(len(z))
    low, high = st.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], len(z) - 1) / (len(z) - 1)
    assert low < z.var(ddof=1) < high


@pytest.mark.parametrize("control", [False, True], ids=["plain", "control variate"])
def test_unbiased_with_calibrated_errors(control):
    p, q = dist.Normal(0.0, 1.0), dist.Normal(0.5, 1.25)
    rule = kl.rules.MonteCarlo(pilot=1, draws=1, control=control)
    answers = [kl.KL(p, q).estimate(seed=seed, rule=rule) for seed in range(SEEDS)]
    assert answers[0].guarantee is kl.Guarantee.UNBIASED
    assert answers[0].diagnostics["control_variate"] == control
    assert_calibrated([a.value for a in answers], [a.standard_error for a in answers], kl.KL(p, q).estimate().value)


def test_control_variate_reduces_the_error():
    p, q = dist.Normal(0.0, 1.0), dist.Normal(0.1, 1.0)
    plain, controlled = (
        kl.KL(p, q).estimate(rule=kl.rules.MonteCarlo(draws=1, control=control)) for control in (False, True)
    )
    assert controlled.standard_error < 0.2 * plain.standard_error


@pytest.mark.parametrize(
    ("p", "q", "finite"),
    [
        (dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.4), True),
        (dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.42), False),
        (dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0), False),
        (dist.Normal(0.0, 1.0), dist.Normal(9.0, 1.0), False),
        (dist.Normal(jnp.zeros(2), 1.0).to_event(1), dist.MultivariateNormal(jnp.ones(2), jnp.eye(2)), True),
        (dist.Normal(jnp.zeros(2), 1.0), dist.Normal(jnp.zeros(2), 1.0), False),
    ],
)
def test_control_variate_only_where_its_variance_is_known_to_be_small(p, q, finite):
    assert (ratio_second_moment(describe(p), describe(q)) < 100) == finite


def test_second_moment_of_the_ratio_against_quadrature():
    weights, means, scales = np.array([0.25, 0.75]), np.array([-1.0, 1.0]), np.array([1.0, 0.75])
    p = dist.MixtureSameFamily(dist.Categorical(probs=jnp.array(weights)), dist.Normal(jnp.array(means), scales))
    q = dist.Normal(0.5, 0.75)
    x = np.linspace(-12, 12, 20001)
    density = (weights * st.norm.pdf(x[:, None], means, scales)).sum(1)
    truth = np.trapezoid(st.norm.pdf(x, 0.5, 0.75) ** 2 / density, x)
    assert truth <= ratio_second_moment(describe(p), describe(q)) <= 3 * truth
    single = ratio_second_moment(describe(dist.Normal(0.0, 1.0)), describe(q))
    assert single == pytest.approx(np.trapezoid(st.norm.pdf(x, 0.5, 0.75) ** 2 / st.norm.pdf(x), x), rel=1e-6)


def test_meets_its_tolerance_and_says_when_it_does_not():
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    met = kl.KL(p, q).estimate(rule="monte carlo", tolerance=0.003)
    assert met.standard_error < 0.0033
    assert met.reason == ""
    short = kl.KL(p, q).estimate(rule=kl.rules.MonteCarlo(draws=1), tolerance=1e-4)
    assert short.standard_error > 1e-3
    assert "above the tolerance of 0.0001 nats" in short.reason


def test_same_seed_same_answer():
    expression = kl.KL(dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0))
    first, second, third = (expression.estimate(rule="monte carlo", seed=seed).value for seed in (3, 3, 4))
    assert first == second != third


def test_batches_broadcast():
    p, q = dist.Normal(jnp.array([0.0, 1.0]), 1.0), dist.Normal(1.0, jnp.array([[1.0], [2.0], [3.0]]))
    answer, truth = kl.KL(p, q).estimate(rule="monte carlo"), kl.KL(p, q).estimate().value
    assert answer.value.shape == answer.standard_error.shape == (3, 2)
    assert (np.abs(answer.value - truth) <= WIDE * answer.standard_error + 1e-6).all()


def test_unnormalised_q_drops_log_z():
    answer = kl.KL(dist.Normal(0.0, 1.0), kl.Density(lambda x: -(x**2) / 8)).estimate(rule="monte carlo")
    truth = kl.KL(dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0)).estimate().value
    assert answer.dropped == ("log Z",)
    assert answer.quantity == "KL(P‖Q) − log Z"
    assert answer.value + 0.5 * np.log(2 * np.pi * 4) == pytest.approx(truth, abs=WIDE * answer.standard_error)


def test_a_draw_of_probability_zero_is_infinite():
    q = kl.Density(lambda x: jnp.where(x < 2.0, -x, -jnp.inf), normalized=True)
    answer = kl.KL(dist.Normal(0.0, 1.0), q).estimate(rule="monte carlo")
    assert answer.value == np.inf
    assert answer.reason.startswith("P drew an outcome, ")
    assert answer.reason.endswith("to which Q gives probability 0")


def test_nan_is_an_error_that_shows_the_draw():
    q = kl.Density(jnp.log, normalized=True)
    with pytest.raises(EstimateError, match="not a number at a draw of P"):
        kl.KL(dist.Normal(0.0, 1.0), q).estimate(rule="monte carlo")


def test_host_samplers_and_densities():
    answer = kl.KL(st.skewnorm(1.0), st.norm(1.0, 2.0)).estimate(rule="monte carlo")
    x = np.linspace(-12, 12, 40001)
    gap = st.skewnorm(1.0).logpdf(x) - st.norm(1.0, 2.0).logpdf(x)
    truth = np.trapezoid(st.skewnorm(1.0).pdf(x) * gap, x)
    assert answer.value == pytest.approx(truth, abs=WIDE * answer.standard_error)


@pytest.mark.parametrize("q", [st.skewnorm(1.0, 0.0, 3.0), st.hypsecant(0.0, 2.0)], ids=lambda d: d.dist.name)
def test_host_densities_from_compiled_programs(q, precision):
    """JAX may call back from a thread in which its double precision is off."""
    rule = kl.rules.MonteCarlo(pilot=512, draws=1 << 16)
    answer = kl.KL(dist.Normal(0.0, 1.0), q).estimate(rule=rule, tolerance=0.01)
    x = np.linspace(-12, 12, 40001)
    truth = np.trapezoid(st.norm.pdf(x) * (st.norm.logpdf(x) - q.logpdf(x)), x)
    assert answer.value == pytest.approx(truth, abs=WIDE * answer.standard_error)


def test_underflow_of_a_density_is_no_escape():
    """SciPy's log-density of this law is log(pdf), which is −∞ from 39 scales on; the truth is that of the formulas."""
    p, q = st.rice(1.0), st.rice(1.0, scale=0.1)
    assert q.logpdf(4.5) == -np.inf
    answer = kl.KL(p, q).estimate(rule=kl.rules.MonteCarlo(draws=1 << 16))
    x = np.linspace(1e-9, 12, 200001)
    log_p, log_q = (np.log(x / s**2 * i0e(x / s)) - 0.5 * (x / s - 1.0) ** 2 for s in (1.0, 0.1))
    truth = np.trapezoid(np.exp(log_p) * (log_p - log_q), x)
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert "underflows" in answer.reason
    assert 0.98 * truth < answer.value < truth + WIDE * answer.standard_error
    ends = kl.Density(lambda x: -float(x) if x < 2 else -np.inf, normalized=True)
    assert kl.KL(dist.Normal(0.0, 1.0), ends).estimate(rule=kl.rules.MonteCarlo(draws=4096)).value == np.inf


def test_host_densities_see_every_digit():
    q = st.skewnorm(0.0, 1000.0, 2e-5)
    answer = kl.KL(dist.Normal(1000.0, 1e-5), q).estimate(rule=kl.rules.MonteCarlo(draws=1 << 14), tolerance=0.02)
    assert answer.value == pytest.approx(np.log(2.0) + 1 / 8 - 0.5, abs=WIDE * answer.standard_error)


def test_double_precision_where_single_would_round_the_draws():
    p, q = dist.Normal(1000.0, 1e-5), dist.Normal(1000.0, 2e-5)
    answer = kl.KL(p, q).estimate(rule="monte carlo")
    assert answer.value == pytest.approx(np.log(2.0) + 1 / 8 - 0.5, abs=WIDE * answer.standard_error)


def test_settings_are_checked():
    with pytest.raises(InputError, match="MonteCarlo"):
        kl.rules.MonteCarlo(tolerance=0.0)


class TestCrossEntropy:
    def test_over_a_sample(self, rng):
        x = rng.normal(size=1000)
        answer = kl.KL(x, dist.Normal(0.5, 2.0)).estimate(rule="cross entropy")
        losses = -st.norm(0.5, 2.0).logpdf(x)
        assert answer.value == pytest.approx(losses.mean())
        assert answer.standard_error == pytest.approx(losses.std(ddof=1) / np.sqrt(1000))
        assert answer.quantity == "H(P, Q)"
        assert answer.dropped == ("H(P)",)

    def test_more_rows_than_a_chunk(self, rng):
        x = rng.normal(size=20_001)
        answer = kl.KL(x, dist.Normal(0.5, 2.0)).estimate(rule="cross entropy")
        assert answer.value == pytest.approx(-st.norm(0.5, 2.0).logpdf(x).mean())

    def test_weights(self, rng):
        x, weights = rng.normal(size=500), rng.integers(0, 4, 500)
        weighted = kl.KL(kl.Samples(x, weights), dist.Normal(0.5, 2.0)).estimate(rule="cross entropy")
        repeated = kl.KL(np.repeat(x, weights), dist.Normal(0.5, 2.0)).estimate(rule="cross entropy")
        assert weighted.value == pytest.approx(repeated.value)
        assert weighted.guarantee is kl.Guarantee.CONSISTENT

    def test_calibrated(self, rng):
        answers = [
            kl.KL(rng.normal(size=64), dist.Normal(0.5, 2.0)).estimate(rule="cross entropy") for _ in range(SEEDS)
        ]
        truth = float(kl.cross_entropy(dist.Normal(0.0, 1.0), dist.Normal(0.5, 2.0)))
        values, errors = (np.array([getattr(a, name) for a in answers]) for name in ("value", "standard_error"))
        assert abs(values.mean() - truth) < WIDE * values.std() / np.sqrt(SEEDS)
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=WIDE / np.sqrt(2 * SEEDS) + 0.02)

    def test_pairs_against_a_fitted_conditional(self, rng):
        x = rng.normal(size=(80, 2))
        y = x @ np.array([1.0, -1.0]) + 0.5 * rng.normal(size=80)
        fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal, scale=0.5)).minimize(quiet=True)
        answer = kl.KL(kl.Pairs(x, y), fit.q).estimate()
        mean = np.asarray(fit.q(x).mean, np.float64)
        assert answer.value == pytest.approx(-st.norm(mean, 0.5).logpdf(y).mean(), rel=1e-5)

    def test_a_row_that_q_excludes(self):
        q = kl.Density(lambda x: jnp.where(x < 2.0, -x, -jnp.inf), normalized=True)
        answer = kl.KL(np.array([0.0, 3.0]), q).estimate(rule="cross entropy")
        assert answer.value == np.inf
        assert answer.reason == "Q gives probability 0 to row 1 of P's sample"

    def test_a_sampler_without_a_density(self):
        p = kl.known.Known(
            name="a simulator", event_shape=(), functions=kl.known.Functions(sampler=lambda key, n: np.ones(n))
        )
        answer = kl.KL(p, dist.Normal(0.0, 1.0)).estimate()
        assert answer.value == pytest.approx(-st.norm.logpdf(1.0))
        assert answer.plan.rule.name == "cross entropy"

    def test_one_row_has_no_standard_error(self):
        assert kl.KL(np.array([0.5]), dist.Normal(0.0, 1.0)).estimate(rule="cross entropy").standard_error == np.inf


@pytest.mark.parametrize("rule", ["monte carlo", "quadrature"])
def test_arrays_that_a_density_closes_over_stay_single(rule):
    """JAX keeps them as double for as long as a trace of double precision lasts, and fails on them afterwards."""
    held = np.array([0.5, 3.0, 20.0])
    q = kl.Density(lambda x: -0.5 * (x - jnp.sum(held) + 23.5) ** 2 - 0.5 * np.log(2 * np.pi), normalized=True)
    kl.KL(dist.Normal(0.0, 2.0), q).estimate(rule=rule, tolerance=0.1)
    assert jnp.asarray(held).dtype == jnp.result_type(float)
    assert float(jnp.sum(held)) == 23.5


def test_draws_that_are_rounded_to_0_are_said_to_be():
    """Half the draws of Gamma(0.001) are below 2^−1000: which is no fault of a log-density of the user's own."""
    q = kl.Density(lambda x: -x, event_shape=(), support=constraints.nonnegative, normalized=True)
    with pytest.raises(EstimateError, match=r"P drew 0\., so near to 0 that double precision ends"):
        kl.KL(dist.Gamma(0.001, 1.0), q).estimate(rule="monte carlo")


def test_a_log_density_that_is_not_a_number_at_a_count_of_0_is_at_fault():
    q = kl.Density(lambda x: jnp.where(x == 0, jnp.nan, -x), event_shape=(), support="nonnegative_integer")
    with pytest.raises(EstimateError, match="either a log-density returns NaN there"):
        kl.KL(st.poisson(2.0), q).estimate(rule="monte carlo")
