"""One side a sample, the other a law: the law's log-probability as it is, the sample's by neighbours or frequencies.

The rule comes first, then what answers in many dimensions, and last the statistics of neighbours and frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import digamma

from kullback.errors import EstimateError, InputError
from kullback.estimate.columns import columns_of, scale_of, spread_points, weighted
from kullback.estimate.cross_entropy import less_offset, losses_of
from kullback.estimate.dependence import apart, bias_of_cells, in_order, on_dependence
from kullback.estimate.monte_carlo import untrusted
from kullback.estimate.null_sets import FEWEST_DRAWS, has_atoms, is_flat, on_dimension
from kullback.estimate.pareto_tail import verdict_on
from kullback.estimate.rows import FEWEST_COPIES, Rows, by_cell, distinct_rows, log_weights
from kullback.estimate.rows_compared import FEWEST_SCORED, NEAR_DIMENSIONS, Compared, compared
from kullback.estimate.sample_guarantee import estimate_with_guarantee, subsampled
from kullback.known import Known
from kullback.known.columns import is_table
from kullback.known.record import Sample
from kullback.known.support import SURFACES
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

MOST_DRAWS = 10_000


@dataclass(frozen=True)
class OneSample(Rule):
    """KL(P‖Q) from a finite sample of one side and the log-probability of the other.

    With a sample of P it is the mean over its n rows of log p̂ − log q, where log p̂ = ψ(k) − ψ(n) − d log 2ε for the
    distance ε to the k-th nearest other row, or ψ(nᵢ) − ψ(n) for a row whose value has nᵢ rows. With a sample of m rows
    of Q it is the mean over draws of P of log p − log q̂, with log q̂ = ψ(k) − ψ(m + 1) − d log 2ε, or
    ψ(mᵢ + 1) − ψ(m + 1); where Q's sample does not reach enough of P the answer is a lower bound. The value can be
    negative: it is not clipped.

    In three dimensions and more neighbours are biased. The sample is then compared by scores with eight times as many
    draws of the law, as two samples are, which tell no more than about the log of their number; where they do not tell
    enough, or Q has no sampler, E_P[log p̂ − log q] by cross-fitted densities is a lower bound in expectation.

    neighbours  k
    repeats     subsamples for the standard error, which does not include the bias

    Source: Kozachenko and Leonenko (1987), Problems of Information Transmission 23(2), with k neighbours as Kraskov,
    Stögbauer and Grassberger (2004), eq. 20; Grassberger (2003) for frequencies.
    """

    neighbours: int = 5
    repeats: int = 40

    name = "one sample"
    question = "estimate"
    identity = "KL(P‖Q) = E_P[log P − log Q], one of them by neighbours in a sample"
    needs_p = "a sample (or a sampler and a log-probability, if Q has a sample)"
    needs_q = "a normalised log-probability (or a sample, if P is a law)"
    guarantee = Guarantee.CONSISTENT
    cost = 4.5
    source = "Kozachenko and Leonenko (1987), Problems of Information Transmission 23(2)"
    aliases = ("Kozachenko–Leonenko",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.repeats < 2:
            raise InputError("OneSample: neighbours must be at least 1 and repeats at least 2")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if (p.sample is None) == (q.sample is None):
            return Missing("neither side is a sample" if p.sample is None else "both sides are samples")
        for name, side in (("P", p), ("Q", q)):
            if side.inputs is not None or side.batch_shape:
                return Missing(f"{name} is a conditional, or a batch of distributions")
        (name, side), (other, law) = (("P", p), ("Q", q)) if p.sample is not None else (("Q", q), ("P", p))
        sample = side.sample
        assert sample is not None
        if law.log_prob is None:
            return Missing(
                f"the normalised log-probability of {other} is not known", f"{other}'s normalised log-probability"
            )
        if p.sample is None and p.sampler is None:
            return Missing("P cannot be sampled", "a sampler of P")
        return _unsuitable(name, sample, other, law) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        if p.sample is not None:
            sample, law = less_offset("p", p.sample, q)
            return _from_p(sample, law, request, self)
        assert q.sample is not None
        sample, law = less_offset("q", q.sample, p)
        return _from_q(law, sample, request, self)


def _unsuitable(name: str, sample: Sample, other: str, law: Known) -> Missing | None:
    if sample.inputs is not None:
        return Missing(f"{name} is a sample of pairs, whose inputs the law would have to share")
    if sample.values is None:
        return Missing(f"{name}'s sample has columns that are not numbers", "a sample of numbers")
    if np.count_nonzero(sample.normalized_weights()) < 2:
        return Missing(f"{name}'s sample is of one row", "more rows")
    if law.support is not None and any(law.support.constraint is surface for surface, _ in SURFACES):
        return Missing(f"{other} lives on a surface, where neighbours fill balls of fewer dimensions")
    columns = columns_of(sample)
    # A column that is constant lies on a plane, whatever its values are read as.
    tables = [is_table(column) and np.ptp(column.values.astype(np.float64)) > 0 for column in columns]
    if not _is_discrete(sample, law) and any(tables) and (name == "Q" or len(columns) > 1):
        return Missing(f"{name}'s sample has labels or counts, of which {other} is not known to be a discrete law")
    return None


def _is_discrete(sample: Sample, law: Known) -> bool:
    if law.support is not None:
        return law.support.discrete
    return all(is_table(column) for column in columns_of(sample))


def _from_p(sample: Sample, q: Known, request: Request, rule: OneSample) -> Estimate:
    space = _Space.of(sample, q)
    log_q = -losses_of(Sample(space.values), q)
    if not (space.table or space.whole) and np.isinf(log_q).any():
        inside = _off_the_ends(space.values, q, request)
        # Where the density is ∞ so many rows may round to the end; elsewhere rows there stay what they are.
        values = np.where(_wide(np.isposinf(log_q), inside), inside, space.values)
        space, log_q = replace(space, values=values), -losses_of(Sample(inside), q)
    counted = sample.normalized_weights() > 0
    if np.isnan(log_q[counted]).any():
        row = int(np.argmax(np.isnan(log_q) & counted))
        raise EstimateError(f"q: its log-probability is NaN at row {row} of P's sample; correct it, or drop the row")
    if np.isneginf(log_q[counted]).any():
        row = int(np.argmax(np.isneginf(log_q) & counted))
        return Estimate(np.inf, 0.0, Guarantee.CONSISTENT, reason=f"Q gives probability 0 to row {row} of P's sample")
    # A bootstrap sample of a density has rows of several copies, which become one row below.
    copies = max(rule.neighbours, min(FEWEST_COPIES - 1, sample.size // 20))
    (rows,), spread = space.rows((space.values,), copies, request)
    p = weighted(replace(rows, log_density=log_q + space.log_scale(rows)), sample.weights)
    p = in_order(p, sample.block)
    ordered = on_dependence("P", p)
    diagnostics = {"rows": len(p), "effective_rows": p.effective_size}
    if not space.table and not has_atoms(q, space.values[(rows.cell > 0) & counted], request):
        reason = "P's sample repeats a value as an atom would, to which the continuous Q gives probability 0"
        return Estimate(np.inf, 0.0, Guarantee.CONSISTENT, reason=reason, diagnostics=diagnostics)
    p, rounded = _at_most_1(p)
    p, copies = (p, 0) if space.table or p.block > 1 else distinct_rows(p)
    measured = not (space.table or space.whole or spread)
    if measured and is_flat(space.values[counted], space.scale, _rounding(sample), q, request):
        reason = "P's sample lies on a plane or a line, to which the density of Q gives probability 0"
        return Estimate(np.inf, 0.0, Guarantee.CONSISTENT, reason=reason, diagnostics=diagnostics)
    heavy = untrusted(*verdict_on(-log_q[counted]), "KL(P‖Q)")
    notes = [rounded] * bool(rounded) + _notes(spread, copies) + [heavy] * bool(heavy) + ordered
    thin = on_dimension(p.point[p.cell == 0], request.host_rng(6)) if measured else ""
    if _has_many_dimensions(p, space) and not thin and (q.sampler is not None or p.weight is None):
        return _in_many_dimensions(p, q, space, request, notes)
    p = p if space.table else apart(p)  # the nearest of dependent rows are those beside a row, whatever the density
    statistic = partial(_divergence_of_sample, neighbours=rule.neighbours)
    value = statistic(p)
    varied = subsampled(statistic, (p,), value, rule.repeats, request.host_rng(3))
    if space.table:
        varied = replace(varied, error=float(np.hypot(varied.error, bias_of_cells(p))))
    notes, bound = [thin] * bool(thin) + notes, bool(thin or rounded)
    return estimate_with_guarantee(value, varied, p, None, notes, diagnostics, bound=bound)


def _at_most_1(p: Rows) -> tuple[Rows, str]:
    """The rows with Q's probability of a value that both repeat put at 1 where it would be above, and a remark on it.

    What is above 1 is a density, and the value stands for many that floating point does not tell apart: most draws of
    a gamma law of tiny concentration lie below the least positive number, and are 0. With 1 for the probability of all
    of them, the divergence is a lower bound on that of the rounded laws, which is at most that of the laws.
    """
    assert p.log_density is not None
    rounded = (p.cell > 0) & (p.log_density > 0)
    if not rounded.any():
        return p, ""
    said = (
        f"{rounded.mean():.1%} of P's rows round to a value where the density of Q has no end: a lower bound; "
        "logarithms of the numbers may not round"
    )
    return replace(p, log_density=np.where(rounded, 0.0, p.log_density)), said


def _from_q(p: Known, sample: Sample, request: Request, rule: OneSample) -> Estimate:
    assert p.sampler is not None
    space = _Space.of(sample, p)
    count = int(np.clip(sample.size, FEWEST_DRAWS, MOST_DRAWS))
    with jax.enable_x64(True):
        draws = space.as_outcomes(np.asarray(p.sampler(request.key, count)))
    log_p = -losses_of(Sample(draws), p)
    (first, second), spread = space.rows((draws, space.values), rule.neighbours, request)
    drawn, known = (
        replace(first, log_density=log_p + space.log_scale(first)),
        in_order(weighted(second, sample.weights), sample.block),
    )
    diagnostics = {"rows": len(known), "effective_rows": known.effective_size, "draws": count}
    if _has_many_dimensions(known, space):
        return _as_estimate(_by_scores(p, known, space, request, first=True), _notes(spread), diagnostics)
    _require_finite(drawn)
    statistic = partial(_divergence_from_sample, neighbours=rule.neighbours)
    value = statistic(drawn, known)
    varied = subsampled(statistic, (drawn, known), value, rule.repeats, request.host_rng(3))
    return estimate_with_guarantee(value, varied, drawn, known, _notes(spread) + on_dependence("Q", known), diagnostics)


def _require_finite(drawn: Rows) -> None:
    assert drawn.log_density is not None
    lost = ~np.isfinite(drawn.log_density)
    if lost.any():
        raise EstimateError(
            f"p: its density is infinite at {lost.mean():.0%} of its draws, which round to an end of its support; "
            "compare the logarithms of both sides"
        )


def _has_many_dimensions(rows: Rows, space: _Space) -> bool:
    """Whether rows are of so many measurements that neighbours are biased, and enough for scores and densities."""
    return (
        not (space.table or space.whole)
        and rows.point.shape[1] > NEAR_DIMENSIONS
        and len(rows) >= max(FEWEST_SCORED, 4 * rows.point.shape[1])
        and not (rows.cell > 0).any()
    )


def _in_many_dimensions(p: Rows, q: Known, space: _Space, request: Request, notes: list[str]) -> Estimate:
    """By scores of the sample against draws of Q; where these carry too little, or Q cannot be sampled, by log p̂ / q.

    Held out, log p̂ is low in the mean: a bound that laws without overlap leave sharp, as no sample of Q could.
    """
    diagnostics: dict[str, Any] = {"rows": len(p), "effective_rows": p.effective_size}
    bound = None if p.weight is not None else _by_densities(p, notes, diagnostics, request)
    if q.sampler is None or (bound is not None and bound.value - 2.0 * bound.standard_error > np.log(8 * len(p))):
        # So many draws tell no more than the log of their number.
        assert bound is not None
        return bound
    scored = _by_scores(q, p, space, request, first=False)
    if (
        bound is None
        or scored.guarantee is Guarantee.CONSISTENT
        or _low(scored.value, scored.error) > _low(bound.value, bound.standard_error)
    ):
        return _as_estimate(scored, notes, diagnostics)
    return bound


def _low(value: float, error: float) -> float:
    return value - 2.0 * error


def _by_densities(p: Rows, notes: list[str], diagnostics: dict[str, Any], request: Request) -> Estimate:
    from kullback.estimate.density_ensemble import held_out_log_density  # loads scikit-learn's densities

    assert p.log_density is not None
    terms = held_out_log_density(p, request.host_rng(7)) - p.log_density
    value = p.mean(terms)
    error = float(np.sqrt(p.mean((terms - value) ** 2) / p.effective_size))
    reason = "by densities fitted without the rows that they are evaluated at, which are low in the mean: a lower bound"
    return Estimate(value, error, Guarantee.LOWER_BOUND, reason="; ".join([reason, *notes]), diagnostics=diagnostics)


def _by_scores(law: Known, rows: Rows, space: _Space, request: Request, first: bool) -> Compared:
    """KL by classifiers of a sample against eight times as many draws of a law, which is P where it comes first."""
    assert law.sampler is not None
    count = int(np.clip(8 * len(rows), FEWEST_DRAWS, 8 * MOST_DRAWS))
    with jax.enable_x64(True):
        draws = np.asarray(law.sampler(request.key, count), np.float64)
    drawn = Rows(np.zeros(count, np.int64), draws.reshape(count, -1) / space.scale)
    sides = (drawn, rows) if first else (rows, drawn)
    return compared(*sides, 1, True, request.host_rng(3))


def _as_estimate(found: Compared, notes: list[str], diagnostics: dict[str, Any]) -> Estimate:
    reason = "; ".join([*found.notes, *notes])
    return Estimate(
        found.value, found.error, found.guarantee, reason=reason, diagnostics=found.diagnostics | diagnostics
    )


def _wide(rows: np.ndarray, like: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, *(1,) * (like.ndim - 1))


def _off_the_ends(values: np.ndarray, law: Known, request: Request) -> np.ndarray:
    """Rows at an end of the law's support moved into it, to anywhere before the nearest row.

    An end has probability 0, and its log-density may be anything: NumPyro's is −∞ at the 0 of an exponential law, and ∞
    at that of a gamma law below its mode. A row at an end was rounded to it.
    """
    if law.support is None or not law.support.bounded:
        return values
    moved, share = values.copy(), request.host_rng(5).uniform(0.25, 0.75, values.shape)
    flat, by = moved.reshape(len(values), -1), share.reshape(len(values), -1)
    bounds = (law.support.lower, law.support.upper)
    ends = (np.broadcast_to(np.asarray(end, np.float64), values.shape[1:]).reshape(-1) for end in bounds)
    for at, pair in enumerate(zip(*ends, strict=True)):
        distinct = np.unique(flat[:, at])
        for end, next_to in zip(pair, (1, -2), strict=True):
            here = flat[:, at] == end
            if here.any() and len(distinct) > 1:
                flat[here, at] = end + by[here, at] * (distinct[next_to] - end)
    return moved


def _rounding(sample: Sample) -> float:
    assert sample.values is not None
    return float(np.finfo(np.result_type(sample.values.dtype, np.float32)).eps)


def _notes(spread: bool, copies: int = 0) -> list[str]:
    notes = ["rounded measurements are spread evenly over the step of the rounding"] if spread else []
    if copies:
        notes.append(
            f"{copies:,} rows repeat another of their sample, which measurements do not: a row with copies is one row, "
            "with their weight"
        )
    return notes


# Where outcomes are compared, and the statistics there


@dataclass(frozen=True)
class _Space:
    """Where the outcomes are compared: by value (`table`), by distance after each count k became the interval k ± ½
    (`whole`), or by distance.

    `values` are those of the sample, `scale` [d] what its columns are divided by.
    """

    values: Float[np.ndarray, " n *event"]
    scale: Float[np.ndarray, " d"]
    table: bool
    whole: bool

    @classmethod
    def of(cls, sample: Sample, law: Known) -> _Space:
        assert sample.values is not None
        discrete, values = _is_discrete(sample, law), sample.values.astype(np.float64)
        table = discrete and any(is_table(column) for column in columns_of(sample))
        flat = values.reshape(len(values), -1)
        scale = np.ones(flat.shape[1]) if table else np.array([scale_of(column) for column in flat.T])
        space = cls(values=values, scale=scale, table=table, whole=discrete and not table)
        return replace(space, values=space.as_outcomes(values))

    def log_scale(self, rows: Rows) -> Float[np.ndarray, " n"]:
        """log ∏ s, since the law of x/s has the density q(x) ∏ s; 0 at atoms, whose probability it leaves."""
        return np.where(rows.cell > 0, 0.0, np.log(self.scale).sum())

    def as_outcomes(self, values: np.ndarray) -> np.ndarray:
        """Outcomes in the type that a law of their kind takes."""
        discrete = (self.table or self.whole) and bool((values == np.round(values)).all())
        return values.astype(np.int64 if discrete else np.float64)

    def rows(self, samples: tuple[np.ndarray, ...], most_copies: int, request: Request) -> tuple[list[Rows], bool]:
        """The outcomes of each sample as rows, the last of which is the sample; and whether it was rounded.

        Measurements are in the cell 0, but for atoms: outcomes with more than `most_copies` have a cell each.
        """
        flats, rng = [values.reshape(len(values), -1) for values in samples], request.host_rng(4)
        ends = np.cumsum([len(flat) for flat in flats])[:-1]
        if self.table:
            _, cell = np.unique(np.concatenate(flats), axis=0, return_inverse=True)
            return [Rows(each, np.zeros((len(each), 0))) for each in np.split(cell.ravel(), ends)], False
        if self.whole:
            points = [(flat + rng.uniform(-0.5, 0.5, flat.shape)) / self.scale for flat in flats]
            return [Rows(np.zeros(len(each), np.int64), each) for each in points], False
        points = [flat / self.scale for flat in flats]
        points[-1], spread = spread_points(points[-1], rng)
        _, label, copies = np.unique(np.concatenate(points), axis=0, return_inverse=True, return_counts=True)
        cells = np.split(np.where(copies > most_copies, 1 + np.arange(len(copies)), 0)[label.ravel()], ends)
        return [Rows(cell, each) for cell, each in zip(cells, points, strict=True)], spread


def _divergence_of_sample(p: Rows, neighbours: int) -> float:
    """The mean over the rows of P of log p̂ − log q."""
    assert p.log_density is not None
    return p.mean(_log_own(p, neighbours) + log_weights(p, p, own=True) - p.log_density)


def _divergence_from_sample(p: Rows, q: Rows, neighbours: int) -> float:
    """The mean over draws of P of log p − log q̂."""
    assert p.log_density is not None
    return p.mean(p.log_density - _log_other(p, q, neighbours) - log_weights(p, q, own=False))


def _log_own(p: Rows, neighbours: int) -> Float[np.ndarray, " n"]:
    terms = np.empty(len(p))
    for rows, _ in by_cell(p, p):
        k = min(neighbours, len(rows) - 1)
        if p.point.shape[1] == 0 or p.cell[rows[0]] > 0 or k == 0:
            terms[rows] = digamma(len(rows))
        else:
            terms[rows] = digamma(k) - _log_volume(p.point[rows], p.point[rows], k + 1)
    return terms - digamma(len(p))


def _log_other(p: Rows, q: Rows, neighbours: int) -> Float[np.ndarray, " n"]:
    terms = np.empty(len(p))
    for rows, inside in by_cell(p, q):
        k = min(neighbours, len(inside))
        if p.point.shape[1] == 0 or p.cell[rows[0]] > 0 or k == 0:
            terms[rows] = digamma(len(inside) + 1)
        else:
            terms[rows] = digamma(k) - _log_volume(p.point[rows], q.point[inside], k)
    return terms - digamma(len(q) + 1)


def _log_volume(at: np.ndarray, of: np.ndarray, k: int) -> Float[np.ndarray, " n"]:
    """log of the volume of the cube around each point that reaches its k-th nearest in `of`."""
    distance, _ = cKDTree(of).query(at, k=[k], p=np.inf)
    with np.errstate(divide="ignore"):
        return at.shape[1] * np.log(2.0 * distance[:, 0])
