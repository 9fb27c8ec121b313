"""The columns of a table: their values as numbers or labels, and which of them are compared by frequencies.

Values come as NumPy arrays, lists, or columns of a pandas or polars frame, of any type. Whether a column is a table of
frequencies or consists of measurements is decided from its values, not from the type of the array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kullback.errors import InputError
from kullback.known.record import Column
from kullback.known.values import column

_BLOCK_BYTES = 2**20  # a memory-mapped array may be larger than memory


# From a table or an array to columns.


def array_columns(x: object, argument: str) -> tuple[Column, ...]:
    """The columns of an array [n] or [n, d] of any type, named by their indices."""
    array = np.asarray(x)
    if array.ndim == 0:
        raise InputError(f"{argument}: one value is not a sample; pass an array whose first axis counts the rows")
    if array.ndim > 2:
        raise InputError(f"{argument}: an array of shape {array.shape} has no columns; pass one of shape [n] or [n, d]")
    if array.size == 0:
        raise InputError(f"{argument}: the sample is empty; pass at least one row")
    table = array.reshape(len(array), -1)
    return tuple(checked_column(str(i), table[:, i], argument) for i in range(table.shape[1]))


def is_frame(x: object) -> bool:
    """Whether x is a pandas or polars frame or series, without importing either."""
    return type(x).__module__.split(".")[0] in ("pandas", "polars") and hasattr(x, "shape")


def table_columns(frame: Any, argument: str) -> tuple[Column, ...]:
    """The columns of a data frame or series: numbers as numbers, times in seconds, everything else as strings."""
    if not hasattr(frame, "columns"):
        frame = frame.to_frame()
    names = list(map(str, frame.columns))
    if not names:
        raise InputError(f"{argument}: the table has no columns; pass at least one")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{argument}: the table has two columns named {name!r}; rename one")
    return tuple(checked_column(str(name), frame[name], f"{argument}[{name!r}]") for name in frame.columns)


def checked_column(name: str, series: Any, argument: str) -> Column:
    """A column with finite values, at least one."""
    each = column(name, series, argument)
    require_finite_rows(each.values, argument)
    return each


def stack_columns(columns: tuple[Column, ...]) -> np.ndarray | None:
    """The columns as one array [n, d], or None where some are not numbers; one column gives [n, 1]."""
    if any(column.values.dtype.kind not in "iubf" or column.unit for column in columns):
        return None
    return np.stack([column.values for column in columns], axis=1)


def numeric_frame(frame: Any, argument: str) -> np.ndarray:
    """A data frame of numbers as an array; a series gives [n]."""
    if not hasattr(frame, "columns"):
        return np.asarray(frame.to_numpy())
    stacked = stack_columns(table_columns(frame, argument))
    if stacked is None:
        raise InputError(f"{argument}: some columns are not numbers; encode them first (for example one-hot)")
    return stacked


def require_finite_rows(array: np.ndarray, argument: str) -> np.ndarray:
    if array.size == 0:
        raise InputError(f"{argument}: the sample is empty; pass at least one row")
    if array.dtype.kind == "f":
        step = max(1, _BLOCK_BYTES * len(array) // array.nbytes)
        for start in range(0, len(array), step):
            _require_finite_block(array[start : start + step], argument)
    return array


def _require_finite_block(block: np.ndarray, argument: str) -> None:
    if not np.isfinite(block).all():
        bad = "NaN" if np.isnan(block).any() else "infinite values"
        raise InputError(f"{argument}: the sample has {bad}; drop those rows or fill them in")


# What the caller says of columns.


def chosen(columns: Sequence[Column], said: object, argument: str) -> set[str]:
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


def stated_columns(columns: Sequence[Column], said: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns that are not ignored, with what the caller stated of each.

    said  names of columns by argument: measured, counts, labels, ignore

    Raises `InputError` for a column that is stated twice or not there, and for one that cannot be what is stated.
    """
    asked = {how: chosen(columns, value, how) for how, value in said.items()}
    kept = []
    for each in columns:
        ways = [how for how, names in asked.items() if each.name in names]
        if len(ways) > 1:
            raise InputError(f"{ways[0]}, {ways[1]}: both speak of column {each.name!r}; state it once")
        if ways and len(each.values):
            _require_readable(each, ways[0])
        if ways != ["ignore"]:
            kept.append(replace(each, stated=ways[0]) if ways else each)
    if not kept:
        raise InputError("ignore: no column is left; name fewer")
    return tuple(kept)


def _require_readable(each: Column, how: str) -> None:
    if how not in ("labels", "ignore") and each.values.dtype.kind not in "iufb":
        raise InputError(f"{how}: column {each.name!r} is text; convert it to numbers, or leave it as labels")
    if how == "counts" and (each.values != np.round(each.values)).any():
        raise InputError(f"counts: column {each.name!r} has numbers that are not whole; measured= reads distances")


# Frequencies or measurements.

# In simulations with rounded normals of 200 to 5,000 rows a table has the smaller error from about 50 rows a value, or
# with at most 20 values; with more values, or fewer rows of each, its bias in the tails exceeds that of the distances.
FEW_VALUES = 20
ROWS_PER_VALUE = 5
ROWS_OF_MANY_VALUES = 50


def is_table(*parts: Column) -> bool:
    """Whether a column is read as labels or counts, compared by frequencies, rather than as measurements.

    parts  the column in each sample; the values of both are looked at together

    Text and booleans are labels. Numbers are a table if each value is frequent, or if there are few values: whatever
    their type, salaries in whole dollars are measurements and ratings from 1.0 to 5.0 in halves are a table. What the
    caller stated comes first. Raises `InputError` where two samples are stated differently, or text as measurements.
    """
    stated = {part.stated for part in parts if part.stated}
    if len(stated) > 1:
        raise InputError(
            f"p and q: column {parts[0].name!r} is stated as {' in one sample and '.join(sorted(stated))} in the "
            "other; state one"
        )
    if stated:
        return "measured" not in stated
    if any(part.values.dtype.kind not in "iuf" for part in parts):
        return True
    return _repeats(parts)


def is_discrete(column: Column) -> bool:
    """Whether a column of a sample is discrete: labels, or stated to be, or whole numbers with few values.

    Compared with a density, frequencies alone do not decide: many ages in whole years are measurements.
    """
    if column.stated or column.values.dtype.kind not in "iuf":
        return is_table(column)
    return column.values.dtype.kind in "iu" and is_table(column) and len(np.unique(column.values)) <= FEW_VALUES


def remark_on(*parts: Column) -> str:
    """What a plan says of how a column is read, where its values decided against its type."""
    if any(part.stated for part in parts) or any(part.values.dtype.kind not in "iuf" for part in parts):
        return ""
    table, whole = is_table(*parts), all(part.values.dtype.kind in "iu" for part in parts)
    if whole and not table:
        return "whole numbers with many values are read as measurements (labels= or counts= makes them a table)"
    if table and all(part.values.dtype.kind == "f" for part in parts):
        return "numbers with few values, which repeat, are read as a table of frequencies (measured= reads distances)"
    return ""


def _repeats(parts: tuple[Column, ...]) -> bool:
    rows = sum(len(part.values) for part in parts)
    values = np.unique(np.concatenate([part.values for part in parts]))
    if len(values) > FEW_VALUES:
        return rows >= ROWS_OF_MANY_VALUES * len(values)
    if rows >= ROWS_PER_VALUE * len(values):
        return True
    integers = any(part.values.dtype.kind in "iu" for part in parts) and bool((values == np.round(values)).all())
    return integers and values[-1] - values[0] < 2 * len(values)
