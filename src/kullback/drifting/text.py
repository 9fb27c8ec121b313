"""A report as text within 80 columns, and as an HTML fragment."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from kullback.drifting.records import ColumnDrift, Findings
from kullback.drifting.words import percent
from kullback.result import Estimate, Guarantee

WIDTH = 80
NAME = 18  # characters of a column's name in the table
MOST_PERIODS = 60
MOST_RELATIONS = 10
_NUMBER = re.compile(r"(?<![\w'.])\d[\d,]*(?:\.\d+)?%?(?![\w'])")
HEADER = ("column", "KL(P‖Q)", "± s.e.", "KL(Q‖P)", "JS", "PSI", "W₁", "p", "note")


@dataclass(frozen=True)
class Line:
    """A line of the report, and how a terminal sets it: "", "bold" or "dim"."""

    text: str
    style: str = ""


def as_text(report: Findings) -> str:
    return "\n".join(line.text for line in lines(report))


def lines(report: Findings) -> list[Line]:
    """The report line by line."""
    footnotes = Footnotes()
    made = [Line(text) for text in _wrapped(heading(report))]
    made += [Line(""), *_table(report, footnotes)]
    made += _words(report)
    made += _chart(report)
    closing = [f"{at}  {_sentence(note)}" for at, note in enumerate(footnotes.lines(), 1)]
    closing += [_sentence(note) for note in report.notes]
    closing.append(legend(report))
    made.append(Line(""))
    made += [Line(text, "dim") for note in closing for text in _wrapped(note)]
    return made


def heading(report: Findings) -> str:
    """What was compared, and the verdict, in two sentences."""
    p, q = (
        f"{side.name} ({_rows(side.rows)}{f', {side.sampled:,} sampled' if side.sampled else ''})"
        for side in (report.reference, report.current)
    )
    count, moved = len(report.columns), len(report.moved)
    columns = f"{count} column{'s' if count > 1 else ''}"
    verdict = f"{moved or 'none'} of {columns} moved" if count > 1 else ("it moved" if moved else "it did not move")
    together = f"; all together p = {p_text(report.joint.p_value)}" if count > 1 else ""
    return f"P = {p}; Q = {q}. {verdict[0].upper()}{verdict[1:]} (level {report.level:g}){together}."


def legend(report: Findings) -> str:
    """What the figures of the table are."""
    adjusted = ", adjusted by Benjamini–Hochberg" if len(report.columns) > 1 else ""
    return (
        "KL and JS in nats, never clipped to 0; ≥ marks a lower bound. p by permutation of the labels, exact for "
        f"independent rows{adjusted}. JS and PSI over values, or tenths of P; W₁ in the column's units."
    )


def _table(report: Findings, footnotes: Footnotes) -> list[Line]:
    rows, styles = [], []
    if len(report.columns) > 1:
        joint = report.joint
        marks = footnotes.marks(_both(joint.kl, joint.reverse_kl))
        cells = [*_divergences(joint.kl, joint.reverse_kl), "", "", "", p_text(joint.p_value), marks]
        rows.append(("all together", *cells))
        styles.append("bold")
    for column in report.columns:
        marks = footnotes.marks(_both(column.kl, column.reverse_kl))
        rows.append((_cut(column.name), *_cells(column), marks))
        styles.append("" if column.name in report.moved else "dim")
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    made = [Line(_row(HEADER, widths), "dim"), Line("─" * min(WIDTH, sum(widths) + 2 * (len(widths) - 1)), "dim")]
    return made + [Line(_row(row, widths), style) for row, style in zip(rows, styles, strict=True)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]).rstrip()


def _cells(column: ColumnDrift) -> list[str]:
    distances = column.distances
    moved = "–" if distances.wasserstein is None else in_units(distances.wasserstein, column.read_as)
    shown = [f"{distances.jensen_shannon:.3f}", f"{distances.psi:.3f}", moved, p_text(column.adjusted_p)]
    return [*_divergences(column.kl, column.reverse_kl), *shown]


def _divergences(kl: Estimate, reverse: Estimate) -> list[str]:
    error = f"{kl.standard_error:.3f}" if 0.0 < kl.standard_error < math.inf else "–"  # a bound has none
    return [nats(kl), error, nats(reverse)]


def nats(estimate: Estimate) -> str:
    """A value to three decimals, marked where it is a bound."""
    return f"{'≥ ' if estimate.guarantee is Guarantee.LOWER_BOUND else ''}{estimate.value:z.3f}".replace("-", "−")


def _both(kl: Estimate, reverse: Estimate) -> str:
    return "; ".join(dict.fromkeys([*kl.reason.split("; "), *reverse.reason.split("; ")]))


def p_text(p: float) -> str:
    """A p-value to three decimals, or to one digit where it is smaller."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}".replace("e-0", "e-")


