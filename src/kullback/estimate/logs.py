"""Two log-densities evaluated on the host: one element of a batch, double precision, few compiled shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from kullback.errors import EstimateError
from kullback.estimate.batch import batch_shape, doubled, spread
from kullback.known import Known
from kullback.runtime.export_cache import program
from kullback.runtime.identity import is_spelled

BUCKETS = (32, 448, 4096)
BISECTIONS, LEAST = 60, 1e-150  # of the logarithm of the share of the way, from the least share on
NOTHING = 200.0  # nats below the highest point that was seen


@dataclass(frozen=True)
class LogDensity:
    """log density at points [n, d] -> [n], for the element `index` of a batch of shape `batch`.

    A function of the user's own is `closed`: nothing of its trace may last, since JAX would take the arrays that it
    closes over for double ones as long as it does, also where the user computes with them in single precision.

    A log-density that is written as a sum may be ∞ − ∞ far out, where its parts overflow. With a `far` list, such
    points count as −∞ and one of them is kept in it, if the density is next to nothing all the way there.
    """

    side: str
    function: Any
    batch: tuple[int, ...]
    event_shape: tuple[int, ...]
    index: tuple[int, ...] = ()
    closed: bool = False
    far: list[np.ndarray] | None = field(default=None, compare=False)
    best: list[tuple[float, np.ndarray]] = field(default_factory=list, compare=False)

    def __call__(self, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        size = BUCKETS[-1]
        parts = [self._block(points[start : start + size]) for start in range(0, len(points), size)]
        return np.concatenate(parts)

    def _block(self, points: np.ndarray) -> np.ndarray:
        values = self._values(points)
        if self.far is None:
            undefined = np.isnan(values)
        else:
            self._remember(points, values)
            undefined = np.isnan(values) & ~self._is_far(points, np.isnan(values))
            values = np.where(np.isnan(values), -np.inf, values)
        if undefined.any():
            where = points[int(np.argmax(undefined))]
            raise EstimateError(
                f"{self.side}: its log-density is NaN at {where.squeeze()}; correct it there, for example to −∞ by "
                "jnp.where, or state a support= that leaves the place out"
            )
        return values

    def _values(self, points: np.ndarray) -> np.ndarray:
        size = next(bucket for bucket in BUCKETS if bucket >= len(points))
        padded = np.concatenate([points, np.repeat(points[-1:], size - len(points), 0)])
        evaluate = _evaluate if not isinstance(self.function, Partial) else _kept if self.closed else _compiled
        with jax.enable_x64(True):
            values = evaluate(self.function, padded, np.asarray(self.index, np.int32), self.batch, self.event_shape)
        return np.asarray(values)[: len(points)]

    def _remember(self, points: np.ndarray, values: np.ndarray) -> None:
        """Keep the highest point that was seen."""
        finite = np.where(np.isfinite(values), values, -np.inf)
        top = int(np.argmax(finite))
        if finite[top] > (self.best[0][0] if self.best else -np.inf):
            self.best[:] = [(float(finite[top]), points[top])]

    def _is_far(self, points: np.ndarray, undefined: np.ndarray) -> np.ndarray:
        """Which points lie where the density, on the way from the highest one, has fallen to next to nothing."""
        found = np.zeros(len(points), bool)
        if self.far is None or not self.best or not undefined.any():
            return found
        (top, centre), away = self.best[0], points[undefined]
        inner, outer, last = np.full(len(away), LEAST), np.ones(len(away)), np.full(len(away), top)
        for _ in range(BISECTIONS):
            middle = np.sqrt(inner * outer)
            value = self._values(centre + middle[:, None] * (away - centre))
            known = value < np.inf  # where a scale is about to underflow the density may be ∞ first
            inner, outer = np.where(known, middle, inner), np.where(known, outer, middle)
            last = np.where(known, value, last)
        found[undefined] = last < top - NOTHING
        if found.any() and not self.far:
            self.far.append(points[int(np.argmax(found))])
        return found


def _evaluate(function: Any, points: Any, index: Any, batch: tuple[int, ...], event_shape: tuple[int, ...]) -> Any:
    x = spread(jnp.reshape(points, (-1, *event_shape)), 0, len(batch), len(event_shape))
    values = jnp.broadcast_to(jnp.asarray(function(x), jnp.result_type(float)), (len(points), *batch))
    return values[(slice(None), *(index[axis] for axis in range(len(batch))))]


_compiled = jax.jit(_evaluate, static_argnums=(3, 4))
_kept = program(_evaluate, static=(3, 4))


def log_densities(p: Known, q: Known, index: tuple[int, ...] = ()) -> tuple[LogDensity, LogDensity]:
    """The log-densities of both sides for one element of their batch."""
    batch, event = batch_shape(p, q), p.event_shape or q.event_shape or ()
    first, second = (
        LogDensity(name, _in_double(function), batch, event, index, not is_spelled(function))
        for name, function in (("p", p.log_density), ("q", q.log_density))
    )
    return first, second


def _in_double(function: Any) -> Any:
    return doubled(function) if isinstance(function, Partial) else function


def box_of(side: Known, log: LogDensity) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """The lower and upper bounds [d] of a side's support for one element of the batch; all of space if unstated."""
    size = int(np.prod(log.event_shape))
    if side.support is None or not side.support.bounded:
        return np.full(size, -np.inf), np.full(size, np.inf)
    shape = (*log.batch, *log.event_shape)
    ends = (np.broadcast_to(np.asarray(end, np.float64), shape) for end in (side.support.lower, side.support.upper))
    low, high = (end[log.index].reshape(size) for end in ends)
    return low, high
