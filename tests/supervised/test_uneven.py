"""What equal weights, equal bins and labels that count from 0 would hide."""

import numpy as np
import pytest
import statsmodels.api as sm

import kullback as kl
from kullback.supervised import expected_calibration_error, log_score_estimate


def test_bins_count_by_their_rows():
    """Three rows held sure at 0.9, of which two came, and one at 0.6 that did not."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    found = expected_calibration_error([0, 0, 1, 1], p, bins=5)
    assert found == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.6)


def test_the_standard_error_of_a_weighted_mean(rng):
    """That of a regression on a constant by weighted least squares, robust to heteroscedasticity (HC1)."""
    p, y, weights = rng.dirichlet([2.0, 1.0], 50), rng.integers(0, 2, 50), rng.uniform(0.1, 3.0, 50)
    losses = -np.log(p[np.arange(50), y])
    peer = sm.WLS(losses, np.ones(50), weights).fit(cov_type="HC1")
    found = log_score_estimate(y, p, weights)
    assert found.value == pytest.approx(peer.params[0], rel=1e-10)
    assert found.standard_error == pytest.approx(peer.bse[0], rel=1e-10)


def test_labels_are_predicted_by_their_names():
    x = np.linspace(-1.0, 1.0, 40)[:, None]
    for names in (np.array(["low", "high"]), np.array([7, -3])):
        y = names[(x[:, 0] > 0).astype(int)]
        model = kl.KLClassifier(network="linear", rule="maximum likelihood").fit(x, y)
        np.testing.assert_array_equal(model.predict(x[[0, -1]]), names)
        assert set(model.sample(x, 5, random_state=0).ravel()) <= set(names)
