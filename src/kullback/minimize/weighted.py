"""What a forward KL takes its expectations over: weighted outcomes, which are P's rows, its atoms, or nodes.

Nodes are those of Gauss–Legendre panels for a density on a line, and the counts of a countable support.

A family is fitted only to outcomes in its support. The supports are decided here, in double precision, and not by
NumPyro's constraints: those leave out an end at which a density is finite, and what its laws make of values at an end
differs between versions and with its validation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpy.polynomial.legendre import leggauss
from numpyro.distributions import constraints

from kullback.errors import FitError, InputError
from kullback.estimate.log_density import LogDensity, box_of, log_densities
from kullback.estimate.quadrature.mass import Line, Mass, locate, points_with_mass
from kullback.exact.rule_helpers import double_precision, log_probs
from kullback.families.form import LOWER_ENDS, UPPER_ENDS
from kullback.families.initialisation.scaling import blocks_of
from kullback.known import Known, Sample
from kullback.rule import Missing, Request
from kullback.training.batches import bucket

ORDER = 20
GRADE = 8.0
NEGLIGIBLE = 1e-17
MOST_COUNTS = 2**20


@dataclass(frozen=True)
class Nodes:
    """Nodes x [n], probabilities that sum to 1, Σ w log p, and the error of that in nats."""

    x: np.ndarray
    weights: np.ndarray
    negentropy: float
    numerical_error: float


def line_nodes(p: Known) -> Nodes:
    """Nodes for a density on an interval, normalised; the error is what halving every panel changes."""
    log_p, _ = log_densities(p, p)
    lower, upper = (float(end[0]) for end in box_of(p, log_p))
    hints = points_with_mass(p, log_p, Request(), draw=p.sampler is not None)[:, 0]
    mass = locate("p", lambda x: log_p(x[:, None]), lower, upper, hints)
    cuts = _graded(mass.line.cuts(mass.inside), mass.line)
    coarse = _on_panels(mass, log_p, _halved(cuts))
    fine = _on_panels(mass, log_p, _halved(_halved(cuts)))
    return Nodes(
        x=fine.x,
        weights=fine.weights,
        negentropy=fine.negentropy,
        numerical_error=abs(fine.negentropy - coarse.negentropy) + 1e-12,
    )


def count_nodes(p: Known) -> Nodes:
    """The counts from the least on, until the rest is negligible. Raises `FitError` where that takes too many."""
    assert p.support is not None
    least, size = int(np.asarray(p.support.lower)), 64
    while size <= MOST_COUNTS:
        counts = np.arange(least, least + size)
        with double_precision(p, p):
            log_p = np.asarray(log_probs(p, p, counts)[0], np.float64)
        weights = np.exp(log_p)
        if 1 - weights.sum() < 1e-12 * size:
            keep = weights > 0
            negentropy = float(np.sum(weights[keep] * log_p[keep]))
            return Nodes(
                x=counts[keep].astype(np.int32),
                weights=weights[keep] / weights.sum(),
                negentropy=negentropy,
                numerical_error=1e-12 * size,
            )
        size *= 4
    raise FitError(
        f"p: the tail of {p.name} is too heavy to be summed over {MOST_COUNTS:,} counts; use rule='streaming draws'"
    )


def _graded(cuts: np.ndarray, line: Line) -> np.ndarray:
    """More cuts towards a finite end, so that no panel spans more than `GRADE` in the distance from it: a density that
    is singular there holds mass at every scale."""
    more = [cuts]
    for end in (line.lower, line.upper):
        away = np.sort(np.abs(cuts[(cuts >= line.low) & (cuts <= line.high)] - end))
        away = away[away > 0]
        if not np.isfinite(end) or not len(away):
            continue
        count = int(np.ceil(np.log(away[-1] / away[0]) / np.log(GRADE))) + 1
        between = end + (1.0 if end == line.lower else -1.0) * np.geomspace(away[0], away[-1], count)
        more.append(between[(between > line.low) & (between < line.high)])
    return np.unique(np.concatenate(more))


def _halved(cuts: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([cuts, 0.5 * (cuts[1:] + cuts[:-1])]))


def _on_panels(mass: Mass, log_p: LogDensity, cuts: np.ndarray) -> Nodes:
    node, weight = leggauss(ORDER)
    half = 0.5 * np.diff(cuts)[:, None]
    u = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + half * node).ravel()
    x, log_slope = mass.line.point(u)
    value = log_p(x[:, None])
    with np.errstate(over="ignore"):
        w = (half * weight).ravel() * np.exp(value + log_slope - mass.peak)
    w = np.where(np.isfinite(w), w, 0.0)
    total = w.sum()
    log_z = np.log(total) + mass.peak
    keep = w > NEGLIGIBLE * total
    x, w, value = x[keep], w[keep] / w[keep].sum(), value[keep] - log_z
    return Nodes(x=x, weights=w, negentropy=float(np.sum(w * value)), numerical_error=0.0)


NODES, COUNTS = "quadrature nodes", "the counts"


@dataclass(frozen=True)
class Weighted:
    """Outcomes y [n, *event] with weights [n] that sum to 1, and inputs x [n, ...] for pairs.

    source          "the sample", "the atoms", `COUNTS` or `NODES`
    total           the weight of a sample before it was made to sum to 1: its rows, or the sum of the weights given
    negentropy      Σ w log p at them where P's log-probability is known: then H(P) is not dropped
    numerical_error of replacing P by them, nats
    """

    y: np.ndarray
    weights: np.ndarray
    x: np.ndarray | None
    source: str
    negentropy: float | None = None
    numerical_error: float = 0.0
    total: float = 1.0

    @property
    def size(self) -> int:
        return len(self.y)

    def counted(self) -> Weighted:
        """The outcomes that count: without those of weight 0, which may lie outside every support."""
        keep = self.weights > 0
        if keep.all():
            return self
        x = None if self.x is None else self.x[keep]
        return replace(self, y=self.y[keep], weights=self.weights[keep], x=x)


def can_be_weighted(p: Known) -> str | Missing:
    """How P would become weighted outcomes, or why not; cheap."""
    if p.batch_shape:
        return Missing("P is a batch of distributions; fit each by itself")
    if p.sample is not None:
        if p.sample.values is None:
            return Missing("some columns of the sample are not numbers")
        return "the sample"
    if p.atoms is not None and p.log_prob is not None:
        return "the atoms with their probabilities"
    if is_line_density(p):
        return "quadrature nodes of the one-dimensional density"
    if is_countable(p):
        return "the counts, until what is left out is negligible"
    return Missing("P is neither a sample, nor over counts, nor a one-dimensional density", "a sample of P")


def is_countable(p: Known) -> bool:
    support = p.support
    if p.event_shape != () or p.log_prob is None or support is None or not (support.discrete and support.bounded):
        return False
    return bool(np.isfinite(np.asarray(support.lower)).all())


def is_line_density(p: Known) -> bool:
    return (
        p.event_shape == ()
        and p.log_density is not None
        and p.support is not None
        and not p.support.discrete
        and p.support.bounded
    )


def weighted(p: Known) -> Weighted:
    """P as weighted outcomes. Call only where `can_be_weighted` did not say `Missing`."""
    if p.sample is not None:
        values = p.sample.values
        assert values is not None
        total = float(p.sample.size if p.sample.weights is None else p.sample.weights.sum())
        return Weighted(y=values, weights=_normalized(p.sample), x=p.sample.inputs, source="the sample", total=total)
    if p.atoms is not None:
        assert p.log_prob is not None
        log_p = np.asarray(p.log_prob(p.atoms), np.float64)
        weights = np.exp(log_p)
        present = weights > 0
        negentropy = float(np.sum(weights[present] * log_p[present]))
        return Weighted(y=p.atoms, weights=weights / weights.sum(), x=None, source="the atoms", negentropy=negentropy)
    nodes, source = (count_nodes(p), COUNTS) if is_countable(p) else (line_nodes(p), NODES)
    return Weighted(
        y=nodes.x,
        weights=nodes.weights,
        x=None,
        source=source,
        negentropy=nodes.negentropy,
        numerical_error=nodes.numerical_error,
    )


def _normalized(sample: Sample) -> np.ndarray:
    """Weights that sum to 1, also where their sum would overflow."""
    if sample.weights is None:
        return sample.normalized_weights()
    relative = sample.weights / sample.weights.max()
    return relative / relative.sum()


def padded(data: Weighted) -> Weighted:
    """The same weighted outcomes with rows of weight 0 added, so that few sizes are ever compiled."""
    size = bucket(data.size)
    extra = size - data.size
    if extra == 0:
        return data
    # The most probable row is repeated: it lies inside every support, so its log-probability is finite.
    row = int(np.argmax(data.weights))
    grow = lambda a: np.concatenate([a, np.repeat(a[row : row + 1], extra, 0)])  # noqa: E731
    weights = np.concatenate([data.weights, np.zeros(extra)])
    x = None if data.x is None else grow(data.x)
    return replace(data, y=grow(data.y), weights=weights, x=x)


# Laws on [0, ∞) with a finite density at 0, and laws whose support is a part of (0, ∞) that their parameters say.
# The support that a family requires, with errors that name the row


_FINITE_AT_0 = (dist.Exponential, dist.HalfNormal, dist.HalfCauchy, dist.Gompertz)
_POSITIVE = (dist.Pareto, dist.LogUniform, dist.LowerTruncatedPowerLaw, dist.DoublyTruncatedPowerLaw)
# Laws on a closed set whose density at its edge is 0 or ∞, unless a parameter has one value.
_OPEN = (dist.Beta, dist.BetaProportion, dist.Kumaraswamy, dist.Dirichlet)
_OF_TRIALS = (dist.BinomialLogits, dist.BinomialProbs, dist.BetaBinomial)
_NEARLY = 0.02  # how far from 1 a sum may be that was rounded


def require_support(data: Weighted, q: Known) -> None:
    """Raise `InputError` where an outcome that counts lies where no member of Q has mass, or at an end of its support
    where the density is 0 or ∞, so that the likelihood has no maximum."""
    assert q.learnable is not None and q.event_shape is not None
    if not isinstance(data.y, np.ndarray):
        return
    _require_normal_numbers(data)
    structure, fixed = q.learnable.structure, q.learnable.fixed
    form = getattr(structure, "form", structure)
    cls, fixed = getattr(form, "cls", type(None)), fixed.get("given", fixed)
    _require_inside(data, cls, q)
    _require_interior(data, cls, q)
    if "total_count" in fixed and cls in _OF_TRIALS:
        _require_trials(data, fixed["total_count"], q)
    for ends, beyond in ((LOWER_ENDS, np.less), (UPPER_ENDS, np.greater)):
        for name in [name for name in fixed if (cls.__name__, name) in ends]:
            where = f"lies beyond the end {name}={fixed[name]} of {q.name}"
            _raise(data, beyond(data.y, fixed[name]), where, f"leave {name} free or move it")


# Below this a number, or its distance from another one, has fewer digits than a double has, and programs take it for 0.
_LEAST = 1e-305


def _require_normal_numbers(data: Weighted) -> None:
    """Raise `InputError` where a column of outcomes or of inputs is nowhere as large as `_LEAST`, and is not 0."""
    for name, values in (("p", data.y), ("x", data.x)):
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            continue
        peak = np.max([np.abs(block[w > 0]).max(0, initial=0.0) for block, w in blocks_of(values, data.weights)], 0)
        if ((peak > 0) & (peak < _LEAST)).any():
            raise InputError(
                f"{name}: a column has no number above {float(peak[peak > 0].min()):.3g}, and doubles below {_LEAST:g} "
                "lose their digits; multiply it by a power of 10"
            )


def _require_inside(data: Weighted, cls: type, q: Known) -> None:
    if cls in _FINITE_AT_0:
        inside, name = data.y >= 0, "[0, ∞)"
    elif cls in _POSITIVE or _base(q) is constraints.positive:
        inside, name = data.y >= 0, "(0, ∞)"
    elif q.support is None or q.support.constraint is None:
        return
    elif q.support.constraint is constraints.simplex:
        return _require_simplex(data, q)
    else:
        inside, name = np.asarray(q.support.constraint(data.y)), q.support.name
    _raise(
        data, ~inside, f"lies outside the support {name} of {q.name}", "choose a family whose support contains the data"
    )


def _base(q: Known) -> Any:
    constraint = None if q.support is None else q.support.constraint
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint


def _require_simplex(data: Weighted, q: Known) -> None:
    y = data.y.astype(np.float64)
    rounding = 4.0 * np.finfo(data.y.dtype).eps * np.sqrt(y.shape[-1]) if data.y.dtype.kind == "f" else 0.0
    off = np.abs(y.sum(-1) - 1.0)
    outside = (y < 0).any(-1) | (off > max(1e-6, rounding))
    where = f"lies outside the support, the simplex, of {q.name}"
    if (y >= 0).all() and off.max() <= _NEARLY:
        _raise(data, outside, where, "divide every row by its sum, x / x.sum(-1, keepdims=True)", "its sum was rounded")
    _raise(data, outside, where, "choose a family whose support contains the data")


def _require_interior(data: Weighted, cls: type, q: Known) -> None:
    positive = cls not in _FINITE_AT_0 and (cls in _POSITIVE or _base(q) is constraints.positive)
    if not positive and cls not in _OPEN:
        return
    edge = (data.y <= 0.0) | ((data.y >= 1.0) & (cls in _OPEN and cls is not dist.Dirichlet))
    remedy = "move such rows inside, for example to (x (n − 1) + 1/2)/n of n rows, or model the ends apart"
    if positive:
        remedy = "move such rows inside, for example to half the least positive outcome, or model the zeros apart"
    where = f"lies at an end of the support {'(0, ∞) ' if positive else ''}of {q.name}, where the density is 0 or ∞"
    _raise(data, edge, where, remedy, "the likelihood has no maximum")


def _require_trials(data: Weighted, total_count: Any, q: Known) -> None:
    count = np.asarray(total_count)
    outside = (data.y < 0) | (data.y > count) | (data.y != np.round(data.y))
    where = f"is no count from 0 to total_count={count}, where every member of {q.name} has its mass"
    _raise(data, outside, where, "drop such rows, or pass a total_count that is at least the largest count")


def _raise(data: Weighted, outside: Any, where: str, remedy: str, what: str = "KL(P‖Q) would be infinite") -> None:
    """The error that names the first row that is outside and counts, if there is one."""
    bad = np.asarray(outside).reshape(len(data.y), -1).any(-1) & (data.weights > 0)
    if bad.any():
        row = int(np.argmax(bad))
        shown = np.array2string(np.asarray(data.y[row]), precision=4, threshold=6)
        raise InputError(f"p: row {row} of {data.source}, {shown}, {where}; {what}, so {remedy}")
