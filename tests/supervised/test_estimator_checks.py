"""scikit-learn's own checks of an estimator, none of which is expected to fail, for networks and for linear models."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import kullback as kl

ESTIMATORS = [
    kl.KLClassifier(),
    # A scale that is learned on the checks' noise goes on shrinking for thousands of steps, which would only take time.
    kl.KLRegressor(steps=500),
]
LINEAR = [kl.KLClassifier(network="linear"), kl.KLRegressor(network="linear", fixed={"scale": 1.0})]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_has_nothing_to_object_to(estimator, check):
    passed(estimator, check)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(LINEAR)
def test_nor_of_linear_models(estimator, check):
    passed(estimator, check)


def passed(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:  # a check of `decision_function`, which no estimator needs to have
        if hasattr(estimator, "decision_function") or "decision_function" not in str(skipped):
            raise
