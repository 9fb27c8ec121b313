"""What a column looks like on both sides: shares of values or regions, and where the divergence comes from."""

from __future__ import annotations

import datetime
import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from kullback.drifting.measures import codes, row_counts
from kullback.drifting.pairs import FINITE, STATES, Pair, quantiles

REGIONS = 20
MOST_SHOWN = 40


@dataclass(frozen=True)
class Region:
    """A value or a range of values (low, high], its share of the rows on both sides, and its part of KL(P‖Q).

    part  p log(p/q) − p + q ≥ 0 for the shares p of the reference and q of the current table; the parts of all regions
          add up to the divergence of the shares. A region that is empty on one side counts as half a row there.
    """

    label: str
    reference: float
    current: float
    part: float
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Unseen:
    """Values that one side has and the other has not: how many, their share of the rows, and the most frequent."""

    count: int
    share: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """The regions of a column in their order, or its values by frequency, and the values that one side alone has.

    new   values of the current table that the reference lacks; None for measurements
    gone  values of the reference that the current table lacks
    """

    regions: tuple[Region, ...]
    new: Unseen | None = None
    gone: Unseen | None = None

    def largest(self, count: int = 10) -> tuple[Region, ...]:
        """The regions with the largest part of the divergence, largest first."""
        return tuple(sorted(self.regions, key=lambda region: -region.part)[:count])


def profile(pair: Pair) -> Profile:
    """Values by frequency for a table, else twentieths of both samples together; states that are not finite last."""
    return _of_values(pair) if pair.table else _of_regions(pair)


def _of_regions(pair: Pair) -> Profile:
    pooled = pair.pooled.astype(np.float64)
    shares = np.arange(1, REGIONS) / REGIONS
    inner = np.unique(quantiles(pooled, pair.pooled_count, shares)) if len(pooled) else np.zeros(0)
    inner = inner[inner < pooled.max(initial=-np.inf)]
    edges = [-math.inf, *map(float, inner), math.inf]
    p, q = (
        row_counts(np.searchsorted(inner, part.finite), part.finite_count, len(edges) - 1) for part in (pair.p, pair.q)
    )
    found = [
        _region(_range(low, high, pair.unit), int(p[at]), int(q[at]), pair, low, high)
        for at, (low, high) in enumerate(itertools.pairwise(edges))
    ]
    return Profile(tuple(found + _states(pair)))


def _of_values(pair: Pair) -> Profile:
    levels, _ = pair.levels
    size = len(levels) + len(STATES) - 1
    p, q = (
        row_counts(rows, part.count, size)[: len(levels)]
        for rows, part in zip(codes(pair), (pair.p, pair.q), strict=True)
    )
    order = np.argsort(-(p + q), kind="stable")
    parts = _parts(p, q, pair.p.rows, pair.q.rows)
    frequent = set(order[:MOST_SHOWN].tolist()) | set(np.argsort(-parts, kind="stable")[: MOST_SHOWN // 4].tolist())
    shown = [at for at in order.tolist() if at in frequent]
    found = [_region(level_name(levels[at], pair.unit), int(p[at]), int(q[at]), pair) for at in shown]
    others = np.setdiff1d(np.arange(len(levels)), shown)
    if len(others):
        name = f"{len(others):,} other value{'s' if len(others) > 1 else ''}"
        found.append(_region(name, int(p[others].sum()), int(q[others].sum()), pair))
    new, gone = _unseen(levels, q, p, pair.q.rows, pair.unit), _unseen(levels, p, q, pair.p.rows, pair.unit)
    return Profile(tuple(found + _states(pair)), new, gone)


def _states(pair: Pair) -> list[Region]:
    return [
        _region(STATES[state], pair.p.rows_in(state), pair.q.rows_in(state), pair, math.nan)
        for state in np.unique(pair.states)
        if state != FINITE
    ]


def _region(label: str, p: int, q: int, pair: Pair, low: float = -math.inf, high: float = math.inf) -> Region:
    n, m = pair.p.rows, pair.q.rows
    part = float(_parts(np.array([p]), np.array([q]), n, m)[0])
    return Region(label=label, reference=p / n, current=q / m, part=part, low=low, high=high)


def _parts(p: Int[np.ndarray, " k"], q: Int[np.ndarray, " k"], n: int, m: int) -> np.ndarray:
    share_p, share_q = np.maximum(p, 0.5) / n, np.maximum(q, 0.5) / m
    parts = share_p * np.log(share_p / share_q) - share_p + share_q
    return np.where(p + q > 0, parts, 0.0)


def _unseen(levels: np.ndarray, own: np.ndarray, other: np.ndarray, rows: int, unit: str) -> Unseen:
    alone = np.flatnonzero((own > 0) & (other == 0))
    first = alone[np.argsort(-own[alone], kind="stable")][:10]
    return Unseen(len(alone), float(own[alone].sum()) / rows, tuple(level_name(levels[at], unit) for at in first))


# Values in words


def level_name(value: object, unit: str) -> str:
    """A value of a table as it is printed: numbers in full, as codes are."""
    if unit or isinstance(value, str | bool | np.bool_):
        return shown_value(value, unit)
    return str(value) if isinstance(value, int | np.integer) else f"{value:.10g}"


def shown_value(value: object, unit: str = "") -> str:
    """A value as it is printed: text in quotes, numbers to five digits, times in ISO 8601."""
    if isinstance(value, str):
        return repr(str(value)) if len(value) <= 40 else f"{value[:37]!r}…"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    number = float(value)  # type: ignore[arg-type]
    if unit == "time" and math.isfinite(number):
        return _time(number)
    whole = abs(number) >= 1e4 or number == np.round(number)
    text = f"{number:,.0f}" if whole and abs(number) < 1e7 else f"{number:.5g}"
    return f"{text} s" if unit == "duration" else text


def _time(seconds: float) -> str:
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=round(seconds))
    except OverflowError:
        return f"{seconds:.6g} s since 1970"
    return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(" ", "minutes")


def _range(low: float, high: float, unit: str) -> str:
    if math.isinf(low) and math.isinf(high):
        return "all values"
    if math.isinf(low):
        return f"to {shown_value(high, unit)}"
    if math.isinf(high):
        return f"above {shown_value(low, unit)}"
    return f"{shown_value(low, unit)} to {shown_value(high, unit)}"
