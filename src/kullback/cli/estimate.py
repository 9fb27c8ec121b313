"""`kullback estimate A.csv B.csv`: two tables compared, jointly and column by column."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kullback.errors import FileError, InputError
from kullback.estimate.two_samples import Comparison, compare
from kullback.report.terminal import make_console, wrapped
from kullback.result import Guarantee


def estimate(a: Path, b: Path, columns: Sequence[str], seed: int, as_json: bool) -> None:
    """Compare the two tables and print what was found."""
    p, q = read_table(a), read_table(b)
    names, left_out = shared_columns(p, q, columns, str(a), str(b))
    found = compare(*with_dates(p[names], q[names]), seed=seed)
    if len(names) == 1:
        found = found[1:]  # the joint estimate would say the same again
    if as_json:
        print(json.dumps(_report(a, b, len(p), len(q), found, left_out), ensure_ascii=False, indent=2))
    else:
        _show(make_console(), f"P = {a}, {_rows(p)}; Q = {b}, {_rows(q)}", found, left_out)


def _rows(frame: Any) -> str:
    return f"{len(frame):,} row{'s' if len(frame) != 1 else ''}"


def _show(console: Console, sides: str, found: list[Comparison], left_out: str) -> None:
    notes: dict[str, list[str]] = {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("column", overflow="fold")
    table.add_column("read as", no_wrap=True)
    for name in ("KL(P‖Q)", "± s.e.", "note"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        mark = _footnote(notes, row.estimate.reason)
        error = f"{row.estimate.standard_error:.4f}" if math.isfinite(row.estimate.standard_error) else "–"
        bound = "≥ " if row.estimate.guarantee is Guarantee.LOWER_BOUND else ""
        name = row.column if row.column is not None else "all together"
        cells = (name, row.kind, f"{bound}{row.estimate.value:.4f}", error)
        table.add_row(*map(Text, cells), Text(mark), style="bold" if row.column is None else None)
    console.print(Text(wrapped(f"KL(P‖Q) in nats. {sides}.")), soft_wrap=True)
    console.print()
    console.print(table)
    closing = [f"{i + 1}  {note[0].upper()}{note[1:]}." for i, note in enumerate(map(_merged, notes.values()))]
    closing += [left_out] if left_out else []
    closing.append("Consistent: right as the samples grow, and never clipped to 0; ≥ marks a lower bound.")
    console.print(Text("\n" + "\n".join(wrapped(line) for line in closing), style="dim"), soft_wrap=True)


_NUMBER = re.compile(r"(?<![\w'.])\d[\d,]*(?:\.\d+)?%?(?![\w'])")


def _footnote(notes: dict[str, list[str]], reason: str) -> str:
    """The numbers of the remarks on one estimate; remarks that differ in their figures alone share one."""
    marks = []
    for note in filter(None, reason.split("; ")):
        kind = _NUMBER.sub("#", note)
        notes.setdefault(kind, []).append(note)
        marks.append(str(list(notes).index(kind) + 1))
    return " ".join(marks)


def _merged(notes: list[str]) -> str:
    """One remark for several, with the least and the greatest of each figure."""
    places = zip(*(_NUMBER.findall(note) for note in notes), strict=True)
    ends = [sorted(set(figures), key=lambda figure: float(figure.strip("%").replace(",", ""))) for figures in places]
    spans = iter([f"{each[0]} to {each[-1]}" if len(each) > 1 else each[0] for each in ends])
    return _NUMBER.sub(lambda _: next(spans), notes[0])


def _report(a: Path, b: Path, rows_p: int, rows_q: int, found: list[Comparison], left_out: str) -> dict[str, Any]:
    return {
        "p": {"file": str(a), "rows": rows_p},
        "q": {"file": str(b), "rows": rows_q},
        "unit": "nats",
        "note": left_out,
        "estimates": [
            {
                "column": row.column,
                "read_as": row.kind,
                "value": row.estimate.value,
                "standard_error": row.estimate.standard_error if math.isfinite(row.estimate.standard_error) else None,
                "guarantee": row.estimate.guarantee.value,
                "note": row.estimate.reason,
            }
            for row in found
        ],
    }


# Reading the tables


def read_table(path: Path) -> Any:
    """The CSV file as a data frame; columns of numbers are numbers, everything else is text.

    Raises `FileError` for a file that is missing, empty, or not a table.
    """
    import pandas as pd

    if not path.is_file():
        raise FileError(f"{path}: there is no such file; pass a CSV file with a header")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame: Any = pd.read_csv(path, sep=separator, skipinitialspace=True, index_col=False)
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the file is empty; a CSV file needs a header and at least one row") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: this is not text in UTF-8, so not a CSV file") from None
    except pd.errors.ParserWarning:
        raise FileError(f"{path}: a row has more fields than the header; this cannot be read as CSV") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise FileError(f"{path}: this cannot be read as CSV ({str(error).strip()})") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    if frame.empty:
        raise FileError(f"{path}: the table has a header and no rows")
    missing = [str(name) for name in frame.columns if frame[name].isna().any()]
    if missing:
        raise FileError(f"{path}: column {missing[0]!r} has missing values; drop those rows or fill them in")
    return frame


def with_dates(p: Any, q: Any) -> tuple[Any, Any]:
    """Both tables, of the same columns, with those that hold dates or times in ISO 8601 in both read as such."""
    for name in p.columns:
        found = _dates(p[name]), _dates(q[name])
        if found[0] is not None and found[1] is not None:
            p, q = p.assign(**{name: found[0]}), q.assign(**{name: found[1]})
    return p, q


def _dates(column: Any) -> Any:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or not column.astype(str).str.match(r"\d{4}-\d\d-\d\d([T ]|$)").all():
        return None
    try:
        return pd.to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return None


def shared_columns(p: Any, q: Any, asked: Sequence[str], name_p: str, name_q: str) -> tuple[list[str], str]:
    """The columns to compare, in the first table's order, and a sentence on those that are left out.

    Raises `InputError` for a column that was asked for and is not in both tables, or where they share none.
    """
    for name in asked:
        for frame, where in ((p, name_p), (q, name_q)):
            if name not in frame.columns:
                raise InputError(
                    f"columns: {where} has no column {name!r}; it has {', '.join(map(str, frame.columns))}"
                )
    if asked:
        return list(dict.fromkeys(asked)), ""
    shared = [name for name in p.columns if name in q.columns]
    if not shared:
        raise InputError(f"columns: {name_p} and {name_q} have no column in common")
    alone = [f"{name!r} (only in {name_p})" for name in p.columns if name not in q.columns]
    alone += [f"{name!r} (only in {name_q})" for name in q.columns if name not in p.columns]
    return shared, f"Left out: {', '.join(alone)}." if alone else ""
