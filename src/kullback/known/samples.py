"""Sides known by a finite sample: arrays, data frames, and pairs of inputs and outputs.

Pairs may also come in batches from an iterable. These are written once to temporary files, which are memory-mapped:
later passes over the rows do not run the iterable again, and the data may be larger than memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from weakref import finalize

import jax
import numpy as np
from numpyro.distributions import Distribution, constraints

from kullback.arguments import LARGEST, whole
from kullback.errors import InputError
from kullback.known.adaptors import numpyro_distributions
from kullback.known.columns import (
    array_columns,
    is_frame,
    numeric_frame,
    require_finite_rows,
    stack_columns,
    stated_columns,
    table_columns,
)
from kullback.known.record import Column, Known, Sample
from kullback.known.support import Escape, Support, from_constraint
from kullback.known.values import are_numbers, numbers


class Samples:
    """A finite sample as one side: `x` [n] or [n, *event], or a pandas or polars frame or series.

    Two samples are compared by distances in the columns that are measurements and by frequencies in the others, as
    `kullback.known.columns.is_table` finds from the values. The caller can say it, by the names of columns of a frame
    or the indices of columns of an array [n, d]; True speaks of the only column.

    weights   how much each row counts [n]; None for equally
    counts    columns of whole numbers whose frequencies are compared
    measured  columns of numbers that are compared by distances
    labels    columns whose values have no order
    ignore    columns that are left out
    block     how many rows one after another depend on each other, as in a time series; 1 where the order of the rows
              means nothing; None to find it out (`kullback.estimate.dependence`)

    Raises `InputError` for NaN, infinite or missing values, an empty sample, columns that are not there or are stated
    twice, or weights that are negative, all zero or of another length.
    """

    def __init__(
        self,
        x: object,
        weights: object = None,
        *,
        counts: object = None,
        measured: object = None,
        labels: object = None,
        ignore: object = None,
        block: int | None = None,
    ) -> None:
        said = {"counts": counts, "measured": measured, "labels": labels, "ignore": ignore}
        self.values, self.columns, self.event_shape = _read(x, said)
        size = Sample(self.values, columns=self.columns).size
        self.weights = as_weights(weights, size)
        self.block = None if block is None else whole("block", block, most=size)

    def known(self) -> Known:
        sample = Sample(self.values, self.weights, columns=self.columns, block=self.block)
        name = f"a sample of {sample.size:,} row{'s' if sample.size != 1 else ''}"
        if self.event_shape:
            name += f" × {int(np.prod(self.event_shape))}"
        return Known(name=name, event_shape=self.event_shape, sample=sample, support=_hull(sample))

    def __repr__(self) -> str:
        return f"Samples({self.known().name})"


def _read(x: Any, said: dict[str, Any]) -> tuple[np.ndarray | None, tuple[Column, ...], tuple[int, ...]]:
    """The values, the columns where they say more, and the event shape of a sample."""
    stated = any(value is not None and value is not False for value in said.values())
    if isinstance(x, np.ma.MaskedArray) and np.ma.getmaskarray(x).any():
        raise InputError("x: it has missing values (masked ones); drop those rows or fill them in")
    if not is_frame(x):
        array = rectangular(x, "x")
        if array.dtype.kind in "iufb" and not stated:
            values = as_sample_array(array, "x")
            return values, (), values.shape[1:]
    single = not hasattr(x, "columns") if is_frame(x) else np.ndim(x) == 1
    columns = stated_columns(table_columns(x, "x") if is_frame(x) else array_columns(x, "x"), said)
    values = stack_columns(columns)
    if single:
        return None if values is None else values[:, 0], columns, ()
    return values, columns, (len(columns),)


class Pairs:
    """A finite sample of pairs: inputs `x` [n, ...] with outputs `y` [n, ...]; what is modelled is p(y∣x).

    y        an array; or a NumPyro distribution of batch shape [n], p(y∣x) itself: soft labels, or a teacher's answers
    weights  how much each row counts [n]; None for equally

    Data frames are read as numeric arrays. Raises `InputError` as `Samples` does, and for unequal lengths.
    """

    def __init__(self, x: object, y: object, weights: object = None) -> None:
        self.x = _array_of(x, "x")
        self.y = _outputs_for(len(self.x), y)
        self.weights = as_weights(weights, len(self.x))

    @classmethod
    def from_batches(cls, batches: Iterable[Any]) -> Pairs:
        """Pairs from batches (x, y) or (x, y, weights), read once and kept in temporary files, not in memory.

        batches  an iterable: a generator, a list, a loader of another library; rows of one shape and type throughout

        The files lie in TMPDIR, are memory-mapped, and removed when these pairs are released or the program ends.
        Raises `InputError` as `Pairs` does, and for no rows at all or batches that do not match.
        """
        folder, x, y, weights = spooled(batches, _array_of)
        try:
            pairs = cls(x, y, weights)
        except BaseException:
            remove(folder)
            raise
        finalize(pairs, remove, folder)
        return pairs

    def known(self) -> Known:
        if isinstance(self.y, Distribution):
            name = f"{len(self.x):,} inputs (x: {_shape(self.x)}) with {type(self.y).__name__} outputs"
            known = numpyro_distributions.known(self.y)
            return known.holding(name=name, inputs=self.x, input_weights=self.weights)
        sample = Sample(self.y, self.weights, inputs=self.x)
        name = f"{sample.size:,} pairs (x: {_shape(self.x)}, y: {_shape(self.y)})"
        return Known(name=name, event_shape=self.y.shape[1:], sample=sample, support=_hull(sample))

    def __repr__(self) -> str:
        return f"Pairs({self.known().name})"


def _outputs_for(size: int, y: object) -> Any:
    if isinstance(y, Distribution):
        if tuple(y.batch_shape) != (size,):
            raise InputError(
                f"y: a distribution of batch shape {tuple(y.batch_shape)} for {size} inputs; pass one for each row of x"
            )
        return y
    values = _array_of(y, "y")
    if len(values) != size:
        raise InputError(f"y: {len(values)} outputs for {size} inputs; pass one y for each row of x")
    return values


def sample_escape(p: Sample, q: Support, event_ndim: int) -> Escape | None:
    """Whether some row of a sample of P lies where Q has no mass."""
    if p.values is None or p.inputs is not None:
        return None
    inside = q.contains(p.values, event_ndim)
    if p.weights is not None:
        inside = inside | (p.weights == 0)
    if inside.all():
        return None
    row = int(np.argmin(inside))
    value = np.array2string(np.asarray(p.values[row]), precision=4, threshold=6)
    return Escape(np.asarray(True), f"row {row} of P's sample, {value}, lies outside the support of Q, {q.name}")


_MOST_PROBABILITIES = 4096
_ONE = 1e-6  # how far a sum of probabilities given in single precision may be from 1


def refuse_probabilities(p: object, q: object) -> None:
    """Raises `InputError` where two arrays read as probabilities: each of floats, none negative, whose sum is 1.

    `scipy.stats.entropy` takes such arrays; read as two samples they would give a meaningless number. Two
    samples of measurements have sums within 1e-6 of 1 by chance about once in a million million; arrays of 0 and 1
    alone are taken for samples.
    """
    if not (_reads_as_probabilities(p) and _reads_as_probabilities(q)):
        return
    if all(np.isin(np.asarray(side), (0.0, 1.0)).all() for side in (p, q)):
        return
    raise InputError(
        "p and q: both are arrays of non-negative numbers that sum to 1, which read as probabilities; pass "
        "numpyro's dist.Categorical(probs=p) and dist.Categorical(probs=q), or kl.Samples(p) and kl.Samples(q) if they "
        "are samples of measurements"
    )


def _reads_as_probabilities(x: object) -> bool:
    if not isinstance(x, np.ndarray | jax.Array) and not (is_frame(x) and not hasattr(x, "columns")):
        return False
    values = np.asarray(x)
    if values.ndim != 1 or values.dtype.kind != "f" or not 2 <= len(values) <= _MOST_PROBABILITIES:
        return False
    return bool((values >= 0).all()) and abs(float(values.sum(dtype=np.float64)) - 1.0) <= _ONE


def _array_of(x: object, argument: str) -> np.ndarray:
    """x as a numeric array, from an array, a sequence or a data frame."""
    return as_sample_array(numeric_frame(x, argument) if is_frame(x) else x, argument)


def _shape(x: np.ndarray) -> str:
    kind = "integer" if x.dtype.kind in "iub" else "real"
    return kind if x.ndim == 1 else f"{kind} {'×'.join(map(str, x.shape[1:]))}"


def _hull(sample: Sample):
    return from_constraint(constraints.integer_greater_than(-np.inf) if sample.discrete else constraints.real)


def rectangular(x: object, argument: str) -> np.ndarray:
    """x as an array. Raises `InputError` for lists of several lengths."""
    try:
        return np.asarray(x)
    except ValueError as error:
        raise InputError(f"{argument}: its rows have several lengths; pass rows of one length") from error


def as_sample_array(x: object, argument: str) -> np.ndarray:
    """x as a numeric array [n, *event], checked."""
    array = rectangular(x, argument)
    if array.dtype.kind not in "iubf":
        array = _to_float(array, argument)
    if array.ndim == 0:
        raise InputError(f"{argument}: one number is not a sample; pass an array whose first axis counts the rows")
    return require_finite_rows(array, argument)


def _to_float(array: np.ndarray, argument: str) -> np.ndarray:
    """Numbers of another type in double precision, or as integers where those keep more.

    Raises `InputError` for what is no number, and for numbers, times or durations that double precision rounds by more
    than a thousandth of their spread.
    """
    try:
        values = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{argument}: values of type {array.dtype} are not numbers; encode them first") from error
    rest = None
    if array.dtype.kind == "O" and are_numbers(array.ravel()):
        exact, rest = numbers(array.ravel(), argument)
        if exact.dtype.kind in "iu" and np.abs(values).max(initial=0.0) > LARGEST:
            return exact.reshape(array.shape)
    elif array.dtype.kind in "mM" and array.size and not np.isnat(array).any():
        offset = array - array.min(0)
        rest = (offset.astype(np.int64) - (values - values.min(0))).ravel()
    if rest is not None and array.ndim:
        lost, spread = np.abs(rest.reshape(array.shape)).max(0), values.std(0)
        if (lost > _MOST_LOST * spread).any():
            raise InputError(
                f"{argument}: double precision rounds its values by up to {lost.max():.2g}, too much for what they "
                "differ by; pass them less an offset, such as their least"
            )
    return values


_MOST_LOST = 1e-3  # of their spread


def as_weights(weights: object, size: int) -> np.ndarray | None:
    """Non-negative weights [n] as float64, or None."""
    if weights is None:
        return None
    try:
        array = np.asarray(weights, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("weights: they are no numbers; pass one number for each row") from error
    if array.shape != (size,):
        raise InputError(f"weights: shape {array.shape} for {size} rows; pass one weight for each row")
    if not np.isfinite(array).all() or (array < 0).any():
        raise InputError("weights: they must be finite and non-negative; drop the rows that they exclude")
    if array.sum() == 0:
        raise InputError("weights: all are zero; at least one row must count")
    return array


# Batches from an iterable, written once to temporary files that are then memory-mapped.

PART_NAMES = ("x", "y", "weights")


class MappedColumn:
    """One array in a file, grown batch by batch; the first batch says of what type and shape its rows are."""

    def __init__(self, path: Path, name: str, first: np.ndarray) -> None:
        self.name, self.dtype, self.row = name, first.dtype, first.shape[1:]
        self.path, self._file, self.length = path, path.open("wb"), 0

    def append(self, batch: np.ndarray, number: int) -> None:
        if batch.shape[1:] != self.row:
            raise InputError(
                f"batches: rows of {self.name} have the shape {batch.shape[1:]} in batch {number} and {self.row} "
                "before; pass rows of one shape"
            )
        if not np.can_cast(batch.dtype, self.dtype, "same_kind"):
            raise InputError(
                f"batches: {self.name} is of type {batch.dtype} in batch {number} and {self.dtype} before; "
                "pass one type"
            )
        np.ascontiguousarray(batch, self.dtype).tofile(self._file)
        self.length += len(batch)

    def mapped(self) -> np.ndarray:
        self.close()
        return np.memmap(self.path, self.dtype, "r", shape=(self.length, *self.row))

    def close(self) -> None:
        self._file.close()


def spooled(
    batches: Iterable[Any], as_array: Callable[[Any, str], np.ndarray]
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray | None]:
    """A temporary folder, which the caller removes, and x, y and weights mapped from files in it.

    batches   (x, y) or (x, y, weights) each, with as many rows in each part; one without rows is passed over
    as_array  (part, its name in an error) -> a checked array

    Nothing is left behind where this raises `InputError`: for no rows at all, and for batches that do not match.
    """
    folder = tempfile.mkdtemp(prefix="kullback-")
    columns: list[MappedColumn] = []
    try:
        for number, batch in enumerate(_iterated(batches)):
            parts = _parts(batch, number)
            if all(np.shape(part)[:1] == (0,) for part in parts):
                continue
            arrays = [
                as_array(part, f"batches: {name} of batch {number}")
                for name, part in zip(PART_NAMES, parts, strict=False)
            ]
            _require_equal_lengths(arrays, number)
            if not columns:
                columns = [MappedColumn(Path(folder, n), n, a) for n, a in zip(PART_NAMES, arrays, strict=False)]
            if len(arrays) != len(columns):
                raise InputError(
                    f"batches: batch {number} is of {len(arrays)} arrays after {len(columns)}; pass as many"
                )
            for column, array in zip(columns, arrays, strict=True):
                column.append(array, number)
        if not columns:
            raise InputError(
                "batches: there are no rows in it; an iterator gives its batches once, so pass a fresh one"
            )
        x, y, *weights = (column.mapped() for column in columns)
    except BaseException:
        for column in columns:
            column.close()
        remove(folder)
        raise
    return folder, x, y, weights[0] if weights else None


def remove(folder: str | os.PathLike[str]) -> None:
    """Remove the files. Where the system allows it, an array that is still mapped stays readable until released."""
    shutil.rmtree(folder, ignore_errors=True)


def _iterated(batches: Any) -> Iterable[Any]:
    try:
        return iter(batches)
    except TypeError:
        raise InputError(
            f"batches: {type(batches).__name__} cannot be iterated over; pass an iterable of (x, y) or (x, y, weights)"
        ) from None


def _parts(batch: object, number: int) -> tuple[Any, ...]:
    if isinstance(batch, tuple | list) and len(batch) in (2, 3):
        return tuple(batch)
    what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
    raise InputError(f"batches: batch {number} is {what}; pass (x, y) or (x, y, weights)")


def _require_equal_lengths(arrays: list[np.ndarray], number: int) -> None:
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        shown = ", ".join(f"{n} of {name}" for n, name in zip(lengths, PART_NAMES, strict=False))
        raise InputError(f"batches: batch {number} has unequally many rows ({shown}); pass one y for each row of x")
