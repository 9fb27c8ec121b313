"""What estimators and scores take, checked: inputs X, outcomes y, weights; errors name argument and column.

The rows are then brought into one form (`empirical`): zero-weight rows are dropped, and in small samples equal rows
are merged, their weights added, in sorted order. A sample with integer weights and the same sample with its rows
repeated are then the same arrays, so they give the same fit to the last bit.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, validate_data

from kullback.errors import InputError
from kullback.known.columns import is_frame, numeric_frame
from kullback.known.samples import as_sample_array, as_weights
from kullback.minimize.minibatch import FEWEST

# Inputs X and weights


_ENCODE = "put OneHotEncoder() or OrdinalEncoder() for it before this estimator in a scikit-learn pipeline"
_IMPUTE = "put SimpleImputer() before this estimator in a scikit-learn pipeline, or drop those rows"


def checked_inputs(estimator: Any, X: Any, *, reset: bool, rows: int = 1) -> np.ndarray:
    """X as an array [n, d] of float64, or of float32 if it came so, with the estimator's `n_features_in_` and
    `feature_names_in_` set or compared.

    Raises `InputError` for sparse, textual, categorical, missing or infinite inputs, another number of features,
    other names, and fewer than `rows` rows.
    """
    if scipy.sparse.issparse(X):
        raise InputError("X: sparse input is not supported; pass X.toarray()")
    names = _frame_columns(X) if is_frame(X) and hasattr(X, "columns") else None
    if names is None:
        X = _without_text(X)
    settings: Any = {"dtype": [np.float64, np.float32], "ensure_all_finite": False, "ensure_min_samples": rows}
    try:
        array = np.asarray(validate_data(estimator, X, reset=reset, **settings))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, TypeError) and np.ndim(X) == 2:  # what scikit-learn's own checks expect
            raise
        text = " ".join(str(error).split())
        raise InputError(text if text.startswith("X has") else f"X: {text}") from error
    _require_finite(array, names)
    return array


def _frame_columns(frame: Any) -> list[str]:
    """The names of a frame's columns, each of which must hold numbers."""
    names = [repr(name) for name in frame.columns]
    for i, name in enumerate(names):
        column = frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)
        kind = str(column.dtype)
        if kind.lower().startswith(("category", "categorical", "enum")):
            raise InputError(f"X: column {name} is categorical; {_ENCODE}")
        if kind.lower().startswith(("datetime", "date", "timedelta", "duration", "time", "period")):
            raise InputError(f"X: column {name} has dates or times; turn it into numbers, such as days since a day")
        missing = column.isna() if hasattr(column, "isna") else column.is_null()
        if bool(missing.any()):
            raise InputError(f"X: column {name} has missing values in {int(missing.sum())} rows; {_IMPUTE}")
        _require_numbers(np.asarray(column.to_numpy()), f"X: column {name}")
    return names


def _without_text(X: Any) -> Any:
    """X, unless it holds text that is not numbers; what is neither is left to scikit-learn's own check."""
    array = X if hasattr(X, "dtype") else np.asarray(X) if _is_rectangular(X) else None
    if array is None or getattr(array, "ndim", 0) != 2 or getattr(array.dtype, "kind", "f") not in "OSUT":
        return X
    objects = np.asarray(array, dtype=object)
    for i in range(objects.shape[1]):
        column = objects[:, i]
        missing = np.array([v is None for v in column])
        if missing.any():
            raise InputError(f"X: column {i} has missing values in {int(missing.sum())} rows; {_IMPUTE}")
        _require_numbers(column, f"X: column {i}")
    return objects


def _is_rectangular(X: Any) -> bool:
    try:
        return np.asarray(X).ndim == 2
    except ValueError:
        return False


def _require_numbers(column: np.ndarray, argument: str) -> None:
    if column.dtype.kind in "biufc":
        return
    for value in column:
        if isinstance(value, str):
            try:
                float(value)
            except ValueError as error:
                raise InputError(f"{argument} has text, such as {value!r}; {_ENCODE}") from error


def _require_finite(array: np.ndarray, names: list[str] | None) -> None:
    finite = np.isfinite(array)
    if finite.all():
        return
    column = int(np.argmin(finite.all(0)))
    name = names[column] if names is not None else column
    if (missing := int(np.isnan(array[:, column]).sum())) > 0:
        raise InputError(f"X: column {name} has missing values (NaN) in {missing} rows; {_IMPUTE}")
    raise InputError(f"X: column {name} has infinite values (inf); drop those rows, or clip them to finite numbers")


def checked_weights(sample_weight: ArrayLike | None, size: int) -> np.ndarray | None:
    """Weights [n] as float64, or None. Raises `InputError` where they are no weights."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("sample_weight: the weights are not numbers; pass one number for each row of X") from error
    if weights.shape != (size,):
        raise InputError(f"sample_weight: shape {weights.shape} for {size} rows; pass one weight for each row of X")
    if not np.isfinite(weights).all():
        raise InputError("sample_weight: the weights have NaN or infinite values; drop the rows that they exclude")
    if (weights < 0).any():
        raise InputError("sample_weight: some weights are negative; drop the rows that they exclude")
    if not weights.any():
        raise InputError("sample_weight: all weights are zero; at least one row must count")
    return weights


# Outcomes y of an estimator


def numbers(y: Any, size: int) -> np.ndarray:
    """A regressor's y as an array [n] or [n, k] of finite numbers, float64 where it is not integer."""
    array = _dense(y)
    if array.dtype.kind in "OSUT":
        array = _as_numbers(array)
    array = _shaped(array, size)
    if array.dtype.kind not in "biuf":
        raise InputError(f"y: values of type {array.dtype} are not numbers; pass numbers")
    return array.astype(np.int64) if array.dtype.kind in "biu" else _finite(array.astype(np.float64))


