"""Conditions under which a comparison fails, such as "kl>0.1" or "age.p<0.01"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from kullback.errors import InputError

if TYPE_CHECKING:
    from kullback.drifting.report import ColumnDrift, DriftReport

OF_COLUMNS: dict[str, Callable[[ColumnDrift], float | None]] = {
    "kl": lambda column: column.kl.value,
    "reverse_kl": lambda column: column.reverse_kl.value,
    "js": lambda column: column.distances.jensen_shannon,
    "psi": lambda column: column.distances.psi,
    "wasserstein": lambda column: column.distances.wasserstein,
    "p": lambda column: column.adjusted_p,
    "raw_p": lambda column: column.p_value,
    "missing": lambda column: abs(column.missing[1] - column.missing[0]),
    "unseen": lambda column: None if column.profile.new is None else column.profile.new.share,
}
OF_ALL: dict[str, Callable[[DriftReport], float]] = {
    "joint_kl": lambda report: report.joint.kl.value,
    "joint_reverse_kl": lambda report: report.joint.reverse_kl.value,
    "joint_p": lambda report: report.joint.p_value,
    "alarms": lambda report: float(sum(period.alarm for period in report.series)),
}
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*(?:(?P<column>.+)\.)?(?P<measure>\w+)\s*(?P<sign>[<>]=?)\s*(?P<number>[^<>=\s]+)\s*")


def parsed(condition: object) -> tuple[str | None, str, str, float]:
    """The column that is named, the measure, the sign and the number. Raises `InputError` where there are none."""
    found = _CONDITION.fullmatch(condition) if isinstance(condition, str) else None
    if found is None:
        raise InputError(
            f'conditions: {condition!r:.60} cannot be read; write a measure, a sign and a number, such as "kl>0.1"'
        )
    column, measure, sign, number = (found[name] for name in ("column", "measure", "sign", "number"))
    if measure not in OF_COLUMNS and (measure not in OF_ALL or column is not None):
        raise InputError(
            f"conditions: {condition!r:.60} names no measure; those of columns are {', '.join(OF_COLUMNS)}, and those "
            f"of all together are {', '.join(OF_ALL)}"
        )
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if math.isnan(limit):
        raise InputError(f"conditions: {number!r:.60} in {condition!r:.60} is not a number")
    return column, measure, sign, limit


def broken(report: DriftReport, condition: str) -> str:
    """The condition with the columns and values for which it holds; empty where it holds for none."""
    column, measure, sign, limit = parsed(condition)
    if measure in OF_ALL:
        value = OF_ALL[measure](report)
        return f"{condition}: {_shown(value)}" if _COMPARE[sign](value, limit) else ""
    columns = report.columns if column is None else (report[column],)
    found = [(each.name, OF_COLUMNS[measure](each)) for each in columns]
    holds = [f"{name} {_shown(value)}" for name, value in found if value is not None and _COMPARE[sign](value, limit)]
    return f"{condition}: {', '.join(holds)}" if holds else ""


def _shown(value: float) -> str:
    return f"{value:.4g}"
