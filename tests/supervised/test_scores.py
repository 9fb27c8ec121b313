"""Log score, Brier score and calibration against scikit-learn, SciPy and identities."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from sklearn import calibration, metrics

from kullback.errors import InputError
from kullback.result import Guarantee
from kullback.supervised.calibration import calibration_curve, expected_calibration_error
from kullback.supervised.scores import brier, log_losses, log_score, log_score_estimate

RNG = np.random.default_rng(0)
N, K = 200, 3
P = RNG.dirichlet(np.ones(K), N)
Y = np.array([RNG.choice(K, p=p) for p in P])
W = RNG.uniform(size=N)
NAMES = np.array(["pear", "apple", "fig"])
SEVERAL = (RNG.uniform(size=(N, K)) < P).astype(int)


def test_the_log_score_is_scikit_learns_log_loss():
    assert log_score(Y, P, W) == pytest.approx(metrics.log_loss(Y, P, sample_weight=W), rel=1e-12)
    order = np.argsort(NAMES)
    expected = metrics.log_loss(NAMES[Y], P[:, order], labels=NAMES[order])
    assert log_score(NAMES[Y], P, classes=NAMES) == pytest.approx(expected, rel=1e-12)
    assert log_score(NAMES[Y], P[:, order]) == pytest.approx(expected, rel=1e-12)
    assert log_score(Y > 0, P[:, 1:].sum(1)) == pytest.approx(metrics.log_loss(Y > 0, P[:, 1:].sum(1)), rel=1e-12)


def test_the_log_score_of_distributions_is_minus_scipys_log_density():
    y, scale = RNG.normal(size=N), 1.0 + W
    with jax.enable_x64(True):
        normal, poisson = dist.Normal(y / 2, scale), dist.Poisson(scale)
        vector = dist.MultivariateNormal(np.zeros((N, 2)), covariance_matrix=np.array([[2.0, 0.5], [0.5, 1.0]]))
    np.testing.assert_allclose(log_losses(y, normal), -stats.norm.logpdf(y, y / 2, scale), rtol=1e-12)
    np.testing.assert_allclose(log_losses(Y, poisson), -stats.poisson.logpmf(Y, scale), rtol=1e-12)
    pairs = np.stack([y, W], -1)
    truth = -stats.multivariate_normal([0, 0], [[2.0, 0.5], [0.5, 1.0]]).logpdf(pairs)
    np.testing.assert_allclose(log_losses(pairs, vector), truth, rtol=1e-12)
    assert log_score(y, normal, W) == pytest.approx(np.average(-stats.norm.logpdf(y, y / 2, scale), weights=W))


def test_distributions_of_labels_and_their_probabilities_score_alike():
    for d in (dist.Categorical(probs=P), dist.Categorical(logits=np.log(P) + 3.0)):
        assert log_score(Y, d) == pytest.approx(log_score(Y, P), rel=1e-5)
        assert brier(Y, d) == pytest.approx(brier(Y, P), rel=1e-5)
    several = dist.Bernoulli(probs=P).to_event(1)
    assert log_score(SEVERAL, several) == pytest.approx(log_score(SEVERAL, P), rel=1e-5)
    assert brier(SEVERAL, several) == pytest.approx(brier(SEVERAL, P), rel=1e-5)


def test_the_log_score_is_the_divergence_up_to_the_entropy():
    """In expectation over P: H(P, Q) = KL(P‖Q) + H(P), each summed by SciPy."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    score = log_score(np.arange(3), np.tile(q, (3, 1)), sample_weight=p)
    assert score == pytest.approx(stats.entropy(p, q) + stats.entropy(p), rel=1e-12)


def test_the_estimate_has_the_standard_error_of_the_mean():
    losses = -np.log(P[np.arange(N), Y])
    found = log_score_estimate(Y, P)
    assert found.standard_error == pytest.approx(stats.sem(losses), rel=1e-12)
    assert (found.guarantee, found.dropped, found.quantity) == (Guarantee.UNBIASED, ("H(P)",), "H(P, Q)")
    assert np.isnan(log_score_estimate(Y[:1], P[:1]).standard_error)


