"""Supports as bounds: enough to decide, before any sampling, that P has mass where Q has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpyro.distributions import constraints
from numpyro.distributions.constraints import Constraint

from kullback.known.constraints import Ends, Surface, ends_of, slack_of


@dataclass(frozen=True)
class Support:
    """Where a side's probability lies.

    `name` is how it reads, `discrete` whether it consists of isolated points, `bounded` whether `lower` and
    `upper` (broadcastable to [*batch, *event]) say it whole; otherwise `constraint` does, and bounds are absent.
    `slack` is how far the two, where they were computed, may be off by rounding. A support that is only `assumed`
    holds all of the probability, and there may be parts of it that hold none.
    """

    name: str
    discrete: bool
    lower: Any = None
    upper: Any = None
    constraint: Any = None
    slack: tuple[Any, Any] = (0.0, 0.0)
    assumed: bool = False

    @property
    def bounded(self) -> bool:
        return self.lower is not None

    def contains(self, x: np.ndarray, event_ndim: int) -> np.ndarray:
        """Whether each outcome x [n, *event] lies in the support: booleans [n]."""
        if self.bounded:
            inside = (x >= self.lower - self.slack[0]) & (x <= self.upper + self.slack[1])
            if self.discrete:
                inside &= x == np.round(x)
            return inside.reshape(len(x), *inside.shape[1 : inside.ndim - event_ndim], -1).all(-1)
        return np.asarray(self.constraint(x))


POINT = "a point"


@dataclass(frozen=True)
class Escape:
    """P has mass where Q has none: for which batch elements, and why in words."""

    where: np.ndarray
    reason: str


def from_constraint(constraint: Constraint) -> Support:
    """The support that a NumPyro constraint describes."""
    base, extra = constraint, 0
    while isinstance(base, constraints.independent):
        extra += base.reinterpreted_batch_ndims
        base = base.base_constraint
    discrete = bool(getattr(base, "is_discrete", False))
    if base is constraints.boolean:
        return Support("{0, 1}", discrete=True, lower=0.0, upper=1.0, constraint=constraint)
    if base is constraints.real or base is constraints.real_vector:
        name = "ℝ" if constraint is constraints.real else "ℝᵈ"
        return Support(name, discrete=False, lower=-np.inf, upper=np.inf, constraint=constraint)
    ends = ends_of(base)
    if ends is None:
        name = type(base).__name__.strip("_").lower()
        return Support(name, discrete, constraint=constraint)
    lower, upper = map(np.asarray, ends)
    low, high = map(np.asarray, slack_of(base))
    name = _interval_name(lower, upper, discrete, extra)
    return Support(name, discrete, lower=lower, upper=upper, constraint=constraint, slack=(low, high))


def aligned(p: Support, q: Support) -> Support:
    """The support of P with those ends that equal Q's but for rounding moved inside Q's."""
    if not (p.bounded and q.bounded):
        return p
    low, high = _slack(p, q)
    lower = np.where(np.asarray(p.lower) >= q.lower - low, np.maximum(p.lower, q.lower), p.lower)
    upper = np.where(np.asarray(p.upper) <= q.upper + high, np.minimum(p.upper, q.upper), p.upper)
    return replace(p, lower=lower, upper=upper)


def _slack(p: Support, q: Support) -> Ends:
    """How far the lower and the upper ends of two supports may differ by rounding alone."""
    return p.slack[0] + q.slack[0], p.slack[1] + q.slack[1]


def _interval_name(lower: np.ndarray, upper: np.ndarray, discrete: bool, extra: int) -> str:
    if lower.size > 1 or upper.size > 1:
        return "a box" if not discrete else "a grid"
    low, high = float(lower.reshape(())), float(upper.reshape(()))
    return _interval(low, high, "[", "]", discrete) + ("ᵈ" if extra else "")


def escape(p: Support, q: Support, event_ndim: int = 0) -> Escape | None:
    """Where the support of P is not inside that of Q, if the bounds decide that it is not; else None.

    `where` has the batch shape of the bounds; one coordinate of the event outside is enough.
    """
    if p.discrete != q.discrete:
        kinds = ("discrete", "continuous") if p.discrete else ("continuous", "discrete")
        reason = f"P is {kinds[0]} and Q {kinds[1]}, so each gives probability 0 to the other's outcomes"
        if p.name == POINT:
            reason += "; log_density − log q(v), which NumPyro and TFP give for a point v, is no divergence"
        return Escape(np.asarray(True), reason)
    if (surface := _surface(p)) != (other := _surface(q)):
        where = f"P lives on {surface}" if surface else f"Q lives on {other}"
        return Escape(np.asarray(True), f"{where}, to which {'Q' if surface else 'P'} gives probability 0")
    if not (p.bounded and q.bounded) or p.assumed:
        return None
    bounds = (p.lower, p.upper, q.lower, q.upper)
    a, b, c, d = np.broadcast_arrays(*(np.asarray(bound, np.float64) for bound in bounds))
    low, high = _slack(p, q)
    outside = np.broadcast_to((a < c - low) | (b > d + high), a.shape)
    where = np.asarray(outside.any(tuple(range(max(outside.ndim - event_ndim, 0), outside.ndim))))
    if not where.any():
        return None
    first = tuple(int(i) for i in np.argwhere(outside)[0])
    pieces = _outside(float(a[first]), float(b[first]), float(c[first]), float(d[first]), p.discrete)
    at = "" if not first else f" (at index {first[0] if len(first) == 1 else first})"
    return Escape(where, f"P has mass on {pieces} where Q has none{at}")


# Sets without interior in the space of outcomes: a law on one is singular to every law on another, or on none.
SURFACES = (
    (constraints.simplex, "the simplex"),
    (constraints.sphere, "the sphere"),
    (constraints.corr_matrix, "the correlation matrices"),
    (constraints.corr_cholesky, "the factors of correlation matrices"),
    (constraints.lower_cholesky, "the lower triangular matrices"),
    (constraints.positive_definite, "the symmetric matrices"),
    (constraints.positive_semidefinite, "the symmetric matrices"),
)


def _surface(support: Support) -> str | Surface:
    """The surface that the outcomes lie on, in words; empty where there is none, or one of a single number."""
    if isinstance(support.constraint, Surface):
        return support.constraint
    if isinstance(support.constraint, type(constraints.zero_sum(1))):
        return "the vectors whose sum is 0"
    return next((name for surface, name in SURFACES if support.constraint is surface), "")


def _outside(a: float, b: float, c: float, d: float, discrete: bool) -> str:
    """How [a, b] less [c, d] reads."""
    if a > d or b < c:
        return _interval(a, b, "[", "]", discrete)
    pieces = []
    if a < c:
        pieces.append(_interval(a, c - discrete, "[", ")", discrete))
    if b > d:
        pieces.append(_interval(d + discrete, b, "(", "]", discrete))
    return " and ".join(pieces)


def _interval(low: float, high: float, left: str, right: str, discrete: bool) -> str:
    if not discrete:
        first, last = (f"{low:g}", f"{high:g}") if f"{low:g}" != f"{high:g}" else (repr(low), repr(high))
        return f"{'(-∞' if np.isinf(low) else left + first}, {'∞)' if np.isinf(high) else last + right}"
    if np.isinf(low):
        return f"{{…, {high:g}}}"
    if np.isinf(high):
        return f"{{{low:g}, {low + 1:g}, …}}"
    points = [f"{point:g}" for point in np.arange(low, min(high, low + 3) + 1)]
    return f"{{{', '.join(points)}}}" if high - low <= 3 else f"{{{low:g}, …, {high:g}}}"
