"""Two samples side by side: columns matched, told apart into discrete and continuous, put on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kullback.errors import InputError
from kullback.estimate.neighbours import Rows
from kullback.known.record import Column, Sample


def matched_columns(p: Sample, q: Sample) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """The columns of both samples in P's order: by name for two tables, else by position.

    Raises `InputError` where the names or the numbers of columns differ.
    """
    ps, qs = columns_of(p), columns_of(q)
    if p.columns and q.columns:
        _same_names([c.name for c in ps], [c.name for c in qs])
        by_name = {column.name: column for column in qs}
        return ps, tuple(by_name[column.name] for column in ps)
    if len(ps) != len(qs):
        raise InputError(f"p and q: samples of {len(ps)} and {len(qs)} columns; both must describe the same outcome")
    return ps, qs


def columns_of(sample: Sample) -> tuple[Column, ...]:
    """The columns of a table, or of an array [n, *event] one for each coordinate."""
    if sample.columns:
        return sample.columns
    assert sample.values is not None
    flat = sample.values.reshape(len(sample.values), -1)
    return tuple(Column(str(at), flat[:, at]) for at in range(flat.shape[1]))


def _same_names(p: Sequence[str], q: Sequence[str]) -> None:
    for side, names in (("p", p), ("q", q)):
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(f"{side}: the table has two columns named {repeated[0]!r}; rename one")
    only_p, only_q = (sorted(set(a) - set(b)) for a, b in ((p, q), (q, p)))
    if only_p or only_q:
        parts = [
            f"only {side} has {', '.join(map(repr, only))}" for side, only in (("p", only_p), ("q", only_q)) if only
        ]
        raise InputError(f"p and q: the tables have different columns: {'; '.join(parts)}; drop or rename them")


def side_by_side(ps: Sequence[Column], qs: Sequence[Column]) -> tuple[Rows, Rows]:
    """Both samples as `Rows`: discrete columns as one label, continuous ones divided by their pooled scale.

    A column is discrete if it is so in both samples, or in one and whole numbers in the other.
    Raises `InputError` where a column is text in one sample and numbers in the other.
    """
    n = len(ps[0].values)
    labels = np.zeros(n + len(qs[0].values), np.int64)
    points = []
    for p, q in zip(ps, qs, strict=True):
        if (p.values.dtype.kind == "U") != (q.values.dtype.kind == "U"):
            raise InputError(f"p and q: column {p.name!r} is text in one sample and numbers in the other; convert one")
        both = np.concatenate([p.values, q.values])
        if _discrete(p, q):
            _, codes = np.unique(both, return_inverse=True)
            _, labels = np.unique(labels * (codes.max() + 1) + codes, return_inverse=True)
        else:
            points.append(both / _scale(both))
    point = np.stack(points, 1) if points else np.zeros((len(labels), 0))
    return Rows(labels[:n], point[:n]), Rows(labels[n:], point[n:])


def _discrete(p: Column, q: Column) -> bool:
    if p.discrete == q.discrete:
        return p.discrete
    real = q.values if p.discrete else p.values
    return bool((real == np.round(real)).all())


def _scale(values: np.ndarray) -> float:
    """The interquartile range, or the standard deviation where that is 0, or 1."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) or float(values.std()) or 1.0
