"""Ordered categories: cutpoints are learned, and are the same for all inputs; and a class without a mean is named."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy.optimize import minimize
from scipy.special import expit

import kullback as kl
from kullback.errors import InputError

SLOPE, CUTS = np.array([1.5, -1.0]), np.array([-1.0, 0.5, 2.0])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(800, 2)) + np.array([3.0, 0.0])
    return x, np.searchsorted(CUTS, (x - [3.0, 0.0]) @ SLOPE + rng.logistic(size=len(x)))


def shares(cuts, predictor):
    below = expit(cuts - predictor[:, None])
    return np.diff(np.column_stack([np.zeros(len(below)), below, np.ones(len(below))]))


def test_a_linear_model_is_that_of_proportional_odds(data):
    """McCullagh (1980), by SciPy's minimiser on his likelihood."""
    x, y = data

    def loss(v):
        cuts = np.cumsum(np.append(v[2], np.exp(v[3:])))
        return -np.log(shares(cuts, x @ v[:2])[np.arange(len(y)), y]).mean()

    truth = minimize(loss, np.r_[0.0, 0.0, -1.0, 0.0, 0.0], method="BFGS", options={"gtol": 1e-8})
    model = kl.KLRegressor("ordered_logistic", "linear", prior_scale=None).fit(x, y)
    assert model.fit_.objective.value == pytest.approx(truth.fun, abs=1e-6)
    np.testing.assert_allclose(model.coef_, truth.x[:2], atol=2e-3)
    cuts = np.cumsum(np.append(truth.x[2], np.exp(truth.x[3:])))
    law = model.q_.in_double(x)
    found = np.broadcast_to(np.asarray(law.cutpoints), (len(x), 3))
    np.testing.assert_array_equal(found, found[:1].repeat(len(x), 0))
    # Predictors are counted from the one at the mean input.
    np.testing.assert_allclose(found[0], cuts - x.mean(0) @ truth.x[:2], atol=4e-3)
    assert model.intercept_ == pytest.approx(-x.mean(0) @ model.coef_)


def test_predictions_are_those_of_the_probabilities(data):
    x, y = data
    model = kl.KLRegressor("ordered_logistic", random_state=0).fit(x, y)
    law = model.q_.in_double(x)
    p = np.asarray(law.probs, np.float64)
    np.testing.assert_allclose(model.predict(x), p @ np.arange(4.0), rtol=1e-9)
    below = np.cumsum(p, 1)
    levels = [0.1, 0.5, 0.9]
    want = np.stack([(below < level).sum(1) for level in levels], 1)
    np.testing.assert_array_equal(model.predict_quantile(x, levels), want)
    np.testing.assert_array_equal(model.predict_interval(x, 0.8), want[:, ::2])
    assert (
        -np.log(p[np.arange(len(y)), y]).mean()
        < -np.log(shares(CUTS, (x - [3.0, 0.0]) @ SLOPE)[np.arange(800), y]).mean() + 0.05
    )


class Meanless(dist.Distribution):
    """A normal law by its density alone."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc, scale, *, validate_args=None):
        self.loc, self.scale = loc, scale
        super().__init__(jnp.shape(loc), validate_args=validate_args)

    def log_prob(self, value):
        return -0.5 * jnp.square((value - self.loc) / self.scale) - jnp.log(self.scale) - 0.5 * jnp.log(2 * jnp.pi)


def test_a_class_without_a_mean_is_named(data):
    x, _ = data
    model = kl.KLRegressor(Meanless, "linear").fit(x, x[:, 0] ** 2)
    with pytest.raises(InputError, match=r"distribution: Meanless states no mean.* predict_dist"):
        model.predict(x)


@pytest.mark.parametrize("network", ["mlp", "linear"])
def test_a_parameter_for_each_row_is_no_parameter_of_new_rows(data, network):
    x, _ = data
    cases = [("beta_binomial", "total_count", np.arange(1, 801)), ("normal", "scale", np.linspace(1.0, 2.0, 800))]
    for distribution, name, value in cases:
        with pytest.raises(InputError, match=rf"^{name}: an array of shape \(800,\) has a value for each row"):
            kl.KLRegressor(distribution, network, fixed={name: value}).fit(x, np.ones(800))
