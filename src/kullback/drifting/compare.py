"""`drift`: two tables compared, column by column and jointly, with exact tests and divergences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from kullback.arguments import flag, inside, whole
from kullback.drifting.counted import counted_test
from kullback.drifting.features import Stream, column_blocks, joint_blocks
from kullback.drifting.lazy import Large, counted_pairs, large_tables
from kullback.drifting.measures import block_lengths, distances, divergences, joint_divergences
from kullback.drifting.pairs import MISSING, Pair, Part, matched_pairs, names_of, on_infinities
from kullback.drifting.permutation import Tested, group_sums, grouped, permutation_tests
from kullback.drifting.profile import profile
from kullback.drifting.records import ColumnDrift, Compared, JointDrift, PValues, Side
from kullback.drifting.relations import Relation, changed_relations
from kullback.drifting.report import DriftReport
from kullback.drifting.series import Period, chart, periods_of
from kullback.drifting.tables import named_columns
from kullback.drifting.words import in_words
from kullback.errors import InputError
from kullback.known import Samples
from kullback.rule import Request

Progress = Callable[[str], None]
PERMUTATIONS = 999
MOST_PERMUTATIONS = 99_999
TESTS_A_THOUSAND = 5  # so that one column of many that moves has an adjusted p-value of 0.005 or less
MOST_COLUMNS_RELATED = 32
# The fields that are of a sample of the rows: with more rows than `rows`, and in tables larger than memory.
OF_FEW = ("kl", "reverse_kl")
OF_JOINT = ("p_value", *OF_FEW)
OF_COLUMN = ("p_value", "adjusted_p", *OF_FEW, "distances", "missing", "profile", "words")


def drift(
    reference: Any,
    current: Any,
    *,
    columns: Sequence[str] | None = None,
    measured: Any = None,
    labels: Any = None,
    counts: Any = None,
    ignore: Any = None,
    by: str | None = None,
    every: Any = None,
    permutations: int | None = None,
    rows: int | None = 10_000,
    level: float = 0.05,
    seed: Any = 0,
    quiet: bool = False,
) -> DriftReport:
    """Compare two tables: what moved, by how much and where, and whether chance alone would show as much.

    For each column and for all together: an exact p-value, KL(P‖Q) and KL(Q‖P) with what they are worth, P the
    reference and Q the current table; for each column also Jensen–Shannon, PSI and Wasserstein. Missing values and
    infinities are values of their own. Columns are matched by name.

    reference, current  data frames of any library that narwhals reads, arrays [n] or [n, d], mappings from names to
                        columns, or `Samples`. A lazy frame of more than 100,000 rows (polars, DuckDB, Dask, Spark)
                        stays in its engine, which counts all rows for the columns; a random sample of them comes back
                        for KL and for all together, and `of_sample` names what is of the sample
    columns       the names of those to compare; None for all that both tables have
    measured      columns of numbers compared by distances; labels: without order; counts: whole numbers whose
                  frequencies are compared; ignore: left out. What is not named is decided by the values
    by, every     a column of the current table whose periods are compared one by one with the reference: times by
                  "hour", "day", "week", "month", "quarter" or "year", numbers by a width, anything else by its value
    permutations  of each test; None for 999, and for more of those columns where p would else not be small enough to
                  stay below 0.01 when adjusted for the number of columns
    rows          of each table, drawn at random, from which KL is estimated, which takes the most time; None for all.
                  Tests, distances and shares of tables in memory are always of all rows
    level         of the adjusted p-values at which a column is said to have moved
    seed          an integer or a JAX key, for permutations and standard errors
    quiet         whether no progress is shown on a terminal

    Returns a `DriftReport`. Raises `InputError` for tables without rows or without a common column, for names that are
    not there, and for weighted samples.

    Source: Phipson and Smyth (2010) for the test; Benjamini and Hochberg (1995), JRSS B 57(1), for columns.
    """
    request = Request(seed=seed)
    level = inside("level", level, 0.05)
    first = PERMUTATIONS if permutations is None else whole("permutations", permutations, 1, 10_000_000)
    most = None if rows is None else whole("rows", rows)
    stated = {"counts": counts, "measured": measured, "labels": labels, "ignore": ignore}
    read = None if columns is None else [*names_of(columns), *([] if by is None else [str(by)])]
    stated_blocks = tuple(x.block if isinstance(x, Samples) else None for x in (reference, current))
    large = large_tables(reference, current, read, request.host_rng(Stream.ENGINE).integers(2**31 - 1, size=2))
    if large is not None:
        reference, current = (side.sample for side in large)
    reference, current, periods = _without_periods(reference, current, by, every)
    if by is not None:
        columns, stated["ignore"] = _without_name(columns, by), _without_name(ignore, by)
    pairs, notes = matched_pairs(reference, current, stated, columns)
    few = _sampled(pairs, most, request)
    counted, uncounted = _of_all(pairs, large, request)
    for pair, of_all in zip(pairs, counted, strict=True):
        if of_all is not None and (said := on_infinities(pair.name, pair.p, pair.q)):
            now = on_infinities(pair.name, of_all.p, of_all.q)
            notes = tuple(note.replace(said, now) for note in notes)
    with progress(len(pairs) + 3, flag("quiet", quiet)) as show:
        tested, joint_test = column_and_joint_tests(pairs, request, first, permutations is None, show, counted)
        adjusted = [float(p) for p in false_discovery_control([each.p_value for each in tested])]
        found = []
        for pair, part, whole_pair, test, p in zip(pairs, few, counted, tested, adjusted, strict=True):
            show(pair.name)
            of_sample = () if few is pairs else OF_FEW
            if large is not None and whole_pair is None:
                of_sample = OF_COLUMN
            found.append(_column(whole_pair or pair, part, test, p, level, request, of_sample))
        show("all together")
        joint = _joint(few, found, joint_test, request)
        joint = replace(joint, of_sample=_of_sample(pairs, few, found, large))
        relations = _relations(pairs, found, joint, level, request, first)
        show("periods")
        series = () if periods is None else chart(pairs, periods[0], periods[1], request)
    return DriftReport(
        reference=_side("reference", pairs[0].p, large, 0),
        current=_side("current", pairs[0].q, large, 1),
        columns=tuple(sorted(found, key=lambda each: _rank(each, level))),
        joint=joint,
        notes=(
            *notes,
            *_on_sample(pairs, few, large),
            *uncounted,
            *_readings(pairs),
            *_on_dependence(pairs, stated_blocks, large),
            *_on_relations(pairs, found, joint, level),
            *_on_series(series, periods),
        ),
        level=level,
        series=series,
        relations=relations,
        data=Compared(pairs, few, request, first),
    )


def _without_periods(
    reference: Any, current: Any, by: object, every: object
) -> tuple[Any, Any, tuple[list[str], np.ndarray] | None]:
    """Both tables without the column of periods, and the names of the periods with each current row's."""
    if by is None:
        if every is not None:
            raise InputError("every: it says how long periods are; name their column with by=")
        return reference, current, None
    ps, qs = named_columns(reference, "reference"), named_columns(current, "current")
    if str(by) not in qs:
        raise InputError(f"by: the current table has no column {by!r:.60}; it has {', '.join(qs)}")
    periods = periods_of(qs.pop(str(by)), every, f"column {by!r:.60}")
    ps.pop(str(by), None)
    for argument, left in (("reference", ps), ("current", qs)):
        if not left:
            raise InputError(f"by: no column is left to compare in {argument}")
    return ps, qs, periods


