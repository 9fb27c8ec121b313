"""Tables from files: CSV with any delimiter, compressed or not, TSV, Parquet and Feather, read alike for both files.

Text stays text: "NA" is a missing value in a column of numbers and a word in a column of words, as both files together
decide. Only the columns that are asked for are read.
"""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kullback.errors import FileError, InputError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
NOT_A_NUMBER = frozenset({"NA", "N/A", "n/a", "na", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "-", "#N/A"})
BINARY = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather"}
_SNIFFED_BYTES = 65_536


@dataclass(frozen=True)
class ReadTable:
    """A data frame, and remarks on how the file was read."""

    frame: Any
    notes: tuple[str, ...] = ()


def read_tables(
    a: Path, b: Path, columns: Sequence[str] = (), others: Sequence[str] = (), lazy: bool = False
) -> tuple[Any, Any, list[str]]:
    """Both tables as data frames with the same types of columns, and remarks on how they were read.

    columns  those to read; none for all
    others   more columns to read where a file has them
    lazy     whether Parquet and Feather files may come as lazy frames, of which nothing is read yet

    Raises `FileError` for files that cannot be read as tables, and `InputError` for a column that is in neither.
    """
    p, q = (read_file(path, columns, others, lazy) for path in (a, b))
    frames = alike(p.frame, q.frame)
    return frames[0], frames[1], list(dict.fromkeys([*p.notes, *q.notes]))


def read_table(path: Path) -> Any:
    """One table as a data frame: numbers, times in ISO 8601, and text."""
    frame = read_file(path).frame
    return alike(frame, frame)[0]


def read_file(path: Path, columns: Sequence[str] = (), others: Sequence[str] = (), lazy: bool = False) -> ReadTable:
    """A file as it is; what is text in it is not looked at yet."""
    if not path.is_file():
        raise FileError(f"{path}: there is no such file; pass a CSV, Parquet or Feather file")
    kind = BINARY.get(path.suffix.lower())
    if kind is None:
        found = _read_csv(path, columns, others)
    else:
        found = ReadTable(_read_binary(path, kind, columns, others, lazy))
    if hasattr(found.frame, "shape") and row_count(found.frame) == 0:
        raise FileError(f"{path}: the table has a header and no rows")
    return found


# Text


