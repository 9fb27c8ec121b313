"""Rows of a time series or a Markov chain: found out, folds by block, and a standard error by effective rows.

False alarms are at most one in 10⁴ samples by the test itself, so that none is expected here. Where coverage is
counted, the intervals cover with probability 0.95 or more: of 30 at most 5 miss but for a chance below 1e-3.
"""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.estimate.density_ratio.cross_fit import FOLDS, Labelled
from kullback.estimate.dependence import apart, dependence, in_order
from kullback.estimate.rows import Rows

SIZE = 1000


def measured(*columns):
    point = np.column_stack(columns)
    return Rows(np.zeros(len(point), np.int64), point)


def series(rng, size=SIZE, rho=0.9):
    """A stationary Gaussian AR(1) of variance 1, whose autocorrelation time is (1 + ρ)/(1 − ρ)."""
    x, noise = np.empty(size), rng.normal(size=size)
    x[0] = noise[0]
    for t in range(1, size):
        x[t] = rho * x[t - 1] + np.sqrt(1.0 - rho**2) * noise[t]
    return x


def chain(rng, size=SIZE, stay=0.9, states=5):
    found = np.empty(size, np.int64)
    found[0] = rng.integers(states)
    for t in range(1, size):
        found[t] = found[t - 1] if rng.random() < stay else rng.integers(states)
    return found


INDEPENDENT = {
    "normal": lambda rng, n: rng.normal(size=n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "rounded": lambda rng, n: rng.normal(size=n).round(),
    "mostly 0": lambda rng, n: np.where(rng.random(n) < 0.95, 0.0, rng.normal(size=n)),
    "grouped": lambda rng, n: np.concatenate([rng.normal(size=n // 2), rng.normal(9.0, 1.0, n - n // 2)]),
    "sorted": lambda rng, n: np.sort(rng.normal(size=n)),
    "falling": lambda rng, n: -np.sort(rng.exponential(size=n)),
    "permuted series": lambda rng, n: rng.permutation(series(rng, n)),
    "constant": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("law", INDEPENDENT)
def test_independent_rows_are_left_as_they_are(law):
    rng = np.random.default_rng(5)
    for size in (160, SIZE):
        for _ in range(60):
            rows = measured(INDEPENDENT[law](rng, size))
            assert dependence(rows) == 1
            assert in_order(rows, None) is rows


def test_labels_that_are_independent_or_sorted_or_few_are_left_as_they_are():
    rng = np.random.default_rng(6)
    shares = rng.dirichlet(np.full(30, 0.3))
    for _ in range(60):
        labels = rng.choice(30, SIZE, p=shares)
        assert dependence(Rows(labels, np.zeros((SIZE, 0)))) == 1
        assert dependence(Rows(np.sort(labels), np.zeros((SIZE, 0)))) == 1
    assert dependence(measured(series(rng)[:100])) == 1


def test_series_are_found_with_their_autocorrelation_time():
    rng = np.random.default_rng(7)
    for rho in (0.5, 0.9):
        times = [in_order(measured(series(rng, 4000, rho)), None).time for _ in range(12)]
        assert np.median(times) == pytest.approx((1.0 + rho) / (1.0 - rho), rel=0.3)
    x = series(rng)
    assert dependence(measured(x, rng.normal(size=SIZE))) > 10
    assert dependence(measured(np.exp(x))) == dependence(measured(x))
    assert dependence(measured(np.arange(SIZE) * 0.1, x)) > 10  # beside the time itself
    spread = measured(np.exp(x) * rng.normal(size=SIZE))  # uncorrelated, of a changing spread
    assert dependence(spread) > 4
    assert dependence(Rows(chain(rng), np.zeros((SIZE, 0)))) > 10


def test_folds_are_of_whole_blocks_and_independent_rows_have_the_folds_they_had():
    x, y = (measured(side) for side in np.random.default_rng(8).normal(size=(2, SIZE)))
    order = np.random.default_rng(0).permutation(SIZE)
    np.testing.assert_array_equal(Labelled.of(x, y, np.random.default_rng(0)).fold[:SIZE], order % FOLDS)
    fold = Labelled.of(in_order(x, 100), y, np.random.default_rng(0)).fold[:SIZE]
    assert all(len(set(part)) == 1 for part in fold.reshape(10, 100))
    assert set(fold) == set(range(FOLDS))
    values = np.random.default_rng(1).permutation(100)
    thinned = apart(in_order(measured(np.repeat(values, 10)), 10))
    assert len(thinned) == pytest.approx(100, abs=10)


@pytest.mark.parametrize("rule", [kl.rules.TwoSamples(scores=False), kl.rules.OneSample()], ids=["two", "law"])
@pytest.mark.parametrize("rho", [0.9, 0.99])
def test_equal_laws_have_intervals_that_cover_or_bounds_that_hold(rule, rho):
    wrong = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        other = series(rng, rho=rho) if isinstance(rule, kl.rules.TwoSamples) else dist.Normal(0.0, 1.0)
        found = kl.KL(series(rng, rho=rho), other).estimate(rule=rule)
        low, high = found.interval()
        wrong += not (low <= 0.0 and (high >= 0.0 or found.guarantee is kl.Guarantee.LOWER_BOUND))
        assert "depend on those before them" in found.reason
    assert wrong <= 5


def test_chains_of_labels_cover():
    wrong = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        for found in (
            kl.KL(chain(rng), chain(rng)).estimate(),
            kl.KL(chain(rng), dist.Categorical(np.full(5, 0.2))).estimate(),
        ):
            low, high = found.interval()
            wrong += not low <= 0.0 <= high
    assert wrong <= 9  # of 60


def test_scores_of_a_series_hold():
    rng = np.random.default_rng(9)
    x, y = (series(rng, 300, rho=0.95) for _ in range(2))
    found = kl.KL(x, y).estimate()
    assert found.interval()[0] <= 0.0
    assert "count as about" in found.reason


def test_the_caller_says_what_the_order_means():
    rng = np.random.default_rng(10)
    x, y = series(rng), series(rng)
    rule = kl.rules.TwoSamples(scores=False)
    free = kl.KL(kl.Samples(x, block=1), kl.Samples(y, block=1)).estimate(rule=rule)
    shuffled = kl.KL(kl.Samples(x, block=1), y).estimate(rule=rule)
    said = kl.KL(kl.Samples(x, block=50), kl.Samples(y, block=50)).estimate(rule=rule)
    assert "depend" not in free.reason
    assert "of Q depend" in shuffled.reason
    assert said.standard_error > 1.5 * free.standard_error
    error = kl.KL(x, dist.Normal(0.0, 1.0)).estimate(rule=kl.rules.CrossEntropy()).standard_error
    assert (
        error > 1.5 * kl.KL(kl.Samples(x, block=1), dist.Normal(0.0, 1.0)).estimate(rule="cross entropy").standard_error
    )
    for block in (0, -1, 2.5, "week", SIZE + 1):
        with pytest.raises(InputError, match="block"):
            kl.Samples(x, block=block)
