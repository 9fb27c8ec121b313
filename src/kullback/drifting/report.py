"""What a comparison of two tables found, shown, decided on, and looked into: `DriftReport`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from kullback.drifting.measures import point_estimate, row_log_ratios
from kullback.drifting.pairs import Pair
from kullback.drifting.records import ColumnDrift, Compared, Findings
from kullback.drifting.relations import Relation, chain_rule, changed_relations
from kullback.drifting.text import as_html, as_text
from kullback.errors import InputError
from kullback.result import Estimate

if TYPE_CHECKING:
    import pandas as pd


class DriftReport(Findings):
    """Two tables compared, column by column and jointly.

    columns  ranked: those that moved first, by KL, then the others by their p-value
    joint    all columns together
    notes    remarks on the reading and on the estimates, each once
    level    of the adjusted p-values: at most this share of the columns that are said to have moved did not, on average
    series   the current rows by period, where `by=` was given

    `print(report)` shows it; `.table()`, `.to_dict()` and `.failed(...)` are for programs.
    """

    def failed(self, *conditions: str) -> tuple[str, ...]:
        """The conditions that hold, each with the columns and values for which it does; empty where none does.

        conditions  a measure, <, <=, > or >=, and a number: "kl>0.1", "p<0.01", "joint_p<0.01", "age.psi>=0.2"

        Measures are kl, reverse_kl, js, psi, wasserstein, p (adjusted), raw_p, missing (the change of its share) and
        unseen (the share of new values) of any column, or of one that is named before a dot, and joint_kl,
        joint_reverse_kl and joint_p of all together. Estimates are taken as they are, without their standard errors.
        Raises `InputError` for a condition that cannot be read.
        """
        return tuple(found for condition in conditions if (found := broken(self, condition)))

    def table(self) -> pd.DataFrame:
        """A data frame with a row for each column: its test, its divergences, and what moved."""
        import pandas as pd

        return pd.DataFrame([_flat(column) for column in self.columns]).set_index("column")

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts, lists and dicts, as JSON takes it; what is not finite is None."""
        return {
            "reference": asdict(self.reference),
            "current": asdict(self.current),
            "unit": "nats",
            "level": self.level,
            "joint": {
                "p_value": self.joint.p_value,
                "kl": estimate_as_dict(self.joint.kl),
                "reverse_kl": estimate_as_dict(self.joint.reverse_kl),
                "of_sample": list(self.joint.of_sample),
            },
            "moved": list(self.moved),
            "columns": [_as_dict(column) for column in self.columns],
            "relations": [asdict(relation) for relation in self.relations],
            "series": [finite(asdict(period)) for period in self.series],
            "notes": list(self.notes),
        }

    def log_ratios(self, column: str | None = None) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """log P(x)/Q(x) in nats at each row of the reference and of the current table.

        column  one column's values alone; None for all columns together

        Rows far above 0 are typical of the reference and not of the current table. They are a stack of classifiers, as
        for KL, fitted to other rows (five folds, at most 10,000 rows of each table), with the prior odds removed; 0
        with fewer than 20 rows of either table.
        """
        data = self._data()
        pairs = data.pairs if column is None else [_called(data.pairs, column)]
        return row_log_ratios(pairs, data.request)

    def changed_relations(self) -> tuple[Relation, ...]:
        """Every pair of columns, tested for a change of their relation, smallest p-value first.

        One permutation test for each pair, of the products of its features; the cost grows with the square of the
        number of columns.
        """
        data = self._data()
        return changed_relations(data.pairs, data.request, data.permutations)

    def chain_rule(self, order: Sequence[str] | None = None, orders: int = 8) -> dict[str, float]:
        """The estimate of the joint KL(P‖Q) in parts, one for each column, which add up to it.

        Where only a lower bound can be stated, the parts are those of `joint.kl.diagnostics["estimate"]`.

        order   a column's part is then KL of the column given those before it: the chain rule in this order
        orders  where no order is given, the parts are averages over so many random orders and their reverses (Shapley)

        A joint estimate for each column of each order is needed: d of them for an order, up to 2 d × `orders` without.
        """
        data = self._data()
        return chain_rule(data.few, point_estimate(self.joint.kl), order, orders, data.request)

    def _data(self) -> Compared:
        if self.data is None:
            raise InputError("data: this report was made without its rows; call kl.drift again")
        return self.data

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def _called(pairs: Sequence[Pair], name: str) -> Pair:
    for pair in pairs:
        if pair.name == str(name):
            return pair
    raise InputError(f"column: no column {name!r} was compared; those are {', '.join(p.name for p in pairs)}")


def _flat(column: ColumnDrift) -> dict[str, Any]:
    return {
        "column": column.name,
        "read_as": column.read_as,
        "p_value": column.p_value,
        "adjusted_p": column.adjusted_p,
        "kl": column.kl.value,
        "kl_standard_error": column.kl.standard_error,
        "kl_guarantee": column.kl.guarantee.value,
        "reverse_kl": column.reverse_kl.value,
        "jensen_shannon": column.distances.jensen_shannon,
        "psi": column.distances.psi,
        "wasserstein": math.nan if column.distances.wasserstein is None else column.distances.wasserstein,
        "missing_reference": column.missing[0],
        "missing_current": column.missing[1],
        "words": column.words,
        "of_sample": ", ".join(column.of_sample),
    }


def _as_dict(column: ColumnDrift) -> dict[str, Any]:
    return finite(
        {
            "name": column.name,
            "read_as": column.read_as,
            "p_value": column.p_value,
            "adjusted_p": column.adjusted_p,
            "kl": estimate_as_dict(column.kl),
            "reverse_kl": estimate_as_dict(column.reverse_kl),
            **asdict(column.distances),
            "missing": {"reference": column.missing[0], "current": column.missing[1]},
            **asdict(column.profile),
            "words": column.words,
            "of_sample": list(column.of_sample),
        }
    )


def estimate_as_dict(estimate: Estimate) -> dict[str, Any]:
    """An estimate with its interval; ends that are not finite are None."""
    low, high = estimate.interval()
    return finite(
        {
            "value": estimate.value,
            "standard_error": estimate.standard_error,
            "interval": [low, high],
            "guarantee": estimate.guarantee.value,
            "reason": estimate.reason,
        }
    )


def finite(x: Any) -> Any:
    """Nested lists and dicts with None in place of numbers that JSON does not have."""
    if isinstance(x, dict):
        return {key: finite(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [finite(value) for value in x]
    if isinstance(x, float | np.floating):
        return float(x) if math.isfinite(x) else None
    return int(x) if isinstance(x, np.integer) else x


# Conditions under which a comparison fails, such as "kl>0.1" or "age.p<0.01"

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
OF_ALL: dict[str, Callable[[Findings], float]] = {
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


def broken(report: Findings, condition: str) -> str:
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
