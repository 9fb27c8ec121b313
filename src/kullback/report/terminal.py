"""Sections and tables as a terminal shows them, within 80 columns."""

from __future__ import annotations

import textwrap

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from kullback.report.page import Section, Table

WIDTH = 80


def make_console() -> Console:
    """A console of at most 80 columns: prose and tables wider than that are hard to read."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDTH)) if console.width > WIDTH else console


def wrapped(text: str) -> str:
    """Prose broken at 80 columns."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def show_section(console: Console, section: Section) -> None:
    """The plans of a section, then its tables."""
    for name, plan in section.plans:
        console.print(Text(f"\n{name}", style="bold"))
        console.print(Text(plan, style="dim"), soft_wrap=True)
    for table in section.tables:
        console.print()
        console.print(as_rich(table))
        if table.caption:
            console.print(Text(wrapped(table.caption), style="dim"), soft_wrap=True)


def as_rich(table: Table) -> RichTable:
    """The table with numbers to the right, and this library's rows in bold."""
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for i, name in enumerate(table.columns):
        made.add_column(name, justify="right" if table.numeric(i) else "left", no_wrap=i == 0)
    for i, row in enumerate(table.rows):
        made.add_row(*(Text(cell) for cell in row), style="bold" if i in table.ours else None)
    return made
