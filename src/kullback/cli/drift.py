"""`kullback drift REFERENCE CURRENT`: what moved between two tables, and whether that fails a condition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text

from kullback.cli.options import ColumnOptions, DriftOptions
from kullback.cli.tables import read_tables
from kullback.drifting import DriftReport, drift
from kullback.drifting.report import parsed
from kullback.drifting.text import lines
from kullback.report.terminal import make_console
from kullback.runtime.files import check_writable

FAILED = 3


def compare_files(reference: Path, current: Path, columns: ColumnOptions, options: DriftOptions) -> int:
    """Compare the tables of two files, print what was found, and return 3 where a condition of --fail-if holds."""
    for condition in options.fail_if:
        parsed(condition)
    if options.report is not None:
        check_writable(options.report, "report")
    others = (options.by,) if options.by else ()
    p, q, notes = read_tables(reference, current, columns.columns, others, lazy=True)
    found = drift(
        p,
        q,
        columns=columns.columns or None,
        measured=list(columns.as_measured),
        labels=list(columns.as_label),
        counts=list(columns.as_count),
        ignore=list(columns.ignore),
        by=options.by,
        every=_every(options.every),
        permutations=options.permutations,
        rows=options.rows,
        level=options.level,
        seed=options.seed,
        quiet=options.json,
    )
    found = _named(found, str(reference), str(current), tuple(notes))
    failed = found.failed(*options.fail_if)
    if options.report is not None:
        from kullback.report.drift_page import write_drift_page

        write_drift_page(options.report, found)
    _show(found, failed, options)
    return FAILED if failed else 0


def _every(text: str | None) -> Any:
    """A width where it is a number, else the name of a period."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _named(report: DriftReport, reference: str, current: str, notes: tuple[str, ...]) -> DriftReport:
    """The report with the names of the files."""
    return replace(
        report,
        reference=replace(report.reference, name=reference),
        current=replace(report.current, name=current),
        notes=(*report.notes, *notes),
    )


def _show(report: DriftReport, failed: tuple[str, ...], options: DriftOptions) -> None:
    if options.json:
        print(json.dumps({**report.to_dict(), "failed": list(failed)}, ensure_ascii=False, indent=2))
        return
    console = make_console()
    for line in lines(report):
        console.print(Text(line.text, style=line.style), soft_wrap=True)
    if options.report is not None:
        console.print(Text(f"\nThe report: {options.report}"), soft_wrap=True)
    for each in failed:
        console.print(Text(f"\nFailed: {each}.", style="bold"), soft_wrap=True)
