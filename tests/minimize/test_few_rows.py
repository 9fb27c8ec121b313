"""Regressions of 2 to 7 rows, whose likelihood has no maximum."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.result import Status

R = np.random.default_rng(0)
X = R.normal(size=(7, 2))
Y = X @ [1.0, 2.0] + R.normal(size=7)
ELSEWHERE = R.normal(size=(200, 2))


def fitted(n, network, family, unit=1.0, **given):
    side = kl.Conditional(network, family, **given)
    return kl.KL(kl.Pairs(X[:n], Y[:n] * unit), side).minimize(quiet=True)


@pytest.mark.parametrize("unit", [1.0, 1e-200])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("family", [dist.Normal, dist.StudentT])
def test_networks_return_a_model_with_a_scale(n, family, unit):
    fit = fitted(n, kl.MLP(hidden=(16,)), family, unit)
    assert fit.status is Status.UNDECIDED
    assert f"{n} rows are too few to hold some out" in fit.message
    q = fit.q.in_double(ELSEWHERE)
    # Those of any n of the rows about any linear model of size 1 and its leave-one-out errors.
    loc, scale = np.asarray(q.loc) / unit, np.asarray(q.scale) / unit
    assert 0.02 < scale.min() < scale.max() < 20
    assert np.abs(loc).max() < 20
    assert -2.0 < fit.objective.value - np.log(unit) < 5.0


def test_ensembles_and_priors():
    side = kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal, prior_scale=1.0, ensemble=2)
    fit = kl.KL(kl.Pairs(X[:4], Y[:4]), side).minimize(quiet=True)
    assert -2.0 < fit.objective.value < 5.0


@pytest.mark.parametrize("n", [2, 3, 5])
def test_linear_models_say_that_there_is_no_maximum(n):
    fit = fitted(n, kl.Linear(), dist.Normal)
    assert fit.status is Status.UNBOUNDED
    assert "grows without bound as the scale goes to 0" in fit.message


def test_the_advice_works():
    assert fitted(3, kl.Linear(), dist.Normal, scale=1.0).status.ok


def test_little_noise_is_no_vanishing_scale():
    x = R.normal(size=(200, 2))
    y = x @ [1.0, 2.0] + 1e-6 * R.normal(size=200)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal)).minimize(quiet=True)
    assert fit.status is not Status.UNBOUNDED


def test_labels_of_few_rows_are_learned():
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(8,)), dist.Categorical)).minimize(quiet=True)
    assert (np.argmax(fit.q(x).probs, -1) == y).all()


def test_intervals_of_a_regressor_are_no_points():
    for n in (2, 3, 5):
        low, high = kl.KLRegressor(random_state=0).fit(X[:n], Y[:n]).predict_interval(X[:n]).T
        assert (high - low > 0.05).all()
