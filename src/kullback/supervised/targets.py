"""The outcomes y of an estimator, checked: numbers, labels, and labels as places in the list of classes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array

from kullback.errors import InputError


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
