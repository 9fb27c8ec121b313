"""The scores: log-odds of P against Q by classifiers of scikit-learn, each of another kind.

A score is a function of the rows of both samples that gives each row's log-odds by models fitted without the row. To
add one, write it here and name it in `SCORES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import SplineTransformer, StandardScaler

from kullback.estimate.density_ratio.cross_fit import FOLDS, Labelled, Model, Training, best_of, held_out
from kullback.estimate.density_ratio.features import Features

Score = Callable[[Labelled], Float[np.ndarray, " n"]]
Expansion = Callable[[Features], Float[np.ndarray, "n k"]]

# Inverse strengths of the ridge penalty, from strong to weak, so that each fit starts near its solution.
PENALTIES = (0.003, 0.03, 0.3, 3.0)
MOST_PRODUCTS = 300
MOST_COLUMNS = 40  # scored one by one, or by splines
MOST_NEAR = 50_000  # rows that are scored by their neighbours
MOST_NEIGHBOURS = 4_000  # rows among which they are sought
FEW_DIMENSIONS = 5  # in which a tree finds them sooner than a table of all distances
KNOTS = np.linspace(-3.2, 3.2, 9)[:, None]


def linear(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on the scaled columns."""
    return _logistic(rows, lambda of: np.concatenate([of.scaled, of.label], 1))


