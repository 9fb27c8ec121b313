"""Tables larger than memory: what their engine counts of all rows, and a sample of rows for what needs rows.

A lazy frame of any engine that narwhals drives (polars, DuckDB, Dask, Spark, ibis) is never read whole. For each column
the engine groups all rows and counts them: by value for a table of frequencies, and for measurements by bins that are
as fine in the tails as in the middle. With the mean of each bin these counts are a mergeable sketch: quantiles, shares,
distances and the test of a column are computed from them.

The knots of the bins are quantiles of sampled rows, as many from either table as a draw from all rows together would
have, so that they do not depend on the labels of the rows. Between two knots bins are equally wide: the bin of x is
⌊Σᵢ s (clip(x, kᵢ, kᵢ₊₁) − kᵢ) / (kᵢ₊₁ − kᵢ)⌋, arithmetic that every engine has.

Sampled rows are those with the smallest hashes of their row numbers, so that engines that keep the order of the rows
(polars, DuckDB, Dask) draw the same; Spark and ibis draw by their own seeded samples.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
from jaxtyping import Float, Int

from kullback.drifting.pairs import ABOVE, BELOW, FINITE, MISSING, Pair, Part, paired, read_part
from kullback.drifting.tables import collected, named_columns
from kullback.errors import InputError
from kullback.known.record import Column

MOST_ROWS, MOST_CELLS = 100_000, 10_000_000  # of a sample
BINS = 64  # between two knots
TAIL = np.array([0.0, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.05])
SHARES = np.array([*TAIL, *np.arange(0.1, 0.95, 0.1), *(1.0 - TAIL[::-1])])
BEYOND = 8.0  # knots beyond both ends, which rows that were not sampled may exceed, in distances from the median
MODULUS, FACTOR = 2**31 - 1, 1_103_515_245
_STATES = {-1.0: MISSING, -2.0: ABOVE, -3.0: BELOW}
SPARE = 1.1


@dataclass(frozen=True)
class Large:
    """A table that stays in its engine, its number of rows, and the sample of them that came back, as a frame."""

    frame: nw.LazyFrame[Any]
    rows: int
    sample: Any
    sampled: int


def lazy_frame(x: Any) -> nw.LazyFrame[Any] | None:
    """x as a lazy frame of narwhals where it is one of any engine; None for everything else."""
    try:
        frame = nw.from_native(x, pass_through=True)
    except nw.exceptions.DuplicateError:  # which `named_columns` says by name
        return None
    return frame if isinstance(frame, nw.LazyFrame) else None


def large_tables(
    reference: Any, current: Any, columns: Sequence[str] | None, seed: Int[np.ndarray, " sides"]
) -> tuple[Large, Large] | None:
    """Both tables where one is lazy and has more rows than are taken into memory; None for everything else.

    columns  those that are read; None for all
    seed     of the samples of rows
    """
    lazy = lazy_frame(reference), lazy_frame(current)
    if all(frame is None for frame in lazy):
        return None
    frames = []
    for x, frame, argument in zip((reference, current), lazy, ("reference", "current"), strict=True):
        frame = _as_lazy(x, argument) if frame is None else frame
        names = frame.collect_schema().names()
        frames.append(frame if columns is None else frame.select(*[name for name in names if name in columns]))
    rows = [_count(frame, argument) for frame, argument in zip(frames, ("reference", "current"), strict=True)]
    width = max(len(frame.collect_schema().names()) for frame in frames)
    most = min(MOST_ROWS, max(1, MOST_CELLS // max(width, 1)))
    if max(rows) <= most:
        return None
    sides = []
    for frame, count, own, argument in zip(frames, rows, seed, ("reference", "current"), strict=True):
        sample = sampled(frame, count, most, int(own), argument)
        sides.append(Large(frame=frame, rows=count, sample=sample, sampled=min(count, most)))
    return sides[0], sides[1]


def _as_lazy(x: Any, argument: str) -> nw.LazyFrame[Any]:
    """A table in memory, as a lazy frame of narwhals."""
    columns = named_columns(x, argument)
    frame = nw.from_native(x, pass_through=True, eager_only=True)
    if not isinstance(frame, nw.DataFrame):
        import pandas as pd

        parts = {name: c.values if isinstance(c, Column) else c for name, c in columns.items()}
        frame = nw.from_native(pd.DataFrame(parts), eager_only=True)
    return frame.lazy()


def _count(frame: nw.LazyFrame[Any], argument: str) -> int:
    if not frame.collect_schema().names():
        raise InputError(f"{argument}: the table has no columns; pass at least one")
    counted = nw.from_native(collected(frame.select(nw.len().alias("rows")), argument), eager_only=True)
    return int(counted["rows"].to_numpy()[0])


# A sample of rows


def sampled(frame: nw.LazyFrame[Any], rows: int, most: int, seed: int, argument: str) -> Any:
    """`most` random rows, or all where there are fewer, in the order of the table where the engine has one."""
    if rows <= most:
        return collected(frame, argument)
    share = min(1.0, SPARE * most / rows)
    found = _hashed_rows(frame, seed, int(MODULUS * share), argument)
    if found is None:
        native: Any = nw.to_native(frame)
        drawn = collected(nw.from_native(native.sample(fraction=share, seed=seed)), argument)
        return _first(drawn, np.random.default_rng(seed).permutation(len(drawn))[:most])
    table = nw.from_native(found, eager_only=True)
    order = np.argsort(table[_HASH].to_numpy(), kind="stable")[:most]
    return _first(nw.to_native(table.drop(_HASH)), order)


_ROW, _HASH = "row of the table (kullback)", "hash of the row (kullback)"


def _hashed_rows(frame: nw.LazyFrame[Any], seed: int, limit: int, argument: str) -> Any:
    """The rows with a hash of their number below a limit; None where the engine has no order of rows."""
    native: Any = nw.to_native(frame)
    if frame.implementation.is_dask():
        return _of_partitions(native, seed, limit)
    if frame.implementation.is_polars():
        numbered = nw.from_native(native.with_row_index(_ROW))
    elif frame.implementation.is_duckdb():
        numbered = nw.from_native(native.project(f'*, row_number() OVER () - 1 AS "{_ROW}"'))
    elif frame.implementation.is_pandas_like():
        numbered = nw.from_native(native, eager_only=True).with_row_index(_ROW).lazy()
    else:
        return None
    hashed = numbered.with_columns(_hashed(nw.col(_ROW).cast(nw.Int64), seed).alias(_HASH))
    return collected(hashed.filter(nw.col(_HASH) < limit).drop(_ROW), argument)


def _of_partitions(native: Any, seed: int, limit: int) -> Any:
    """`_hashed_rows` of a frame of Dask, whose rows are numbered through its partitions."""
    import dask  # pyright: ignore[reportMissingImports]
    import pandas as pd

    def kept(part: Any, start: int) -> Any:
        hashes = _hashed(np.arange(start, start + len(part), dtype=np.int64), seed)
        return part.assign(**{_HASH: hashes})[hashes < limit]

    sizes = native.map_partitions(len).compute().to_numpy()
    starts = np.cumsum(sizes) - sizes
    parts = [dask.delayed(kept)(part, int(start)) for part, start in zip(native.to_delayed(), starts, strict=True)]
    return pd.concat(dask.compute(*parts), ignore_index=True)


def _hashed(number: Any, seed: int) -> Any:
    """A hash in [0, 2³¹ − 1) by two squarings modulo a prime, in 64-bit integers; of numbers or of an expression."""
    first = (number % MODULUS * FACTOR + seed % MODULUS) % MODULUS
    second = (first * first + first * 3 + seed % 1_000_003) % MODULUS
    return (second * second + second) % MODULUS


def _first(found: Any, order: Int[np.ndarray, " k"]) -> Any:
    """The rows of those numbers, in the order of the table."""
    return nw.to_native(nw.from_native(found, eager_only=True)[np.sort(order).tolist()])


# Counts of all rows


@dataclass(frozen=True)
class Bins:
    """Bins of measurements x / scale between knots, of which the first and the last hold what lies beyond."""

    knots: Float[np.ndarray, " k"]
    scale: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> Bins:
        largest = float(np.abs(values).max(initial=0.0))
        scale = 2.0 ** np.floor(np.log2(largest)) if largest and not 1e-150 < largest < 1e150 else 1.0
        if not len(values):
            return cls(np.zeros(0), float(scale))
        knots = np.quantile(values / scale, SHARES, method="inverted_cdf")
        ends = knots[[0, -1]]
        return cls(np.unique([*knots, *(ends + BEYOND * (ends - np.median(knots)))]), float(scale))

    def code(self, x: nw.Expr) -> nw.Expr:
        """The bin of x, which is in units of the scale."""
        place = nw.lit(0.0)
        for low, high in zip(self.knots[:-1].tolist(), self.knots[1:].tolist(), strict=True):
            place = place + (x.clip(low, high) - low) * (BINS / (high - low))
        return place.floor()


def counted_pairs(
    pairs: Sequence[Pair], large: tuple[Large, Large], rng: np.random.Generator
) -> tuple[list[Pair | None], list[str]]:
    """The columns with the counts of all rows, None where an engine cannot count one, and remarks on those."""
    rows = _as_from_all(large, rng)
    found: list[Pair | None] = []
    notes = []
    for pair in pairs:
        try:
            found.append(_counted(pair, large, rows))
        except (InputError, TypeError, ValueError, NotImplementedError, ArithmeticError) as error:
            found.append(None)
            said = " ".join(str(error).split())[:160]
            notes.append(f"{pair.name!r} is compared by the sample alone, for its engine does not count it ({said})")
    return found, notes


def _as_from_all(large: tuple[Large, Large], rng: np.random.Generator) -> list[np.ndarray]:
    """Which sampled rows of either table would be among as many drawn from all rows together."""
    total = sum(side.rows for side in large)
    size = int(min(side.sampled / side.rows for side in large) * total / SPARE)
    of_p = int(rng.binomial(size, large[0].rows / total))
    chosen = []
    for side, count in zip(large, (of_p, size - of_p), strict=True):
        kept = np.zeros(side.sampled, bool)
        kept[rng.permutation(side.sampled)[:count]] = True
        chosen.append(kept)
    return chosen


def _counted(pair: Pair, large: tuple[Large, Large], rows: Sequence[np.ndarray]) -> Pair:
    parts = pair.p, pair.q
    if not pair.table:
        few = replace(pair, p=pair.p.take(rows[0]), q=pair.q.take(rows[1]))
        bins = Bins.of(few.pooled.astype(np.float64))
        if len(bins.knots) > 1:
            return _pair_of_bins(pair, [_by_bins(pair.name, side.frame, bins) for side in large], bins)
    found = [_by_values(pair.name, side.frame) for side in large]
    stated = [replace(f, column=replace(f.column, stated=s.column.stated)) for f, s in zip(found, parts, strict=True)]
    return replace(paired(*stated)[0], table=pair.table, remark=pair.remark)


def _by_values(name: str, frame: nw.LazyFrame[Any]) -> Part:
    """The distinct values of a column, each with its number of rows."""
    counted = frame.select(nw.col(name).alias("value")).group_by("value").agg(nw.len().alias("rows"))
    table = nw.from_native(collected(counted, name), eager_only=True)
    part = read_part(name, table["value"].to_native(), name)
    return replace(part, count=table["rows"].to_numpy().astype(np.int64))


def _by_bins(name: str, frame: nw.LazyFrame[Any], bins: Bins) -> dict[float, tuple[int, float, float, float]]:
    """For each bin, and each state that is not finite, its rows, the mean of its values, the least and the largest."""
    dtype = frame.collect_schema()[name]
    x, code = nw.col("x"), bins.code(nw.col("x"))
    missing = x.is_null() | x.is_nan()
    code = nw.when(x == -np.inf).then(nw.lit(-3.0)).otherwise(code)
    code = nw.when(x == np.inf).then(nw.lit(-2.0)).otherwise(code)
    code = nw.when(missing).then(nw.lit(-1.0)).otherwise(code)
    query = (
        frame.select((_as_number(nw.col(name), dtype) / bins.scale).alias("x"))
        .with_columns(code.alias("bin"))
        .group_by("bin")
        .agg(nw.len().alias("rows"), x.mean().alias("mean"), x.min().alias("low"), x.max().alias("high"))
    )
    table = nw.from_native(collected(query, name), eager_only=True)
    columns = [table[each].to_numpy().tolist() for each in ("bin", "rows", "mean", "low", "high")]
    return {code: (int(rows), *values) for code, rows, *values in zip(*columns, strict=True)}


def _as_number(x: nw.Expr, dtype: Any) -> nw.Expr:
    """A column as numbers; times and durations in seconds."""
    if dtype == nw.Date:
        x, dtype = x.cast(nw.Datetime("us")), nw.Datetime("us")
    if dtype == nw.Datetime:
        zone = None if getattr(dtype, "time_zone", None) is None else datetime.UTC
        x, dtype = x - nw.lit(datetime.datetime(1970, 1, 1, tzinfo=zone)), nw.Duration
    if dtype == nw.Duration:
        return x.dt.total_microseconds().cast(nw.Float64) / 1e6
    return x.cast(nw.Float64)


def _pair_of_bins(pair: Pair, found: Sequence[dict[float, Any]], bins: Bins) -> Pair:
    """Both sides with one value for each bin, the mean of all of its rows, and the states."""
    codes = sorted({code for side in found for code in side if code >= 0})
    sums = np.array([[side.get(code, (0, 0.0, 0.0, 0.0)) for code in codes] for side in found])
    rows, within = sums[..., 0].astype(np.int64), np.nan_to_num(sums[..., 1:])
    values = np.sum(rows * within[..., 0], 0) / np.maximum(rows.sum(0), 1) * bins.scale
    parts = []
    for part, side, count, inside in zip((pair.p, pair.q), found, rows, within, strict=True):
        states = [(state, side[code][0]) for code, state in _STATES.items() if code in side]
        present = count > 0
        parts.append(
            Part(
                column=replace(part.column, values=values[present]),
                state=np.array([FINITE] * int(present.sum()) + [state for state, _ in states]),
                count=np.array([*count[present].tolist(), *(size for _, size in states)], np.int64),
                within=inside[present] * bins.scale,
            )
        )
    return replace(pair, p=parts[0], q=parts[1])
