"""Remarks on many estimates, each said once: those that differ in their figures alone share one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<![\w'.])\d[\d,]*(?:\.\d+)?%?(?![\w'])")


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
