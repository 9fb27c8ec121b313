"""Sinks for the numbers of a training: no row is lost, nothing is corrupted, and other programs can read them."""

import copy
import csv
import gc
import json
import math
import pickle
import struct

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

from kullback.errors import FileError, InputError
from kullback.runtime.loggers import COLUMNS, CSVLogger, JSONLLogger, Logger, Several, TensorBoardLogger

ROWS = [
    {"epoch": 1, "step": 10, "train_nll": 0.1, "heldout_nll": 1 / 3, "rate": 1e-3},
    {"epoch": 2, "step": 20, "train_nll": math.nan},
    {"epoch": 3, "step": 30, "train_nll": math.inf, "heldout_nll": -math.inf, "rate": 5e-324},
]


class Kept:
    """A logger of a user's own."""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(dict(row))

    def close(self):
        pass


@pytest.fixture(params=[CSVLogger, JSONLLogger], ids=["csv", "jsonl"])
def sink(request):
    return request.param


def test_the_protocol_is_two_methods(tmp_path):
    for logger in (Kept(), CSVLogger(tmp_path / "a"), JSONLLogger(tmp_path / "b")):
        assert isinstance(logger, Logger)
    assert not isinstance([], Logger)


def test_csv_is_read_back_by_pandas_and_polars(tmp_path):
    path = tmp_path / "log.csv"
    with CSVLogger(path) as logger:
        for row in ROWS:
            logger.log(row)
    frame = pd.read_csv(path)
    assert tuple(frame.columns) == COLUMNS
    for name in COLUMNS:
        np.testing.assert_allclose(frame[name], [row.get(name, math.nan) for row in ROWS], rtol=1e-15)
    assert pl.read_csv(path)["step"].to_list() == [10, 20, 30]
    text = path.read_text().splitlines()
    assert text[2:] == ["2,20,nan,,", "3,30,inf,-inf,5e-324"]


def test_json_lines_are_strict_json_and_numbers_survive(tmp_path):
    path = tmp_path / "log.jsonl"
    with JSONLLogger(path) as logger:
        for row in ROWS:
            logger.log(row)

    def refuse(name):
        raise ValueError(name)

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    for row, line in zip(ROWS, lines, strict=True):
        assert list(row) == list(line)
        np.testing.assert_array_equal([float(value) for value in line.values()], list(row.values()))


def test_a_row_is_in_the_file_as_soon_as_it_was_logged(tmp_path, sink):
    logger = sink(tmp_path / "log")
    for count, row in enumerate(ROWS, start=1):
        logger.log(row)
        assert len((tmp_path / "log").read_text().splitlines()) == count + (sink is CSVLogger)
    logger.close()


def test_a_resumed_run_continues_the_file(tmp_path, sink):
    once, twice = sink(tmp_path / "once"), sink(tmp_path / "twice")
    for row in ROWS:
        once.log(row)
    twice.log(ROWS[0])
    twice.close()
    twice.log(ROWS[1])
    twice.close()
    other = sink(tmp_path / "twice")
    other.log(ROWS[2])
    for logger in (once, other):
        logger.close()
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()


def test_a_line_cut_short_by_a_crash_is_taken_away(tmp_path, sink):
    path = tmp_path / "log"
    with sink(path) as logger:
        logger.log(ROWS[0])
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:-2])
    with sink(path) as logger:
        logger.log(ROWS[0])
    assert path.read_bytes() == whole + whole.splitlines(keepends=True)[-1]


def test_a_new_name_widens_the_table(tmp_path):
    path = tmp_path / "log.csv"
    with CSVLogger(path) as logger:
        logger.log({"step": 1, "a, b": 0.5})
        logger.log({"step": 2, 'late "one"': 7.0})
        logger.log({"step": 3, "a, b": 1.5})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, "a, b", 'late "one"']
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert [row["a, b"] for row in rows] == ["0.5", "", "1.5"]
    assert [row['late "one"'] for row in rows] == ["", "7.0", ""]
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_numpy_and_jax_numbers_are_numbers(tmp_path, sink):
    with sink(tmp_path / "log") as logger:
        logger.log({"epoch": 2.0, "step": np.int64(3), "train_nll": np.float32(1.0), "rate": jnp.asarray(0.5)})
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last in ("2,3,1.0,,0.5", '{"epoch": 2, "step": 3, "train_nll": 1.0, "rate": 0.5}')