def labels(y: Any, size: int) -> np.ndarray:
    """A classifier's y: labels [n], or a 0/1 indicator [n, k] of several labels a row."""
    array = _shaped(_dense(y), size)
    if array.dtype.kind == "f":
        _finite(array)
    if array.dtype.kind == "O" and any(v is None or v != v for v in array.ravel()):
        raise InputError("y: it has missing labels; drop those rows")
    if array.ndim == 2 and array.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected; pass y.ravel()."
        warnings.warn(message, DataConversionWarning, stacklevel=4)
        array = array.ravel()
    try:
        check_classification_targets(array)
        kind = type_of_target(array, input_name="y")
        np.unique(array)
    except (ValueError, TypeError) as error:
        kinds = sorted({type(v).__name__ for v in array.ravel()})
        if array.dtype.kind == "O" and len(kinds) > 1:
            raise InputError(
                f"y: labels of several types ({', '.join(kinds)}) have no order; pass labels of one type, such as "
                "[str(label) for label in y]"
            ) from error
        raise InputError(f"y: {' '.join(str(error).split())}") from error
    if kind == "multiclass-multioutput":
        raise InputError(
            "y: several columns of classes; a 0/1 indicator means several labels a row, and for the rest use "
            "scikit-learn's MultiOutputClassifier"
        )
    return array


def codes(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels [n] as their places in the sorted `classes`. Raises `InputError` for a label that is not there."""
    place = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    missing = classes[place] != y
    if missing.any():
        row = int(np.argmax(missing))
        raise InputError(f"y: row {row}, {y[row]!r}, is not among the classes {list(classes)}; name all of them first")
    return place.astype(np.int64)


def _dense(y: Any) -> np.ndarray:
    if scipy.sparse.issparse(y):
        raise InputError("y: sparse targets are not supported; pass y.toarray()")
    y = _of_numbers(y)
    settings: Any = {"ensure_2d": False, "dtype": None, "ensure_all_finite": False, "input_name": "y"}
    try:
        return np.asarray(check_array(y, **settings, ensure_min_samples=0, ensure_min_features=0))
    except (ValueError, TypeError) as error:
        raise InputError(f"y: {' '.join(str(error).split())}") from error


def _of_numbers(y: Any) -> Any:
    """A nullable column of pandas without missing values in NumPy's type of it, in which whole numbers stay whole."""
    dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return y if dtype is None or np.dtype(dtype).kind not in "biu" or y.isna().any() else y.to_numpy(dtype)


def _shaped(array: np.ndarray, size: int) -> np.ndarray:
    if array.ndim not in (1, 2):
        raise InputError(f"y: shape {array.shape} is neither [n] nor [n, outputs]; pass one row for each row of X")
    if len(array) != size:
        raise InputError(f"y: {len(array)} targets for {size} rows of X; pass one for each row")
    if array.size == 0:
        raise InputError("y: the targets are empty; pass at least one column")
    return array


def _as_numbers(array: np.ndarray) -> np.ndarray:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        shown = next((v for v in array.ravel() if isinstance(v, str)), array.ravel()[0])
        raise InputError(
            f"y: the targets are not numbers ({shown!r} is one of them); a regressor needs numbers, and KLClassifier "
            "takes labels"
        ) from error


def _finite(array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        kind = "NaN" if np.isnan(array).any() else "infinity (inf)"
        raise InputError(f"y: the targets contain {kind}; drop those rows")
    return array


# Outcomes beside predictions, and means of scores over rows


def outcomes(y: Any, shape: tuple[int, ...]) -> np.ndarray:
    """y as numbers of the shape of the predictions. Raises `InputError` for another shape, NaN or infinite values."""
    array = as_sample_array(numeric_frame(y, "y") if is_frame(y) else y, "y")
    if array.shape == (*shape, 1):
        array = array[..., 0]
    if array.shape != shape:
        raise InputError(f"y: shape {array.shape} for predictions of shape {shape}; pass one outcome for each")
    return array


def mean_of(scores: np.ndarray, sample_weight: ArrayLike | None = None) -> float:
    """The mean over rows [n, ...], by their weights [n] if there are any, and over outputs."""
    each = scores.reshape(len(scores), -1).mean(-1)
    weights = as_weights(sample_weight, len(each))
    return float(np.average(each, weights=weights))


# The sample as a distribution


MERGED = 4096  # rows, up to which merging costs less than a millisecond a thousand


def empirical(x: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The pairs that count: rows of weight 0 left out and, for a small sample, equal ones merged, in one order."""
    if w is not None and not w.all():
        x, y, w = x[w > 0], y[w > 0], w[w > 0]
    if len(x) > MERGED:
        return x, y, w
    table = np.column_stack([x, y.reshape(len(y), -1)])
    _, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    weights = np.bincount(group.ravel(), w)
    return x[first], y[first], weights


def enough(x: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The same distribution as at least `FEWEST` rows: each repeated, with its weight divided."""
    times = -(-FEWEST // len(x))
    if times == 1:
        return x, y, w
    weights = np.repeat((np.ones(len(x)) if w is None else w) / times, times)
    return np.repeat(x, times, 0), np.repeat(y, times, 0), weights
