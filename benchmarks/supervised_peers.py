"""Peers in supervised learning: each fits to x and y and returns a function that gives −log q(y∣x) of new rows.

Peers that predict a number alone are given one constant scale (or dispersion) of best likelihood on rows which they
were not fitted to: out-of-fold predictions of small tables, the held-out tenth of large ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import scipy.optimize
import scipy.stats
from ngboost import NGBRegressor
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import torch_networks

Nll = Callable[[np.ndarray, np.ndarray], np.ndarray]
SMALL = 5_000  # rows, below which scales come from 5 folds
HIDDEN = (64, 64)


def scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def aside(x: np.ndarray, y: np.ndarray, seed: int, labels: bool = False) -> Any:
    """A tenth of the rows held out: x and its part, y and its part."""
    return train_test_split(x, y, test_size=0.1, random_state=seed, stratify=y if labels else None)


# Classes


def classifier(estimator: Any, x: np.ndarray, y: np.ndarray) -> Nll:
    fitted = scaled(estimator).fit(x, y)
    return lambda x, y: label_nll(fitted.predict_proba(x), y)


def label_nll(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A probability that rounds to 0 is raised to the smallest number, since one infinity hides all other rows."""
    chosen = probabilities[np.arange(len(y)), y]
    return -np.log(np.maximum(chosen, np.finfo(probabilities.dtype).tiny))


