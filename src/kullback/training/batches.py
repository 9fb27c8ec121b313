"""The rows that a network learns from: on the device where they fit, gathered from the host in chunks where not.

Before a training the rows are split into those to learn from and those held out; the inputs' scaling is read from the
side, and a network may start at a linear model of some rows.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kullback.errors import FitError, InputError
from kullback.families.initialisation.affine import Plane
from kullback.families.learnable import Learnable, Params
from kullback.known import Known
from kullback.known.adaptors.numpyro_distributions import rows_of
from kullback.rule import Request
from kullback.training.early_stopping import held_out_mask

BLOCK = 2048  # rows that are evaluated at once
_TYPICAL = 2048  # rows, at least, that speak for all
_CHUNK = 2**20  # bytes of inputs that are standardised at once
_LINE = 64  # bytes, of which the address of an array that is not copied is a multiple


class Rows(NamedTuple):
    """Inputs x, outcomes y (or the distributions of a teacher) and weights of mean 1, with rows of weight 0 at the end.

    `size` counts the rows that are real; it is an argument of the compiled programs, not a constant.
    """

    x: Any
    y: Any
    weights: Any
    size: Any


class Feed(NamedTuple):
    """Batches from the host: x, y and weights [steps, members, batch, ...]; distributions [steps · members · batch]."""

    x: Any
    y: Any
    weights: Any


@dataclass(frozen=True)
class Table:
    """Some rows of the data, by number: `x`, `y` and `weights` hold all rows, and may lie in a file.

    scaling  (mean, scale) by which inputs are standardised on the host, in double, before they are rounded
    plane    what is taken off the outcomes on the host, in double, before they are rounded
    """

    x: np.ndarray | None
    y: Any
    weights: np.ndarray
    numbers: np.ndarray
    scaling: tuple[np.ndarray, np.ndarray] | None
    plane: Plane | None = None

    @property
    def size(self) -> int:
        return len(self.numbers)

    @cached_property
    def total(self) -> float:
        """The weight of these rows."""
        return float(self.weights[self.numbers].sum())

    @property
    def weighted(self) -> bool:
        """Whether these rows count differently."""
        weights = self.weights[self.numbers]
        return bool((weights != weights[0]).any())

    def relative(self, numbers: np.ndarray) -> np.ndarray:
        """Weights of rows by number, of mean 1 over these rows."""
        return self.weights[numbers] * (self.size / self.total)

    @property
    def bytes(self) -> int:
        """What the rows would take on the device."""
        width = jnp.dtype(jnp.result_type(float)).itemsize
        arrays = [a for a in (self.x, *jax.tree.leaves(self.y)) if a is not None]
        return self.size * sum(int(np.prod(np.shape(a)[1:])) * width for a in arrays)

    def part(self, chosen: Any) -> Table:
        """Some of these rows, by a mask [size] or a slice."""
        return replace(self, numbers=self.numbers[chosen])

    def take(self, positions: np.ndarray) -> tuple[Any, Any, np.ndarray]:
        """x, y and weights at positions [...] among these rows; a teacher's distributions one after another."""
        numbers, shape = self.numbers[positions.reshape(-1)], positions.shape
        x, y, weights = self._inputs(numbers), self._outcomes(numbers), self.relative(numbers)
        shaped = lambda a: a.reshape(*shape, *a.shape[1:]) if isinstance(a, np.ndarray) else a  # noqa: E731
        return shaped(x), shaped(y), shaped(weights)

    def resident(self, mesh: Mesh | None = None) -> Rows:
        """The rows on the device, padded so that few sizes are ever compiled; over a mesh, a part on each."""
        length = padded_length(self.size, mesh)
        numbers = self.numbers[np.minimum(np.arange(length), self.size - 1)]
        x, y = self._inputs(numbers), self._outcomes(numbers)
        weights = np.where(np.arange(length) < self.size, self.relative(numbers), 0.0)
        put = lambda tree: jax.tree.map(lambda a: placed(a, mesh), tree)  # noqa: E731
        return Rows(x=put(x), y=put(y), weights=put(weights.astype(jnp.result_type(float))), size=np.uint32(self.size))

    def _inputs(self, numbers: np.ndarray) -> np.ndarray | None:
        """The inputs of these rows in the type that they have on the device, a block of the file after another."""
        if self.x is None:
            return None
        first = self._scaled(self.x[numbers[:1]])
        whole = _aligned((len(numbers), *first.shape[1:]), first.dtype)
        step = max(1, _CHUNK // max(1, first.nbytes))
        order = None if (numbers[1:] >= numbers[:-1]).all() else np.argsort(numbers, kind="stable")
        for start in range(0, len(numbers), step):
            part = slice(start, start + step)
            part = part if order is None else order[part]
            whole[part] = self._scaled(self.x[numbers[part]])
        return whole

    def _outcomes(self, numbers: np.ndarray) -> Any:
        if not isinstance(self.y, np.ndarray):
            return rows_of(self.y, numbers)
        if self.plane is None:
            return as_device(self.y[numbers])
        whole = np.empty((len(numbers), *self.y.shape[1:]), jnp.result_type(float))
        step = max(1, _CHUNK // 8 // max(1, 1 if self.x is None else int(np.prod(self.x.shape[1:]))))
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            whole[start : start + step] = self.plane.less(None if self.x is None else self.x[part], self.y[part])
        return whole

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        if self.scaling is None:
            return _narrow(x)
        mean, scale = self.scaling
        double = x - mean
        return np.divide(double, scale, out=np.empty(x.shape, jnp.result_type(float)), casting="same_kind")


def automatic(mesh: Mesh | None) -> Any:
    """The mesh with the compiler in charge of how arrays are spread (`jax.make_mesh` leaves it to the program).

    Raises `InputError` for what is no mesh of devices.
    """
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh) or not mesh.axis_names:
        raise InputError(
            f'mesh: {type(mesh).__name__} is no mesh of devices; pass jax.make_mesh((jax.device_count(),), ("data",))'
        )
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def over(mesh: Any) -> NamedSharding:
    """Rows spread over the devices of a mesh, along its first axis."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def placed(a: Any, mesh: Mesh | None) -> jax.Array:
    """An array on the device; over a mesh its rows are spread, each process giving those of its own devices."""
    if mesh is None:
        return jax.device_put(a)
    host = np.asarray(a)
    return jax.make_array_from_callback(host.shape, over(mesh), lambda part: host[part])


def on_each(mesh: Mesh | None, tree: Params) -> Any:
    """Arrays of a compiled program held whole on every device of a mesh, so that each process can read them."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: lax.with_sharding_constraint(a, whole), tree)


def spans_processes(mesh: Mesh | None) -> bool:
    """Whether a mesh has devices of more than one process."""
    return mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1


def bucket(size: int) -> int:
    """The next of 64, 96, 128, 192, 256, 384, ...: at most half as much again."""
    power = 64
    while power < size:
        if power * 3 // 2 >= size:
            return power * 3 // 2
        power *= 2
    return power


def padded_length(size: int, mesh: Mesh | None = None) -> int:
    """Rows that are held for `size` real ones: one of few lengths, in whole blocks, in equal parts for each device."""
    length, devices = bucket(size), 1 if mesh is None else mesh.devices.shape[0]
    unit = devices if length <= BLOCK else math.lcm(BLOCK, devices)
    return -(-length // unit) * unit


def some_of(length: int) -> slice:
    """Which of so many rows, those that fill them up among them, speak for all: evenly far apart."""
    return slice(None, None, max(1, length // _TYPICAL))


def as_device(y: Any) -> Any:
    """Outcomes in the types that NumPyro's log-probabilities take: booleans become integers."""
    return _narrow(y.astype(np.int32) if y.dtype.kind in "bu" else y) if isinstance(y, np.ndarray) else y


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array at an address from which a processor's device takes it over as it is, without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size].view(dtype).reshape(shape)


def _narrow(a: np.ndarray) -> np.ndarray:
    return a.astype(jax.dtypes.canonicalize_dtype(a.dtype))


def memory_budget(stated: int | None) -> int:
    """Bytes that the data may take on each device: what was stated, or half of what there is."""
    if stated is not None:
        return stated
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] // 2
    try:
        # The devices of a processor share its memory.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (2 * jax.local_device_count())
    except (ValueError, OSError, AttributeError):  # a platform that does not say
        return 2**32


# Preparation of a training


LINEAR_ROWS = 4096  # that the linear model is fitted to, or four times the inputs
_HELD = 2  # a stream of random numbers
# What single precision holds: whole numbers, outcomes whose squares are numbers, shares of which 1 − y has four digits.
LARGEST_COUNT, SMALLEST, LARGEST, NEAREST = 2**24, 1e-18, 1e18, 1e-3


def begun(learner: Known, train: Table) -> Known:
    """The learner, starting at a linear model of some of the rows to learn from where its outcomes have one."""
    learnable = learner.learnable
    assert learnable is not None
    if learnable.begin is None or train.x is None or not isinstance(train.y, np.ndarray):
        return learner
    few = train.numbers[:: -(-train.size // max(LINEAR_ROWS, 4 * int(np.prod(train.x.shape[1:]))))]
    few = few[train.weights[few] > 0]
    started = learnable.begin(train.x[few], train.y[few], train.weights[few]) if len(few) > 1 else {}
    return learner.holding(learnable=learnable.holding(**started)) if started else learner


def split(table: Table, kept: int, request: Request) -> tuple[Table, Table | None]:
    """The rows to learn from and the rows to watch, by random numbers of the request; weights of mean 1 in each."""
    watched = held_out_mask(table.size, kept, request.host_rng(_HELD))
    train, held = table.part(~watched), table.part(watched) if kept else None
    if train.total == 0 or (held is not None and held.total == 0):
        raise FitError("weights: a part of the rows has no weight at all; pass more weighted rows")
    return train, held


def needs_double(y: Any) -> bool:
    """Whether single precision loses outcomes y [n, ...]: counts that it cannot hold, numbers that become 0 or ∞, and
    shares so near to 1 that nothing is left of what they lack."""
    y = np.asarray(y)
    if y.size == 0 or y.dtype.kind not in "iuf":
        return False
    least, most = float(y.min()), float(y.max())
    if y.dtype.kind in "iu":
        return max(-least, most) >= LARGEST_COUNT
    size = max(-least, most)
    tiny = 0.0 < size < SMALLEST or 0.0 < least < np.finfo(np.float32).tiny
    return size > LARGEST or tiny or (least > 0.0 and 1.0 - NEAREST < most < 1.0)


def default_batch(size: int) -> int:
    """About a 25th of the rows, a power of 2 between 32 and 512."""
    return int(2 ** np.clip(np.round(np.log2(size / 25)), 5, 9))


def scaling_of(learnable: Learnable, x: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """How inputs are standardised, where the structure does so and inputs are no labels."""
    fixed = learnable.fixed
    if x is None or not isinstance(fixed, dict) or "x_mean" not in fixed or (np.ndim(x) == 1 and x.dtype.kind in "iub"):
        return None
    return np.asarray(fixed["x_mean"], np.float64), np.asarray(fixed["x_scale"], np.float64)


def without_scaling(fixed: Params) -> Any:
    """Inputs that were standardised on the host, in double, are not standardised again."""
    shape = np.shape(fixed["x_mean"])
    return {**fixed, "x_mean": np.zeros(shape), "x_scale": np.ones(shape)}
