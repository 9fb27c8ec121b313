"""Scorers in scikit-learn's searches, cross-validation, pipelines and routing."""

import pickle

import numpy as np
import numpyro.distributions as dist
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_wine, make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kullback.errors import InputError
from kullback.supervised.scores import Scorer, brier_scorer, calibration_scorer, crps_scorer, log_scorer

X, CODES = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X[:, :4])
Y = np.array(["red", "white", "green"])[CODES]
W = np.random.default_rng(0).uniform(size=len(Y))


class Line(RegressorMixin, BaseEstimator):
    """Least squares with a normal of a given scale around it."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y):
        self.mean_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X):
        return self.mean_.predict(X)

    def predict_dist(self, X):
        return dist.Normal(self.predict(X), self.scale)


@pytest.fixture
def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression())


def test_the_log_scorer_is_scikit_learns_neg_log_loss(classifier):
    ours = cross_val_score(classifier, X, Y, scoring=log_scorer, cv=3)
    theirs = cross_val_score(classifier, X, Y, scoring="neg_log_loss", cv=3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    fitted = classifier.fit(X, Y)
    assert log_scorer(fitted, X, Y, W) == pytest.approx(get_scorer("neg_log_loss")(fitted, X, Y, sample_weight=W))


def test_several_scorers_at_once_and_in_parallel_processes(classifier):
    scoring = {"log": log_scorer, "brier": brier_scorer, "calibration": calibration_scorer, "theirs": "neg_brier_score"}
    found = cross_validate(classifier, X, Y, scoring=scoring, cv=2)
    np.testing.assert_allclose(found["test_brier"], found["test_theirs"], rtol=1e-10)
    assert (found["test_calibration"] <= 0).all()
    for scorer in (log_scorer, crps_scorer):
        assert repr(pickle.loads(pickle.dumps(clone(scorer, safe=False)))) == repr(scorer)


@pytest.mark.parametrize("scorer", [log_scorer, crps_scorer], ids=repr)
def test_a_search_finds_the_scale_of_the_noise(scorer):
    """Residuals of scale 2: the nearest of the scales offered is chosen, through a pipeline and the search."""
    rng = np.random.default_rng(0)
    y = X[:, 0] + 2.0 * rng.normal(size=len(X))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Line()), {"line__scale": [0.2, 2.0, 20.0]}, scoring=scorer, cv=3
    )
    search.fit(X, y)
    assert search.best_params_ == {"line__scale": 2.0}
    assert scorer(search, X, y) == pytest.approx(scorer(search.best_estimator_, X, y))


@pytest.mark.parametrize(
    "model", [RandomForestClassifier(5, random_state=0), KNeighborsClassifier()], ids=["forest", "near"]
)
def test_several_labels_a_row_come_as_lists_from_trees_and_neighbours(model):
    x, y = make_multilabel_classification(80, 5, n_classes=3, random_state=0)
    fitted = model.fit(x, y)
    p = np.stack([part[:, 1] for part in fitted.predict_proba(x)], -1)
    truth = np.mean((p - y) ** 2)
    assert brier_scorer(fitted, x, y) == pytest.approx(-truth)


def test_a_probability_of_zero_costs_infinitely_much_without_a_warning():
    fitted = KNeighborsClassifier(1).fit(X, Y)
    assert log_scorer(fitted, X + 1e-9, Y[::-1]) == -np.inf


def test_weights_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=False)
        asking = log_scorer.set_score_request(sample_weight=True)
        assert isinstance(asking, Scorer)
        found = cross_validate(model, X, Y, scoring=asking, cv=2, params={"sample_weight": W}, return_indices=True,
                               return_estimator=True)  # fmt: skip
        for score, fitted, rows in zip(found["test_score"], found["estimator"], found["indices"]["test"], strict=True):
            truth = log_loss(Y[rows], fitted.predict_proba(X[rows]), sample_weight=W[rows])
            assert score == pytest.approx(-truth)
        with pytest.raises(UnsetMetadataPassedError, match=r"Scorer\.score"):
            cross_validate(model, X, Y, scoring=log_scorer, cv=2, params={"sample_weight": W})


def test_errors_say_what_the_score_needs(classifier):
    with pytest.raises(InputError, match=r"^scoring: crps_scorer needs a predictive distribution"):
        crps_scorer(classifier.fit(X, Y), X, Y)
    with pytest.raises(InputError, match=r"^scoring: brier_scorer scores probabilities of labels"):
        brier_scorer(Line().fit(X, X[:, 0]), X, X[:, 0])
