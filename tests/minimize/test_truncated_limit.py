"""Regressions of truncated normals whose likelihood runs to the exponential law."""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl
from kullback.result import Status

R = np.random.default_rng(0)
X = R.normal(size=(300, 2))
HEAVY = R.exponential(size=300) * np.where(R.random(300) < 0.1, 5.0, 1.0)  # more variance than an exponential law
LIGHT = np.abs(R.normal(size=300) + 2.0)
NETWORKS = {"linear": kl.Linear(), "network": kl.MLP(hidden=(8,))}
ENDS = {
    "low": lambda y: ({"low": 0.0}, y),
    "high": lambda y: ({"high": 0.0}, -y),
    "moved": lambda y: ({"low": 3.0}, y + 3),
}


def fitted(network, y, ends):
    return kl.KL(kl.Pairs(X, y), kl.Conditional(NETWORKS[network], dist.TruncatedNormal, **ends)).minimize(quiet=True)


CASES = [("network", "low"), ("network", "high"), ("network", "moved")]


@pytest.mark.parametrize(("network", "ends"), CASES)
def test_the_limit_is_named(network, ends):
    given, y = ENDS[ends](HEAVY)
    fit = fitted(network, y, given)
    assert fit.status is Status.BOUNDARY
    assert "nearly the limit law, exponential on the support" in fit.message


def test_a_linear_model_at_its_limit():
    x, y = X[:60], HEAVY[:60]
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.TruncatedNormal, low=0.0)).minimize(quiet=True)
    assert fit.status is Status.BOUNDARY
    # The exponential law of a constant rate is a limit of members.
    assert fit.objective.value < stats.expon.entropy(scale=y.mean())


@pytest.mark.parametrize(("network", "ends"), CASES)
def test_an_optimum_inside_has_no_such_message(network, ends):
    given, y = ENDS[ends](LIGHT)
    fit = fitted(network, y, given)
    assert fit.status is not Status.BOUNDARY
    assert "limit law" not in fit.message
