"""What a comparison of two tables found: `DriftReport`, a record of each column and of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from kullback.drifting.conditions import broken
from kullback.drifting.measures import Distances, point_estimate, row_log_ratios
from kullback.drifting.pairs import Pair
from kullback.drifting.profile import Profile
from kullback.drifting.relations import Relation, chain_rule, changed_relations
from kullback.drifting.series import Period
from kullback.drifting.text import as_html, as_text
from kullback.errors import InputError
from kullback.result import Estimate
from kullback.rule import Request

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Side:
    """One of the two tables: what it is called, and its number of rows.

    sampled  how many of them came back from an engine, in which the others stay; None where all are in memory
    """

    name: str
    rows: int
    sampled: int | None = None


@dataclass(frozen=True)
class ColumnDrift:
    """One column on both sides, P the reference and Q the current table.

    read_as     "measured", "times", "durations", "frequencies", "labels" or "missing"
    p_value     exact, of the permutation test; `adjusted_p` by Benjamini and Hochberg over the columns
    kl          KL(P‖Q), and `reverse_kl` KL(Q‖P), in nats
    distances   Jensen–Shannon, PSI and Wasserstein
    missing     the share of missing values on both sides
    profile     shares by regions or values, and where the divergence comes from
    words       what moved, by how much and where; empty where no change was found
    of_sample   the names of those fields above that are of random rows; the others are of all rows
    """

    name: str
    read_as: str
    p_value: float
    adjusted_p: float
    kl: Estimate
    reverse_kl: Estimate
    distances: Distances
    missing: tuple[float, float]
    profile: Profile
    words: str
    of_sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class JointDrift:
    """All columns together: the exact p-value of its own test, and KL both ways; `of_sample` as for a column."""

    p_value: float
    kl: Estimate
    reverse_kl: Estimate
    of_sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What was compared, kept for what is computed on request; `few` are the rows that KL is estimated from."""

    pairs: tuple[Pair, ...]
    few: tuple[Pair, ...]
    request: Request
    permutations: int


@dataclass(frozen=True)
class DriftReport:
    """Two tables compared, column by column and jointly.

    columns  ranked: those that moved first, by KL, then the others by their p-value
    joint    all columns together
    notes    remarks on the reading and on the estimates, each once
    level    of the adjusted p-values: at most this share of the columns that are said to have moved did not, on average
    series   the current rows by period, where `by=` was given

    `print(report)` shows it; `.table()`, `.to_dict()` and `.failed(...)` are for programs.
    """

    reference: Side
    current: Side
    columns: tuple[ColumnDrift, ...]
    joint: JointDrift
    notes: tuple[str, ...]
    level: float
    series: tuple[Period, ...] = ()
    relations: tuple[Relation, ...] = ()
    data: Compared | None = field(default=None, repr=False, compare=False)

    @property
    def moved(self) -> tuple[str, ...]:
        """The names of the columns whose adjusted p-value is at most the level."""
        return tuple(column.name for column in self.columns if column.adjusted_p <= self.level)

    def __getitem__(self, name: str) -> ColumnDrift:
        for column in self.columns:
            if column.name == str(name):
                return column
        raise InputError(f"name: no column {name!r} was compared; those are {', '.join(c.name for c in self.columns)}")

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
