"""Two tables as pairs of columns: matched by name, each with its missing and infinite values told apart.

A missing value is a value of its own, and so is an infinity: a column is then the state of a row (finite, missing, +∞,
−∞) and, where that is finite, a number or a label. Nothing is refused for having them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from kullback.drifting.tables import named_columns
from kullback.errors import InputError
from kullback.estimate.columns import informative
from kullback.known.columns import is_table, remark_on, stated_columns
from kullback.known.record import Column
from kullback.known.values import column_and_missing

FINITE, MISSING, ABOVE, BELOW = range(4)
STATES = ("finite", "missing", "+∞", "−∞")

WRITTEN_BY_PANDAS = ("Unnamed: 0", "__index_level_0__", "")


@dataclass(frozen=True)
class Part:
    """One side of a column: its finite values in the order of their rows, and the state of every row.

    count   how many rows of the table an entry stands for, where these are counts of a larger table; None for one
    within  mean, least and largest of this side's rows at each finite entry, where they differ: such an entry is a bin,
            and its value the mean of both sides; None where all rows of an entry are equal
    """

    column: Column
    state: Int[np.ndarray, " n"]
    count: Int[np.ndarray, " n"] | None = None
    within: Float[np.ndarray, "finite 3"] | None = None

    @property
    def finite(self) -> np.ndarray:
        return self.column.values

    def __len__(self) -> int:
        return len(self.state)

    @property
    def rows(self) -> int:
        return len(self.state) if self.count is None else int(self.count.sum())

    @property
    def finite_count(self) -> Int[np.ndarray, " finite"] | None:
        return None if self.count is None else self.count[self.state == FINITE]

    def rows_in(self, state: int) -> int:
        """The rows in that state."""
        inside = self.state == state
        return int(inside.sum()) if self.count is None else int(self.count[inside].sum())

    def share(self, state: int) -> float:
        return self.rows_in(state) / self.rows

    def take(self, rows: Bool[np.ndarray, " n"]) -> Part:
        """The part of those rows that are True."""
        return Part(replace(self.column, values=self.finite[rows[self.state == FINITE]]), self.state[rows])


@dataclass(frozen=True)
class Pair:
    """A column in both tables: `p` in the reference and `q` in the current one.

    table   whether its values are compared by frequencies
    remark  what was decided on how it is read, where that may surprise
    """

    name: str
    p: Part
    q: Part
    table: bool
    remark: str = ""

    @property
    def unit(self) -> str:
        return self.p.column.unit or self.q.column.unit

    @property
    def numeric(self) -> bool:
        """Whether its finite values are numbers, so that they have an order."""
        return all(len(part.finite) == 0 or part.finite.dtype.kind in "iuf" for part in (self.p, self.q))

    @property
    def read_as(self) -> str:
        """How its values are compared: as "measured", "times" or "durations" by distances; as "labels", or numbers by
        "frequencies"; and "missing" where no value is finite.
        """
        if not len(self.pooled):
            return "missing"
        if not self.table:
            return f"{self.unit}s" if self.unit else "measured"
        labels = "labels" in (self.p.column.stated, self.q.column.stated)
        return "frequencies" if self.numeric and not labels else "labels"

    @cached_property
    def states(self) -> Int[np.ndarray, " rows"]:
        """The state of every row, those of the reference first."""
        return np.concatenate([self.p.state, self.q.state])

    @cached_property
    def pooled(self) -> np.ndarray:
        """The finite values of both sides."""
        parts = [part.finite for part in (self.p, self.q) if len(part.finite)]
        return np.concatenate(parts) if parts else np.zeros(0)

    @cached_property
    def pooled_count(self) -> Int[np.ndarray, " finite"] | None:
        """How many rows each of the pooled values stands for; None for one."""
        of_p, of_q = self.p.finite_count, self.q.finite_count
        return None if of_p is None or of_q is None else np.concatenate([of_p, of_q])

    @cached_property
    def levels(self) -> tuple[np.ndarray, Int[np.ndarray, " finite"]]:
        """The distinct finite values of both sides, and the number of each row's among them."""
        levels, codes = np.unique(self.pooled, return_inverse=True)
        return levels, codes


def quantiles(
    values: np.ndarray, count: Int[np.ndarray, " n"] | None, at: Float[np.ndarray, " k"] | list[float]
) -> Float[np.ndarray, " k"]:
    """Quantiles of values that stand for `count` rows each; between values linear where each is one row."""
    values = values.astype(np.float64)
    if count is None:
        return np.quantile(values, at)
    return np.quantile(values, at, weights=count, method="inverted_cdf")