def normal_linear(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on normal scores."""
    return _logistic(rows, lambda of: np.concatenate([of.normal, of.label], 1))


def quadratic(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on the scaled columns, their squares and products."""
    return _logistic(rows, lambda of: _with_products(of.scaled, of.label))


def normal_quadratic(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on normal scores, their squares and products."""
    return _logistic(rows, lambda of: _with_products(of.normal, of.label))


def rank_quadratic(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on ranks, their squares and products, for relations that level off."""
    return _logistic(rows, lambda of: _with_products(of.rank - 0.5, of.label))


def splines(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on cubic splines of normal scores and on their products."""
    if rows.features.rank.shape[1] > MOST_COLUMNS:
        return np.full(len(rows), rows.prior)

    def expand(of: Features) -> Float[np.ndarray, "n k"]:
        products = _products(of.normal, least=1)
        return np.concatenate([_splines(of.normal), 0.3 * products, 0.3 * of.label], 1)

    return _logistic(rows, expand, scale=False)


def columns(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Logistic regression on the held-out scores of each column alone, so that columns without difference drop out."""
    width = rows.features.rank.shape[1]
    if not 1 < width <= MOST_COLUMNS:
        return np.full(len(rows), rows.prior)
    normal = rows.features.normal
    alone = np.stack([_held_out_column(rows, column[:, None]) for column in normal.T], 1)
    found = np.empty((len(rows), len(PENALTIES)))
    for fold in range(FOLDS):
        inside = rows.fold == fold
        training = rows.training(~inside & rows.fitted)
        path = _path(alone[~inside & rows.fitted], training)
        found[inside] = path(alone[inside])
    return best_of(rows, found)


def _held_out_column(rows: Labelled, normal: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, " n"]:
    basis, found = _splines(normal), np.empty(len(rows))
    for fold in range(FOLDS):
        inside = rows.fold == fold
        others = ~inside & rows.fitted
        model = LogisticRegression(C=0.3, solver="newton-cholesky", tol=1e-3, max_iter=20)
        model.fit(basis[others], rows.of_p[others], None if rows.weight is None else rows.weight[others])
        found[inside] = model.decision_function(basis[inside])
    return found


def discriminant(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Quadratic discriminant analysis, the covariances shrunk as Ledoit and Wolf (2004), JMVA 88(2), derive."""
    if rows.weight is not None:  # scikit-learn's takes no weights
        return np.full(len(rows), rows.prior)

    def fit(training: Training) -> Model:
        model = QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto")
        try:
            model.fit(training.features.scaled, training.of_p)
        except np.linalg.LinAlgError:  # a sample that varies by rounding alone on the scale of both has no covariance
            return lambda of: np.full(len(of.scaled), rows.prior)
        return lambda of: model.decision_function(of.scaled)

    return held_out(rows, fit)


def trees(rows: Labelled) -> Float[np.ndarray, " n"]:
    """Gradient-boosted trees of 15 leaves, stopped early."""

    def table(of: Features) -> Float[np.ndarray, "n k"]:
        return np.concatenate([of.rank, of.label], 1)

    def fit(training: Training) -> Model:
        model: Any = HistGradientBoostingClassifier(
            max_leaf_nodes=15, early_stopping=cast(Any, True), n_iter_no_change=5, max_iter=100, random_state=0
        )
        model.fit(table(training.features), training.of_p, training.weight)
        return lambda of: model.decision_function(table(of))

    return held_out(rows, fit)


def neighbours(rows: Labelled) -> Float[np.ndarray, " n"]:
    """The log of the ratio of the rows of either sample among the √N nearest, half a row added to each."""
    if len(rows) > MOST_NEAR:
        return np.full(len(rows), rows.prior)

    algorithm = "kd_tree" if rows.features.rank.shape[1] <= FEW_DIMENSIONS else "brute"

    def fit(training: Training) -> Model:
        every = -(-len(training.of_p) // MOST_NEIGHBOURS)
        point, label = training.features.scaled[::every], training.of_p[::every]
        weight = np.ones(len(label)) if training.weight is None else training.weight[::every]
        of_p, of_q = label * weight, ~label * weight
        near = NearestNeighbors(n_neighbors=max(2, int(np.sqrt(len(label)))), algorithm=algorithm).fit(point)

        def odds(of: Features) -> Float[np.ndarray, " n"]:
            found = near.kneighbors(of.scaled, return_distance=False)
            return np.log((of_p[found].sum(1) + 0.5) / (of_q[found].sum(1) + 0.5))

        return odds

    return held_out(rows, fit)


SCORES: tuple[Score, ...] = (
    linear,
    normal_linear,
    quadratic,
    normal_quadratic,
    rank_quadratic,
    splines,
    columns,
    discriminant,
    trees,
    neighbours,
)


# What several scores share


def _logistic(rows: Labelled, expand: Expansion, scale: bool = True) -> Float[np.ndarray, " n"]:
    """Ridge logistic regression on the expanded features; of its penalties, the best on the other folds."""

    def fit(training: Training) -> Model:
        table = expand(training.features)
        scaler: Any = StandardScaler(with_std=scale).fit(table)
        path = _path(scaler.transform(table), training)
        return lambda of: path(scaler.transform(expand(of)))

    return best_of(rows, held_out(rows, fit))


def _path(table: Float[np.ndarray, "n k"], training: Training) -> Callable[[np.ndarray], Float[np.ndarray, "n s"]]:
    """Log-odds by logistic regressions of the penalties, one column each."""
    model: Any = LogisticRegression(warm_start=True, max_iter=60, tol=1e-3)
    coefficients, intercepts = [], []
    for penalty in PENALTIES:
        model.set_params(C=penalty).fit(table, training.of_p, training.weight)
        coefficients.append(model.coef_[0].copy())
        intercepts.append(model.intercept_[0])
    return lambda x: x @ np.stack(coefficients, 1) + np.array(intercepts)


def _with_products(x: Float[np.ndarray, "n d"], label: Float[np.ndarray, "n l"]) -> Float[np.ndarray, "n k"]:
    squares = x**2
    return np.concatenate([x, squares, _products(x, least=1), label, _by_label(x, label)], 1)


def _products(x: Float[np.ndarray, "n d"], least: int) -> Float[np.ndarray, "n k"]:
    """The products of two different columns; none where they are too many."""
    first, second = np.triu_indices(x.shape[1], least)
    if len(first) > MOST_PRODUCTS:
        return np.zeros((len(x), 0))
    return x[:, first] * x[:, second]


def _by_label(x: Float[np.ndarray, "n d"], label: Float[np.ndarray, "n l"]) -> Float[np.ndarray, "n k"]:
    if x.shape[1] * label.shape[1] > MOST_PRODUCTS:
        return np.zeros((len(x), 0))
    return (x[:, :, None] * label[:, None, :]).reshape(len(x), -1)


_BASIS = SplineTransformer(degree=3, knots=cast(Any, KNOTS), include_bias=False, extrapolation="linear").fit(KNOTS)


def _splines(normal: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Cubic splines of normal scores on one grid of knots, linear beyond it, of about unit variance."""
    each = _BASIS.transform(normal.reshape(-1, 1)) / 0.25
    return each.reshape(len(normal), -1)
