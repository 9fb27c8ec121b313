"""The current rows by period, each against the reference: a control chart whose limits are exact.

The statistic of a period is that of the joint test between the reference and the period's rows. Its limit is the
quantile of the same statistic under permutations of the labels of these rows, so that a period like the reference
exceeds it with a probability of at most 0.0027, as three standard deviations of a normal are. Limits differ between
periods with their numbers of rows; the periods share one reference, so that their alarms are not independent.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from kullback.arguments import positive
from kullback.drifting.features import Stream, column_blocks, joint_blocks
from kullback.drifting.pairs import Pair
from kullback.drifting.permutation import control_limits, group_sums, grouped
from kullback.drifting.profile import shown_value
from kullback.errors import InputError
from kullback.known.values import column_and_missing, seconds_since_1970
from kullback.rule import Request

FALSE_ALARMS = 0.0027
PERMUTATIONS = 1999
MOST_PERIODS = 10_000
EVERY = ("hour", "day", "week", "month", "quarter", "year")


@dataclass(frozen=True)
class Period:
    """The rows of one period against the reference.

    statistic  n m/N ‖mean φ(x) − mean φ(y)‖² of all columns together; an `alarm` is where it exceeds the `limit`
    p_value    exact, of this period alone
    column     the column with the smallest p-value in this period, `column_p`
    """

    name: str
    rows: int
    statistic: float
    limit: float
    p_value: float
    alarm: bool
    column: str
    column_p: float


def periods_of(by: Any, every: object, argument: str) -> tuple[list[str], Int[np.ndarray, " n"]]:
    """The names of the periods in their order, and the number of each row's; −1 where `by` is missing or infinite.

    every  one of `EVERY` for times, a width for numbers, None for one period a value
    """
    column, missing = column_and_missing("by", by, argument)
    values, unit = column.values, column.unit
    if values.dtype.kind == "f":
        missing[~missing] = ~np.isfinite(values)
        values = values[np.isfinite(values)]
    if len(values) == 0:
        return [], np.full(len(missing), -1)
    if values.dtype.kind == "U" and every is not None and (times := _as_times(values)) is not None:
        values, unit = times, "time"
    if unit == "time":
        start, names = _of_times(values, every)
    elif every is None:
        start, names = values, [str(value) if values.dtype.kind == "U" else shown_value(value) for value in values]
    else:
        start, names = _of_numbers(values, every, argument)
    levels, first, inverse = np.unique(start, return_index=True, return_inverse=True)
    if len(levels) > MOST_PERIODS:
        raise InputError(f"every: {len(levels):,} periods are more than {MOST_PERIODS:,}; choose longer ones")
    rows = np.full(len(missing), -1)
    rows[~missing] = inverse
    return [names[at] for at in first], rows


def _as_times(values: Shaped[np.ndarray, " n"]) -> np.ndarray | None:
    """Seconds since 1970 of times in ISO 8601, those without a zone in UTC; None where some are no times."""
    try:
        return np.array([seconds_since_1970(datetime.datetime.fromisoformat(str(value))) for value in values])
    except ValueError:
        return None


def _of_times(seconds: np.ndarray, every: object) -> tuple[np.ndarray, list[str]]:
    """The start of each row's period, and its name."""
    every = "day" if every is None else every
    if every not in EVERY:
        raise InputError(f"every: {every!r:.60} is no period of time; choose {', '.join(EVERY)}")
    times = np.floor(seconds).astype("datetime64[s]")
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    start = {
        "hour": lambda: times.astype("datetime64[h]").astype("datetime64[m]"),
        "day": lambda: days,
        "week": lambda: days - (days.astype(np.int64) + 3) % 7,  # 1970-01-01 was a Thursday
        "month": lambda: months,
        "quarter": lambda: months - months.astype(np.int64) % 3,
        "year": lambda: times.astype("datetime64[Y]"),
    }[str(every)]()
    return start, [str(each).replace("T", " ") for each in start]


def _of_numbers(values: np.ndarray, every: object, argument: str) -> tuple[np.ndarray, list[str]]:
    if values.dtype.kind not in "iuf":
        raise InputError(f"every: {argument} is neither times nor numbers; leave it out for one period a value")
    width = positive("every", every)
    start = np.floor(values / width)
    return start, [f"{shown_value(s * width)} to {shown_value((s + 1) * width)}" for s in start]


def chart(
    pairs: Sequence[Pair], names: Sequence[str], period: Int[np.ndarray, " m"], request: Request
) -> tuple[Period, ...]:
    """Each period against the reference. Ranks and covariances are those of all rows, which no label enters."""
    rng, n = request.host_rng(Stream.SERIES), len(pairs[0].p)
    tests = [column_blocks(pair, rng) for pair in pairs] + [joint_blocks(pairs, rng)]
    found = []
    for number, name in enumerate(names):
        rows = np.concatenate([np.arange(n), n + np.flatnonzero(period == number)])
        groups = grouped(n, len(rows) - n, rng)
        sums = [group_sums([replace(each, stored=each.stored[rows]) for each in blocks], groups) for blocks in tests]
        tested, limits = control_limits(sums, groups, rng, PERMUTATIONS, FALSE_ALARMS)
        least = min(range(len(pairs)), key=lambda at: (tested[at].p_value, -tested[at].statistic / (limits[at] or 1.0)))
        found.append(
            Period(
                name=name,
                rows=len(rows) - n,
                statistic=tested[-1].statistic,
                limit=float(limits[-1]),
                p_value=tested[-1].p_value,
                alarm=tested[-1].p_value <= FALSE_ALARMS,
                column=pairs[least].name,
                column_p=tested[least].p_value,
            )
        )
    return tuple(found)
