"""Functions of a fitted conditional over many rows: compiled for few sizes of blocks, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.learnable import Params
from kullback.runtime.export_cache import Effort, program

FEW, SOME, MANY = 64, 512, 4096


def rows_like(x: Any, n: int) -> jax.ShapeDtypeStruct:
    """n rows like those of x [m, ...], in the type that they have on the device."""
    return jax.ShapeDtypeStruct((n, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype))


def block_size(n: int) -> int:
    """Rows a block for n rows in all: one of three, so that a function is compiled three times at most."""
    return FEW if n <= FEW else SOME if n <= 16 * SOME else MANY


def blocks(arrays: tuple[np.ndarray, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Arrays [n, ...] in blocks of equally many rows; the last repeats its last row until it is full."""
    n = len(arrays[0])
    size = block_size(n)
    for start in range(0, n, size):
        block = tuple(np.asarray(array[start : start + size]) for array in arrays)
        lacking = size - len(block[0])
        if lacking:
            block = tuple(np.concatenate([part, np.repeat(part[-1:], lacking, 0)]) for part in block)
        yield block


def in_double(
    function: Callable[..., Any], structure: ConditionalStructure, members: int, free: Params, fixed: Params, rows: Any
) -> Any:
    """`function(d, *rows)` on d = q(y∣x), with x = rows[0], in double precision; NumPy arrays [n, ...]."""
    n = len(rows[0])
    with jax.enable_x64(True):
        free, fixed = jax.tree.map(_double, (free, fixed))
        parts = [
            jax.tree.map(np.asarray, _apply(function, structure, members, free, fixed, block[0], block[1:]))
            for block in ((tuple(_double(part) for part in block)) for block in blocks(rows))
        ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *parts)


@program(static=(0, 1, 2), effort=Effort.SOME)
def _apply(
    function: Any, structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: Any, rows: Any
) -> Any:
    return function(structure.predictive(free, fixed, x, members), *rows)


def predictive(structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: np.ndarray) -> Any:
    """q(y∣x) at inputs x [n, ...]: the blocks' parameters, cut to n rows on the host.

    Only its shapes are traced for each n; what is compiled are blocks.
    """
    n = len(x)
    parts = [_predictive(structure, members, free, fixed, *block) for block in blocks((x,))]
    if len(parts) == 1 and block_size(n) == n:
        return parts[0]
    whole = _predictive.eval_shape(structure, members, free, fixed, rows_like(x, n))
    leaves, treedef = jax.tree.flatten(whole)
    joined = [_joined(leaf.shape, found) for leaf, *found in zip(leaves, *map(jax.tree.leaves, parts), strict=True)]
    return jax.tree.unflatten(treedef, [jax.numpy.asarray(leaf) for leaf in joined])


def predictive_in_double(
    structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: np.ndarray
) -> Any:
    """q(y∣x) as `predictive` has it, with parameters in double precision."""
    with jax.enable_x64(True):
        free, fixed = jax.tree.map(_double, (free, fixed))
        return predictive(structure, members, free, fixed, _double(x))


@program(static=(0, 1), effort=Effort.SOME)
def _predictive(structure: ConditionalStructure, members: int, free: Params, fixed: Params, x: Any) -> Any:
    return structure.predictive(free, fixed, x, members)


def _joined(shape: tuple[int, ...], parts: list[Any]) -> Any:
    """Blocks of a parameter joined to the shape that it has for all rows; one that all rows share is left alone."""
    if np.shape(parts[0]) == shape and len(parts) == 1:
        return parts[0]
    axis = next((i for i, (a, b) in enumerate(zip(shape, np.shape(parts[0]), strict=True)) if a != b), None)
    if axis is None:
        return parts[0]
    whole = np.concatenate([np.asarray(part) for part in parts], axis)
    return whole[(slice(None),) * axis + (slice(shape[axis]),)]


def _double(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64) if array.dtype.kind in "fiub" else array
