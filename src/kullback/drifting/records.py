"""The records of a comparison of two tables: the sides, each column, all together, and the whole of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from kullback.drifting.measures import Distances
from kullback.drifting.pairs import Pair
from kullback.drifting.profile import Profile
from kullback.drifting.relations import Relation
from kullback.drifting.series import Period
from kullback.errors import InputError
from kullback.result import Estimate
from kullback.rule import Request


@dataclass(frozen=True)
class Side:
    """One of the two tables: what it is called, and its number of rows.

    sampled  how many of them came back from an engine, in which the others stay; None where all are in memory
    """

    name: str
    rows: int
    sampled: int | None = None


@dataclass(frozen=True)
class PValues:
    """The p-value of a column's own test, exact for independent rows, and that adjusted for the number of columns.

    adjusted  by Benjamini and Hochberg
    """

    own: float
    adjusted: float


@dataclass(frozen=True)
class ColumnDrift:
    """One column on both sides, P the reference and Q the current table.

    read_as     "measured", "times", "durations", "frequencies", "labels" or "missing"
    p           of the permutation test: `p_value`, and `adjusted_p` over the columns
    kl          KL(P‖Q), and `reverse_kl` KL(Q‖P), in nats
    distances   Jensen–Shannon, PSI and Wasserstein
    missing     the share of missing values on both sides
    profile     shares by regions or values, and where the divergence comes from
    words       what moved, by how much and where; empty where no change was found
    of_sample   the names of those fields above that are of random rows; the others are of all rows
    """

    name: str
    read_as: str
    p: PValues
    kl: Estimate
    reverse_kl: Estimate
    distances: Distances
    missing: tuple[float, float]
    profile: Profile
    words: str
    of_sample: tuple[str, ...] = ()

    @property
    def p_value(self) -> float:
        return self.p.own

    @property
    def adjusted_p(self) -> float:
        return self.p.adjusted


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
class Findings:
    """What was found: the fields of a `DriftReport`, from which it is shown and decided on; abstract."""

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
