"""Two samples side by side: columns matched, read as frequencies or as measurements, put on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from kullback.arguments import LARGEST
from kullback.errors import InputError
from kullback.estimate.rows import Rows
from kullback.known.columns import FEW_VALUES, is_table
from kullback.known.record import Column, Sample

Weights = tuple[np.ndarray | None, np.ndarray | None]

# A column of labels is left out of a joint estimate if each label has about one row and few are in both samples.
ROWS_PER_LABEL, SHARED_LABELS = 2.0, 0.1


def matched_columns(p: Sample, q: Sample) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """The columns of both samples in P's order: by name for two tables, else by position.

    Two single columns correspond whatever their names. Raises `InputError` where the names or the numbers of columns
    differ.
    """
    ps, qs = columns_of(p), columns_of(q)
    if p.columns and q.columns and (len(ps), len(qs)) != (1, 1):
        _same_names([c.name for c in ps], [c.name for c in qs])
        by_name = {column.name: column for column in qs}
        qs = tuple(by_name[column.name] for column in ps)
    if len(ps) != len(qs):
        raise InputError(f"p and q: samples of {len(ps)} and {len(qs)} columns; both must describe the same outcome")
    held = [from_least(p, q) for p, q in zip(ps, qs, strict=True)]
    return tuple(p for p, _ in held), tuple(q for _, q in held)


def from_least(*parts: Column) -> tuple[Column, ...]:
    """A column of one or more samples less its least value, where double precision does not hold the numbers.

    Whole numbers of 64 bits, long doubles and numbers with a rest keep their differences, on which no divergence
    depends but by them.
    """
    if all(is_held(part) for part in parts) or not any(len(part.values) for part in parts):
        return parts
    if all(part.values.dtype.kind in "iu" for part in parts):
        least = min(int(part.values.min()) for part in parts)
        span = max(int(part.values.max()) for part in parts) - least
        origin = np.uint64(least % 2**64)  # differences modulo 2⁶⁴ are right for signed numbers too
        whole = [part.values.astype(np.uint64) - origin for part in parts]
        kept = whole if span >= 2**63 else [each.astype(np.int64) for each in whole]
        return tuple(replace(part, values=each) for part, each in zip(parts, kept, strict=True))
    twofold = [_near_and_rest(part) for part in parts]
    origin = min(high.min() for high, _ in twofold if len(high))
    return tuple(
        replace(part, values=(high - origin) + low, rest=None) for part, (high, low) in zip(parts, twofold, strict=True)
    )


def is_held(part: Column) -> bool:
    """Whether double precision holds all of a column's numbers."""
    values = part.values
    if part.rest is not None or (values.dtype.kind == "f" and values.itemsize > 8):
        return False
    if values.dtype.kind not in "iu" or values.itemsize < 8 or not len(values):
        return True
    return max(abs(int(values.min())), abs(int(values.max()))) <= LARGEST


