"""PIT values are uniform under the truth, for counts too, and the histogram's test says when they are not."""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from kullback.errors import InputError
from kullback.supervised.calibration import pit, pit_histogram

N = 4000
RNG = np.random.default_rng(1)
RATE = np.exp(RNG.normal(size=N))


def test_a_value_is_the_distribution_function():
    y = RNG.gamma(RATE)
    np.testing.assert_allclose(pit(y, dist.Gamma(RATE, 1.0)), stats.gamma.cdf(y, RATE.astype(np.float32)), rtol=1e-6)


def test_a_count_lies_between_its_two_values():
    y = RNG.poisson(RATE)
    values = pit(y, dist.Poisson(RATE), seed=3)
    assert (values >= stats.poisson.cdf(y - 1, RATE) - 1e-6).all()
    assert (values <= stats.poisson.cdf(y, RATE) + 1e-6).all()
    np.testing.assert_array_equal(values, pit(y, dist.Poisson(RATE), seed=3))
    assert (values != pit(y, dist.Poisson(RATE), seed=4)).any()


def test_uniform_under_the_truth_and_not_otherwise():
    """Kolmogorov's test and ours, each with a false-alarm rate of 1e-3; the wrong laws are missed with far less."""
    y = RNG.poisson(RATE)
    right, wrong = pit(y, dist.Poisson(RATE)), pit(y, dist.Poisson(1.3 * RATE))
    assert stats.kstest(right, "uniform").pvalue > 1e-3
    assert pit_histogram(right).p_value > 1e-3
    assert pit_histogram(wrong).p_value < 1e-6
    assert "speak against" in str(pit_histogram(wrong))


def test_the_histogram_is_tested_by_chi_square_and_has_a_binomial_band():
    values = RNG.beta(1.1, 1.0, size=500)
    found = pit_histogram(values, bins=10)
    expected = stats.chisquare(np.histogram(values, 10, (0, 1))[0])
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    low, high = found.band(0.95)
    assert stats.binom.cdf(high, 500, 0.1) - stats.binom.cdf(low - 1, 500, 0.1) >= 0.95
    assert stats.binom.cdf(high - 1, 500, 0.1) - stats.binom.cdf(low, 500, 0.1) < 0.95


def test_the_test_holds_its_level():
    """Of 400 uniform samples 5 % have p < 0.05: between 2 % and 9 % in all but one run of 10⁵."""
    alarms = sum(pit_histogram(RNG.uniform(size=200), bins=10).p_value < 0.05 for _ in range(400))
    assert 0.02 < alarms / 400 < 0.09


def test_errors():
    with pytest.raises(InputError, match="PIT values lie in"):
        pit_histogram([0.5, 1.5] * 100)
    with pytest.raises(InputError, match="5 values for each"):
        pit_histogram(np.full(50, 0.5))
    with pytest.raises(InputError, match="have no order"):
        pit([0, 1], dist.Categorical(probs=np.full((2, 2), 0.5)))
