"""Where the numbers of a training go, public as `kl.loggers`.

To add a sink, write a subclass of `Sink` (of `TextSink` for lines in a file): `log(row)` is all that it must do.
"""

from __future__ import annotations

import abc
import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from kullback.arguments import path as as_path
from kullback.arguments import row as as_row
from kullback.errors import FileError, InputError
from kullback.runtime.files import unwritable, write_atomically

__all__ = [
    "COLUMNS",
    "COUNTERS",
    "CSVLogger",
    "JSONLLogger",
    "Logger",
    "Several",
    "Sink",
    "TensorBoardLogger",
    "TextSink",
    "complete_lines",
    "in_folder",
]

# Pickles of the version before know the classes by these modules, until the next version.
_MODULES = ("sink", "csv_sink", "jsonl_sink", "tensorboard_sink")
sys.modules.update({f"{__name__}.{module}": sys.modules[__name__] for module in _MODULES})

COUNTERS = ("epoch", "step")


@runtime_checkable
class Logger(Protocol):
    """Where a training writes one row of numbers for each recorded epoch.

    Any object with these two methods will do. A resumed training logs only the epochs that are new to it, so a sink
    continues what is there.
    """

    def log(self, row: Mapping[str, float]) -> None:
        """Take one row: names to numbers, nats for losses. The same names need not come in every row."""

    def close(self) -> None:
        """Write out what is pending. Called at the end of a training; a later `log` opens the sink again."""


class Sink(abc.ABC):
    """What the sinks share: `with` closes them, and a copy or a pickle carries settings, not the open file.

    So an estimator that holds one can be cloned and sent to another process. Rows of several trainings written to one
    file follow one another as they come: give each training a file of its own to distinguish them.
    """

    _file: Any = None  # the open file, or the writer of events

    @abc.abstractmethod
    def log(self, row: Mapping[str, float]) -> None: ...

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # rows are in the file in any case; this ends it without a warning

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


class TextSink(Sink):
    """Lines of text at `path`: a line is in the file whole, or `FileError` says why it is not."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = in_folder(path)

    def _append(self, line: str) -> None:
        content, before = line.encode(), os.fstat(self._file.fileno()).st_size
        try:
            # Without a buffer, which would keep what the disk did not take and try it again at the end.
            written = self._file.write(content)
            while written < len(content):
                written += self._file.write(content[written:])
        except OSError as error:
            self._file.truncate(before)
            raise unwritable(self.path, error) from error


class Several:
    """Rows to each of several loggers, in their order."""

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self.loggers = tuple(loggers)

    def log(self, row: Mapping[str, float]) -> None:
        for logger in self.loggers:
            logger.log(row)

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def in_folder(path: str | PathLike[str]) -> Path:
    """The path, if its folder exists. Raises `FileError` before the training, not at its first row."""
    target = as_path("path", path)
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in a folder that does not exist"
        raise FileError(f"path: {target} {what}; pass a file in one that does")
    return target


def complete_lines(path: Path) -> None:
    """Remove a last line without an end, which a crash left: half a number would read as another number."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def appending(path: Path) -> io.FileIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error


def numbers_of(row: Mapping[str, float]) -> dict[str, int | float]:
    """A row with Python's numbers as its values. Raises `InputError` for what is no row, or no number."""
    return {name: _number(name, value) for name, value in as_row("row", row).items()}


def _number(name: str, value: Any) -> int | float:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and name in COUNTERS and value.is_integer():
        return int(value)
    if isinstance(value, int | float):
        return value
    raise InputError(f"row: {name} is {value!r}, which is not a number; log numbers only")


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


class JSONLLogger(TextSink):
    """Rows as JSON lines at `path`, one object each, written at once; an existing file is continued.

    NaN and infinities are not JSON: they are the strings "NaN", "Infinity" and "-Infinity", as in the JSON of protocol
    buffers, which `float` reads. Raises `FileError` where the folder does not exist, or the disk is full.
    """

    def log(self, row: Mapping[str, float]) -> None:
        values = {name: _in_json(value) for name, value in numbers_of(row).items()}
        if self._file is None:
            complete_lines(self.path)
            self._file = appending(self.path)
        self._append(json.dumps(values, allow_nan=False) + "\n")


def _in_json(value: int | float) -> int | float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


class TensorBoardLogger(Sink):
    """Rows as scalars for TensorBoard in `folder`, each name a curve over the row's `step` (or else its `epoch`).

    Each opening adds a file of events, which TensorBoard reads together. Its curves are in single precision.

    Raises `InputError` where tensorboardX, which writes the events, is not installed.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        _tensorboardx()
        self.folder = as_path("folder", folder)

    def log(self, row: Mapping[str, float]) -> None:
        try:
            self._write(numbers_of(row))
        except OSError as error:
            raise unwritable(self.folder, error, "folder") from error

    def _write(self, values: Mapping[str, float]) -> None:
        event_pb2, summary_pb2, events_writer = _tensorboardx()
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A name holds whole seconds: the suffix keeps a second writer from overwriting the first one's file.
            self._file = events_writer(str(self.folder / "events"), f".{os.getpid()}.{time.time_ns()}")
        scalars = [summary_pb2.Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        step = values.get("step", values.get("epoch", 0))
        # The writer behind tensorboardX's SummaryWriter, without its queue: a row that `log` took is in the file.
        summary = summary_pb2.Summary(value=scalars)
        self._file.write_event(event_pb2.Event(wall_time=time.time(), step=int(step), summary=summary))
        self._file.flush()


def _tensorboardx() -> tuple[Any, Any, Any]:
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2
    except ImportError as error:
        raise InputError(
            "logger: TensorBoardLogger needs tensorboardX, which is not installed; pip install 'kullback[tensorboard]'"
        ) from error
    return event_pb2, summary_pb2, EventsWriter
