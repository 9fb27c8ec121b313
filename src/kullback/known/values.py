"""One column of any type as numbers or labels, with its missing values told apart.

Missing are None, NaN, NaT, pandas' NA, a null of polars and a masked value. Where a caller compares the rows that are
present, it asks for them with a mask; elsewhere a missing value is an error.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Bool

from kullback.errors import InputError
from kullback.known.record import Column

_NUMBERS = (Real, Decimal)  # a NumPy number is a Real
_UNITS = {"M": "time", "m": "duration"}


def column(name: str, series: Any, argument: str) -> Column:
    """A column of a data frame, or an array [n] of any type.

    Numbers stay numbers, also Decimals and numbers in an array of objects; times are seconds since 1970, whatever their
    time zone, durations seconds. Strings, bytes and everything else are labels, kept as strings; categories are labels,
    also of numbers.
    Raises `InputError` for missing or infinite values, no rows, and times of which only some have a time zone.
    """
    values = _values(series, argument)
    if values.dtype.kind == "f":
        return _typed(name, series, values, argument)  # whose NaN and infinities are looked at in blocks
    if missing_rows(series, values).any():
        raise InputError(f"{argument}: it has missing values; drop those rows or fill them in")
    return _typed(name, series, values, argument)


def column_and_missing(name: str, series: Any, argument: str) -> tuple[Column, Bool[np.ndarray, " n"]]:
    """The values that are present, as `column` reads them, and which of the n rows are missing.

    The column has fewer than n values where some are missing, and none where all are.
    Raises `InputError` as `column` does, except for missing and infinite values.
    """
    values = _values(series, argument)
    missing = missing_rows(series, values)
    present = np.asarray(values)[~missing] if missing.any() else np.asarray(values)
    return _typed(name, series, present, argument), missing


def _values(series: Any, argument: str) -> np.ndarray:
    """The values as an array [n], a masked one where the caller's is."""
    values = np.asanyarray(series.to_numpy() if hasattr(series, "to_numpy") else series)
    if values.ndim > 1 and hasattr(series, "to_list"):  # nested values of a data frame
        values = _objects(series.to_list())
    if values.dtype.kind == "V" and values.dtype.names is None and np.can_cast(values.dtype, np.float64):
        values = values.astype(np.float64)  # the short floats that JAX adds
    if len(values) == 0:
        raise InputError(f"{argument}: the sample is empty; pass at least one row")
    if values.dtype.kind in "cV" or values.ndim != 1:
        raise InputError(
            f"{argument}: values of type {values.dtype} are neither numbers in an order nor labels; pass columns of "
            "real numbers or of text"
        )
    return values


def _objects(values: list[Any]) -> np.ndarray:
    """An array of objects, which may be lists themselves."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def missing_rows(series: Any, values: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Which rows of a column have no value."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values) | missing_rows(None, np.asarray(values))
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in _UNITS:
        return np.isnat(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), bool)
    own = getattr(series, "isna", None) or getattr(series, "is_null", None)  # pandas, polars
    if callable(own):
        return np.asarray(own()).astype(bool)
    return np.array([_is_missing(value) for value in values])


def _typed(name: str, series: Any, values: np.ndarray, argument: str) -> Column:
    """The values that are present, by their type; `series` says whether they are categories or in a time zone."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    if str(getattr(series, "dtype", "")) == "category":
        return replace(_typed(name, values, values, argument), stated="labels")
    if values.dtype.kind in "iufb":
        return Column(name, values)
    if values.dtype.kind in _UNITS:
        return Column(name, _seconds(values), _UNITS[values.dtype.kind], zoned=_has_zone(series))
    return _of_objects(name, values.astype(object), argument)


def _of_objects(name: str, objects: np.ndarray, argument: str) -> Column:
    if all(isinstance(value, bool | np.bool_) for value in objects):
        return Column(name, objects.astype(bool))
    if all(isinstance(value, _NUMBERS) and not isinstance(value, bool | np.bool_) for value in objects):
        integers = all(isinstance(value, int | np.integer) for value in objects)
        return Column(name, _integers(objects) if integers else objects.astype(np.float64))
    if all(isinstance(value, datetime.date) for value in objects):
        return _times(name, objects, argument)
    if all(isinstance(value, datetime.timedelta | np.timedelta64) for value in objects):
        return Column(name, _seconds(objects.astype("timedelta64[us]")), "duration")
    return Column(name, _labels(objects))


def _integers(objects: np.ndarray) -> np.ndarray:
    try:
        return objects.astype(np.int64)
    except OverflowError:
        return objects.astype(np.float64)


def _labels(objects: np.ndarray) -> np.ndarray:
    decoded = [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in objects]
    return np.array([str(value) for value in decoded], str)


def _seconds(values: np.ndarray) -> np.ndarray:
    fine = values.astype(f"{values.dtype.kind}8[us]")
    return fine.astype(np.int64) / 1e6


def _times(name: str, objects: np.ndarray, argument: str) -> Column:
    zoned = {getattr(value, "tzinfo", None) is not None for value in objects}
    if len(zoned) > 1:
        raise InputError(
            f"{argument}: some of its times have a time zone and others have none; give all of them one, or none"
        )
    return Column(name, np.array([seconds_since_1970(value) for value in objects]), "time", zoned=zoned.pop())


def _has_zone(series: object) -> bool:
    """Whether the times of a data frame's column have a time zone, which a NumPy array of them cannot say."""
    dtype = getattr(series, "dtype", getattr(series, "type", None))
    return any(getattr(dtype, name, None) is not None for name in ("time_zone", "tz"))


def seconds_since_1970(value: datetime.date) -> float:
    """A date, or a time that is local or in a zone, in seconds."""
    if not isinstance(value, datetime.datetime):
        return (value - datetime.date(1970, 1, 1)).total_seconds()
    zone = None if value.tzinfo is None else datetime.UTC
    return (value - datetime.datetime(1970, 1, 1, tzinfo=zone)).total_seconds()


def _is_missing(value: object) -> bool:
    """None, NaN, NaT or pandas' NA, which is not equal to itself and whose comparison is no boolean."""
    if value is None:
        return True
    if isinstance(value, str | bytes):
        return False
    different = value != value
    return different is True or (isinstance(different, np.bool_) and bool(different)) or _is_na(different)


def _is_na(different: object) -> bool:
    return type(different).__name__ == "NAType"