def _words(report: Findings) -> list[Line]:
    said = [(column.name, column.words) for column in report.columns if column.words]
    said += [("together", f"{relation}") for relation in report.relations[:MOST_RELATIONS]]
    if (left := len(report.relations) - MOST_RELATIONS) > 0:
        said.append(("together", f"{left:,} more relations changed (report.relations has them)"))
    if not said:
        return []
    indent = min(NAME, max(len(_cut(name)) for name, _ in said)) + 2
    made = [Line(""), Line("What moved", "dim")]
    for name, words in said:
        first, *others = textwrap.wrap(words, WIDTH - indent, break_long_words=True, break_on_hyphens=False)
        made.append(Line(f"{_cut(name).ljust(indent)}{first}"))
        made += [Line(" " * indent + text) for text in others]
    return made


def _chart(report: Findings) -> list[Line]:
    """The periods as bars of the statistic in units of its limit."""
    if not report.series:
        return []
    shown = report.series[-MOST_PERIODS:]
    made = [Line(""), Line("Over time: the statistic of all columns together; │ is its control limit", "dim")]
    if len(shown) < len(report.series):
        made.append(Line(f"The last {len(shown)} of {len(report.series):,} periods.", "dim"))
    width = max(len(period.name) for period in shown)
    rows = max(len(f"{period.rows:,}") for period in shown)
    for period in shown:
        at = 12 if period.limit > 0 else 0
        length = min(24, round(at * period.statistic / period.limit)) if period.limit > 0 else 0
        bar = "".join("│" if cell == at else "━" if cell < length else " " for cell in range(25))
        said = f"alarm, most {_cut(period.column)}" if period.alarm else ""
        text = (
            f"{period.name.ljust(width)}  {period.rows:>{rows},}  {bar}  p = {p_text(period.p_value)}  {said}".rstrip()
        )
        made.append(Line(text[:WIDTH], "bold" if period.alarm else ""))
    return made


def in_units(distance: float, read_as: str) -> str:
    """A distance to three digits; of times and durations in days, hours or seconds."""
    if read_as in ("times", "durations"):
        unit, size = next(((u, s) for u, s in (("d", 86_400.0), ("h", 3_600.0)) if distance >= s), ("s", 1.0))
        return f"{distance / size:.3g} {unit}"
    return f"{distance:,.0f}" if 1000 <= distance < 1e9 else f"{distance:.3g}"


def _cut(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _sentence(note: str) -> str:
    """A remark with a capital letter, unless it begins with a name, and a full stop."""
    return f"{note[0].upper()}{note[1:]}".rstrip(".") + "."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


# Remarks on many estimates, each said once: those that differ in their figures alone share one


class Footnotes:
    """Remarks in the order in which they were first made, numbered from 1."""

    def __init__(self) -> None:
        self._notes: dict[str, list[str]] = {}

    def marks(self, reason: str) -> str:
        """The numbers of the remarks on one estimate, which its reason parts by semicolons."""
        marks = set()
        for note in filter(None, reason.split("; ")):
            kind = _NUMBER.sub("#", note)
            self._notes.setdefault(kind, []).append(note)
            marks.add(list(self._notes).index(kind) + 1)
        return " ".join(map(str, sorted(marks)))

    def lines(self) -> list[str]:
        """Each remark, with the least and the greatest of each of its figures."""
        return [merged(notes) for notes in self._notes.values()]


def merged(notes: Iterable[str]) -> str:
    """One remark for several, with the least and the greatest of each figure."""
    notes = list(notes)
    places = zip(*(_NUMBER.findall(note) for note in notes), strict=True)
    ends = [sorted(set(figures), key=lambda figure: float(figure.strip("%").replace(",", ""))) for figures in places]
    spans = iter([f"{each[0]} to {each[-1]}" if len(each) > 1 else each[0] for each in ends])
    return _NUMBER.sub(lambda _: next(spans), notes[0])


# For a notebook


def as_html(report: Findings) -> str:
    """A fragment for a notebook: the heading, the table and the remarks."""
    header = "".join(f"<th>{escape(name)}</th>" for name in (*HEADER[:-1], "missing", "what moved"))
    rows = "".join(_html_row(column, column.name in report.moved) for column in report.columns)
    notes = "".join(f"<li>{escape(_sentence(note))}</li>" for note in (*report.notes, legend(report)))
    return (
        f"<div><p>{escape(heading(report))}</p><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        f"<ul>{notes}</ul></div>"
    )


def _html_row(column: ColumnDrift, moved: bool) -> str:
    missing = " → ".join(percent(share) for share in dict.fromkeys(column.missing))
    cells = [column.name, *_cells(column), missing, column.words]
    tag = "th" if moved else "td"
    return f"<tr><{tag}>{escape(cells[0])}</{tag}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>"
