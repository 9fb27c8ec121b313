"""The columns of whatever a caller has: frames of any library that narwhals knows, arrays, mappings and `Samples`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np

from kullback.errors import InputError
from kullback.estimate.columns import columns_of
from kullback.known import Samples
from kullback.known.record import Column
from kullback.known.samples import rectangular

KINDS = "a data frame, an array [n] or [n, d], or a mapping from names to columns"


def named_columns(x: Any, argument: str) -> dict[str, Any]:
    """The columns of x by name; those of an array are named by their indices.

    Raises `InputError` for what is no table, has no rows or columns, columns of several lengths or two of one name.
    """
    found = _columns(x, argument)
    if not found:
        raise InputError(f"{argument}: the table has no columns; pass at least one")
    lengths = {name: _length(column, f"{argument}[{name!r}]") for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lambda name: lengths[name]), max(lengths, key=lambda name: lengths[name])
        raise InputError(
            f"{argument}: column {short!r} has {lengths[short]:,} rows and {long!r} has {lengths[long]:,}; pass "
            "columns of one length"
        )
    if not max(lengths.values()):
        raise InputError(f"{argument}: the table has no rows; pass at least one")
    return found


def _columns(x: Any, argument: str) -> dict[str, Any]:
    if isinstance(x, Samples):
        return _of_samples(x, argument)
    if isinstance(x, Mapping):
        return _distinct([str(name) for name in x], list(x.values()), argument)
    frame = _frame(x, argument)
    if frame is not None:
        return frame
    array = x if isinstance(x, np.ma.MaskedArray) else rectangular(x, argument)
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    if array.ndim not in (1, 2):
        shown = f"{x!r:.60}".replace("\n", " ")
        raise InputError(f"{argument}: {shown} of shape {array.shape} is no table; pass {KINDS}")
    table = array[:, None] if array.ndim == 1 else array
    return {str(at): table[:, at] for at in range(table.shape[1])}


def _of_samples(x: Samples, argument: str) -> dict[str, Any]:
    if x.weights is not None:
        raise InputError(
            f"{argument}: rows with weights cannot be permuted; pass the sample without weights, or draw rows by them"
        )
    sample = x.known().sample
    assert sample is not None
    return {column.name: column for column in columns_of(sample)}


def _frame(x: Any, argument: str) -> dict[str, Any] | None:
    """The columns of a data frame or a series; None for everything else."""
    native = x.to_frame() if hasattr(x, "to_frame") and not hasattr(x, "columns") else x
    names = [str(name) for name in getattr(native, "columns", ())] if hasattr(native, "shape") else []
    if names:
        _require_distinct(names, argument)
    if type(native).__module__.split(".")[0] == "pandas":  # whose names need not be text
        return dict(zip(names, (native.iloc[:, at] for at in range(len(names))), strict=True))
    frame = nw.from_native(native, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        return _frame(collected(frame, argument), argument)
    if not isinstance(frame, nw.DataFrame):
        return None
    return {name: frame[name].to_native() for name in frame.columns}


def collected(frame: nw.LazyFrame[Any], argument: str) -> Any:
    """All rows of a query as a frame in memory. Raises `InputError` where the engine fails."""
    try:
        if frame.implementation.is_polars():
            return nw.to_native(frame.collect(engine="streaming"))
        return nw.to_native(frame.collect(backend="pandas"))
    except Exception as error:  # each engine has errors of its own
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{argument}: its engine cannot read the table ({said}); check its source") from None


def _distinct(names: list[str], columns: list[Any], argument: str) -> dict[str, Any]:
    _require_distinct(names, argument)
    return dict(zip(names, columns, strict=True))


def _require_distinct(names: list[str], argument: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{argument}: the table has two columns named {name!r}; rename one")


def _length(column: Any, argument: str) -> int:
    if isinstance(column, Column):
        return len(column.values)
    try:
        return len(column)
    except TypeError:
        raise InputError(f"{argument}: {column!r:.60} is no column; pass a list or an array of its values") from None
