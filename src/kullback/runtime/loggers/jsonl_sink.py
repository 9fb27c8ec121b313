"""Rows as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from kullback.runtime.loggers.sink import TextSink, appending, complete_lines, numbers_of


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
