"""Where Q's sample does not reach P the answer is a lower bound, without an upper end; where it does, it is not one."""

import numpy as np
import pytest
import scipy.stats as st
from scipy.special import digamma

import kullback as kl
from kullback.estimate.rows import Rows
from kullback.estimate.sample_guarantee import percent, reach_of, subsampled

NEIGHBOURS = kl.rules.TwoSamples(scores=False)
FALSE_ALARM = 1e-4


def normal(mean, scale=1.0, d=None):
    return lambda rng, n: rng.normal(mean, scale, n if d is None else (n, d))


def uniform(low, high):
    return lambda rng, n: rng.uniform(low, high, n)


# P, Q, KL(P‖Q)
APART = {
    "normals five apart": (normal(0.0), normal(5.0), 12.5),
    "normals three apart": (normal(0.0), normal(3.0), 4.5),
    "a wider uniform": (uniform(0.0, 10.0), uniform(0.0, 1.0), np.inf),
    "a slightly wider uniform": (uniform(0.0, 1.1), uniform(0.0, 1.0), np.inf),
    "constants": (lambda rng, n: np.ones(n), lambda rng, n: np.full(n, 2.0), np.inf),
    "whole constants": (lambda rng, n: np.ones(n, int), lambda rng, n: np.full(n, 2), np.inf),
    "other labels": (lambda rng, n: rng.choice(["a", "b"], n), lambda rng, n: rng.choice(["b", "c"], n), np.inf),
    "counts beyond": (lambda rng, n: rng.poisson(40.0, n), lambda rng, n: rng.poisson(4.0, n), 56.1034),
    "a gap": (normal(0.0, 0.2), lambda rng, n: rng.choice([-1.0, 1.0], n) * (4 + rng.random(n)), np.inf),
    "five dimensions": (normal(0.0, d=5), normal(3.0, d=5), 22.5),
}
TOGETHER = {
    "one normal": (normal(0.0), normal(0.0)),
    "a wider Q": (normal(0.0), normal(0.5, 1.5)),
    "one uniform": (uniform(0.0, 1.0), uniform(0.0, 1.0)),
    "heavy tails": (lambda rng, n: rng.standard_t(2.0, n), lambda rng, n: rng.standard_t(2.0, n)),
    "counts": (lambda rng, n: rng.poisson(3.0, n), lambda rng, n: rng.poisson(3.5, n)),
    "one normal in five dimensions": (normal(0.0, d=5), normal(0.0, d=5)),
    "a wider Q in ten dimensions": (normal(0.0, d=10), normal(0.3, 1.2, d=10)),
}


@pytest.mark.parametrize("name", APART)
def test_samples_apart_give_a_lower_bound(name):
    p, q, truth = APART[name]
    rng = np.random.default_rng(1)
    answer = kl.KL(p(rng, 400), q(rng, 400)).estimate()
    low, high = answer.interval()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert low < truth
    assert high == np.inf
    assert "a lower bound" in answer.reason
    assert answer.diagnostics["beyond_reach"] > 0


@pytest.mark.parametrize("name", TOGETHER)
def test_samples_together_do_not(name):
    """At most a tenth of 30 seeds may say so by chance: the threshold has a false-alarm rate of 1e-4 at that rate."""
    p, q = TOGETHER[name]
    said = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        answer = kl.KL(p(rng, 200), q(rng, 200)).estimate(rule=NEIGHBOURS, seed=seed)
        said += answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert said <= st.binom.isf(FALSE_ALARM, 30, 0.1)


def test_what_is_missing_is_of_the_order_of_the_bias():
    """Normals three apart, 12 seeds of 1,000 rows: the estimate falls short of 4.5 by about 1.1 nats."""
    short, missing = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        answer = kl.KL(rng.normal(size=1000), rng.normal(3.0, 1.0, 1000)).estimate(rule=NEIGHBOURS)
        short.append(4.5 - answer.value)
        missing.append(answer.diagnostics["missing"])
    assert 0.3 < np.mean(missing) / np.mean(short) < 2.0


