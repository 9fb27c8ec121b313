"""What the estimators do beyond scikit-learn's checks: targets of every kind, weights, streams, frames, files."""

import pickle

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kullback as kl
from kullback.errors import InputError

RNG = np.random.default_rng(7)
N, D = 90, 3
X = RNG.normal(size=(N, D)) * [1.0, 20.0, 0.1] + [0.0, 5.0, 1.0]
Z = (X - X.mean(0)) / X.std(0)
Y = 3.0 + Z @ [1.0, -2.0, 0.5] + RNG.normal(size=N)
LABELS = np.array(["a", "b", "c"])[np.digitize(Y + RNG.normal(size=N), [2.0, 4.5])]
WEIGHTS = RNG.integers(0, 4, size=N).astype(float)
FRAMES = {
    "pandas": pd.DataFrame(X, columns=["u", "v", "w"], index=np.arange(N) + 100),
    "polars": pl.DataFrame({"u": X[:, 0], "v": X[:, 1], "w": X[:, 2]}),
}
SMALL = kl.MLP(hidden=(8,))


def linear_classifier(**settings):
    return kl.KLClassifier(network="linear", **{"random_state": 0, **settings})


def line(**settings):
    return kl.KLRegressor(network="linear", **{"fixed": {"scale": 1.0}, "random_state": 0, **settings})


# Targets


@pytest.mark.parametrize(
    ("name", "law", "fixed"),
    [
        ("gamma", scipy.stats.gamma(3.0, scale=2.0), {"floc": 0}),
        ("Log-Normal", scipy.stats.lognorm(0.7, scale=3.0), {"floc": 0}),
        ("weibull", scipy.stats.weibull_min(1.7, scale=2.0), {"floc": 0}),
        ("beta", scipy.stats.beta(2.0, 5.0), {"floc": 0, "fscale": 1}),
        ("von_mises", scipy.stats.vonmises(4.0, loc=1.0), {"fscale": 1}),
        ("student_t", scipy.stats.t(5.0, loc=2.0, scale=3.0), {}),
        ("Gumbel", scipy.stats.gumbel_r(loc=2.0, scale=3.0), {}),
    ],
)
def test_without_inputs_that_tell_anything_it_is_the_maximum_likelihood_of_scipy(name, law, fixed):
    y = law.rvs(N, random_state=np.random.default_rng(3))
    parameters = law.dist.fit(y, **fixed)
    model = kl.KLRegressor(name, network="linear", prior_scale=None).fit(np.ones((N, 1)), y)
    assert model.fit_.diagnostics["train_nll"] == pytest.approx(-law.dist.logpdf(y, *parameters).mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "law"),
    [("negative_binomial", scipy.stats.nbinom(2.0, 0.3)), ("zero_inflated_poisson", scipy.stats.poisson(2.5))],
)
def test_counts_have_the_mean_of_the_data(name, law):
    """The score of a mean parameter is 0 at the mean of the data, for these two as for a Poisson."""
    y = law.rvs(N, random_state=np.random.default_rng(3))
    y[:15] = 0
    for targets in (y, y.astype(float)):
        model = kl.KLRegressor(name, network="linear", prior_scale=None).fit(np.ones((N, 1)), targets)
        np.testing.assert_allclose(model.predict(np.ones((2, 1))), y.mean(), rtol=1e-4)


def test_several_outputs_that_belong_together():
    y = np.column_stack([Y, Y + 0.3 * RNG.normal(size=N)])
    model = kl.KLRegressor("multivariate_normal", network="linear", random_state=0).fit(X, y)
    d = model.predict_dist(X)
    assert isinstance(d, dist.MultivariateNormal)
    assert model.predict(X).shape == (N, 2)
    residuals = y - LinearRegression().fit(X, y).predict(X)
    correlation = np.corrcoef(residuals.T)[0, 1]
    covariance = np.mean(d.covariance_matrix, 0)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(correlation, abs=0.1)


