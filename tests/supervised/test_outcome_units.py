"""Regressions of outcomes whose squares are no numbers are those of outcomes of size 1."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl

R = np.random.default_rng(0)
X = R.normal(size=(200, 3))
Y = X @ [1.0, 2.0, 3.0] + R.normal(size=200)
MLP = kl.MLP(hidden=(8,))
SIDES = {
    "normal": (lambda u: kl.Conditional(MLP, dist.Normal), Y),
    "normal of a fixed scale": (lambda u: kl.Conditional(MLP, dist.Normal, scale=u), Y),
    "Student": (lambda u: kl.Conditional(MLP, dist.StudentT), Y),
    "mixture": (lambda u: kl.Conditional(MLP, kl.Mixture(kl.Family(dist.Normal), 2)), Y),
    "gamma": (lambda u: kl.Conditional(MLP, dist.Gamma), np.exp(0.3 * Y)),
    "log-normal": (lambda u: kl.Conditional(MLP, dist.LogNormal), np.exp(0.3 * Y)),
    "linear": (lambda u: kl.Conditional(kl.Linear(), dist.Normal), Y),
    "linear, Laplace": (lambda u: kl.Conditional(kl.Linear(), dist.Laplace), Y),
}


def fitted(side, y):
    return kl.KL(kl.Pairs(X, y), side).minimize(quiet=True)


QUICK = ("normal", "gamma", "linear")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in SIDES])
def test_the_objective_moves_by_the_logarithm_of_the_unit(name):
    side, y = SIDES[name]
    first = fitted(side(1.0), y)
    plain, everywhere = first.objective.value, kl.KL(kl.Pairs(X, y), first.q).estimate().value
    for exponent in (-1000, 1000):  # powers of 2, by which nothing is rounded
        unit = 2.0**exponent
        fit = fitted(side(unit), y * unit)
        assert fit.objective.value == pytest.approx(plain + exponent * np.log(2), abs=0.02)
        stated = kl.KL(kl.Pairs(X, y * unit), fit.q).estimate().value
        assert stated == pytest.approx(everywhere + exponent * np.log(2), abs=0.02)


def test_columns_of_unlike_units():
    y = np.c_[Y * 2.0**-1000, Y[::-1]]
    plain = fitted(kl.Conditional(MLP, dist.MultivariateNormal), np.c_[Y, Y[::-1]])
    found = fitted(kl.Conditional(MLP, dist.MultivariateNormal), y)
    # The linear starts differ by rounding, and so does what the network learns.
    assert found.objective.value == pytest.approx(plain.objective.value - 1000 * np.log(2), abs=0.15)


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**1000])
def test_predictions_and_scores(unit):
    found = kl.KLRegressor(random_state=0).fit(X, Y * unit)
    assert found.score(X, Y * unit) == pytest.approx(1 - 1 / 15, abs=0.03)  # the noise's share of the variance
    np.testing.assert_allclose(found.predict(X) / unit, X @ [1.0, 2.0, 3.0], atol=0.8)
