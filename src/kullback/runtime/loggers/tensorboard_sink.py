"""Rows as events of TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from os import PathLike
from typing import Any

from kullback.arguments import path as as_path
from kullback.errors import InputError
from kullback.runtime.files import unwritable
from kullback.runtime.loggers.sink import Sink, numbers_of


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
