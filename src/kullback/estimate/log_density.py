"""Two log-densities evaluated on the host: one element of a batch, double precision, few compiled shapes.

A log-density may also be −∞ only because the density underflows. `Guarded` tells such a tail from an edge of Q, beyond
which its density is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float, Int

from kullback.errors import EstimateError
from kullback.estimate.batch import batch_shape, doubled, spread
from kullback.known import Known
from kullback.runtime.export_cache import program
from kullback.runtime.identity import is_spelled

BUCKETS = (32, 448, 4096)
BISECTIONS, LEAST_SHARE = 60, 1e-150  # of the logarithm of the share of the way, from the least share on
NOTHING = 200.0  # nats below the highest point that was seen


@dataclass(frozen=True)
class LogDensity:
    """log density at points [n, d] -> [n], for the element `index` of a batch of shape `batch`.

    A function of the user's own is `closed`: its trace must not be kept. As long as a trace in double precision
    exists, JAX takes the arrays that the function closes over for double ones, also where the user computes in single
    precision.

    A log-density that is a sum may be ∞ − ∞ far out, where its terms overflow. With a `far` list, the log-density
    counts as −∞ at such points if the density is negligible all the way there, and one of them is kept in the list.
    """

    side: str
    function: Callable[..., Any]
    batch: tuple[int, ...]
    event_shape: tuple[int, ...]
    index: tuple[int, ...] = ()
    closed: bool = False
    far: list[Float[np.ndarray, " d"]] | None = field(default=None, compare=False)
    best: list[tuple[float, Float[np.ndarray, " d"]]] = field(default_factory=list, compare=False)

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
        """Which points lie where the density, on the way from the highest one, has become negligible."""
        found = np.zeros(len(points), bool)
        if self.far is None or not self.best or not undefined.any():
            return found
        (top, centre), away = self.best[0], points[undefined]
        inner, outer, last = np.full(len(away), LEAST_SHARE), np.ones(len(away)), np.full(len(away), top)
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


def _evaluate(
    function: Callable[..., Any],
    points: Float[np.ndarray, "n d"] | Float[Array, "n d"],
    index: Int[np.ndarray, " b"] | Int[Array, " b"],
    batch: tuple[int, ...],
    event_shape: tuple[int, ...],
) -> Float[Array, " n"]:
    x = spread(jnp.reshape(points, (-1, *event_shape)), 0, len(batch), len(event_shape))
    values = jnp.broadcast_to(jnp.asarray(function(x), jnp.result_type(float)), (len(points), *batch))
    return values[(slice(None), *(index[axis] for axis in range(len(batch))))]


_compiled = jax.jit(_evaluate, static_argnums=(3, 4))
_kept = program(_evaluate, static=(3, 4))


def log_densities(p: Known, q: Known, index: tuple[int, ...] = ()) -> tuple[LogDensity, LogDensity]:
    """The log-densities of both sides for one element of their batch."""
    batch, event = batch_shape(p, q), p.event_shape or q.event_shape or ()
    first, second = (
        LogDensity(
            side=name,
            function=_in_double(function),
            batch=batch,
            event_shape=event,
            index=index,
            closed=not is_spelled(function),
        )
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


# An edge of Q told from a tail in which its density underflows

# The logarithm of what single precision still holds is −103, and of double −745. A density with an edge is rarely so
# low there, unless it ends like a power of the distance: then it was far higher a millionth before the edge.
DEEP, BEFORE, SHARE = -80.0, 1e-6, 0.9
# No logarithm of a double lies between these two; further down the log-density itself overflows.
UNDERFLOW, OVERFLOW = -760.0, -1e30
POWER, FARTHEST, ASIDE = 4, 1e60, 1e-8


@dataclass
class Guarded:
    """log Q at points x, for the mean of log P − log Q, as a function to (values, deficit).

    Many libraries give log-densities as logarithms of densities, which are −∞ where the density is less than the
    least number of its precision. On the way there from `centre`, a point where Q has mass, such a log-density falls
    without a jump to below −80, and is then at most what it was last: the value given here, so that the mean is a
    lower bound. `deficit` is 0 elsewhere and says there how much log Q may lie below it: as much again as the depth
    itself, growing with the fourth power of the distance from the centre. A zero without width is
    passed over. `edge` is a point where Q is 0 indeed.
    """

    log_q: Callable[[np.ndarray], np.ndarray]
    centre: Float[np.ndarray, " d"] | None
    deepest: float = 0.0
    edge: Float[np.ndarray, " d"] | None = None
    _reached: dict[bool, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, x: Float[np.ndarray, " n *d"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        values = np.array(self.log_q(x), float)
        deficit = np.zeros(len(x))
        empty = np.flatnonzero(values == -np.inf)
        if len(empty):
            distance, last = self._descended(x[empty])
            fallen = (last < DEEP) & ((last > UNDERFLOW) | (last < OVERFLOW))
            if not fallen.all():
                values[empty[~fallen]] = self._beside(x[empty[~fallen]])
            zero = values[empty] == -np.inf
            if (zero & ~fallen).any() and self.edge is None:
                self.edge = np.asarray(x[empty[int(np.argmax(zero & ~fallen))]])
            values[empty[fallen]] = last[fallen]
            depth, away = (np.minimum(size[fallen], FARTHEST) for size in (-last, distance))
            deficit[empty[fallen]] = depth * away**POWER
            self.deepest = min(self.deepest, float(np.min(last[fallen], initial=0.0)))
        return values, deficit

    def _beside(self, x: np.ndarray) -> np.ndarray:
        """log Q on both sides of points at which it is −∞; −∞ unless it is finite on both: a zero without width."""
        step = ASIDE * np.maximum(np.abs(x), 1.0 if self.centre is None else np.abs(x - self.centre))
        before, after = (np.asarray(self.log_q(x + side * step), float) for side in (-1, 1))
        return np.where(np.isfinite(before) & np.isfinite(after), np.maximum(before, after), -np.inf)

    def _descended(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(distance from the centre, in units of that of the last point with a density; log Q at that point)."""
        if self.centre is None:
            return np.ones(len(x)), np.zeros(len(x))
        if x.ndim > 1:
            return self._bisected(x)
        distance, last = np.ones(len(x)), np.zeros(len(x))
        for above in (False, True):
            side = (x > self.centre[0]) == above
            if not side.any():
                continue
            # On a line there is one such point on each side, and it is looked for once.
            nearest = np.abs(x[side] - self.centre[0]).min()
            if above not in self._reached or nearest < self._reached[above][0]:
                ratio, value = self._bisected(x[side][np.abs(x[side] - self.centre[0]) == nearest][:1])
                self._reached[above] = float(nearest / ratio[0]), float(value[0])
            ends, value = self._reached[above]
            distance[side], last[side] = np.abs(x[side] - self.centre[0]) / max(ends, 1e-300), value
        return distance, last

    def _bisected(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.centre is not None
        centre = self.centre if x.ndim > 1 else self.centre[0]
        wide = (slice(None), None) if x.ndim > 1 else slice(None)
        inner, outer = np.zeros(len(x)), np.ones(len(x))
        last = np.full(len(x), float(self.log_q(np.atleast_1d(centre) if x.ndim == 1 else self.centre[None])[0]))
        for _ in range(BISECTIONS):
            middle = 0.5 * (inner + outer)
            value = np.asarray(self.log_q(centre + middle[wide] * (x - centre)), float)
            finite = value > -np.inf
            inner, last = np.where(finite, middle, inner), np.where(finite, value, last)
            outer = np.where(finite, outer, middle)
        before = np.asarray(self.log_q(centre + ((1.0 - BEFORE) * inner)[wide] * (x - centre)), float)
        return 1.0 / np.maximum(inner, 1e-300), np.where(before < SHARE * last, last, 0.0)


def guarded(log_q: Callable[[np.ndarray], np.ndarray], inside: Float[np.ndarray, " k *d"]) -> Guarded:
    """`Guarded` with the one of the points `inside` at which Q is highest as its centre, if Q is anything there."""
    if not len(inside):
        return Guarded(log_q, None)
    values = np.asarray(log_q(inside), float)
    values = np.where(values < np.inf, values, -np.inf)
    top = int(np.argmax(values))
    return Guarded(log_q, np.atleast_1d(inside[top]) if values[top] > -np.inf else None)


def floored(log_q: Callable[..., Any], least: float) -> Callable[..., Any]:
    """log Q, and `least` wherever it is below that: at least what Q gives."""
    return Partial(_floored, log_q, least) if isinstance(log_q, Partial) else partial(_floored, log_q, least)


def _floored(log_q: Callable[..., Any], least: float, x: Float[Array, " *x"]) -> Float[Array, " *x"]:
    return jnp.maximum(log_q(x), least)