def test_a_mixture_finds_two_branches():
    x = np.linspace(-1, 1, N)[:, None]
    y = np.where(np.arange(N) % 2, 2 * x[:, 0], -2 * x[:, 0] + 6) + 0.1 * np.random.default_rng(0).normal(size=N)
    model = kl.KLRegressor("normal", network="linear", components=2, random_state=0).fit(x, y)
    # Two equally likely normals of scale 0.1 have the entropy log 2 + ½ log 2πe + log 0.1 = −0.19; one has 1.9.
    assert model.fit_.diagnostics["train_nll"] < 0.2
    assert not hasattr(model, "coef_")
    assert model.predict_quantile([[-1.0]], 0.25)[0] == pytest.approx(-2.0, abs=0.3)
    assert model.predict_quantile([[-1.0]], 0.75)[0] == pytest.approx(8.0, abs=0.3)


def test_a_law_without_a_mean_predicts_its_location():
    model = kl.KLRegressor("cauchy", network="linear", random_state=0).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), model.predict_dist(X).loc, rtol=1e-5)


def test_several_labels_a_row_are_several_logistic_regressions():
    y = np.stack([LABELS == "a", Y > 4], 1).astype(int)
    model = linear_classifier(prior_scale=0.5).fit(X, y)
    for k in range(2):
        peer = LogisticRegression(C=0.25, tol=1e-10).fit(Z, y[:, k])
        np.testing.assert_allclose(model.predict_proba(X)[:, k], peer.predict_proba(Z)[:, 1], atol=1e-5)
        np.testing.assert_allclose(model.coef_[k] * X.std(0), peer.coef_[0], atol=1e-4)
    assert model.predict(X).dtype == y.dtype
    assert set(np.unique(model.sample(X, 5, random_state=0))) == {0, 1}


# Weights and other P


def test_balanced_classes_are_those_of_logistic_regression():
    model = linear_classifier(class_weight="balanced", prior_scale=0.5).fit(X, LABELS)
    peer = LogisticRegression(C=0.25, class_weight="balanced", tol=1e-10).fit(Z, LABELS)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(Z), atol=2e-2)
    by_hand = linear_classifier(class_weight={"a": 2.0, "b": 1.0, "c": 0.5}, prior_scale=None).fit(X, LABELS)
    weights = np.select([LABELS == "a", LABELS == "b"], [2.0, 1.0], 0.5)
    # Weights move the mean by which inputs are standardised, so compare where that does not matter: without a prior.
    peer = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(Z, LABELS, sample_weight=weights)
    np.testing.assert_allclose(by_hand.predict_proba(X), peer.predict_proba(Z), atol=1e-4)


@pytest.mark.parametrize("prior_scale", [None, 0.5])
def test_label_smoothing_is_rows_of_every_class_with_its_share_of_the_weight(prior_scale):
    share, classes = 0.2, np.unique(LABELS)
    model = linear_classifier(label_smoothing=share, prior_scale=prior_scale, tolerance=1e-12).fit(X, LABELS)
    weights = (1 - share) * (LABELS[:, None] == classes) + share / 3
    peer = LogisticRegression(C=1e12 if prior_scale is None else prior_scale**2, tol=1e-10, max_iter=10_000)
    peer.fit(np.repeat(Z, 3, 0), np.tile(classes, N), sample_weight=weights.ravel())
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(Z), atol=1e-5)


def test_the_order_of_rows_and_rows_of_weight_0_are_nothing():
    order = np.random.default_rng(0).permutation(N)
    model = kl.KLClassifier(SMALL, random_state=0).fit(X, LABELS, WEIGHTS)
    again = kl.KLClassifier(SMALL, random_state=0).fit(X[order], LABELS[order], WEIGHTS[order])
    kept = kl.KLClassifier(SMALL, random_state=0).fit(X[WEIGHTS > 0], LABELS[WEIGHTS > 0], WEIGHTS[WEIGHTS > 0])
    for other in (again, kept):
        np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


# Going on


def test_partial_fit_goes_on_by_few_steps_over_a_stream():
    rng = np.random.default_rng(0)
    model, scores = line(fixed=None), []
    for _ in range(12):
        x = rng.normal(size=(40, D))
        model.partial_fit(x, x @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=40))
        assert model.n_iter_ <= 20
        scores.append(model.score(Z, Z @ [1.0, -2.0, 0.5]))
    # Over a dozen seeds of data and order the first call comes to between 0.07 and 0.52.
    assert scores[0] < 0.75
    assert scores[-1] > 0.9