def matched_pairs(
    reference: Any, current: Any, said: Mapping[str, Any], columns: Sequence[str] | None = None
) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The columns that both tables have, in the reference's order, and remarks on how they were read.

    said     names of columns by how they are read: measured, counts, labels, ignore
    columns  the names of those to compare; None for all

    Raises `InputError` for tables without rows or without a column in common, and for names that are not there.
    """
    ps, qs = named_columns(reference, "reference"), named_columns(current, "current")
    notes: list[str] = []
    if len(ps) == len(qs) == 1 and list(ps) != list(qs):  # two single columns correspond, as two samples do
        notes = [f"{next(iter(ps))!r} is compared with the only column of the current table, {next(iter(qs))!r}"]
        qs = dict(zip(ps, qs.values(), strict=True))
    names, left_out = _shared(list(ps), list(qs), columns, said)
    notes += left_out
    read = {
        argument: [read_part(name, side[name], f"{argument}[{name!r}]") for name in names]
        for argument, side in (("reference", ps), ("current", qs))
    }
    stated = [stated_columns([part.column for part in parts], said) for parts in read.values()]
    pairs = []
    for p, q in zip(*stated, strict=True):
        at = names.index(p.name)
        pair, note = paired(replace(read["reference"][at], column=p), replace(read["current"][at], column=q))
        pairs.append(pair)
        notes += [note] if note else []
    pairs, identifiers = _without_identifiers(pairs)
    return tuple(pairs), tuple(notes + identifiers)


def _shared(
    ps: list[str], qs: list[str], columns: Sequence[str] | None, said: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """The names to compare, and a remark on those that are left out."""
    if columns is not None:
        asked = names_of(columns)
        for argument, names in (("reference", ps), ("current", qs)):
            for name in asked:
                if name not in names:
                    raise InputError(f"columns: {argument} has no column {name!r}; it has {', '.join(names)}")
        if not asked:
            raise InputError("columns: the list is empty; name at least one column, or pass None for all")
        return list(dict.fromkeys(asked)), []
    spoken = {str(name) for value in said.values() if isinstance(value, list | tuple | set) for name in value}
    spoken |= {value for value in said.values() if isinstance(value, str)}
    index = [name for name in WRITTEN_BY_PANDAS if name in ps + qs and name not in spoken]
    shared = [name for name in ps if name in qs and name not in index]
    notes = [f"left out: column {name!r}, an index that pandas wrote (columns= compares it)" for name in index]
    for argument, own, other in (("the reference", ps, qs), ("the current table", qs, ps)):
        if only := [repr(name) for name in own if name not in other and name not in index]:
            notes.append(f"only in {argument}, and not compared: {', '.join(only)}")
    if not shared:
        raise InputError(
            f"reference and current: they have no column in common (reference: {', '.join(ps)}; current: "
            f"{', '.join(qs)}); rename them"
        )
    return shared, notes


def names_of(columns: object) -> list[str]:
    if isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
        return [str(columns)]
    if isinstance(columns, list | tuple | np.ndarray):
        return [str(name) for name in columns]
    raise InputError(f"columns: {columns!r:.60} is no list of names; pass one, or None for all columns")


def read_part(name: str, series: Any, argument: str) -> Part:
    if isinstance(series, Column):
        column, missing = series, np.zeros(len(series.values), bool)
    else:
        column, missing = column_and_missing(name, series, argument)
    state = np.where(missing, MISSING, FINITE)
    if column.values.dtype.kind == "f":
        beyond = np.isinf(column.values)
        state[~missing] = np.where(beyond, np.where(column.values > 0, ABOVE, BELOW), FINITE)
        column = replace(column, values=column.values[~beyond])
    return Part(column, state)


def paired(p: Part, q: Part) -> tuple[Pair, str]:
    """Both sides of a column, of one type; where they are of two, both are labels, which is said."""
    name, note = p.column.name, ""
    kinds = [_kind(part) for part in (p, q)]
    if "" not in kinds and kinds[0] != kinds[1]:
        note = f"{name!r} is {kinds[0]} in the reference and {kinds[1]} in the current table: both are read as labels"
        p, q = (_as_labels(part) for part in (p, q))
    elif p.column.zoned != q.column.zoned and "" not in kinds:
        zoned = "reference" if p.column.zoned else "current table"
        note = f"the times of {name!r} have a time zone in the {zoned} alone: the others are read as UTC"
        p, q = (replace(part, column=replace(part.column, zoned=True)) for part in (p, q))
    elif "" in kinds:  # a side without values is of the other's type
        p, q = (_like(part, other) if not len(part.finite) else part for part, other in ((p, q), (q, p)))
    note = "; ".join(filter(None, (note, on_infinities(name, p, q))))
    filled = [part.column for part in (p, q) if len(part.finite)]
    table = is_table(*filled) if filled else True
    return Pair(name, p, q, table, remark_on(*filled) if filled else ""), note


def on_infinities(name: str, p: Part, q: Part) -> str:
    """The remark on infinities, with their number; empty where there are none."""
    infinite = sum(part.rows_in(ABOVE) + part.rows_in(BELOW) for part in (p, q))
    return f"infinities are a value of their own ({name!r}: {infinite:,})" if infinite else ""


def _kind(part: Part) -> str:
    if not len(part.finite):
        return ""
    words = {"time": "times", "duration": "durations"}
    return words.get(part.column.unit, "text" if part.finite.dtype.kind == "U" else "numbers")


def _like(part: Part, other: Part) -> Part:
    return replace(part, column=replace(other.column, values=other.finite[:0]))


def _as_labels(part: Part) -> Part:
    """Values as text: whole numbers without a decimal point, times in ISO 8601."""
    values = part.finite
    if part.column.unit == "time":
        text = np.datetime_as_string((values * 1e6).astype("datetime64[us]"), unit="s")
    elif values.dtype.kind == "f":
        text = np.array([f"{value:.15g}" for value in values], str)
    else:
        text = values.astype(str)
    return replace(part, column=Column(part.column.name, text, stated="labels"))


def _without_identifiers(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """The pairs without those that tell every row from the others, which say nothing about a distribution."""
    filled = [pair for pair in pairs if len(pair.p.finite) and len(pair.q.finite)]
    if not filled:
        return pairs, []
    _, names = informative([pair.p.column for pair in filled], [pair.q.column for pair in filled])
    if len(names) == len(pairs):
        return pairs, []
    note = f"left out: {', '.join(map(repr, names))}, whose values tell every row apart (measured= compares numbers)"
    return [pair for pair in pairs if pair.name not in names], [note] if names else []
