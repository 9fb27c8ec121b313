"""The rows that a network learns from: on the device where they fit, gathered from the host in chunks where not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kullback.known.rows import rows_of
from kullback.minimize.weighted import bucket

BLOCK = 2048  # rows that are evaluated at once


class Rows(NamedTuple):
    """Inputs x, outcomes y (or the distributions of a teacher) and weights of mean 1, with rows of weight 0 at the end.

    `size` counts the rows that are real; it is an argument of the compiled programs, not a constant.
    """

    x: Any
    y: Any
    weights: Any
    size: Any


class Feed(NamedTuple):
    """Batches brought from the host: x, y and weights [steps, members, batch, ...]."""

    x: Any
    y: Any
    weights: Any


@dataclass(frozen=True)
class Table:
    """Some rows of the data, by number: `x`, `y` and `weights` hold all rows, and may lie in a file.

    scaling  (mean, scale) by which inputs are standardised on the host, in double, before they are rounded
    """

    x: np.ndarray | None
    y: Any
    weights: np.ndarray
    numbers: np.ndarray
    scaling: tuple[np.ndarray, np.ndarray] | None

    @property
    def size(self) -> int:
        return len(self.numbers)

    @cached_property
    def total(self) -> float:
        """The weight of these rows."""
        return float(self.weights[self.numbers].sum())

    def relative(self, numbers: np.ndarray) -> np.ndarray:
        """Weights of rows by number, of mean 1 over these rows."""
        return self.weights[numbers] * (self.size / self.total)

    @property
    def bytes(self) -> int:
        """What the rows would take on the device."""
        width = jnp.dtype(jnp.result_type(float)).itemsize
        arrays = [a for a in (self.x, *jax.tree.leaves(self.y)) if a is not None]
        return self.size * sum(int(np.prod(np.shape(a)[1:])) * width for a in arrays)

    def take(self, positions: np.ndarray) -> tuple[Any, Any, np.ndarray]:
        """x, y and weights at positions [...] among these rows; read in the order of the file."""
        flat = self.numbers[positions.reshape(-1)]
        order = np.argsort(flat, kind="stable")
        back = np.argsort(order, kind="stable")
        shape = positions.shape
        numbers = flat[order]
        gather = lambda a: a[numbers][back].reshape(*shape, *a.shape[1:])  # noqa: E731
        x = None if self.x is None else gather(self.x)
        y = gather(self.y) if isinstance(self.y, np.ndarray) else rows_of(self.y, flat)
        return self._scaled(x), as_device(y), self.relative(flat).reshape(shape)

    def resident(self, mesh: Any = None) -> Rows:
        """The rows on the device, padded so that few sizes are ever compiled; over a mesh, a part on each."""
        positions = np.minimum(np.arange(bucket(self.size)), self.size - 1)
        if isinstance(self.y, np.ndarray):
            x, y, weights = self._contiguous()
            extra = len(positions) - self.size
            grow = lambda a: np.concatenate([a, np.repeat(a[-1:], extra, 0)]) if extra else a  # noqa: E731
            x, y, weights = None if x is None else grow(x), grow(y), grow(weights)
        else:
            x, y, weights = self.take(positions)
        weights = np.where(np.arange(len(positions)) < self.size, weights, 0.0)
        place = jax.device_put if mesh is None else lambda a: jax.device_put(a, over(mesh))
        put = lambda tree: jax.tree.map(place, tree)  # noqa: E731
        return Rows(put(x), put(y), put(weights.astype(jnp.result_type(float))), np.uint32(self.size))

    def _contiguous(self) -> tuple[Any, Any, np.ndarray]:
        x = None if self.x is None else self._scaled(self.x[self.numbers])
        return x, as_device(self.y[self.numbers]), self.relative(self.numbers)

    def _scaled(self, x: np.ndarray | None) -> np.ndarray | None:
        if x is None or self.scaling is None:
            return x if x is None else _narrow(x)
        mean, scale = self.scaling
        return ((x - mean) / scale).astype(jnp.result_type(float))


def over(mesh: Any) -> NamedSharding:
    """Rows spread over the devices of a mesh, along its first axis."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def as_device(y: Any) -> Any:
    """Outcomes in the types that NumPyro's log-probabilities take: booleans become integers."""
    return _narrow(y.astype(np.int32) if y.dtype.kind in "bu" else y) if isinstance(y, np.ndarray) else y


def _narrow(a: np.ndarray) -> np.ndarray:
    return a.astype(jax.dtypes.canonicalize_dtype(a.dtype))


def memory_budget(stated: int | None) -> int:
    """Bytes that the data may take on the device: what was stated, or half of what there is."""
    if stated is not None:
        return stated
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] // 2
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):  # a platform that does not say
        return 2**32
