"""Sections, each the code, plans, pictures and numbers behind one claim, and the HTML page of them.

The page is one file, which needs no network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path

from kullback.errors import InputError
from kullback.report.style import alone
from kullback.runtime.files import check_writable, unwritable, write_atomically


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


TITLE = "A learning problem is a KL divergence with one side under your control."


@dataclass(frozen=True)
class Colophon:
    """How the page was made: versions by package, and seconds by section."""

    versions: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, float], ...]


def page(lead: str, sections: Sequence[Section], colophon: Colophon) -> str:
    """The whole page of the demonstration as text."""
    return document("kullback: the report", TITLE, lead, sections, _footer(colophon))


def document(title: str, heading: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """A page of sections as text.

    footer  an element of HTML; everything else is text
    """
    style = files("kullback.report").joinpath("page.css").read_text(encoding="utf-8")
    contents = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(_section(s) for s in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">kullback</p>
<h1>{escape(heading)}</h1>
<p>{escape(lead)}</p>
</header>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
<main>
{body}
</main>
{footer}
</body>
</html>
"""


def write_page(folder: str | os.PathLike[str], text: str) -> Path:
    """Write `index.html` into `folder`, which is made if need be; the file is always whole.

    Raises `FileError` where the folder cannot be written.
    """
    target = _index(folder)
    write_atomically(target, text.encode(), argument="out")
    return target


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise `FileError` now if `write_page` could not write into `folder` later."""
    check_writable(_index(folder), "out")


def _index(folder: str | os.PathLike[str]) -> Path:
    """The page's file in `folder`, which is made if need be."""
    target = Path(folder) / "index.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error, "out") from error
    return target


def _section(section: Section) -> str:
    parts = [f'<section id="{section.key}">', f"<h2>{escape(section.title)}</h2>", _prose(section.lead)]
    parts += [f"<pre><code>{escape(section.code)}</code></pre>"] if section.code else []
    parts += [_figure(picture) for picture in section.pictures]
    parts += [_table(table) for table in section.tables]
    if section.note:
        parts.append(_prose(section.note))
    if section.plans:
        parts.append(_plans(section.plans))
    return "\n".join([*parts, "</section>"])


def _prose(text: str) -> str:
    """Paragraphs parted by blank lines; `code` between backticks."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        pieces = escape(" ".join(paragraph.split())).split("`")
        joined = "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))
        paragraphs.append(f"<p>{joined}</p>")
    return "\n".join(paragraphs)


def _figure(picture: Picture) -> str:
    svg = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.alt, quote=True)}" ', 1)
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure>{svg}{caption}</figure>"


def _table(table: Table) -> str:
    right = [table.numeric(i) for i in range(len(table.columns))]

    def cells(tag: str, row: Sequence[str]) -> str:
        side = [' class="number"' if number else "" for number in right]
        return "".join(f"<{tag}{s}>{escape(cell)}</{tag}>" for s, cell in zip(side, row, strict=True))

    marks = [' class="ours"' if i in table.ours else "" for i in range(len(table.rows))]
    rows = "".join(f"<tr{mark}>{cells('td', row)}</tr>" for mark, row in zip(marks, table.rows, strict=True))
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = f"<thead><tr>{cells('th', table.columns)}</tr></thead>"
    made = f'<div class="scroll"><table>{caption}{head}<tbody>{rows}</tbody></table></div>'
    return f"<details><summary>The same numbers as a table</summary>{made}</details>" if table.pictured else made


def _plans(plans: Sequence[tuple[str, str]]) -> str:
    word = "The plan" if len(plans) == 1 else f"The {len(plans)} plans"
    blocks = "".join(f"<p>{escape(name)}</p><pre>{escape(plan)}</pre>" for name, plan in plans)
    return f"<details><summary>{word}, as printed before anything was computed</summary>{blocks}</details>"


def _footer(colophon: Colophon) -> str:
    versions = " · ".join(f"{escape(name)} {escape(version)}" for name, version in colophon.versions)
    times = " · ".join(f"{escape(name)} {seconds:.1f} s" for name, seconds in colophon.seconds)
    total = sum(seconds for _, seconds in colophon.seconds)
    return (
        f"<footer><p>Made by <code>kullback demo</code> in {total:.0f} s, compilation included: {times}.</p>"
        f"<p>{versions}</p><p>All logarithms are natural and all values are in nats unless said otherwise.</p></footer>"
    )