def test_an_open_logger_can_be_copied_and_pickled(tmp_path, sink):
    logger = sink(tmp_path / "log")
    logger.log(ROWS[0])
    for other in (copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))):
        other.log(ROWS[1])
        other.close()
    logger.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 3 + (sink is CSVLogger)


def test_a_logger_that_is_forgotten_loses_nothing_and_warns_of_nothing(tmp_path, sink):
    sink(tmp_path / "log").log(ROWS[0])
    gc.collect()
    assert (tmp_path / "log").read_text().endswith("\n")


def test_errors_come_early_and_say_what_would_do(tmp_path, sink):
    with pytest.raises(FileError, match=r"^path: .*does not exist"):
        sink(tmp_path / "missing" / "log")
    with pytest.raises(FileError, match=r"^path: .*is a folder"):
        sink(tmp_path)
    with pytest.raises(InputError, match=r"^row: name is 'x', which is not a number"):
        sink(tmp_path / "log").log({"name": "x"})


def test_a_file_of_numbers_without_names_is_not_continued(tmp_path):
    (tmp_path / "data.csv").write_text("1.0,2.0\n3.0,4.0\n")
    with pytest.raises(FileError, match="header"):
        CSVLogger(tmp_path / "data.csv").log(ROWS[0])
    assert (tmp_path / "data.csv").read_text() == "1.0,2.0\n3.0,4.0\n"


def test_without_tensorboardx_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(InputError, match=r"pip install 'kullback\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


def test_several_loggers_get_the_same_rows(tmp_path):
    kept = Kept()
    with Several([CSVLogger(tmp_path / "log.csv"), JSONLLogger(tmp_path / "log.jsonl"), kept]) as logger:
        assert isinstance(logger, Logger)
        for row in ROWS:
            logger.log(row)
    assert kept.rows == ROWS
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("log.csv", "log.jsonl")] == [4, 3]


def crc32c(data: bytes) -> int:
    """Castagnoli's cyclic redundancy check, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def records(content: bytes):
    """The records of an event file: length, masked check of it, bytes, masked check of them."""

    def masked(data: bytes) -> int:
        crc = crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    while content:
        (length,) = struct.unpack("<Q", content[:8])
        body = content[12 : 12 + length]
        assert struct.unpack("<I", content[8:12]) == (masked(content[:8]),)
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked(body),)
        content = content[16 + length :]
        yield body


def test_tensorboard_events_are_whole_at_every_moment_and_a_resumed_run_adds_a_file(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    assert crc32c(b"123456789") == 0xE3069283
    folder = tmp_path / "made" / "on the way"
    for part in (ROWS[:2], ROWS[2:]):
        logger = TensorBoardLogger(folder)
        for row in part:
            logger.log(row)
            files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            assert len(list(records(files[-1].read_bytes()))) > 1
        logger.close()
    files = list(folder.iterdir())
    assert len(files) == 2
    assert all(".tfevents." in file.name for file in files)
    events = [event_pb2.Event.FromString(body) for file in files for body in records(file.read_bytes())]
    assert sorted(event.file_version for event in events)[-2:] == ["brain.Event:2"] * 2
    found = {event.step: {value.tag: value.simple_value for value in event.summary.value} for event in events}
    for row in ROWS:
        assert list(found[row["step"]]) == list(row)
        np.testing.assert_array_equal(list(found[row["step"]].values()), np.float32(list(row.values())))


def test_a_pickle_of_the_version_before_is_read(tmp_path):
    """In which each sink had a module of its own."""
    now = pickle.dumps(CSVLogger(tmp_path / "log.csv"), protocol=0)
    before = now.replace(b"kullback.runtime.loggers\n", b"kullback.runtime.loggers.csv_sink\n")
    assert before != now
    again = pickle.loads(before)
    assert type(again) is CSVLogger
    assert again.path == tmp_path / "log.csv"