def test_integer_weights_are_repetitions():
    weights = np.arange(N) % 3
    rows = np.repeat(np.arange(N), weights)
    for score in (log_score, brier, expected_calibration_error):
        assert score(Y, P, weights) == pytest.approx(score(Y[rows], P[rows]), rel=1e-12)


def test_what_q_gives_no_probability_costs_infinitely_much():
    assert log_score([0, 1], [[0.5, 0.5], [1.0, 0.0]]) == np.inf
    assert log_score([1.0, -1.0], dist.Exponential(np.ones(2))) == np.inf


def test_brier_is_scikit_learns():
    assert brier(Y, P, W) == pytest.approx(metrics.brier_score_loss(Y, P, sample_weight=W), rel=1e-12)
    one = P[:, 1]
    halved = metrics.brier_score_loss(Y == 1, one)
    assert brier(Y == 1, one) == pytest.approx(2 * halved, rel=1e-12)
    each = [metrics.brier_score_loss(SEVERAL[:, k], P[:, k]) for k in range(K)]
    assert brier(SEVERAL, P) == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_the_calibration_curve_is_scikit_learns(equal):
    strategy = {"width": "uniform", "mass": "quantile"}[equal]
    q, came = P[:, 1], Y == 1
    observed, predicted = calibration.calibration_curve(came, q, n_bins=8, strategy=strategy)
    for curve in (
        calibration_curve(came, q, bins=8, equal=equal),
        calibration_curve(Y, P, label=1, bins=8, equal=equal),
        calibration_curve(NAMES[Y], P, label="apple", classes=NAMES, bins=8, equal=equal),
    ):
        if equal == "width":
            np.testing.assert_allclose(curve.predicted, predicted, rtol=1e-12)
            np.testing.assert_allclose(curve.observed, observed, rtol=1e-12)
        else:  # scikit-learn interpolates between rows where a bin ends
            np.testing.assert_allclose(curve.predicted, predicted, rtol=0.02)
            assert np.ptp(curve.counts) <= 1
        assert curve.counts.sum() == N


def test_the_expected_calibration_error_by_hand():
    """Three rows held surest of their class at 0.9, 0.8 and 0.6, of which the first and the last were right."""
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    assert expected_calibration_error([0, 1, 1], p, bins=5) == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert expected_calibration_error([0, 1, 1], p, bins=2) == pytest.approx(abs(2 / 3 - 2.3 / 3))
    assert expected_calibration_error([0, 1, 1], p[:, 1], bins=5) == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert expected_calibration_error([0, 1], np.full((2, 2), 0.5), equal="mass") == pytest.approx(0.0)


def test_errors_name_the_argument():
    with pytest.raises(InputError, match=r"^y: 3 labels for 2 predictions"):
        log_score([0, 1, 1], P[:2])
    with pytest.raises(InputError, match=r"^y: the label 'plum' is not one of the classes"):
        log_score(["plum", "fig"], P[:2], classes=NAMES)
    with pytest.raises(InputError, match=r"^q: the probabilities of a row do not add up to 1"):
        log_score([0, 1], P[:2] / 2)
    with pytest.raises(InputError, match=r"^q: the predictions are not probabilities"):
        brier([0, 1], P[:2] - 0.5)
    with pytest.raises(InputError, match=r"^q: Normal is not a distribution of labels"):
        brier([0, 1], dist.Normal(np.zeros(2)))
    with pytest.raises(InputError, match=r"^label: 'plum' is not one of the classes"):
        calibration_curve(NAMES[Y], P, label="plum", classes=NAMES)
    with pytest.raises(InputError, match=r"^equal: 'none' is not a way"):
        calibration_curve(Y, P, equal="none")
    with pytest.raises(InputError, match=r"^y: shape \(2,\) for predictions of shape \(3,\)"):
        log_score([0.0, 1.0], dist.Normal(np.zeros(3)))
