"""Telling an edge of Q, beyond which its density is 0, from a tail in which it underflows to 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

BISECTIONS = 60
# The logarithm of what single precision still holds is −103, and of double −745. A density with an edge is rarely so
# low there, unless it ends like a power of the distance: then it was far higher a millionth before the edge.
DEEP, BEFORE, SHARE = -80.0, 1e-6, 0.9
LEAST, OVERFLOW = -760.0, -1e30  # no logarithm of a double lies between; further down the log-density itself overflows
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
    edge: np.ndarray | None = None
    _reached: dict[bool, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = np.array(self.log_q(x), float)
        deficit = np.zeros(len(x))
        empty = np.flatnonzero(values == -np.inf)
        if len(empty):
            distance, last = self._descended(x[empty])
            fallen = (last < DEEP) & ((last > LEAST) | (last < OVERFLOW))
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


def guarded(log_q: Callable[[np.ndarray], np.ndarray], inside: np.ndarray) -> Guarded:
    """`Guarded` with the one of the points `inside` at which Q is highest as its centre, if Q is anything there."""
    if not len(inside):
        return Guarded(log_q, None)
    values = np.asarray(log_q(inside), float)
    values = np.where(values < np.inf, values, -np.inf)
    top = int(np.argmax(values))
    return Guarded(log_q, np.atleast_1d(inside[top]) if values[top] > -np.inf else None)


def floored(log_q: Any, least: float) -> Any:
    """log Q, and `least` wherever it is below that: at least what Q gives."""
    return Partial(_floored, log_q, least) if isinstance(log_q, Partial) else partial(_floored, log_q, least)


def _floored(log_q: Any, least: Any, x: Any) -> Array:
    return jnp.maximum(log_q(x), least)
