"""Batches from an iterable, written through once to files that are then mapped: later passes need no second run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kullback.errors import InputError

NAMES = ("x", "y", "weights")


class Column:
    """One array in a file, grown batch by batch; the first batch says of what type and shape its rows are."""

    def __init__(self, path: Path, name: str, first: np.ndarray) -> None:
        self.name, self.dtype, self.row = name, first.dtype, first.shape[1:]
        self.path, self._file, self.length = path, path.open("wb"), 0

    def append(self, batch: np.ndarray, number: int) -> None:
        if batch.shape[1:] != self.row:
            raise InputError(
                f"batches: rows of {self.name} have the shape {batch.shape[1:]} in batch {number} and {self.row} "
                "before; pass rows of one shape"
            )
        if not np.can_cast(batch.dtype, self.dtype, "same_kind"):
            raise InputError(
                f"batches: {self.name} is of type {batch.dtype} in batch {number} and {self.dtype} before; "
                "pass one type"
            )
        np.ascontiguousarray(batch, self.dtype).tofile(self._file)
        self.length += len(batch)

    def mapped(self) -> np.ndarray:
        self.close()
        return np.memmap(self.path, self.dtype, "r", shape=(self.length, *self.row))

    def close(self) -> None:
        self._file.close()


def spooled(
    batches: Iterable[Any], as_array: Callable[[Any, str], np.ndarray]
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray | None]:
    """A temporary folder, which the caller removes, and x, y and weights mapped from files in it.

    batches   (x, y) or (x, y, weights) each, with as many rows in each part; one without rows is passed over
    as_array  (part, its name in an error) -> a checked array

    Nothing is left behind where this raises `InputError`: for no rows at all, and for batches that do not match.
    """
    folder = tempfile.mkdtemp(prefix="kullback-")
    columns: list[Column] = []
    try:
        for number, batch in enumerate(_iterated(batches)):
            parts = _parts(batch, number)
            if all(np.shape(part)[:1] == (0,) for part in parts):
                continue
            arrays = [
                as_array(part, f"batches: {name} of batch {number}") for name, part in zip(NAMES, parts, strict=False)
            ]
            _require_equal_lengths(arrays, number)
            if not columns:
                columns = [Column(Path(folder, n), n, a) for n, a in zip(NAMES, arrays, strict=False)]
            if len(arrays) != len(columns):
                raise InputError(
                    f"batches: batch {number} is of {len(arrays)} arrays after {len(columns)}; pass as many"
                )
            for column, array in zip(columns, arrays, strict=True):
                column.append(array, number)
        if not columns:
            raise InputError(
                "batches: there are no rows in it; an iterator gives its batches once, so pass a fresh one"
            )
        x, y, *weights = (column.mapped() for column in columns)
    except BaseException:
        for column in columns:
            column.close()
        remove(folder)
        raise
    return folder, x, y, weights[0] if weights else None


def remove(folder: str | os.PathLike[str]) -> None:
    """Remove the files; what is still mapped stays readable until it is let go, where the system allows that."""
    shutil.rmtree(folder, ignore_errors=True)


def _iterated(batches: Any) -> Iterable[Any]:
    try:
        return iter(batches)
    except TypeError:
        raise InputError(
            f"batches: {type(batches).__name__} cannot be iterated over; pass an iterable of (x, y) or (x, y, weights)"
        ) from None


def _parts(batch: Any, number: int) -> tuple[Any, ...]:
    if isinstance(batch, tuple | list) and len(batch) in (2, 3):
        return tuple(batch)
    what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
    raise InputError(f"batches: batch {number} is {what}; pass (x, y) or (x, y, weights)")


def _require_equal_lengths(arrays: list[np.ndarray], number: int) -> None:
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        shown = ", ".join(f"{n} of {name}" for n, name in zip(lengths, NAMES, strict=False))
        raise InputError(f"batches: batch {number} has unequally many rows ({shown}); pass one y for each row of x")
