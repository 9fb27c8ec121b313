"""Temperature scaling against SciPy's scalar minimisation, and scikit-learn's own."""

import pickle

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, special
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.multioutput import MultiOutputClassifier

import kullback as kl
from kullback.errors import InputError
from kullback.families.tempered import Tempered, TemperedLogits
from kullback.supervised.calibration import TemperatureScaling

RNG = np.random.default_rng(0)
N, K, TRUE = 380, 3, 2.5  # one size, so that little is compiled
TRUTH = RNG.normal(size=(N, K)) * 2
Y = np.array([RNG.choice(K, p=special.softmax(row)) for row in TRUTH])
LOGITS = TRUE * TRUTH  # too sure by that much
LABELS = (RNG.uniform(size=(N, K)) < special.expit(TRUTH)).astype(int)


def best(losses):
    """The temperature that SciPy finds."""
    found = optimize.minimize_scalar(lambda t: losses(np.exp(t)), bounds=(-3, 3), method="bounded",
                                     options={"xatol": 1e-10})  # fmt: skip
    return np.exp(found.x)


def of_classes(t, logits=LOGITS, y=Y):
    return -np.mean(special.log_softmax(logits / t, -1)[np.arange(len(y)), y])


def of_labels(t):
    z = LOGITS / t
    return -np.mean((LABELS * special.log_expit(z) + (1 - LABELS) * special.log_expit(-z)).sum(-1))


def test_the_temperature_of_overconfident_logits():
    fit = kl.KL(kl.Pairs(LOGITS, Y), TemperedLogits()).minimize()
    assert fit.q == pytest.approx(best(of_classes), abs=1e-4)
    assert fit.q == pytest.approx(TRUE, rel=0.2)
    assert fit.objective.value == pytest.approx(of_classes(best(of_classes)), abs=1e-9)
    assert "maximum likelihood" in str(fit.plan)


def test_the_temperature_of_several_labels():
    fit = kl.KL(kl.Pairs(LOGITS, LABELS), TemperedLogits(several=True)).minimize()
    assert fit.q == pytest.approx(best(of_labels), abs=1e-4)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_fitted_conditional_is_tempered(ensemble):
    x = RNG.normal(size=(60, 2))
    y = (x[:, 0] + RNG.normal(size=60) > 0).astype(int)
    side = kl.Conditional(kl.Linear(), dist.Categorical, **({"ensemble": ensemble} if ensemble > 1 else {}))
    q = kl.KL(kl.Pairs(x[:20], y[:20]), side).minimize(rule="maximum likelihood", quiet=True).q
    before = np.asarray(q(x).logits, np.float64)
    fit = kl.KL(kl.Pairs(x[20:], y[20:]), Tempered(q)).minimize()
    temperature = best(lambda t: of_classes(t, before[20:], y[20:]))
    after = special.log_softmax(before / temperature, -1)
    np.testing.assert_allclose(special.log_softmax(np.asarray(fit.q(x).logits), -1), after, atol=2e-4)
    again = kl.KL(kl.Pairs(x[20:], y[20:]), Tempered(fit.q)).minimize()
    np.testing.assert_allclose(again.q(x).logits, fit.q(x).logits, rtol=1e-3, atol=1e-3)


def test_what_has_no_logits_says_so():
    x, y = RNG.normal(size=(30, 1)), RNG.normal(size=30)
    q = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)).minimize(quiet=True).q
    with pytest.raises(InputError, match=r"^q: Normal has no logits to temper"):
        Tempered(q)
    with pytest.raises(InputError, match=r"^q: Normal is not a fitted conditional"):
        Tempered(dist.Normal())


X = np.concatenate([LOGITS, RNG.normal(size=(N, 2))], -1)
NAMES = np.array(["b", "c", "a"])[Y]


def test_any_classifier_is_scaled_as_scikit_learn_scales_it():
    """scikit-learn's method="temperature" stops its scalar search at 2e-5 or so."""
    classifier = LogisticRegression(C=1e6).fit(X[:60], NAMES[:60])
    ours = TemperatureScaling(classifier).fit(X, NAMES)
    theirs = CalibratedClassifierCV(FrozenEstimator(classifier), method="temperature", ensemble=False).fit(X, NAMES)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), classifier.predict(X))
    np.testing.assert_array_equal(ours.classes_, ["a", "b", "c"])
    restored = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(restored.predict_proba(X), ours.predict_proba(X))
    assert ours.log_score_ == pytest.approx(log_loss(NAMES, ours.predict_proba(X)), abs=1e-6)
    logits = classifier.decision_function(X)
    codes = np.searchsorted(ours.classes_, NAMES)
    assert ours.temperature_ == pytest.approx(best(lambda t: of_classes(t, logits, codes)), abs=1e-4)


def test_weights_are_repetitions():
    classifier = LogisticRegression().fit(X[:60], NAMES[:60])
    weights = np.arange(N) % 3
    rows = np.repeat(np.arange(N), weights)
    weighted = TemperatureScaling(classifier).fit(X, NAMES, weights)
    repeated = TemperatureScaling(classifier).fit(X[rows], NAMES[rows])
    assert weighted.temperature_ == pytest.approx(repeated.temperature_, abs=1e-5)


def test_a_forest_with_zeros_and_several_labels():
    forest = RandomForestClassifier(5, random_state=0).fit(X[:200], NAMES[:200])
    scaled = TemperatureScaling(forest).fit(X, NAMES)
    assert scaled.temperature_ > 1
    np.testing.assert_allclose(scaled.predict_proba(X).sum(-1), 1.0)
    x, y = make_multilabel_classification(N, 5, n_classes=3, random_state=0)
    several = MultiOutputClassifier(LogisticRegression(C=1e4)).fit(x[:40], y[:40])
    scaled = TemperatureScaling(several).fit(x, y)
    p = np.stack([part[:, 1] for part in several.predict_proba(x)], -1)
    expected = special.expit(special.logit(p) / scaled.temperature_)
    np.testing.assert_allclose(scaled.predict_proba(x), expected, rtol=1e-6)


def test_a_clone_keeps_the_classifier_and_an_unfitted_one_is_refused():
    classifier = LogisticRegression().fit(X, NAMES)
    copy = clone(TemperatureScaling(classifier).fit(X, NAMES))
    assert copy.classifier is classifier
    assert not hasattr(copy, "temperature_")
    with pytest.raises(NotFittedError):
        copy.predict_proba(X)
    with pytest.raises(NotFittedError):
        TemperatureScaling(LogisticRegression()).fit(X, NAMES)