def _near_and_rest(part: Column) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The nearest numbers in double precision, and what they lack."""
    near = part.values.astype(np.float64)
    if part.rest is not None:
        return near, part.rest
    if part.values.dtype.kind not in "iu":
        return near, (part.values - near).astype(np.float64)
    pairs = zip(part.values.tolist(), near.tolist(), strict=True)
    return near, np.array([float(value - int(whole)) for value, whole in pairs])


def columns_of(sample: Sample) -> tuple[Column, ...]:
    """The columns of a table, or of an array [n, *event] one for each coordinate."""
    if sample.columns:
        return sample.columns
    assert sample.values is not None
    flat = sample.values.reshape(len(sample.values), -1)
    return tuple(Column(str(at), flat[:, at]) for at in range(flat.shape[1]))


def _same_names(p: Sequence[str], q: Sequence[str]) -> None:
    only_p, only_q = (sorted(set(a) - set(b)) for a, b in ((p, q), (q, p)))
    if only_p or only_q:
        parts = [
            f"only {side} has {', '.join(map(repr, only))}" for side, only in (("p", only_p), ("q", only_q)) if only
        ]
        raise InputError(f"p and q: the tables have different columns: {'; '.join(parts)}; drop or rename them")


def informative(ps: Sequence[Column], qs: Sequence[Column]) -> tuple[list[int], list[str]]:
    """Which columns a joint estimate can use, and the names of the others; all where no column would be left.

    Identifiers (names, numbers of persons, hashes) are different in every row: a table with such a column has a cell
    for each row, and no frequencies can be estimated.
    """
    alone = [_tells_rows_apart(p, q) for p, q in zip(ps, qs, strict=True)]
    if all(alone):
        return list(range(len(ps))), []
    return [at for at, apart in enumerate(alone) if not apart], [ps[at].name for at, apart in enumerate(alone) if apart]


def _tells_rows_apart(p: Column, q: Column) -> bool:
    if {p.stated, q.stated} & {"counts", "measured"}:
        return False
    if not is_table(p, q):
        return _numbers_rows(p) and _numbers_rows(q)
    mostly_new = all(len(c.values) < ROWS_PER_LABEL * len(np.unique(c.values)) for c in (p, q))
    return mostly_new and np.isin(p.values, q.values).mean() < SHARED_LABELS


def _numbers_rows(column: Column) -> bool:
    """Whether a column is a running number of the rows, perhaps with gaps: whole, all different, and close together."""
    values = column.values
    if values.dtype.kind not in "iu" or len(np.unique(values)) < len(values):
        return False
    return int(values.max()) - int(values.min()) < 2 * len(values)


def side_by_side(ps: Sequence[Column], qs: Sequence[Column], weights: Weights = (None, None)) -> tuple[Rows, Rows]:
    """Both samples as `Rows`: columns read as tables as one label, the others divided by their pooled scale.

    weights  how much the rows of either sample count

    Raises `InputError` where a column is of another kind in one sample than in the other.
    """
    n = len(ps[0].values)
    labels = np.zeros(n + len(qs[0].values), np.int64)
    points = []
    for p, q in zip(ps, qs, strict=True):
        _same_kind(p, q)
        both = np.concatenate([p.values, q.values])
        if is_table(p, q):
            _, codes = np.unique(both, return_inverse=True)
            _, labels = np.unique(labels * (codes.max() + 1) + codes, return_inverse=True)
        else:
            points.append(both.astype(np.float64) / scale_of(both))
    point = np.stack(points, 1) if points else np.zeros((len(labels), 0))
    return weighted(Rows(labels[:n], point[:n]), weights[0]), weighted(Rows(labels[n:], point[n:]), weights[1])


def counted(
    columns: tuple[Column, ...], weights: Float[np.ndarray, " n"] | None
) -> tuple[tuple[Column, ...], Float[np.ndarray, " m"] | None]:
    """The columns and the weights without the rows of weight 0."""
    if weights is None or (weights > 0).all():
        return columns, weights
    kept = weights > 0
    return tuple(replace(column, values=column.values[kept]) for column in columns), weights[kept]


def weighted(rows: Rows, weights: Float[np.ndarray, " n"] | None) -> Rows:
    """Rows with weights; equal weights are none, and rows of weight 0 are dropped."""
    if weights is None:
        return rows
    kept = weights > 0
    rows = rows.take(kept)
    return rows if np.ptp(weights[kept]) == 0 else replace(rows, weight=weights[kept])


def _same_kind(p: Column, q: Column) -> None:
    kinds = [(c.unit or ("text" if c.values.dtype.kind == "U" else "number")) for c in (p, q)]
    if kinds[0] != kinds[1]:
        words = {"text": "text", "number": "numbers", "time": "times", "duration": "durations"}
        first, second = sorted(kinds, key=list(words).index)
        raise InputError(
            f"p and q: column {p.name!r} is {words[first]} in one sample and {words[second]} in the other; convert one"
        )
    if p.zoned != q.zoned:
        zoned, naive = ("p", "q") if p.zoned else ("q", "p")
        raise InputError(
            f"p and q: the times of column {p.name!r} have a time zone in {zoned} and none in {naive}; state the zone "
            f"of those in {naive}, for example by tz_localize"
        )


def scale_of(values: Shaped[np.ndarray, " n"]) -> float:
    """The interquartile range, or the standard deviation where that is 0, or 1."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) or float(values.std()) or 1.0


def spread_ties(p: Rows, q: Rows, rng: np.random.Generator) -> tuple[Rows, Rows, bool]:
    """Both samples with rounded measurements spread evenly over the step of the rounding, and whether there were any.

    Each rounded value becomes a uniform law on its own interval, the same for both samples, which leaves the divergence
    what it is; the counts within balls then have the law that their correction is derived for. Ties among values that
    are not rounded are repeated rows, and stay.
    """
    both, found = spread_points(np.concatenate([p.point, q.point]), rng, samples=2)
    return replace(p, point=both[: len(p)]), replace(q, point=both[len(p) :]), found


def spread_points(
    point: Float[np.ndarray, "n d"], rng: np.random.Generator, samples: int = 1
) -> tuple[Float[np.ndarray, "n d"], bool]:
    """The columns of `point` [n, d] that are rounded, spread over the steps of their rounding, and whether any is."""
    spread, found = point.copy(), False
    for at, values in enumerate(point.T):
        ends = rounding_intervals(values, samples)
        if ends is not None:
            spread[:, at] = values - ends[0] + (ends[0] + ends[1]) * rng.random(len(values))
            found = True
    return spread, found


def rounding_intervals(
    values: Float[np.ndarray, " n"], samples: int = 1
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
    """How far below and above each value the interval reaches that is rounded to it; None where there is no rounding.

    On a grid with ties it is half a step. Without a grid, as for the logarithms of counts, values are rounded if most
    of them are tied within one of the `samples` that they are of; the interval then ends halfway to the next value.
    Many values that each occur equally often are copies.
    """
    step = rounding_step(values)
    if step:
        return np.full(len(values), step / 2), np.full(len(values), step / 2)
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    copied = np.ptp(counts) == 0 and len(distinct) > FEW_VALUES
    if len(distinct) < 3 or (counts > samples).mean() <= 0.5 or copied:
        return None
    half = np.diff(distinct) / 2
    return np.append(half[0], half)[inverse], np.append(half, half[-1])[inverse]


def rounding_step(values: Float[np.ndarray, " n"]) -> float:
    """The step of the grid on which values with ties lie; 0 where there are no ties, or no grid."""
    distinct = np.unique(values)
    if len(distinct) == len(values) or len(distinct) < 3:
        return 0.0
    # Differences at the level of rounding, in double and then in single precision, are those of the arithmetic.
    for rounding in (1e-13, 1e-7):
        gaps = np.diff(distinct)
        gaps = gaps[gaps > rounding * np.abs(distinct).max()]
        steps = gaps / gaps.min(initial=np.inf)
        if len(gaps) and np.abs(steps - np.round(steps)).mean() < 0.01:
            return float(gaps.min())
    return 0.0
