"""The losses and linear models of supervised learning, as the forward KL that they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.metrics import log_loss, mean_absolute_error, mean_poisson_deviance, mean_squared_error
from sklearn.preprocessing import StandardScaler

import kullback as kl

RNG = np.random.default_rng(20)
N, D = 90, 4
# Far from standardised, so that coefficients in the user's units are not those of the fit.
X = RNG.normal(size=(N, D)) * [1.0, 30.0, 0.02, 5.0] + [0.0, 100.0, 3.0, -7.0]
Z = (X - X.mean(0)) / X.std(0)
MEAN = 12.0 + Z @ [2.0, -1.0, 0.5, 0.0]
Y = MEAN + RNG.standard_t(4, size=N)
WEIGHTS = RNG.integers(1, 4, size=N).astype(float)
CLASSES = np.array([(Z[:, :3] + RNG.gumbel(size=(N, 3)) * 1.5)[i].argmax() for i in range(N)])
COUNTS = RNG.poisson(np.exp(0.5 + Z @ [0.4, -0.3, 0.0, 0.2]))
LINEAR = {"network": "linear", "tolerance": 1e-12}


def classifier(prior_scale=None):
    return kl.KLClassifier(**LINEAR, prior_scale=prior_scale)


def regressor(distribution, prior_scale=None, **fixed):
    return kl.KLRegressor(distribution, **LINEAR, fixed=fixed, prior_scale=prior_scale)


def same_line(ours, peer, tolerance=1e-4):
    """The same coefficients and intercept, as far as they change a prediction by less than the tolerance."""
    spread = X.std(0)
    np.testing.assert_allclose(ours.coef_ * spread, peer.coef_ * spread, atol=tolerance)
    np.testing.assert_allclose(ours.coef_ @ X.mean(0) + ours.intercept_, peer.coef_ @ X.mean(0) + peer.intercept_,
                               atol=tolerance)  # fmt: skip


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_a_normal_of_fixed_scale_is_least_squares(weights):
    ours = regressor("normal", scale=1.0).fit(X, Y, sample_weight=weights)
    peer = LinearRegression().fit(X, Y, sample_weight=weights)
    same_line(ours, peer, 1e-8)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-4)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-4)
    np.testing.assert_allclose(ours.predict(X), peer.predict(X), atol=1e-8)
    assert ours.score(X, Y, weights) == pytest.approx(peer.score(X, Y, weights), abs=1e-10)


def test_several_outputs_are_several_regressions():
    y = np.column_stack([Y, -2 * Y + Z[:, 3]])
    ours, peer = regressor("normal", scale=1.0).fit(X, y), LinearRegression().fit(X, y)
    assert ours.coef_.shape == (2, D)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-4)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-4)


def test_the_scale_that_is_learned_changes_no_line_and_is_the_residuals():
    ours, peer = regressor("normal").fit(X, Y), LinearRegression().fit(X, Y)
    # The scale is a log-linear function of x here, so the line is that of weighted residuals: only near.
    assert ours.score(X, Y) == pytest.approx(peer.score(X, Y), abs=0.05)
    residual = np.sqrt(mean_squared_error(Y, peer.predict(X)))
    assert np.mean(ours.predict_dist(X).scale) == pytest.approx(residual, rel=0.2)


def test_the_prior_is_ridge():
    """½ Σ (y − f)²/σ² + ½ Σ v²/s², for v = β·(scale of x)/(scale of y), is Ridge on standardised inputs."""
    s = 0.3
    ours = regressor("normal", prior_scale=s, scale=1.0).fit(X, Y)
    peer = Ridge(alpha=1.0 / (s * Y.std()) ** 2).fit(Z, Y)
    np.testing.assert_allclose(ours.coef_ * X.std(0), peer.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict(X), peer.predict(Z), atol=1e-6)


def test_a_laplace_of_fixed_scale_is_the_regression_of_the_median():
    ours = regressor("laplace", scale=1.0).fit(X, Y)
    peer = QuantileRegressor(quantile=0.5, alpha=0.0, solver="highs").fit(X, Y)
    losses = [mean_absolute_error(Y, model.predict(X)) for model in (ours, peer)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.filterwarnings("ignore:Setting penalty=None will ignore the C")  # scikit-learn 1.8 of itself
@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_classifier_is_logistic_regression(classes):
    y = np.minimum(CLASSES, classes - 1)
    ours = classifier().fit(X, y)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(Z, y)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(Z), atol=1e-5)
    centred = lambda coef: coef - coef.mean(0) if classes > 2 else coef  # noqa: E731
    np.testing.assert_allclose(centred(ours.coef_ * X.std(0)), centred(peer.coef_), atol=1e-4)


@pytest.mark.parametrize("prior_scale", [0.2, 1.0])
def test_the_prior_of_a_linear_classifier_is_the_penalty_of_logistic_regression(prior_scale):
    """½ Σ w²/s² − Σ log q is scikit-learn's ½ Σ w² + C Σ loss with C = s²."""
    ours = classifier(prior_scale).fit(X, CLASSES)
    scaled = StandardScaler().fit_transform(X)
    peer = LogisticRegression(C=prior_scale**2, tol=1e-10, max_iter=10_000).fit(scaled, CLASSES)
    np.testing.assert_allclose(ours.coef_ * X.std(0), peer.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(scaled), atol=1e-5)