def _without_name(names: Any, by: object) -> Any:
    """Names of columns without that of the periods, which is not compared anyway; None where no other is named."""
    if isinstance(names, str):
        return None if names == str(by) else names
    if not isinstance(names, list | tuple) or str(by) not in map(str, names):
        return names
    return [name for name in names if str(name) != str(by)] or None


def _of_all(
    pairs: Sequence[Pair], large: tuple[Large, Large] | None, request: Request
) -> tuple[list[Pair | None], list[str]]:
    """The counts of all rows of each column of large tables, None for what is in memory, and remarks."""
    if large is None:
        return [None] * len(pairs), []
    return counted_pairs(pairs, large, request.host_rng(Stream.ENGINE, 1))


def _side(name: str, part: Part, large: tuple[Large, Large] | None, at: int) -> Side:
    if large is None:
        return Side(name, len(part))
    return Side(name, large[at].rows, large[at].sampled if large[at].sampled < large[at].rows else None)


def _of_sample(
    pairs: Sequence[Pair], few: Sequence[Pair], found: Sequence[ColumnDrift], large: tuple[Large, Large] | None
) -> tuple[str, ...]:
    """The fields of all columns together that are of sampled rows."""
    if len(pairs) == 1:
        return tuple(name for name in found[0].of_sample if name in OF_JOINT)
    return OF_JOINT if large is not None else () if few is pairs else OF_FEW


