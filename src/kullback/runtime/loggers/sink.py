"""What a logger is, and what the sinks share: an open file that is closed, copied and continued as a sink needs it."""

from __future__ import annotations

import abc
import io
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from kullback.arguments import path as as_path
from kullback.arguments import row as as_row
from kullback.errors import FileError, InputError
from kullback.runtime.files import unwritable

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
