"""How a column is read: as a table of frequencies, or as measurements. The values decide, not the type of the array."""

from __future__ import annotations

import numpy as np

from kullback.errors import InputError
from kullback.known.record import Column

# In simulations with rounded normals of 200 to 5,000 rows a table has the smaller error from about 50 rows a value, or
# with at most 20 values; with more values, or fewer rows of each, its bias in the tails exceeds that of the distances.
FEW_VALUES = 20
ROWS_PER_VALUE = 5
ROWS_OF_MANY_VALUES = 50


def is_table(*parts: Column) -> bool:
    """Whether a column is read as labels or counts, whose frequencies say all, rather than as measurements.

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
    """Whether a column of a sample is an outcome of a discrete law: of labels, or stated, or of few whole numbers.

    Against a density the frequency of a value says nothing: many ages in whole years are measurements in any number.
    """
    if column.stated or column.values.dtype.kind not in "iuf":
        return is_table(column)
    return column.values.dtype.kind in "iu" and is_table(column) and len(np.unique(column.values)) <= FEW_VALUES


def remark_on(*parts: Column) -> str:
    """What is worth saying of how a column is read: where its values decided against its type."""
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
    values = np.unique(np.concatenate([part.values.astype(np.float64) for part in parts]))
    if len(values) > FEW_VALUES:
        return rows >= ROWS_OF_MANY_VALUES * len(values)
    if rows >= ROWS_PER_VALUE * len(values):
        return True
    integers = any(part.values.dtype.kind in "iu" for part in parts) and bool((values == np.round(values)).all())
    return integers and values[-1] - values[0] < 2 * len(values)
