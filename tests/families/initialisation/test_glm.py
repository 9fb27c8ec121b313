"""Generalised linear models on the host, beside scikit-learn's at the same strength and exact refits."""

import numpy as np
import pytest
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor

from kullback.families.initialisation import glm

ROWS, INPUTS = 120, 4


def drawn(law: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, INPUTS))
    eta = 0.5 + x @ np.array([0.6, -0.4, 0.2, 0.0])
    match law:
        case "counts":
            return x, rng.poisson(np.exp(eta))[:, None]
        case "times":
            return x, rng.gamma(2.0, np.exp(eta) / 2.0)[:, None]
        case "shares":
            return x, (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-eta)))[:, None] * 1.0
    return x, np.eye(3)[(np.stack([eta, -eta, 0 * eta], 1) + rng.gumbel(size=(ROWS, 3))).argmax(1)]


LOSSES = {"counts": glm.Counts(), "times": glm.Times(), "shares": glm.Shares(), "labels": glm.Labels()}


def by_scikit_learn(law: str, x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """η [n, k] at the penalty ½ ridge ‖b‖² beside the mean loss."""
    settings = {"max_iter": 10_000, "tol": 1e-10}
    if law == "counts":
        return np.log(PoissonRegressor(alpha=ridge, **settings).fit(x, y[:, 0]).predict(x))[:, None]
    if law == "times":
        return np.log(GammaRegressor(alpha=ridge, **settings).fit(x, y[:, 0]).predict(x))[:, None]
    labels = y[:, 0] if law == "shares" else y.argmax(1)
    model = LogisticRegression(C=1.0 / (ridge * len(x)), **settings).fit(x, labels)
    eta = model.decision_function(x)
    return eta[:, None] if eta.ndim == 1 else eta


@pytest.mark.parametrize("law", LOSSES)
@pytest.mark.parametrize("strength", [1e-3, 0.1, 3.0])
def test_a_model_of_one_strength_is_that_of_scikit_learn(law: str, strength: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(glm, "ENOUGH", 1e-12)
    monkeypatch.setattr(glm, "PASSES", 500)
    x, y = drawn(law)
    path = glm.Path(x, y, np.ones(ROWS), LOSSES[law])
    path.go(strength)
    expected = by_scikit_learn(law, x, y, strength * path.unit / ROWS)
    found = path.predicted(x)
    if law == "labels":  # of which only differences count
        found, expected = (eta - eta.mean(1, keepdims=True) for eta in (found, expected))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("law", ["counts", "times"])
@pytest.mark.parametrize("strength", [np.inf, 0.1, 1e-4])
def test_rows_left_out_are_predicted_as_exact_refits_predict_them(law: str, strength: float):
    x, y = drawn(law)
    path = glm.Path(x, y, np.ones(ROWS), LOSSES[law])
    path.go(strength)
    exact = np.empty((ROWS, 1))
    for i in range(ROWS):
        kept = np.arange(ROWS) != i
        other = glm.Path(x[kept], y[kept], np.ones(ROWS - 1), LOSSES[law])
        other.go(strength)
        exact[i] = other.predicted(x[i : i + 1])
    # The worst row moves by about a tenth of itself; the mean loss, by which strengths are chosen, by far less.
    loss = LOSSES[law]
    assert abs(np.mean(loss.value(y, path.left_out())) - np.mean(loss.value(y, exact))) < 2e-3
    assert np.abs(path.left_out() - exact).max() < 0.05


def test_weights_are_repetitions_of_rows():
    x, y = drawn("counts")
    times = np.random.default_rng(1).integers(0, 3, ROWS)
    weighted = glm.Path(x[times > 0], y[times > 0], times[times > 0] * 1.0, glm.Counts())
    repeated = glm.Path(np.repeat(x, times, 0), np.repeat(y, times, 0), np.ones(times.sum()), glm.Counts())
    for path in (weighted, repeated):
        path.go(1e-6)
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, atol=1e-2)


@pytest.mark.parametrize("law", LOSSES)
def test_outcomes_without_any_relation_to_the_inputs_get_a_small_slope(law: str):
    x, y = drawn(law)
    y = np.random.default_rng(2).permutation(y)
    found = glm.ridged(x, y, np.ones(ROWS), LOSSES[law])
    assert np.abs(found.slope).max() < 0.35  # two standard errors of an unpenalised slope of shares
    marginal = LOSSES[law].marginal(y, np.full(ROWS, 1.0 / ROWS))
    np.testing.assert_allclose(found.centre, marginal, atol=0.2)


def test_counts_that_are_all_zero_and_labels_that_are_told_apart_have_finite_models():
    x, _ = drawn("counts")
    zero = glm.ridged(x, np.zeros((ROWS, 1)), np.ones(ROWS), glm.Counts())
    apart = glm.ridged(x, np.eye(2)[(x[:, 0] > 0).astype(int)], np.ones(ROWS), glm.Labels())
    assert np.isfinite(zero.centre).all()
    assert np.isfinite(apart.slope).all()
    assert apart.loss < 0.3
