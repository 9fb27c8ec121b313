"""`kullback estimate A.csv B.csv`: two tables compared, jointly and column by column."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kullback.cli.tables import read_tables
from kullback.drifting.text import Footnotes
from kullback.errors import InputError
from kullback.estimate.two_samples import Comparison, compare
from kullback.known.values import column_and_missing
from kullback.report.terminal import make_console, wrapped
from kullback.result import Guarantee


def estimate(a: Path, b: Path, columns: Sequence[str], seed: int, as_json: bool) -> None:
    """Compare the two tables and print what was found."""
    p, q, notes = read_tables(a, b, columns)
    names, left_out = shared_columns(p, q, columns, str(a), str(b))
    p, q, dropped = complete_rows(p[names], q[names])
    left_out = " ".join(filter(None, [left_out, *(f"{note[0].upper()}{note[1:]}." for note in (*dropped, *notes))]))
    found = compare(p, q, seed=seed)
    if len(names) == 1:
        found = found[1:]  # the joint estimate would say the same again
    if as_json:
        print(json.dumps(_report(a, b, len(p), len(q), found, left_out), ensure_ascii=False, indent=2))
    else:
        _show(make_console(), f"P = {a}, {_rows(p)}; Q = {b}, {_rows(q)}", found, left_out)


def _rows(frame: Any) -> str:
    return f"{len(frame):,} row{'s' if len(frame) != 1 else ''}"


def _show(console: Console, sides: str, found: list[Comparison], left_out: str) -> None:
    notes = Footnotes()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("column", overflow="fold")
    table.add_column("read as", no_wrap=True)
    for name in ("KL(P‖Q)", "± s.e.", "note"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        mark = notes.marks(row.estimate.reason)
        error = f"{row.estimate.standard_error:.4f}" if 0.0 < row.estimate.standard_error < math.inf else "–"
        bound = "≥ " if row.estimate.guarantee is Guarantee.LOWER_BOUND else ""
        name = row.column if row.column is not None else "all together"
        cells = (name, row.kind, f"{bound}{row.estimate.value:.4f}", error)
        table.add_row(*map(Text, cells), Text(mark), style="bold" if row.column is None else None)
    console.print(Text(wrapped(f"KL(P‖Q) in nats. {sides}.")), soft_wrap=True)
    console.print()
    console.print(table)
    closing = [f"{i + 1}  {note[0].upper()}{note[1:]}." for i, note in enumerate(notes.lines())]
    closing += [left_out] if left_out else []
    closing.append("Consistent: right as the samples grow, and never clipped to 0; ≥ marks a lower bound.")
    console.print(Text("\n" + "\n".join(wrapped(line) for line in closing), style="dim"), soft_wrap=True)


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


# Columns of both tables


def complete_rows(p: Any, q: Any) -> tuple[Any, Any, list[str]]:
    """Both tables without the rows that have missing values, and remarks on how many these are.

    Raises `InputError` where no row is left, and names the command that takes missing values as values.
    """
    import narwhals as nw

    kept, notes = [], []
    for frame, side in ((p, "P"), (q, "Q")):
        table = nw.from_native(frame, eager_only=True)
        # A NaN of polars is a number to narwhals; to a reader of tables it is missing as well.
        none = np.zeros(len(table), bool)
        for name in table.columns:
            none |= column_and_missing(name, table[name].to_native(), name)[1]
        if none.all():
            raise InputError(
                f"{side}: every row has a missing value; choose --columns, or use kullback drift, which compares them"
            )
        if none.any():
            notes.append(
                f"{none.sum():,} rows of {side} with missing values are left out (kullback drift compares them too)"
            )
        kept.append(table.filter((~none).tolist()).to_native())
    return kept[0], kept[1], notes


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