def _on_sample(pairs: Sequence[Pair], few: Sequence[Pair], large: tuple[Large, Large] | None) -> list[str]:
    """Which numbers are of sampled rows, where some are."""
    said = []
    if few is not pairs:
        said.append(f"KL is estimated from {len(few[0].p):,} and {len(few[0].q):,} random rows (rows=)")
    if large is not None:
        p, q = (side.sampled for side in large)
        what = "KL, all together" if few is pairs else "all together"
        said.append(f"{what}, relations, periods and log ratios are of {p:,} and {q:,} random rows")
    if not said:
        return []
    return [f"{'; '.join(said)}; everything else is of all rows"]


def column_and_joint_tests(
    pairs: Sequence[Pair],
    request: Request,
    first: int,
    more: bool,
    show: Progress,
    counted: Sequence[Pair | None] | None = None,
) -> tuple[list[Tested], Tested]:
    """The tests of the columns, and the joint one, which share their permutations; of counts, each has its own."""
    show("permutations")
    rng = request.host_rng(Stream.FEATURES)
    groups = grouped(len(pairs[0].p), len(pairs[0].q), request.host_rng(Stream.FEATURES, 1))
    counted = [None] * len(pairs) if counted is None else counted
    held = [pair for pair, of_all in zip(pairs, counted, strict=True) if of_all is None]
    sums = [group_sums(column_blocks(pair, rng), groups) for pair in held]
    most = first
    if more:
        most = min(MOST_PERMUTATIONS, (first + 1) * -(-len(pairs) // TESTS_A_THOUSAND) - 1)
    joint = [group_sums(joint_blocks(pairs, rng), groups)] if len(pairs) > 1 else []
    budget = [most] * len(held) + [first] * len(joint)
    found = permutation_tests(sums + joint, groups, request.host_rng(Stream.PERMUTATIONS), first, budget)
    of_held, of_counts = iter(found), request.host_rng(Stream.PERMUTATIONS, 1)
    tested = [next(of_held) if of_all is None else counted_test(of_all, of_counts, first, most) for of_all in counted]
    return tested, next(of_held) if joint else tested[-1]


def _sampled(pairs: Sequence[Pair], most: int | None, request: Request) -> tuple[Pair, ...]:
    """The pairs with at most so many random rows of each side, the same in all columns."""
    rng, chosen = request.host_rng(Stream.ROWS), []
    for size in (len(pairs[0].p), len(pairs[0].q)):
        kept = np.ones(size, bool)
        if most is not None and size > most:
            kept[rng.permutation(size)[most:]] = False
        chosen.append(kept)
    if all(kept.all() for kept in chosen):
        return tuple(pairs)
    return tuple(replace(pair, p=pair.p.take(chosen[0]), q=pair.q.take(chosen[1])) for pair in pairs)


def _column(
    pair: Pair, few: Pair, test: Tested, adjusted: float, level: float, request: Request, of_sample: tuple[str, ...]
) -> ColumnDrift:
    kl, reverse = divergences(few, request)
    shares = profile(pair)
    return ColumnDrift(
        name=pair.name,
        read_as=pair.read_as,
        p=PValues(test.p_value, adjusted),
        kl=kl,
        reverse_kl=reverse,
        distances=distances(pair),
        missing=(pair.p.share(MISSING), pair.q.share(MISSING)),
        profile=shares,
        words=in_words(pair, shares) if adjusted <= level else "",
        of_sample=of_sample,
    )


def _joint(pairs: Sequence[Pair], found: Sequence[ColumnDrift], test: Tested, request: Request) -> JointDrift:
    if len(pairs) == 1:
        return JointDrift(test.p_value, found[0].kl, found[0].reverse_kl)
    return JointDrift(test.p_value, *joint_divergences(pairs, request, [(each.kl, each.reverse_kl) for each in found]))


def _rank(column: ColumnDrift, level: float) -> tuple[bool, float, float]:
    """Columns that moved first, by their divergence, then the others by their p-value."""
    moved = column.adjusted_p <= level
    return not moved, 0.0 if moved else column.p_value, -column.kl.value


def _relations(
    pairs: Sequence[Pair],
    found: Sequence[ColumnDrift],
    joint: JointDrift,
    level: float,
    request: Request,
    permutations: int,
) -> tuple[Relation, ...]:
    """The relations that changed, where the whole moved and no column alone did."""
    if joint.p_value > level or len(pairs) > MOST_COLUMNS_RELATED or any(each.adjusted_p <= level for each in found):
        return ()
    return tuple(each for each in changed_relations(pairs, request, permutations) if each.adjusted_p <= level)


def _on_dependence(pairs: Sequence[Pair], stated: Sequence[int | None], large: tuple[Large, Large] | None) -> list[str]:
    """That p-values are too small where rows depend on earlier ones; a sample of an engine has lost its order."""
    if large is not None:
        return []
    lengths = [found if own is None else own for own, found in zip(stated, block_lengths(pairs), strict=True)]
    names = ("the reference", "the current table")
    said = [f"{name} (blocks of {length:,})" for name, length in zip(names, lengths, strict=True) if length > 1]
    if not said:
        return []
    return [
        f"the rows of {' and of '.join(said)} depend on those before them: p-values and control limits, which are "
        f"exact for independent rows, are too small; pass one row in {max(lengths):,}, or shuffle the rows "
        "where their order means nothing"
    ]


def _on_relations(
    pairs: Sequence[Pair], found: Sequence[ColumnDrift], joint: JointDrift, level: float
) -> tuple[str, ...]:
    alone = joint.p_value <= level and all(each.adjusted_p > level for each in found)
    if not alone or len(pairs) <= MOST_COLUMNS_RELATED:
        return ()
    return ("all together moved and no column alone; report.changed_relations() tests each pair of columns",)


def _readings(pairs: Sequence[Pair]) -> list[str]:
    """How columns were read, where there is a choice: each way once, with the names of the columns."""
    remarks: dict[str, list[str]] = {}
    for pair in pairs:
        remarks.setdefault(pair.remark, []).append(repr(pair.name))
    said = [f"{_some(names)}: {remark}" for remark, names in remarks.items() if remark]
    kinds: dict[str, list[str]] = {}
    for pair in pairs:
        kinds.setdefault(pair.read_as, []).append(pair.name)
    read = "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds.items())
    return [f"read as {read}", *said]


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _on_series(series: Sequence[Period], periods: tuple[list[str], np.ndarray] | None) -> list[str]:
    if periods is None:
        return []
    without = int((periods[1] < 0).sum())
    said = [f"in no period: {without:,} rows of the current table, which have none"] if without else []
    if not series:
        return said
    return [
        *said,
        "control limits: the 99.73% quantile of each period's statistic under permutations of its rows and the "
        f"reference's; without change each of the {len(series):,} periods alarms with a probability of at most 0.0027",
    ]


@contextmanager
def progress(total: int, quiet: bool) -> Iterator[Progress]:
    """A function that says which step begins, of `total` steps: a bar on stderr of a terminal, nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=-1)
        yield lambda name: bar.update(task, advance=1, description=f"{name:.40}")
