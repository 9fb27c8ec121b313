"""Rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from os import PathLike

from kullback.errors import FileError
from kullback.runtime.files import write_atomically
from kullback.runtime.loggers.sink import COUNTERS, TextSink, appending, complete_lines, numbers_of

COLUMNS = (*COUNTERS, "train_nll", "heldout_nll", "rate")


class CSVLogger(TextSink):
    """Rows as CSV at `path`, one line each, written at once; an existing file is continued.

    The columns are epoch, step, train_nll, heldout_nll and rate (only step, for a training without epochs), and then
    any other names of the first row. A later row that brings a new name widens the table: the file is written anew
    beside itself, with the new column empty in the rows before, and put in place whole. What a row lacks is left empty;
    NaN and infinities read `nan`, `inf` and `-inf`. A last line that a crash cut short is removed before the next one
    is written.

    Raises `FileError` where the folder does not exist, the disk is full, or a file is there that does not begin with a
    header.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def log(self, row: Mapping[str, float]) -> None:
        values = numbers_of(row)
        if self._file is None:
            self._open(values)
        if new := [name for name in values if name not in self._columns]:
            self._widen(new)
        self._append(_line([values.get(name, "") for name in self._columns]))

    def _open(self, first: Mapping[str, float]) -> None:
        complete_lines(self.path)
        self._columns = self._header() if self.path.exists() else []
        self._file = appending(self.path)
        if not self._columns:
            known = COUNTERS[1:] if "objective" in first else COLUMNS
            columns = [*known, *(name for name in first if name not in known)]
            self._append(_line(columns))
            self._columns = columns

    def _header(self) -> list[str]:
        with self.path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
        if header and any(_is_number(name) for name in header):
            raise FileError(f"path: {self.path} does not begin with a header of names; choose another file")
        return header

    def _widen(self, new: list[str]) -> None:
        self.close()
        with self.path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        columns = [*header, *new]
        wider = "".join(map(_line, [columns, *([*row, *[""] * len(new)] for row in rows)]))
        write_atomically(self.path, wider.encode())
        self._columns = columns
        self._file = appending(self.path)


def _line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