def test_two_classes_are_the_logistic_of_one_line():
    y = np.minimum(CLASSES, 1)
    ours = classifier(1.0).fit(X, y)
    assert ours.coef_.shape == (1, D)
    # Each of the two logits has the prior; their difference has twice its variance.
    peer = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(Z, y)
    np.testing.assert_allclose(ours.coef_ * X.std(0), peer.coef_, atol=1e-4)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_a_poisson_is_poisson_regression(weights):
    ours = regressor("poisson").fit(X, COUNTS, sample_weight=weights)
    peer = PoissonRegressor(alpha=0.0, tol=1e-10, max_iter=10_000).fit(Z, COUNTS, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_ * X.std(0), peer.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict(X), peer.predict(Z), rtol=1e-4)


# At one and the same parameters, wherever they are: losses and their gradients.
BINARY = np.minimum(CLASSES, 1)


def saturated():
    """−log of a Poisson's probability of a count that is its own mean, averaged: what the deviance leaves out."""
    return -np.mean(scipy.stats.poisson.logpmf(COUNTS, np.maximum(COUNTS, 1e-300)))


LOSSES = {
    "squared error": (
        lambda: regressor("normal", scale=1.0), Y,
        lambda f: mean_squared_error(Y, f) / 2 + np.log(2 * np.pi) / 2,
        lambda f: f - Y,
    ),
    "absolute error": (
        lambda: regressor("laplace", scale=1.0), Y,
        lambda f: mean_absolute_error(Y, f) + np.log(2),
        lambda f: np.sign(f - Y),
    ),
    "log loss": (
        classifier, BINARY,
        lambda f: log_loss(BINARY, scipy.special.expit(f)),
        lambda f: scipy.special.expit(f) - BINARY,
    ),
    "Poisson deviance": (
        lambda: regressor("poisson"), COUNTS,
        lambda f: mean_poisson_deviance(COUNTS, np.exp(f)) / 2 + saturated(),
        lambda f: np.exp(f) - COUNTS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_the_negative_log_likelihood_is_the_loss_and_so_is_its_gradient(loss):
    """At random weights of the linear network; d/dw = (1/n) Σ_i z_i · gain · slope_i, for standardised inputs z."""
    estimator, y, value, slope = LOSSES[loss]
    model = estimator().set_params(steps=1).fit(X, y)
    q, rng = model.q_, np.random.default_rng(5)
    free = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape), q.free)
    model.q_ = type(q)(q.structure, q.fixed, "at random weights", free)
    f = np.ravel(X @ model.coef_.T + model.intercept_)

    def negative_log_likelihood(free):
        return -jnp.mean(q.structure.distribution(free, q.fixed, X).log_prob(y))

    with jax.enable_x64(True):
        ours, gradient = jax.value_and_grad(negative_log_likelihood)(free)
    assert float(ours) == pytest.approx(value(f), rel=1e-10)
    expected = Z.T @ slope(f) / N * q.fixed["gain"][-1]
    np.testing.assert_allclose(gradient[-1]["weight"][:, -1], expected, rtol=1e-8, atol=1e-10)