def test_reach_by_hand():
    """Q at 0, 1, …, 20, and rows of P: among them, half a step out, and 30 steps out."""
    q = Rows(np.zeros(21, int), np.arange(21.0)[:, None])
    p = Rows(np.zeros(3, int), np.array([[10.5], [20.5], [50.0]]))
    assert reach_of(p, q).share == pytest.approx(1 / 3)


def test_neighbours_in_many_dimensions_say_how_the_value_changes():
    """N(0, I) against N(½, I) is low by 0.15 to 0.2 nats at this size, measured; the figure is of that order."""
    rng, d = np.random.default_rng(5), 5
    values, stated = [], []
    for seed in range(10):
        x, y = rng.normal(size=(300, d)), rng.normal(0.5, 1.0, (300, d))
        answer = kl.KL(x, y).estimate(seed=seed, rule=NEIGHBOURS)
        assert f"in {d} dimensions neighbours are biased" in answer.reason
        values.append(answer.value)
        stated.append(answer.diagnostics["rise"])
    assert 0.1 < np.mean(stated) / abs(np.mean(values) - d / 8) < 5.0


def test_a_label_that_chance_left_out_is_within_the_error():
    """Q has P's only label with probability c/m, and no row of it; the bound stays below log(m/c) for c up to 6."""
    answer = kl.KL(np.ones(500, int), np.zeros(400, int)).estimate()
    assert answer.value == pytest.approx(digamma(401) - digamma(1))
    assert answer.standard_error == pytest.approx(np.pi / np.sqrt(6))
    assert answer.interval()[0] < np.log(400 / 6)


def test_intervals_of_bounds_are_open():
    low, high = kl.Estimate(1.0, 0.1, kl.Guarantee.LOWER_BOUND).interval()
    assert high == np.inf
    assert low == pytest.approx(1.0 - 0.1 * st.norm.ppf(0.975))
    low, high = kl.Estimate(1.0, 0.1, kl.Guarantee.UPPER_BOUND).interval()
    assert low == -np.inf
    assert high == pytest.approx(1.0 + 0.1 * st.norm.ppf(0.975))
    low, high = kl.Estimate(np.array([1.0, 2.0]), 0.0, kl.Guarantee.LOWER_BOUND).interval()
    assert np.array_equal(low, [1.0, 2.0])
    assert np.array_equal(high, [np.inf, np.inf])


def test_percentages():
    assert [percent(x) for x in (1.0, 0.9996, 0.62, 0.0412, 0.0005)] == ["100%", "over 99%", "62%", "4.1%", "0.05%"]


def test_an_atom_that_q_lacks_is_a_lower_bound():
    """Half of P is 0 exactly, to which a density gives probability 0; where both have the atom nothing is a bound."""
    rng = np.random.default_rng(0)

    def inflated(share):
        return np.where(rng.random(1000) < share, 0.0, rng.exponential(size=1000))

    found = kl.KL(inflated(0.5), rng.exponential(size=1000)).estimate()
    assert found.guarantee is kl.Guarantee.LOWER_BOUND
    assert "as an atom would" in found.reason
    both = kl.KL(inflated(0.5), inflated(0.4)).estimate()
    assert both.guarantee is kl.Guarantee.CONSISTENT
    truth = 0.5 * np.log(0.5 / 0.4) + 0.5 * np.log(0.5 / 0.6)
    # Four standard errors: 6e-5 false alarms.
    assert abs(both.value - truth) < 4 * both.standard_error


@pytest.mark.parametrize("time", [1.0, 4.0])
def test_subsamples_give_the_error_of_a_mean(rng, time):
    """σ √(τ/n); the standard deviation of 400 subsamples is within 5/√800 of theirs: a false alarm in two million."""
    x = rng.normal(2.0, 3.0, 400)
    rows = Rows(np.zeros(400, int), x[:, None], time=time)
    found = subsampled(lambda some: float(some.point.mean()), (rows,), float(x.mean()), 400, rng)
    assert found.error == pytest.approx(x.std(ddof=1) * np.sqrt(time / 400), rel=5 / np.sqrt(800))
