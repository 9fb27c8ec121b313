"""One column of any type as numbers or labels, with its missing values told apart.

Missing are None, NaN, NaT, pandas' NA, a null of polars and a masked value. Where a caller compares the rows that are
present, it asks for them with a mask; elsewhere a missing value is an error.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
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
    time zone, durations seconds; what double precision rounds off is kept beside them. Strings, bytes and everything
    else are labels, kept as strings; categories are labels, also of numbers.
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
        seconds, rest = _seconds(values)
        return Column(name, seconds, _UNITS[values.dtype.kind], zoned=_has_zone(series), rest=rest)
    return _of_objects(name, values.astype(object), argument)


def _of_objects(name: str, objects: np.ndarray, argument: str) -> Column:
    if all(isinstance(value, bool | np.bool_) for value in objects):
        return Column(name, objects.astype(bool))
    if are_numbers(objects):
        values, rest = numbers(objects, argument)
        return Column(name, values, rest=rest)
    if all(isinstance(value, datetime.date) for value in objects):
        return _times(name, objects, argument)
    if all(isinstance(value, datetime.timedelta | np.timedelta64) for value in objects):
        seconds, rest = _added(*(np.array(each) for each in zip(*map(_length, objects), strict=True)))
        return Column(name, seconds, "duration", rest=rest)
    return Column(name, _labels(objects))


def numbers(objects: np.ndarray, argument: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers of Python as 64-bit integers, where they are such, else in double precision and what that rounds off.

    Raises `InputError` for whole numbers and fractions beyond double precision.
    """
    try:
        if all(isinstance(value, int | np.integer) for value in objects):
            for integer in (np.int64, np.uint64):
                if all(np.iinfo(integer).min <= value <= np.iinfo(integer).max for value in objects):
                    return objects.astype(integer), None
        values = objects.astype(np.float64)
    except OverflowError as error:
        raise InputError(f"{argument}: it has numbers beyond 1.8e308, the largest of double precision") from error
    if all(isinstance(value, float) for value in objects) or not np.isfinite(values).all():
        return values, None
    pairs = zip(objects.tolist(), values.tolist(), strict=True)
    return values, _unless_zero(np.array([float(Fraction(value) - Fraction(near)) for value, near in pairs]))


def are_numbers(objects: np.ndarray) -> bool:
    """Whether all of an array of objects are real numbers of Python, and none a boolean."""
    return all(isinstance(value, _NUMBERS) and not isinstance(value, bool | np.bool_) for value in objects)


def _unless_zero(rest: np.ndarray) -> np.ndarray | None:
    return rest if rest.any() else None


def _labels(objects: np.ndarray) -> np.ndarray:
    decoded = [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in objects]
    return np.array([str(value) for value in decoded], str)


def _seconds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Times or durations in seconds, and what double precision rounds off."""
    whole = values.astype(f"{values.dtype.kind}8[s]")
    parts = (values - whole).astype("m8[ns]").astype(np.int64) / 1e9
    return _added(whole.astype(np.int64), parts)


def _added(whole: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Whole seconds and parts of one, as their sum and its rounding (Dekker 1971)."""
    seconds = whole + parts
    return seconds, _unless_zero((whole - seconds) + parts)


def _times(name: str, objects: np.ndarray, argument: str) -> Column:
    zoned = {getattr(value, "tzinfo", None) is not None for value in objects}
    if len(zoned) > 1:
        raise InputError(
            f"{argument}: some of its times have a time zone and others have none; give all of them one, or none"
        )
    whole, parts = (np.array(each) for each in zip(*map(_since_1970, objects), strict=True))
    seconds, rest = _added(whole, parts)
    return Column(name, seconds, "time", zoned=zoned.pop(), rest=rest)


def _has_zone(series: object) -> bool:
    """Whether the times of a data frame's column have a time zone, which a NumPy array of them cannot say."""
    dtype = getattr(series, "dtype", getattr(series, "type", None))
    return any(getattr(dtype, name, None) is not None for name in ("time_zone", "tz"))


def seconds_since_1970(value: datetime.date) -> float:
    """A date, or a time that is local or in a zone, in seconds."""
    whole, part = _since_1970(value)
    return whole + part


def _since_1970(value: datetime.date) -> tuple[int, float]:
    """Whole seconds and the part of one."""
    if not isinstance(value, datetime.datetime):
        return (value - datetime.date(1970, 1, 1)).days * 86_400, 0.0
    zone = None if value.tzinfo is None else datetime.UTC
    # The difference of two of pandas' times is one of its durations, down to nanoseconds.
    since = value.replace(tzinfo=None) if zone is None else value.astimezone(zone).replace(tzinfo=None)
    return _length(since - datetime.datetime(1970, 1, 1))


def _length(value: datetime.timedelta | np.timedelta64) -> tuple[int, float]:
    """A duration as whole seconds and the part of one, down to the nanoseconds that pandas' have."""
    if isinstance(value, np.timedelta64):
        whole = value.astype("m8[s]")
        return int(whole.astype(np.int64)), int((value - whole).astype("m8[ns]").astype(np.int64)) / 1e9
    nanoseconds = value.microseconds * 1000 + getattr(value, "nanoseconds", 0)
    return value.days * 86_400 + value.seconds, nanoseconds / 1e9


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
