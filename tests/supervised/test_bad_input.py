"""What cannot be fitted is refused before any training, in one sentence that says what would do."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import kullback as kl
from kullback.errors import InputError, KullbackError

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(size=20)
LABELS = np.where(Y > 0, "up", "down")
TABLE = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """Training is an error here: what is wrong must be said before."""

    def trained(*args, **kwargs):
        raise AssertionError("training had begun")

    monkeypatch.setattr("kullback.supervised.base.KL", trained)


def changed(array, index, value):
    copy = np.array(array, dtype=np.result_type(array, type(value)) if not isinstance(value, str) else object)
    copy[index] = value
    return copy


def refuses(message, estimator, *data, **options):
    with pytest.raises(InputError, match=message) as caught:
        estimator.fit(*data, **options)
    text = str(caught.value)
    assert isinstance(caught.value, KullbackError)
    assert re.match(r"\w+: ", text), text
    return text


INPUTS = {
    "NaN": (changed(X, (3, 1), np.nan), r"X: column 1 has missing values .* SimpleImputer"),
    "infinite": (changed(X, (3, 2), np.inf), "X: column 2 has infinite values"),
    "text": (changed(X, (3, 0), "red"), "X: column 0 has text, such as 'red'.*OneHotEncoder.*OrdinalEncoder"),
    "None": ([[None, 1.0]] * 20, "X: column 0 has missing values"),
    "pandas text": (pd.DataFrame(TABLE | {"b": ["red"] * 20}), "X: column 'b' has text, such as 'red'"),
    "pandas category": (pd.DataFrame(TABLE).astype({"c": "category"}), "X: column 'c' is categorical"),
    "pandas missing": (pd.DataFrame(TABLE | {"a": [pd.NA] + [1] * 19}), "X: column 'a' has missing values in 1 rows"),
    "pandas dates": (pd.DataFrame(TABLE | {"a": pd.Timestamp("2020-01-01")}), "X: column 'a' has dates"),
    "polars text": (pl.DataFrame(TABLE | {"b": ["red"] * 20}), "X: column 'b' has text, such as 'red'"),
    "polars category": (
        pl.DataFrame(TABLE | {"b": pl.Series(["red"] * 20, dtype=pl.Categorical)}),
        "X: column 'b' is categorical",
    ),
    "polars missing": (pl.DataFrame(TABLE | {"a": [None] + [1] * 19}), "X: column 'a' has missing values in 1 rows"),
    "sparse": (scipy.sparse.csr_array(X), r"X: sparse input is not supported; pass X.toarray\(\)"),
    "complex": (X + 1j, "X: Complex data not supported"),
    "one axis": (X[:, 0], "X: .*Expected 2D array"),
    "three axes": (X[:, :, None], "X: .*dim 3"),
    "no columns": (X[:, :0], r"X: .*0 feature\(s\)"),
    "no rows": (X[:0], r"X: .*0 sample\(s\)"),
}


@pytest.mark.parametrize("estimator", [kl.KLClassifier(), kl.KLRegressor()], ids=["classifier", "regressor"])
@pytest.mark.parametrize("case", INPUTS)
def test_inputs(case, estimator):
    x, message = INPUTS[case]
    size = x.shape[0] if hasattr(x, "shape") else len(x)
    refuses(f"^{message}", estimator, x, (LABELS if isinstance(estimator, kl.KLClassifier) else Y)[:size])


WEIGHTS = {
    "negative": (changed(np.ones(20), 4, -1.0), "sample_weight: some weights are negative"),
    "NaN": (changed(np.ones(20), 4, np.nan), "sample_weight: the weights have NaN"),
    "zero": (np.zeros(20), "sample_weight: all weights are zero"),
    "length": (np.ones(19), r"sample_weight: shape \(19,\) for 20 rows"),
    "text": (["heavy"] * 20, "sample_weight: the weights are not numbers"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(case):
    weights, message = WEIGHTS[case]
    refuses(message, kl.KLClassifier(), X, LABELS, sample_weight=weights)
    refuses(message, kl.KLRegressor(), X, Y, sample_weight=weights)


COUNTS = np.arange(20) % 4
TARGETS = {
    "NaN": ("normal", changed(Y, 2, np.nan), "y: the targets contain NaN"),
    "infinite": ("normal", changed(Y, 2, -np.inf), "y: the targets contain infinity"),
    "text": ("normal", LABELS, "y: the targets are not numbers .*KLClassifier"),
    "short": ("normal", Y[:-1], "y: 19 targets for 20 rows of X"),
    "three axes": ("normal", np.ones((20, 2, 2)), "y: .*dim 3"),
    "None": ("normal", None, "y: .*requires y to be passed, but the target y is None"),
    "sparse": ("normal", scipy.sparse.csr_array(np.eye(20)), "y: sparse targets are not supported"),
    "a negative count": ("poisson", changed(COUNTS, 5, -1), "y: row 5, -1., lies outside the support"),
    "half a count": ("negative_binomial", changed(COUNTS, 6, 1.5), "y: row 6, 1.5, lies outside the support"),
    "zero for Gamma": (
        "gamma",
        changed(np.exp(Y), 7, 0.0),
        r"y: row 7, 0., lies outside the support \(0, ∞\) of Gamma",
    ),
    "zero for log-normal": ("lognormal", changed(np.exp(Y), 7, 0.0), "y: row 7, 0., lies outside"),
    "above 1 for Beta": ("beta", changed(np.full(20, 0.5), 8, 1.2), "y: row 8, 1.2, lies outside the support"),
    "1 for Beta": ("beta", changed(np.full(20, 0.5), 8, 1.0), r"y: row 8, 1., lies outside the support \(0, 1\)"),
    "degrees": ("von_mises", changed(Y, 1, 90.0), "y: row 1, 90., lies outside the support"),
    "no simplex": ("dirichlet", np.full((20, 3), 0.5), "y: row 0, .* lies outside the support"),
    "a vector's law": ("multivariate_normal", Y, "y: shape .* pass y of shape"),
    "classes": ("categorical", COUNTS, "distribution: .*KLClassifier"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_of_a_regressor(case):
    distribution, y, message = TARGETS[case]
    refuses(message, kl.KLRegressor(distribution), X, y)


def test_targets_beyond_the_trials_of_a_binomial():
    refuses(
        r"y: row 5, 9., lies outside the support \{0, 1, 2, 3\}",
        kl.KLRegressor("binomial", fixed={"total_count": 3}),
        X,
        changed(COUNTS, 5, 9),
    )


def test_one_row():
    refuses(r"^X: .*1 sample\(s\)", kl.KLRegressor(), X[:1], Y[:1])
    refuses("^y: there is only one class", kl.KLClassifier(), X[:1], LABELS[:1])


CLASSES = {
    "one class": (np.full(20, "up"), "y: there is only one class, .*'up'.*; pass rows of at least two classes"),
    "numbers": (Y, "y: Unknown label type: continuous"),
    "NaN": (changed(COUNTS, 3, np.nan), "y: the targets contain NaN"),
    "missing": ([*LABELS[:-1], None], "y: it has missing labels"),
    "short": (LABELS[:-1], "y: 19 targets for 20 rows of X"),
    "several columns": (np.stack([COUNTS, COUNTS], 1), "y: several columns of classes.*MultiOutputClassifier"),
    "None": (None, "y: .*requires y to be passed"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_labels_of_a_classifier(case):
    y, message = CLASSES[case]
    refuses(message, kl.KLClassifier(), X, y)


def test_a_class_whose_rows_all_have_weight_0_is_not_there():
    refuses("y: there is only one class", kl.KLClassifier(), X, LABELS, sample_weight=(LABELS == "up").astype(float))


SETTINGS = {
    "network name": ({"network": "mpl"}, "network: 'mpl' is not one of 'mlp', 'linear'"),
    "network class": ({"network": kl.MLP}, "network: MLP is a class; call it"),
    "network": ({"network": 3}, "network: int is not a network"),
    "prior_scale": ({"prior_scale": 0.0}, "prior_scale: 0.0 is not a positive number"),
    "ensemble": ({"ensemble": 0}, "ensemble: 0 is not a positive whole number"),
    "steps": ({"steps": -3}, "steps: -3 is not a positive whole number"),
    "random_state": ({"random_state": "today"}, "random_state: 'today' is no seed"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(case, monkeypatch):
    monkeypatch.undo()  # a network's kind is known when its sizes are, which is in the plan: still before training
    settings, message = SETTINGS[case]
    refuses(message, kl.KLClassifier(**settings), X, LABELS)
    refuses(message, kl.KLRegressor(**settings), X, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "studen"}, "distribution: there is none named 'studen' .*StudentT"),
        ({"distribution": "negative_binomal"}, "distribution: .*NegativeBinomial2"),
        ({"distribution": 3}, "distribution: 3 is not a NumPyro distribution class"),
        ({"components": 0}, "components: 0 is not a positive whole number"),
        ({"fixed": {"scal": 1.0}}, "scal: Normal has no such parameter; it has loc, scale"),
        ({"fixed": {"scale": np.nan}}, "scale: nan is not a finite number"),
        ({"fixed": 1.0}, "fixed: 1.0 is no mapping"),
    ],
)
def test_settings_of_a_regressor(settings, message, monkeypatch):
    monkeypatch.undo()
    refuses(message, kl.KLRegressor(**settings), X, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not a share from 0 to below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing: -0.1 is not"),
        ({"class_weight": "heavy"}, "class_weight: "),
        ({"class_weight": {"up": -1.0}}, "class_weight: "),
    ],
)
def test_settings_of_a_classifier(settings, message):
    refuses(message, kl.KLClassifier(**settings), X, LABELS)


def test_class_weights_have_no_meaning_for_several_labels_a_row():
    y = np.stack([COUNTS > 1, COUNTS % 2 == 0], 1).astype(int)
    refuses("class_weight: with several labels", kl.KLClassifier(class_weight="balanced"), X, y)


def test_partial_fit_needs_the_classes_first():
    with pytest.raises(InputError, match="classes: the first call of partial_fit needs"):
        kl.KLClassifier().partial_fit(X, LABELS)
    with pytest.raises(InputError, match=r"y: row 0, .* is not among the classes"):
        kl.KLClassifier().partial_fit(X, LABELS, classes=["left", "right"])
    with pytest.raises(InputError, match="class_weight: 'balanced' needs all the rows"):
        kl.KLClassifier(class_weight="balanced").partial_fit(X, LABELS, classes=["up", "down"])


def test_before_a_fit():
    for method in ("predict", "predict_dist", "predict_interval", "predict_quantile", "sample"):
        with pytest.raises(NotFittedError):
            getattr(kl.KLRegressor(), method)(X)
    for method in ("predict", "predict_proba", "predict_log_proba", "predict_dist", "sample"):
        with pytest.raises(NotFittedError):
            getattr(kl.KLClassifier(), method)(X)
    with pytest.raises(AttributeError, match="network='linear'"):
        _ = kl.KLRegressor(network="linear").coef_


def test_other_features_than_those_of_the_fit(monkeypatch):
    monkeypatch.undo()
    model = kl.KLRegressor(network="linear", fixed={"scale": 1.0}).fit(X, Y)
    with pytest.raises(InputError, match="X has 2 features, but KLRegressor is expecting 3"):
        model.predict(X[:, :2])
    for level in (0.0, 1.0, 90):
        with pytest.raises(InputError, match=r"level: .* is not between 0 and 1"):
            model.predict_interval(X, level)
    model.fit(pd.DataFrame(TABLE), Y)
    with pytest.raises(InputError, match="feature names should match"):
        model.predict(pd.DataFrame(TABLE).rename(columns={"a": "z"}))
    with pytest.raises(InputError, match="column 'b' has text"):
        model.predict(pd.DataFrame(TABLE | {"b": ["red"] * 20}))
    with pytest.raises(InputError, match="predict: 'arrow' is not one of"):
        model.set_output(predict="arrow")


def test_what_the_errors_recommend_works(monkeypatch):
    monkeypatch.undo()
    table = pd.DataFrame(TABLE | {"b": ["red", "blue"] * 10})
    table.loc[0, "a"] = np.nan
    columns = make_column_transformer((OneHotEncoder(), ["b"]), (SimpleImputer(), ["a", "c"]))
    model = make_pipeline(columns, kl.KLRegressor(network="linear", fixed={"scale": 1.0})).fit(table, Y)
    assert model.predict(table).shape == (20,)


def test_constant_columns_change_nothing(monkeypatch):
    monkeypatch.undo()
    model = kl.KLRegressor(network="linear", fixed={"scale": 1.0}, prior_scale=None)
    plain = model.fit(X, Y).predict(X)
    constant = np.column_stack([X, np.full(20, 7.0)])
    np.testing.assert_allclose(model.fit(constant, Y).predict(constant), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1, "a"] * 10, object), "labels of several types"),
        (np.array([b"p", b"q"] * 10), "bytes"),
    ],
)
def test_labels_that_cannot_be_sorted_are_refused_in_a_sentence(values: np.ndarray, said: str):
    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(InputError, match=said):
        kl.KLClassifier(random_state=0).fit(x, values)