def test_partial_fit_of_a_classifier_knows_classes_that_have_not_come():
    model = kl.KLClassifier(SMALL, random_state=0)
    first = LABELS != "c"
    model.partial_fit(X[first], LABELS[first], classes=["a", "b", "c"])
    assert model.predict_proba(X).shape == (N, 3)
    start = log_loss(LABELS, model.predict_proba(X))
    for _ in range(10):
        model.partial_fit(X, LABELS)
    assert log_loss(LABELS, model.predict_proba(X)) < start - 0.2
    with pytest.raises(InputError, match=r"classes: .* are not those of the first call"):
        model.partial_fit(X, LABELS, classes=["a", "b"])
    with pytest.raises(InputError, match="X has 2 features"):
        model.partial_fit(X[:, :2], LABELS)


def test_a_warm_start_goes_on_and_a_cold_one_does_not():
    losses = {}
    for warm in (False, True):
        model = kl.KLClassifier(SMALL, rule="maximum likelihood", steps=40, warm_start=warm, random_state=0)
        losses[warm] = [model.fit(X, LABELS).fit_.diagnostics["train_nll"] for _ in range(2)]
    assert losses[True][0] == losses[False][0] == losses[False][1]
    assert losses[True][1] < losses[True][0] - 1e-3
    # Other classes than before are another model.
    assert model.fit(X, Y > 3).predict_proba(X).shape == (N, 2)


def test_the_seed_decides():
    first, again, other = (kl.KLRegressor(network=SMALL, random_state=seed).fit(X, Y).predict(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert kl.KLRegressor(network=SMALL, random_state=np.random.RandomState(0)).fit(X, Y).n_iter_ >= 1


# Predictions


def test_quantiles_intervals_and_draws_are_of_the_predictive_distribution():
    model = line(fixed={"scale": 2.0}).fit(X, Y)
    mean = model.predict(X)
    assert model.predict_dist(X).batch_shape == (N,)
    np.testing.assert_allclose(model.predict_quantile(X, 0.9), scipy.stats.norm(mean, 2.0).ppf(0.9), rtol=1e-5)
    several = model.predict_quantile(X, [0.1, 0.5])
    np.testing.assert_allclose(several, scipy.stats.norm(mean[:, None], 2.0).ppf([0.1, 0.5]), rtol=1e-5, atol=1e-5)
    interval = model.predict_interval(X, level=0.8)
    np.testing.assert_allclose(interval, scipy.stats.norm(mean[:, None], 2.0).ppf([0.1, 0.9]), rtol=1e-5, atol=1e-5)
    draws = model.sample(X, 400, random_state=0)
    assert draws.shape == (400, N)
    # A mean of 36,000 standard normals is beyond 4.5/√36000 once in 150,000 runs.
    assert abs(((draws - mean) / 2.0).mean()) < 4.5 / np.sqrt(draws.size)
    for bad in (1.5, -0.1, np.nan, [[0.5]]):
        with pytest.raises(InputError, match=r"q: .* is neither a probability"):
            model.predict_quantile(X, bad)


def test_probabilities_their_logarithms_and_draws_agree():
    model = linear_classifier().fit(X, LABELS)
    p = model.predict_proba(X)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-12)
    np.testing.assert_allclose(model.predict_dist(X).probs, p, atol=1e-5)
    draws = model.sample(X, 400, random_state=1)
    assert draws.shape == (400, N)
    for k, label in enumerate(model.classes_):
        # The difference of a share from its mean has a standard deviation of at most ½/√36000; 4.5 of them.
        assert abs((draws == label).mean() - p[:, k].mean()) < 4.5 * 0.5 / np.sqrt(draws.size)


def test_an_ensemble_averages_its_members():
    model = kl.KLClassifier(SMALL, ensemble=3, random_state=0).fit(X, LABELS)
    members = [
        type(model.q_)(model.q_.structure, model.q_.fixed, "", jax.tree.map(lambda leaf, k=k: leaf[k], model.q_.free))
        for k in range(3)
    ]
    average = np.mean([member(X).probs for member in members], 0)
    np.testing.assert_allclose(model.predict_proba(X), average, atol=1e-5)


def test_any_equinox_module_is_a_network():
    module = eqx.nn.Sequential([eqx.nn.Linear(D, 3, key=jax.random.key(0))])
    ours = kl.KLClassifier(module, prior_scale=None, tolerance=1e-9, rule="maximum likelihood").fit(X, LABELS)
    np.testing.assert_allclose(
        ours.predict_proba(X), linear_classifier(prior_scale=None).fit(X, LABELS).predict_proba(X), atol=1e-3
    )
    assert not hasattr(ours, "coef_")
    assert not hasattr(kl.KLClassifier(SMALL).fit(X, LABELS), "coef_")


# Frames


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_the_arrays_in_them(kind):
    frame = FRAMES[kind]
    y = pd.Series(Y) if kind == "pandas" else pl.Series(Y)
    model = line().fit(frame, y)
    assert list(model.feature_names_in_) == ["u", "v", "w"]
    prediction = model.predict(frame)
    assert isinstance(prediction, np.ndarray)
    np.testing.assert_array_equal(prediction, line().fit(X, Y).predict(X))


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_come_out_where_they_are_asked_for(kind):
    frame = FRAMES[kind]
    columns = {name: ["a", "b", "c"] for name in ("predict_proba", "predict_log_proba")}
    classifier = clone(linear_classifier().set_output(predict=kind)).fit(frame, LABELS)
    regressor = line().set_output(predict=kind).fit(frame, Y)
    found = {name: getattr(classifier, name)(frame) for name in columns}
    found["predict_interval"] = regressor.predict_interval(frame)
    found["predict_quantile"] = regressor.predict_quantile(frame, [0.1, 0.5])
    columns |= {"predict_interval": ["lower", "upper"], "predict_quantile": ["0.1", "0.5"]}
    for name, table in found.items():
        assert type(table).__module__.startswith(kind)
        assert list(table.columns) == columns[name]
        if kind == "pandas":
            assert list(table.index) == list(frame.index)
    assert isinstance(regressor.set_output(predict="default").predict_interval(frame), np.ndarray)


# scikit-learn around them


def test_a_grid_search_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), linear_classifier())
    search = GridSearchCV(pipeline, {"klclassifier__prior_scale": [1e-3, 1.0]}, cv=3, scoring="neg_log_loss")
    search.fit(X, LABELS)
    assert search.best_params_ == {"klclassifier__prior_scale": 1.0}
    assert search.best_score_ > search.cv_results_["mean_test_score"].min() + 0.1


