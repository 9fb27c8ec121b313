"""The values of one column as numbers or as labels, from whatever type they came in."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

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
    values = np.asarray(series.to_numpy() if hasattr(series, "to_numpy") else series)
    if len(values) == 0:
        raise InputError(f"{argument}: the sample is empty; pass at least one row")
    if values.dtype.kind in "cV" or values.ndim != 1:
        raise InputError(
            f"{argument}: values of type {values.dtype} are neither numbers in an order nor labels; pass columns of "
            "real numbers or of text"
        )
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    if str(getattr(series, "dtype", "")) == "category":
        return replace(column(name, values, argument), stated="labels")
    if values.dtype.kind in "iufb":
        return Column(name, values)
    if values.dtype.kind in _UNITS:
        return Column(name, _seconds(values, argument), _UNITS[values.dtype.kind], zoned=_has_zone(series))
    return _of_objects(name, values.astype(object), argument)


def _of_objects(name: str, objects: np.ndarray, argument: str) -> Column:
    if any(_is_missing(value) for value in objects):
        raise _missing(argument)
    if all(isinstance(value, bool | np.bool_) for value in objects):
        return Column(name, objects.astype(bool))
    if all(isinstance(value, _NUMBERS) and not isinstance(value, bool | np.bool_) for value in objects):
        integers = all(isinstance(value, int | np.integer) for value in objects)
        return Column(name, _integers(objects) if integers else objects.astype(np.float64))
    if all(isinstance(value, datetime.date) for value in objects):
        return _times(name, objects, argument)
    if all(isinstance(value, datetime.timedelta | np.timedelta64) for value in objects):
        return Column(name, _seconds(objects.astype("timedelta64[us]"), argument), "duration")
    return Column(name, _labels(objects, argument))


def _integers(objects: np.ndarray) -> np.ndarray:
    try:
        return objects.astype(np.int64)
    except OverflowError:
        return objects.astype(np.float64)


def _labels(values: np.ndarray, argument: str) -> np.ndarray:
    objects = values.astype(object)
    if any(_is_missing(value) for value in objects):
        raise _missing(argument)
    decoded = [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in objects]
    return np.array([str(value) for value in decoded])


def _seconds(values: np.ndarray, argument: str) -> np.ndarray:
    if np.isnat(values).any():
        raise _missing(argument)
    fine = values.astype(f"{values.dtype.kind}8[us]")
    return fine.astype(np.int64) / 1e6


def _times(name: str, objects: np.ndarray, argument: str) -> Column:
    zoned = {getattr(value, "tzinfo", None) is not None for value in objects}
    if len(zoned) > 1:
        raise InputError(
            f"{argument}: some of its times have a time zone and others have none; give all of them one, or none"
        )
    return Column(name, np.array([_since_1970(value) for value in objects]), "time", zoned=zoned.pop())


def _has_zone(series: Any) -> bool:
    """Whether the times of a data frame's column have a time zone, which a NumPy array of them cannot say."""
    dtype = getattr(series, "dtype", getattr(series, "type", None))
    return any(getattr(dtype, name, None) is not None for name in ("time_zone", "tz"))


def _since_1970(value: datetime.date) -> float:
    if not isinstance(value, datetime.datetime):
        return (value - datetime.date(1970, 1, 1)).total_seconds()
    zone = None if value.tzinfo is None else datetime.UTC
    return (value - datetime.datetime(1970, 1, 1, tzinfo=zone)).total_seconds()


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas' NA, which is not equal to itself and whose comparison is no boolean."""
    if value is None:
        return True
    if isinstance(value, str | bytes):
        return False
    different = value != value
    return different is True or (isinstance(different, np.bool_) and bool(different)) or _is_na(different)


def _is_na(different: Any) -> bool:
    return type(different).__name__ == "NAType"


def _missing(argument: str) -> InputError:
    return InputError(f"{argument}: it has missing values; drop those rows or fill them in")


def chosen(columns: Sequence[Column], said: Any, argument: str) -> set[str]:
    """The names of the columns that an argument such as `labels=` speaks of: True for the only one, or names.

    A column of an array is named by its index. Raises `InputError` for a column that is not there, and for True where
    there are several.
    """
    names = [column.name for column in columns]
    if said is None or said is False:
        return set()
    if said is True:
        if len(names) > 1:
            raise InputError(f"{argument}: True speaks of one column, and there are {len(names)}; name those meant")
        return set(names)
    if not isinstance(said, str | int | np.integer | list | tuple | set | frozenset | np.ndarray):
        raise InputError(f"{argument}: {said!r:.60} names no column; pass True, a name, an index or a list of them")
    asked = [said] if isinstance(said, str | int | np.integer) else list(said)
    for name in map(str, asked):
        if name not in names:
            raise InputError(f"{argument}: there is no column {name!r}; the columns are {', '.join(names)}")
    return {str(name) for name in asked}