def _read_csv(path: Path, columns: Sequence[str], others: Sequence[str]) -> ReadTable:
    import pandas as pd

    header, delimiter, last = _looked_at(path)
    _require_names(path, header)
    wanted = _wanted(path, header, columns, others)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            frame = pd.read_csv(
                path,
                sep=delimiter,
                usecols=None if wanted is None else lambda name: name in wanted,
                index_col=False,
                skipinitialspace=True,
                skip_blank_lines=len(header) > 1,  # of one column, an empty line is a missing value
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
    except UnicodeDecodeError:
        raise FileError(f"{path}: this is not text in UTF-8, as CSV is") from None
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the file is empty") from None
    except pd.errors.ParserWarning:
        raise FileError(f"{path}: a row has more fields than the header; this cannot be read as CSV") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise FileError(f"{path}: the compressed file is damaged or cut off ({error}); use a whole copy") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise FileError(f"{path}: this cannot be read as CSV ({' '.join(str(error).split())})") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None
    notes = [] if delimiter == "," or _is_tsv(path) else [f"delimited by {DELIMITERS[delimiter]}: {path}"]
    if not last.endswith("\n") and 0 < _fields(last, delimiter) < len(header):
        notes.append(f"the last line of {path} has fewer fields than the header: the file may be cut off")
    if delimiter == ";" and (found := _decimal_commas(frame)):
        frame = frame.assign(**found)
        notes.append(f"numbers with decimal commas: {', '.join(map(repr, found))} of {path}")
    return ReadTable(frame, tuple(notes))


def _decimal_commas(frame: Any) -> dict[str, Any]:
    """The columns of text that are numbers with a comma before the decimals, as numbers."""
    import pandas as pd

    found = {}
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values) or not (words := values.dropna().astype(str)).str.contains(",").any():
            continue
        if (words.str.fullmatch(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?") | words.isin(NOT_A_NUMBER)).all():
            found[name] = pd.to_numeric(values.astype(object).str.replace(",", "."), errors="coerce")
    return found


def _looked_at(path: Path) -> tuple[list[str], str, str]:
    """The names in the header, the delimiter, and the last line of the file."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
            last = head
            while block := file.read(2**22):
                last = (last + block)[-_SNIFFED_BYTES:]
    except (EOFError, gzip.BadGzipFile) as error:
        raise FileError(f"{path}: the compressed file is damaged or cut off ({error}); use a whole copy") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not head.strip():
        raise FileError(f"{path}: the file is empty")
    text = head.decode("utf-8-sig", "replace")
    delimiter = "\t" if _is_tsv(path) else _delimiter(text)
    header = next(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True), [])
    return header, delimiter, last.decode("utf-8", "replace").splitlines(keepends=True)[-1]


def _is_tsv(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".tsv")


def _delimiter(text: str) -> str:
    """The delimiter that parts the header into most fields, among those that part the next rows into as many."""
    found = {}
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row][:21]
        whole = rows[: max(1, len(rows) - 1)]  # the last may be cut by the end of what was looked at
        agree = sum(len(row) == len(whole[0]) for row in whole) / len(whole) if whole else 0.0
        found[delimiter] = (len(whole[0]) > 1 and agree >= 0.8, len(whole[0])) if whole else (False, 0)
    best = max(DELIMITERS, key=lambda delimiter: found[delimiter])
    return best if found[best][0] else ","


def _fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))


def _require_names(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if name and list(header).count(name) > 1:
            raise FileError(f"{path}: two columns are named {name!r}; rename one")


def _wanted(path: Path, header: Sequence[str], columns: Sequence[str], others: Sequence[str]) -> set[str] | None:
    if not columns:
        return None
    for name in columns:
        if name not in header:
            raise InputError(f"columns: {path} has no column {name!r}; it has {', '.join(header)}")
    return {*columns, *others}


# Parquet and Feather


def _read_binary(path: Path, kind: str, columns: Sequence[str], others: Sequence[str], lazy: bool) -> Any:
    reader = _binary_reader(kind, path, lazy)
    try:
        header = reader.names(path)
        _require_names(path, header)
        wanted = _wanted(path, header, columns, others)
        return reader.read(path, header if wanted is None else [name for name in header if name in wanted])
    except (InputError, FileError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own for a damaged file
        said = " ".join(str(error).split())[:200]
        raise FileError(f"{path}: this cannot be read as {kind}, it may be damaged or cut off ({said})") from None


@dataclass(frozen=True)
class _Reader:
    """How a library reads the names of the columns of a file, and some of them."""

    names: Callable[[Path], list[str]]
    read: Callable[[Path, list[str]], Any]


def _binary_reader(kind: str, path: Path, lazy: bool) -> _Reader:
    """polars or DuckDB, which need not read a file whole, or else pyarrow, whichever is installed."""
    for reader in (_by_polars, _by_duckdb, _by_pyarrow):
        with suppress(ImportError):
            if (found := reader(kind, lazy)) is not None:
                return found
    raise FileError(
        f"{path}: reading {kind} files needs polars or pyarrow; pip install polars, or write the table as CSV"
    )


def _by_polars(kind: str, lazy: bool) -> _Reader:
    import polars as pl

    scan = pl.scan_parquet if kind == "parquet" else pl.scan_ipc

    def read(file: Path, names: list[str]) -> Any:
        chosen = scan(file).select(names)
        return chosen if lazy else chosen.collect()

    return _Reader(lambda file: scan(file).collect_schema().names(), read)


def _by_duckdb(kind: str, lazy: bool) -> _Reader | None:
    import duckdb  # pyright: ignore[reportMissingImports]

    if kind != "parquet" or not lazy:
        return None

    def read(file: Path, names: list[str]) -> Any:
        return duckdb.connect().read_parquet(str(file)).select(*[duckdb.ColumnExpression(name) for name in names])

    return _Reader(lambda file: duckdb.connect().read_parquet(str(file)).columns, read)


def _by_pyarrow(kind: str, lazy: bool) -> _Reader:
    from pyarrow import feather, ipc, parquet  # pyright: ignore[reportMissingImports]

    if kind == "parquet":
        return _Reader(
            lambda file: parquet.read_schema(file).names, lambda file, names: parquet.read_table(file, columns=names)
        )
    return _Reader(
        lambda file: ipc.open_file(str(file)).schema.names,
        lambda file, names: feather.read_table(file, columns=names),
    )


# Both files alike


def alike(p: Any, q: Any) -> tuple[Any, Any]:
    """Both pandas frames with columns of text read alike: as numbers or times where all of both are, else as text.

    Other frames have types of their own, and stay.
    """
    text = [hasattr(frame, "assign") for frame in (p, q)]
    if not all(text):
        return (alike(p, p)[0] if text[0] else p), (alike(q, q)[0] if text[1] else q)
    read: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
    for name in dict.fromkeys([*p.columns, *q.columns]):
        having = [at for at, frame in enumerate((p, q)) if name in frame.columns]
        sides = [(p, q)[at][name] for at in having]
        if any(side.dtype.kind in "OU" or str(side.dtype) in ("str", "string") for side in sides):
            found = _as_numbers(sides) or _as_times(sides) or [side.astype(object) for side in sides]
            for at, column in zip(having, found, strict=True):
                read[at][name] = column
    return p.assign(**read[0]), q.assign(**read[1])


def _as_numbers(sides: Sequence[Any]) -> list[Any] | None:
    """The columns as numbers, where every value that is present is a number or a word for none; else None."""
    import pandas as pd

    read = []
    for side in sides:
        numbers: Any = pd.to_numeric(side, errors="coerce")
        words = side[numbers.isna() & side.notna()]
        if not words.isin(NOT_A_NUMBER).all():
            return None
        read.append(numbers)
    return read if any(numbers.notna().any() for numbers in read) else None


def _as_times(sides: Sequence[Any]) -> list[Any] | None:
    """The columns as times, where every value that is present is one in ISO 8601; else None."""
    import pandas as pd

    present = [side.dropna().astype(str) for side in sides]
    if any(pd.api.types.is_numeric_dtype(side) and side.notna().any() for side in sides) or not any(map(len, present)):
        return None
    if not all(side.str.match(r"\d{4}-\d\d-\d\d([T ]|$)").all() for side in present):
        return None
    zoned = any(side.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$").any() for side in (each.str[10:] for each in present))
    try:
        return [pd.to_datetime(side, format="ISO8601", utc=zoned) for side in sides]
    except ValueError:
        return None


def row_count(frame: Any) -> int:
    """The number of rows of a frame of any library."""
    return int(np.shape(frame)[0])