def test_weights_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        model = line().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(X, Y, sample_weight=WEIGHTS)
        assert pipeline.score(X, Y, sample_weight=WEIGHTS) > 0
    direct = line().fit(X, Y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(pipeline.predict(X), direct.predict(X), rtol=1e-8)
    assert not np.allclose(direct.predict(X), line().fit(X, Y).predict(X))


# Files


@pytest.mark.parametrize(
    "model",
    [
        kl.KLClassifier(SMALL, ensemble=2, random_state=0),
        kl.KLRegressor("student_t", SMALL, random_state=0),
        kl.KLRegressor(dist.Normal, "linear", components=2, random_state=0),
    ],
    ids=["ensemble", "law by name", "mixture"],
)
def test_pickles_and_files_hold_the_same_predictions(model, tmp_path):
    model = clone(model).fit(X, LABELS if isinstance(model, kl.KLClassifier) else Y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert copy.fit_.status is model.fit_.status
    assert dict(copy.fit_.diagnostics) == dict(model.fit_.diagnostics)
    assert copy.q_ is copy.fit_.q
    copy.partial_fit(X, LABELS if isinstance(model, kl.KLClassifier) else Y)
    model.fit_.save(tmp_path / "fit.safetensors")
    loaded = kl.load(tmp_path / "fit.safetensors").q
    y = np.unique(LABELS, return_inverse=True)[1] if isinstance(model, kl.KLClassifier) else Y
    np.testing.assert_array_equal(loaded(X).log_prob(y), model.predict_dist(X).log_prob(y))


def test_the_rule_the_logger_and_the_steps_are_passed_on():
    rows = []

    class Log:
        def log(self, row):
            rows.append(row)

        def close(self):
            pass

    model = kl.KLClassifier(SMALL, rule=kl.rules.Minibatches(batch=32), steps=30, logger=Log(), random_state=0)
    model.fit(X, LABELS)
    assert model.fit_.plan.rule.name == "minibatches"
    assert model.n_iter_ <= 32
    assert rows
    assert len(model.history_) == len(rows)
    assert {"epoch", "train_nll", "heldout_nll"} <= set(model.history_[-1])