def logistic_regression(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return classifier(LogisticRegression(max_iter=5_000), x, y)


def logistic_regression_cv(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    chosen = LogisticRegressionCV(
        Cs=np.logspace(-3, 2, 11), l1_ratios=(0.0,), scoring="neg_log_loss", max_iter=5_000, use_legacy_attributes=False
    )
    return classifier(chosen, x, y)


def mlp_classifier(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return classifier(MLPClassifier(HIDDEN, random_state=seed), x, y)


def mlp_classifier_cv(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    """With the penalty chosen by cross-validation, which costs 13 fits."""
    penalties = {"alpha": [1e-4, 1e-2, 1e-1, 1.0]}
    chosen = GridSearchCV(MLPClassifier(HIDDEN, random_state=seed), penalties, scoring="neg_log_loss", cv=3)
    return classifier(chosen, x, y)


def skorch_classifier(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return skorch(x, y.astype(np.int64), seed, torch_networks.categorical, int(y.max()) + 1, 1.0, 0.0)


def lightgbm_classifier(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    train, held, y_train, y_held = aside(x, y, seed, labels=True)
    model = lightgbm.LGBMClassifier(**LIGHTGBM, random_state=seed)
    model.fit(train, y_train, eval_set=[(held, y_held)], callbacks=[lightgbm.early_stopping(50, verbose=False)])
    return lambda x, y: label_nll(np.asarray(model.predict_proba(x)), y)


# Numbers


def normal_nll(mean: np.ndarray, scale: Any, y: np.ndarray) -> np.ndarray:
    return -scipy.stats.norm.logpdf(y, mean, scale)


def with_constant_scale(estimator: Any, x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    """The root mean square of residuals on rows that were not fitted."""
    if len(x) < SMALL:
        residuals = y - cross_val_predict(clone(estimator), x, y, cv=5)
        fitted = estimator.fit(x, y)
    else:
        train, held, y_train, y_held = aside(x, y, seed)
        fitted = estimator.fit(train, y_train)
        residuals = y_held - fitted.predict(held)
    scale = float(np.sqrt(np.mean(residuals**2)))
    return lambda x, y: normal_nll(fitted.predict(x), scale, y)


def bayesian_ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    fitted = scaled(BayesianRidge()).fit(x, y)
    return lambda x, y: normal_nll(*fitted.predict(x, return_std=True), y)


def mlp_regressor(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    """On a standardised target, which this peer does not make by itself."""
    centre, spread = y.mean(), y.std()
    model = MLPRegressor(hidden_layer_sizes=HIDDEN, early_stopping=True, max_iter=1_000, random_state=seed)
    nll = with_constant_scale(scaled(model), x, (y - centre) / spread, seed)
    return lambda x, y: nll(x, (y - centre) / spread) + np.log(spread)


def skorch_normal(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return skorch(x, y.astype(np.float32), seed, torch_networks.normal, 2, float(y.std()), float(y.mean()))


def skorch(x: np.ndarray, y: np.ndarray, seed: int, law: Any, outputs: int, spread: float, centre: float) -> Nll:
    """Inputs standardised, targets shifted and divided; the density is that of the target as given."""
    scaler = StandardScaler().fit(x)
    net = torch_networks.skorch_net(law, x.shape[1], outputs, 128 if len(x) < SMALL else 512, seed)
    net.fit(scaler.transform(x).astype(np.float32), shifted(y, spread, centre))

    def nll(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        rows = torch_networks.per_row(net, law, scaler.transform(x).astype(np.float32), shifted(y, spread, centre))
        return rows + np.log(spread)

    return nll


def shifted(y: np.ndarray, spread: float, centre: float) -> np.ndarray:
    return y if y.dtype.kind == "i" else ((y - centre) / spread).astype(np.float32)


def ngboost(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    """Stopped where a held-out tenth stops improving; its default, 500 rounds whatever happens, overfits small sets."""
    train, held, y_train, y_held = aside(x, y, seed)
    model = NGBRegressor(n_estimators=500 if len(x) < SMALL else 1_000, verbose=False, random_state=seed)
    model.fit(train, y_train, X_val=held, Y_val=y_held, early_stopping_rounds=50)
    return lambda x, y: -model.pred_dist(x, max_iter=model.best_val_loss_itr).logpdf(y)


LIGHTGBM: dict[str, Any] = {"n_estimators": 5_000, "learning_rate": 0.05, "n_jobs": 1, "verbose": -1}


class Stopped(lightgbm.LGBMRegressor):
    """LightGBM that holds out a tenth of what it is given and stops there, so that it can be cross-validated."""

    def fit(self, x: Any, y: Any) -> Stopped:
        train, held, y_train, y_held = aside(x, y, 0)
        stop = [lightgbm.early_stopping(50, verbose=False)]
        super().fit(train, y_train, eval_set=[(held, y_held)], callbacks=stop)
        return self


def lightgbm_normal(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return with_constant_scale(Stopped(**LIGHTGBM, random_state=seed), x, y, seed)


def histogram_boosting(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return with_constant_scale(boosting(seed), x, y, seed)


def boosting(seed: int, **more: Any) -> HistGradientBoostingRegressor:
    stop = {"max_iter": 2_000, "early_stopping": True, "n_iter_no_change": 20}
    return HistGradientBoostingRegressor(**stop, random_state=seed, **more)


# Counts


def poisson_nll(mean: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -scipy.stats.poisson.logpmf(y, mean)


def dispersed_nll(mean: np.ndarray, size: float, y: np.ndarray) -> np.ndarray:
    """Negative binomial of variance mean + mean²/size."""
    return -scipy.stats.nbinom.logpmf(y, size, size / (size + mean))


def glm(x: np.ndarray, y: np.ndarray, family: str) -> Any:
    import statsmodels.api as sm

    design, scaler = sm.add_constant, StandardScaler().fit(x)
    model = getattr(sm, family)(y, design(scaler.transform(x), has_constant="add"))
    fitted = model.fit(disp=False, maxiter=500)
    return fitted, lambda x: fitted.predict(design(scaler.transform(x), has_constant="add"))


def poisson_glm(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    _, mean = glm(x, y, "Poisson")
    return lambda x, y: poisson_nll(mean(x), y)


def negative_binomial_glm(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    fitted, mean = glm(x, y, "NegativeBinomial")
    return lambda x, y: dispersed_nll(mean(x), 1.0 / fitted.params[-1], y)


def boosted_poisson(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    fitted = boosting(seed, loss="poisson").fit(x, y)
    return lambda x, y: poisson_nll(fitted.predict(x), y)


def boosted_dispersed(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return with_constant_dispersion(boosting(seed, loss="poisson"), x, y, seed)


def lightgbm_dispersed(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return with_constant_dispersion(Stopped(**LIGHTGBM, objective="poisson", random_state=seed), x, y, seed)


def with_constant_dispersion(estimator: Any, x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    train, held, y_train, y_held = aside(x, y, seed)
    fitted = estimator.fit(train, y_train)
    mean = fitted.predict(held)
    best = scipy.optimize.minimize_scalar(lambda r: dispersed_nll(mean, np.exp(r), y_held).sum(), bounds=(-7, 7))
    return lambda x, y: dispersed_nll(fitted.predict(x), float(np.exp(best.x)), y)


def skorch_negative_binomial(x: np.ndarray, y: np.ndarray, seed: int) -> Nll:
    return skorch(x, y.astype(np.int64), seed, torch_networks.negative_binomial, 2, 1.0, 0.0)
