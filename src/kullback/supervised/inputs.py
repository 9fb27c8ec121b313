"""The inputs X and the weights of an estimator, checked before anything is fitted, with errors that name the column."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils.validation import validate_data

from kullback.errors import InputError
from kullback.known.columns import is_frame

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


def checked_weights(sample_weight: Any, size: int) -> np.ndarray | None:
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
