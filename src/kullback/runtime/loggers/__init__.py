"""Where the numbers of a training go, public as `kl.loggers`: one file a sink, over what they share in `sink`.

To add one, write `<kind>_sink.py` with a subclass of `Sink` (of `TextSink` for lines in a file), and export it here.
"""

from kullback.runtime.loggers.csv_sink import COLUMNS, CSVLogger
from kullback.runtime.loggers.jsonl_sink import JSONLLogger
from kullback.runtime.loggers.sink import COUNTERS, Logger, Several, Sink, TextSink, complete_lines, in_folder
from kullback.runtime.loggers.tensorboard_sink import TensorBoardLogger

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
