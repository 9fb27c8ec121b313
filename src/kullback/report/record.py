"""What a section of the report is: the code, the plans, the pictures and the numbers behind one claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from kullback.errors import InputError
from kullback.report.style import alone
from kullback.runtime.files import write_atomically


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, whose colours are the page's variables, with a text for those who cannot see it.

    A notebook shows it, and `save` writes it, with colours of its own.
    """

    svg: str
    alt: str
    caption: str = ""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture to an SVG file, whole or not at all.

        Raises `FileError` for a path that cannot be written, and `InputError` for one that does not end in .svg.
        """
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise InputError(f"path: {target} does not end in .svg, which is what a picture is written as")
        write_atomically(target, self._repr_svg_().encode())

    def _repr_svg_(self) -> str:
        return alone(self.svg, self.alt)


@dataclass(frozen=True)
class Table:
    """A small table of text.

    `ours` are the rows that are this library's, set apart from its peers'; `pictured` says that a picture shows the
    same numbers, so that the page folds the table.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    ours: frozenset[int] = frozenset()
    pictured: bool = False

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} | {len(self.columns)}
        assert len(widths) == 1, f"a table of {len(self.columns)} columns has rows of {sorted(widths)} cells"

    def numeric(self, column: int) -> bool:
        """Whether the column holds numbers, which are set to the right."""
        return all(_is_number(row[column]) for row in self.rows)


@dataclass(frozen=True)
class Section:
    """One claim, run.

    key       names the section in the page and on the command line
    title     the claim in a few words; `lead` says it in a sentence or two
    code      what a user writes for it
    plans     (what for, the text of `print(kl.KL(...))`) each
    numbers   what was measured, by name, for tests
    note      how to read the numbers
    """

    key: str
    title: str
    lead: str
    code: str
    plans: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    note: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


def _is_number(cell: str) -> bool:
    return cell.strip() in {"", "–", "∞"} or cell.strip().lstrip("−-+~±").replace(",", "")[:1].isdigit()
