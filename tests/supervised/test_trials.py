"""Counts out of a total: one for all rows, or one for each, which is data and no parameter."""

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from scipy import special, stats

import kullback as kl
from kullback.distributions import BinomialGivenTotal, DirichletMultinomialGivenTotal, MultinomialGivenTotal
from kullback.errors import InputError

N = 400


@pytest.fixture(scope="module")
def data():
    r = np.random.default_rng(5)
    x = r.normal(size=(N, 1))
    totals = r.integers(1, 20, N)
    shares = special.softmax(np.c_[0 * x, 0.3 + x, -x], 1)
    counts = np.array([r.multinomial(n, p) for n, p in zip(totals, shares, strict=True)])
    fives = np.array([r.multinomial(5, p) for p in shares])
    return x, totals, counts, fives


def linear(distribution, **fixed):
    return kl.KLRegressor(distribution, "linear", prior_scale=None, fixed=fixed)


def best_multinomial(x, counts):
    """The least mean of −log q by SciPy's probabilities, with the first label's logit at 0, and its shares [n, k]."""

    def shares(p):
        return special.softmax(np.c_[np.zeros(len(x)), p[0] + p[1] * x[:, 0], p[2] + p[3] * x[:, 0]], 1)

    def value(p):
        return -stats.multinomial(counts.sum(1), shares(p)).logpmf(counts).mean()

    found = scipy.optimize.minimize(value, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    return found.fun, shares(found.x)


def best_binomial(x, successes, totals):
    def value(p):
        return -stats.binom(totals, special.expit(p[0] + p[1] * x[:, 0])).logpmf(successes).mean()

    found = scipy.optimize.minimize(value, np.zeros(2), method="BFGS", options={"gtol": 1e-8})
    return found.fun, found.x


@pytest.mark.parametrize("stated", [False, True])
def test_counts_of_one_total(data, stated):
    x, _, _, fives = data
    least, shares = best_multinomial(x, fives)
    model = linear("multinomial", **({"total_count": 5} if stated else {})).fit(x, fives)
    assert model.fit_.objective.value == pytest.approx(least, abs=1e-7)
    np.testing.assert_allclose(model.predict(x), 5 * shares, atol=1e-3)
    assert model.score(x, fives) == pytest.approx(
        np.mean(1 - ((fives - 5 * shares) ** 2).sum(0) / ((fives - fives.mean(0)) ** 2).sum(0)), abs=1e-4
    )
    assert (model.sample(x, 3, 0).sum(-1) == 5).all()


@pytest.mark.parametrize("stated", [False, True])
def test_counts_of_a_total_for_each_row(data, stated):
    x, totals, counts, _ = data
    least, shares = best_multinomial(x, counts)
    model = linear("multinomial", **({"total_count": totals} if stated else {})).fit(x, counts)
    assert model.fit_.objective.value == pytest.approx(least, abs=1e-7)
    np.testing.assert_allclose(model.predict(x), shares, atol=1e-3)
    expected = totals[:, None] * shares
    assert model.score(x, counts) == pytest.approx(
        np.mean(1 - ((counts - expected) ** 2).sum(0) / ((counts - counts.mean(0)) ** 2).sum(0)), abs=1e-4
    )
    assert (model.sample(x, 3, 0).sum(-1) == 1).all()


def test_successes_out_of_a_total_for_each_row(data):
    x, totals, counts, _ = data
    successes = counts[:, 1]
    least, (intercept, slope) = best_binomial(x, successes, totals)
    pairs = linear("binomial").fit(x, np.c_[successes, totals - successes])
    stated = linear("binomial", total_count=totals).fit(x, successes)
    for model in (pairs, stated):
        assert model.fit_.objective.value == pytest.approx(least, abs=1e-7)
        assert model.coef_[0] == pytest.approx(slope, abs=1e-3)
    share = special.expit(intercept + slope * x[:, 0])
    np.testing.assert_allclose(pairs.predict(x), np.c_[share, 1 - share], atol=1e-3)
    np.testing.assert_allclose(stated.predict(x), share, atol=1e-3)
    residual = successes - totals * share
    assert stated.score(x, successes) == pytest.approx(1 - residual.var() / successes.var(), abs=1e-2)


def test_conditionals_take_the_total_from_the_outcome(data):
    x, totals, counts, _ = data
    least, shares = best_multinomial(x, counts)
    fit = kl.KL(kl.Pairs(x, counts), kl.Conditional(kl.Linear(), dist.Multinomial)).minimize(quiet=True)
    assert fit.objective.value == pytest.approx(least, abs=1e-7)
    np.testing.assert_allclose(fit.q(x[:5]).probs, shares[:5], atol=1e-3)
    pairs = kl.Pairs(x, np.c_[counts[:, 0], totals - counts[:, 0]])
    fit = kl.KL(pairs, kl.Conditional(kl.Linear(), dist.Binomial)).minimize(quiet=True)
    assert fit.objective.value == pytest.approx(best_binomial(x, counts[:, 0], totals)[0], abs=1e-7)


def test_overdispersed_counts_are_those_of_scipy(data):
    x, _, counts, _ = data
    model = linear("dirichlet_multinomial").fit(x, counts)
    law = model.predict_dist(x)
    value = -stats.dirichlet_multinomial(np.asarray(law.concentration, np.float64), counts.sum(1)).logpmf(counts).mean()
    assert model.fit_.objective.value == pytest.approx(value, abs=1e-4)
    assert value < best_multinomial(x, counts)[0] + 1e-4  # the multinomial is a limit of it


@pytest.mark.parametrize("width", [(64,), None])
def test_a_network_and_a_mixture_are_fitted_to_counts(data, width):
    x, _, counts, _ = data
    settings = {"network": kl.MLP(width)} if width else {"network": "linear", "components": 2}
    model = kl.KLRegressor("multinomial", random_state=0, **settings).fit(x, counts)
    assert model.score(x, counts) > 0.7


def test_rows_without_a_trial_say_nothing(data):
    x, _, counts, _ = data
    few = counts * (x > 0)
    some = linear("multinomial").fit(x[x[:, 0] > 0], counts[x[:, 0] > 0])
    np.testing.assert_allclose(linear("multinomial").fit(x, few).predict(x[:9]), some.predict(x[:9]), atol=1e-3)
    assert linear("multinomial").fit(x, 0 * counts).fit_.objective.value == pytest.approx(0.0, abs=1e-6)


def test_the_laws_given_a_total(precision):
    y = np.array([[3, 0, 2], [0, 1, 0]])
    shares = np.array([0.2, 0.3, 0.5])
    found = MultinomialGivenTotal(np.log(shares).astype(precision) + precision(7.0)).log_prob(y)
    rounding = {"rtol": 50 * np.finfo(precision).eps, "atol": 50 * np.finfo(precision).eps}
    np.testing.assert_allclose(found, stats.multinomial(y.sum(1), shares).logpmf(y), **rounding)
    found = BinomialGivenTotal(special.logit(shares[:1]).astype(precision)).log_prob(y[:, :2])
    np.testing.assert_allclose(found, stats.binom(y[:, :2].sum(1), 0.2).logpmf(y[:, 0]), **rounding)
    concentration = np.array([0.5, 2.0, 4.0])
    found = DirichletMultinomialGivenTotal(concentration.astype(precision)).log_prob(y)
    np.testing.assert_allclose(found, stats.dirichlet_multinomial(concentration, y.sum(1)).logpmf(y), **rounding)


def test_totals_that_do_not_fit_are_said(data):
    x, totals, counts, fives = data
    with pytest.raises(InputError, match=r"^total_count: the counts of an outcome sum to 1 to 19"):
        linear("multinomial", total_count=3).fit(x, counts)
    with pytest.raises(InputError, match=r"^y: row 0, 20, is no count from 0 to its total"):
        linear("binomial", total_count=totals).fit(x, np.full(N, 20))
    with pytest.raises(InputError, match=r"^total_count: totals of shape \(400,\) for 300 rows"):
        linear("binomial", total_count=totals).fit(x[:300], counts[:300, 0])
    with pytest.raises(InputError, match=r"^y: rows of 1 to 19 trials, and the fit to go on from has rows of 5"):
        linear("multinomial").partial_fit(x, fives).partial_fit(x, counts)
    with pytest.raises(InputError, match=r"pass outcomes \[n, 2\], successes and failures"):
        kl.KL(kl.Pairs(x, counts[:, 0]), kl.Conditional(kl.Linear(), dist.Binomial, total_count=totals)).minimize()
    with pytest.raises(InputError, match="lies outside the support"):
        linear("multinomial").fit(x, counts - 1)
