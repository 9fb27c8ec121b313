"""What a family is to the tests: a constructor, its divergence in 50-digit arithmetic, and parameters to try."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50

Row = tuple[Any, ...]  # the parameters of one distribution, each a number or a nested tuple of numbers


@dataclass(frozen=True)
class Family:
    """`make` takes arrays of parameters, `kl` rows of numbers; `rows` are compared each with each, and near itself."""

    name: str
    make: Callable[..., Any]
    kl: Callable[[Row, Row], Any]
    rows: tuple[Row, ...]
    fixed: tuple[int, ...] = ()  # parameters that are not perturbed
    valid: Callable[[Row], bool] = lambda row: True
    without_slope: tuple[int, ...] = ()  # parameters whose derivative is not asked for
    entropy: Callable[[Row], Any] | None = None  # of a row, in 50 digits


STEPS = (1e-1, 1e-2, -1e-3, 1e-4, -1e-5, 1e-6)


def pairs(family: Family, dtype: Any) -> list[tuple[Row, Row]]:
    """Every row with every other, and with itself moved by small relative steps: one parameter, then all."""
    rows = [rounded(row, dtype) for row in family.rows]
    found = [(p, q) for p in rows for q in rows]
    for row in rows:
        size = len(leaves(row))
        free = [i for i in range(size) if i not in family.fixed]
        for step in STEPS:
            moves = [{i: step} for i in free] + [{i: step * (-1) ** i for i in free}]
            near = [rounded(moved(row, move), dtype) for move in moves]
            found += [(row, other) for other in near if family.valid(other)]
    return found


def leaves(row: Any) -> list[float]:
    return [x for part in row for x in leaves(part)] if isinstance(row, tuple) else [row]


def filled(row: Any, values: list[Any]) -> Any:
    """The row with its numbers replaced, in order; consumes `values`."""
    return tuple(filled(part, values) for part in row) if isinstance(row, tuple) else values.pop(0)


def moved(row: Row, move: dict[int, float]) -> Row:
    return filled(row, [x * (1.0 + move.get(i, 0.0)) for i, x in enumerate(leaves(row))])


def rounded(row: Row, dtype: Any) -> Row:
    return filled(row, [float(dtype(x)) for x in leaves(row)])


def exact(row: Row) -> Row:
    """The row in 50-digit numbers."""
    return filled(row, [mp.mpf(x) for x in leaves(row)])


def columns(rows: list[Row], dtype: Any) -> tuple[np.ndarray, ...]:
    """The parameters of many distributions, each an array [n, ...]."""
    return tuple(np.asarray([row[i] for row in rows], dtype) for i in range(len(rows[0])))
