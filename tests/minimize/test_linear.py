"""Linear problems have the solutions of scikit-learn's solvers, and are solved to their last digits."""

import numpy as np
import numpyro.distributions as dist
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor, Ridge
from sklearn.preprocessing import StandardScaler

import kullback as kl
from kullback.result import Status

ROWS = 240


@pytest.fixture
def x(rng):
    """Columns of very unlike scales and offsets, correlated."""
    z = rng.normal(size=(ROWS, 4))
    z[:, 3] += 0.9 * z[:, 0]
    return z * [1.0, 1e3, 1e-3, 5.0] + [0.0, 1e4, 1.0, -3.0]


@pytest.fixture
def y(x, rng):
    return StandardScaler().fit_transform(x) @ [1.0, -2.0, 0.5, 0.0] + 30.0 + rng.standard_t(3, ROWS)


def predicted(q, x):
    """The locations in double, from the numbers that a file holds."""
    fixed = {name: np.asarray(q.fixed[name], np.float64) for name in ("x_mean", "x_scale", "gain", "offset")}
    (layer,) = q.free
    inputs = (x - fixed["x_mean"]) / fixed["x_scale"]
    return fixed["offset"] + fixed["gain"] * (inputs @ np.asarray(layer["weight"]) + np.asarray(layer["bias"]))


def linear(x, y, weights=None, cls=dist.Normal, prior_scale=None, scale=1.0, **settings):
    q = kl.Conditional(kl.Linear(), cls, scale=scale, prior_scale=prior_scale)
    return kl.KL(kl.Pairs(x, y, weights), q).minimize(quiet=True, **settings)


@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares(x, y, weighted, rng):
    weights = rng.integers(0, 4, ROWS).astype(float) if weighted else None
    fit = linear(x, y, weights, scale=0.7)
    assert fit.status is Status.CLOSED_FORM
    # In standardised units, without which scikit-learn takes one of these columns to depend on the others.
    inputs = StandardScaler().fit_transform(x)
    want = LinearRegression().fit(inputs, y, weights).predict(inputs)
    np.testing.assert_allclose(predicted(fit.q, x)[:, 0], want, rtol=1e-9)
    loss = 0.5 * ((y - want) / 0.7) ** 2 + np.log(0.7) + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(fit.diagnostics["train_nll"], np.average(loss, weights=weights), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_prior_is_ridge(x, y, weighted, rng):
    """Σ w (y − xᵀb)²/2s² + ½ ‖b/g‖²/σ² over standardised inputs, g the scale of y, is ridge with α = s²/g²σ²."""
    weights = rng.uniform(0.2, 3.0, ROWS) if weighted else None
    scale, prior = 0.7, 0.05
    fit = linear(x, y, weights, scale=scale, prior_scale=prior)
    g = np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
    inputs = StandardScaler().fit_transform(x, sample_weight=weights)
    ridge = Ridge(alpha=(scale / (g * prior)) ** 2, solver="svd").fit(inputs, y, weights)
    np.testing.assert_allclose(predicted(fit.q, x)[:, 0], ridge.predict(inputs), rtol=1e-9)
    flat = LinearRegression().fit(inputs, y, weights)
    assert np.linalg.norm(ridge.coef_) < 0.95 * np.linalg.norm(flat.coef_)


def test_dependent_columns_take_the_solution_of_least_norm(x, y):
    """In standardised units, as scikit-learn takes it: more columns than are independent, and a constant one."""
    wide = np.column_stack([x, x[:, 0] - 2 * x[:, 3], np.ones(ROWS)])
    fit = linear(wide, y)
    inputs = StandardScaler().fit_transform(wide)
    reference = LinearRegression().fit(inputs, y)
    np.testing.assert_allclose(predicted(fit.q, wide)[:, 0], reference.predict(inputs), rtol=1e-9)
    g = np.asarray(fit.q.fixed["gain"], np.float64)
    np.testing.assert_allclose(g * np.asarray(fit.q.free[0]["weight"])[:, 0], reference.coef_, atol=1e-9)


def test_more_columns_than_rows(rng):
    x, y = rng.normal(size=(10, 30)), rng.normal(size=10)
    fit = linear(x, y)
    np.testing.assert_allclose(predicted(fit.q, x)[:, 0], y, atol=1e-9)


def test_several_outcomes_each_with_its_scale(x, y, rng):
    both = np.column_stack([y, 1e3 * rng.normal(size=ROWS) + x[:, 1]])
    scale = np.array([0.5, 200.0])
    fit = linear(x, both, scale=scale, prior_scale=0.1)
    assert fit.status is Status.CLOSED_FORM
    inputs = StandardScaler().fit_transform(x)
    for j in (0, 1):
        alpha = (scale[j] / (both[:, j].std() * 0.1)) ** 2
        want = Ridge(alpha=alpha, solver="svd").fit(inputs, both[:, j]).predict(inputs)
        np.testing.assert_allclose(predicted(fit.q, x)[:, j], want, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_least_absolute_deviations(x, y, weighted, rng):
    """The optimum may not be unique, its loss is."""
    weights = rng.integers(0, 4, ROWS).astype(float) if weighted else None
    fit = linear(x, y, weights, cls=dist.Laplace, scale=2.0)
    inputs = StandardScaler().fit_transform(x)
    reference = QuantileRegressor(quantile=0.5, alpha=0.0, solver="highs").fit(inputs, y, weights)
    want = np.average(np.abs(y - reference.predict(inputs)), weights=weights)
    np.testing.assert_allclose(np.average(np.abs(y - predicted(fit.q, x)[:, 0]), weights=weights), want, rtol=1e-9)
    np.testing.assert_allclose(fit.diagnostics["train_nll"], want / 2 + np.log(4), rtol=1e-9)
    if not weighted:
        np.testing.assert_allclose(predicted(fit.q, x)[:, 0], reference.predict(inputs), rtol=1e-8)


@pytest.mark.filterwarnings("ignore:Setting penalty=None will ignore the C")  # scikit-learn 1.8 of itself
@pytest.mark.parametrize("prior", [None, 0.3])
def test_a_linear_classifier(x, rng, prior):
    inputs = StandardScaler().fit_transform(x)
    y = (inputs @ rng.normal(size=(4, 3)) + rng.gumbel(size=(ROWS, 3))).argmax(1)
    q = kl.Conditional(kl.Linear(), dist.Categorical, prior_scale=prior)
    fit = kl.KL(kl.Pairs(x, y), q).minimize(quiet=True)
    # C Σ loss + ½‖w‖² where ours is Σ loss + ½‖w‖²/σ².
    regularisation = np.inf if prior is None else prior**2
    reference = LogisticRegression(C=regularisation, tol=1e-10, max_iter=10_000).fit(inputs, y)
    logits = predicted(fit.q, x)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, reference.predict_proba(inputs), atol=1e-5)
    loss = -np.log(reference.predict_proba(inputs)[np.arange(ROWS), y]).mean()
    np.testing.assert_allclose(fit.diagnostics["train_nll"], loss, rtol=1e-5)
