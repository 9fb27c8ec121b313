"""`drift`: two tables compared, column by column and jointly, with exact tests and divergences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from kullback.arguments import flag, inside, whole
from kullback.drifting.features import column_blocks, joint_blocks
from kullback.drifting.measures import distances, divergences, joint_divergences
from kullback.drifting.pairs import MISSING, Pair, matched_pairs
from kullback.drifting.permutation import Tested, group_sums, grouped, permutation_tests
from kullback.drifting.profile import profile
from kullback.drifting.progress import Progress, progress
from kullback.drifting.relations import Relation, changed_relations
from kullback.drifting.report import ColumnDrift, Compared, DriftReport, JointDrift, Side
from kullback.drifting.series import Period, chart, periods_of
from kullback.drifting.streams import Stream
from kullback.drifting.tables import named_columns
from kullback.drifting.words import in_words
from kullback.errors import InputError
from kullback.rule import Request

PERMUTATIONS = 999
MOST_PERMUTATIONS = 99_999
TESTS_A_THOUSAND = 5  # so that one column of many that moves has an adjusted p-value of 0.005 or less
MOST_COLUMNS_RELATED = 32


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
                        columns, or `Samples`
    columns       the names of those to compare; None for all that both tables have
    measured      columns of numbers compared by distances; labels: without order; counts: whole numbers whose
                  frequencies are compared; ignore: left out. What is not named is decided by the values
    by, every     a column of the current table whose periods are compared one by one with the reference: times by
                  "hour", "day", "week", "month", "quarter" or "year", numbers by a width, anything else by its value
    permutations  of each test; None for 999, and for more of those columns where p would else not be small enough to
                  stay below 0.01 when adjusted for the number of columns
    rows          of each table, drawn at random, from which KL is estimated, which takes the most time; None for all.
                  Tests, distances and shares are always of all rows
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
    said = {"counts": counts, "measured": measured, "labels": labels, "ignore": ignore}
    reference, current, periods = _without_periods(reference, current, by, every)
    if by is not None:
        columns, said["ignore"] = _without_name(columns, by), _without_name(ignore, by)
    pairs, notes = matched_pairs(reference, current, said, columns)
    few, sampled = _sampled(pairs, most, request)
    with progress(len(pairs) + 3, flag("quiet", quiet)) as show:
        tested, joint_test = column_and_joint_tests(pairs, request, first, permutations is None, show)
        adjusted = [float(p) for p in false_discovery_control([each.p_value for each in tested])]
        found = []
        for pair, part, test, p in zip(pairs, few, tested, adjusted, strict=True):
            show(pair.name)
            found.append(_column(pair, part, test, p, level, request))
        show("all together")
        joint = _joint(few, found, joint_test, request)
        relations = _relations(pairs, found, joint, level, request, first)
        show("periods")
        series = () if periods is None else chart(pairs, periods[0], periods[1], request)
    return DriftReport(
        reference=Side("reference", len(pairs[0].p)),
        current=Side("current", len(pairs[0].q)),
        columns=tuple(sorted(found, key=lambda each: _rank(each, level))),
        joint=joint,
        notes=(
            *notes,
            *sampled,
            *_readings(pairs),
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


def column_and_joint_tests(
    pairs: Sequence[Pair], request: Request, first: int, more: bool, show: Progress
) -> tuple[list[Tested], Tested]:
    """The tests of the columns, and the joint one, which share their permutations."""
    show("permutations")
    rng = request.host_rng(Stream.FEATURES)
    groups = grouped(len(pairs[0].p), len(pairs[0].q), request.host_rng(Stream.FEATURES, 1))
    sums = [group_sums(column_blocks(pair, rng), groups) for pair in pairs]
    most = first
    if more:
        most = min(MOST_PERMUTATIONS, (first + 1) * -(-len(pairs) // TESTS_A_THOUSAND) - 1)
    joint = [group_sums(joint_blocks(pairs, rng), groups)] if len(pairs) > 1 else []
    budget = [most] * len(pairs) + [first] * len(joint)
    tested = permutation_tests(sums + joint, groups, request.host_rng(Stream.PERMUTATIONS), first, budget)
    return tested[: len(pairs)], tested[-1]


def _sampled(pairs: Sequence[Pair], most: int | None, request: Request) -> tuple[tuple[Pair, ...], list[str]]:
    """The pairs with at most so many random rows of each side, the same in all columns, and a remark on it."""
    rng, chosen = request.host_rng(Stream.ROWS), []
    for size in (len(pairs[0].p), len(pairs[0].q)):
        kept = np.ones(size, bool)
        if most is not None and size > most:
            kept[rng.permutation(size)[most:]] = False
        chosen.append(kept)
    if all(kept.all() for kept in chosen):
        return tuple(pairs), []
    p, q = (int(kept.sum()) for kept in chosen)
    few = tuple(replace(pair, p=pair.p.take(chosen[0]), q=pair.q.take(chosen[1])) for pair in pairs)
    return few, [f"KL is estimated from {p:,} and {q:,} random rows (rows=); everything else is of all rows"]


def _column(pair: Pair, few: Pair, test: Tested, adjusted: float, level: float, request: Request) -> ColumnDrift:
    kl, reverse = divergences(few, request)
    shares = profile(pair)
    return ColumnDrift(
        name=pair.name,
        read_as=pair.read_as,
        p_value=test.p_value,
        adjusted_p=adjusted,
        kl=kl,
        reverse_kl=reverse,
        distances=distances(pair),
        missing=(float((pair.p.state == MISSING).mean()), float((pair.q.state == MISSING).mean())),
        profile=shares,
        words=in_words(pair, shares) if adjusted <= level else "",
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
