"""How far the two sides of a column are apart: KL both ways, Jensen–Shannon, PSI and Wasserstein.

With missing or infinite values a column is a state and, where that is finite, a value, and the chain rule gives
KL(P‖Q) = KL(state) + P(finite) KL(value | finite). Among labels a state is one label more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance

from kullback.drifting.features import MOST_VALUES, MOST_VALUES_TOGETHER, Stream, indicator_features, score_features
from kullback.drifting.pairs import FINITE, Pair, Part, quantiles
from kullback.estimate.columns import side_by_side
from kullback.estimate.dependence import dependence
from kullback.estimate.rows import Rows
from kullback.estimate.two_samples import TwoSamples, between_columns, both_ways
from kullback.known.record import Column
from kullback.result import Estimate, Guarantee
from kullback.rule import Request

TENTHS = np.arange(1, 10) / 10
MOST_IN_ORDER = 20_000  # the rows in which dependence is looked for
EVEN = 1e-6  # how unequal the steps of a running number are at most


@dataclass(frozen=True)
class Distances:
    """Distances that need no density.

    jensen_shannon  in nats, at most log 2, of the shares of the bins
    psi             Σ (q − p) log(q/p) over the bins; a bin that is empty on one side counts as half a row there
    wasserstein     W₁ of the finite values, in the column's own units (times and durations: seconds); NaN-free: None
                    for labels, and where a side has no finite value
    bins            what the bins of the first two are

    Source: Lin (1991), IEEE Transactions on Information Theory 37(1); SciPy's `wasserstein_distance`.
    """

    jensen_shannon: float
    psi: float
    wasserstein: float | None
    bins: str


def distances(pair: Pair) -> Distances:
    """Jensen–Shannon and PSI over the values of a table, or over tenths of the reference, each state apart."""
    p, q = bin_counts(pair)
    what = "its values" if pair.table else "tenths of the reference"
    return Distances(
        jensen_shannon=jensen_shannon(p / p.sum(), q / q.sum()),
        psi=population_stability(p, q),
        wasserstein=_wasserstein(pair),
        bins=what + (", missing and infinite ones apart" if (pair.states != FINITE).any() else ""),
    )


def jensen_shannon(p: Float[np.ndarray, " k"], q: Float[np.ndarray, " k"]) -> float:
    """½ KL(p‖m) + ½ KL(q‖m) in nats, m = (p + q)/2."""
    middle = (p + q) / 2
    return float(0.5 * rel_entr(p, middle).sum() + 0.5 * rel_entr(q, middle).sum())


def population_stability(p: Int[np.ndarray, " k"], q: Int[np.ndarray, " k"]) -> float:
    """PSI of two rows of counts, KL(p‖q) + KL(q‖p) of their shares."""
    share_p, share_q = np.maximum(p, 0.5) / p.sum(), np.maximum(q, 0.5) / q.sum()
    used = p + q > 0
    return float(((share_q - share_p) * np.log(share_q / share_p))[used].sum())


def bin_counts(pair: Pair) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Rows of either side in each bin: a value, or a tenth of the reference; and in each state that is not finite."""
    if pair.table:
        p, q = codes(pair)
    else:
        side = pair.p if len(pair.p.finite) else pair.q
        edges = np.unique(quantiles(side.finite, side.finite_count, TENTHS))
        p, q = (np.searchsorted(edges, part.finite, side="left") for part in (pair.p, pair.q))
        p, q = (
            _with_states(code, part.state, len(edges) + 1) for code, part in zip((p, q), (pair.p, pair.q), strict=True)
        )
    size = max(int(p.max()), int(q.max())) + 1
    return row_counts(p, pair.p.count, size), row_counts(q, pair.q.count, size)


def row_counts(code: Int[np.ndarray, " n"], count: Int[np.ndarray, " n"] | None, size: int) -> Int[np.ndarray, " k"]:
    """The rows of each code; an entry stands for `count` of them, or for one."""
    found = np.bincount(code, count, size)
    return found if count is None else np.round(found).astype(np.int64)


def codes(pair: Pair) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """A number for the value of each row of either side, the states that are not finite last."""
    levels, found = pair.levels
    n = len(pair.p.finite)
    return (
        _with_states(found[:n], pair.p.state, len(levels)),
        _with_states(found[n:], pair.q.state, len(levels)),
    )


def _with_states(code: np.ndarray, state: Int[np.ndarray, " n"], levels: int) -> Int[np.ndarray, " n"]:
    rows = np.empty(len(state), np.int64)
    rows[state == FINITE] = code
    others = state != FINITE
    rows[others] = levels + state[others] - 1
    return rows


def from_smallest(pair: Pair) -> Pair:
    """Whole numbers beyond double precision less their smallest, which changes no difference and keeps all of them."""
    values = pair.pooled
    if values.dtype.kind not in "iu" or max(abs(int(values.min())), abs(int(values.max()))) < 2**53:
        return pair
    least = np.uint64(int(values.min()) % 2**64)  # differences modulo 2⁶⁴ are right for signed numbers too
    p, q = (
        replace(part, column=replace(part.column, values=(part.finite.astype(np.uint64) - least).astype(np.float64)))
        for part in (pair.p, pair.q)
    )
    return replace(pair, p=p, q=q)


def _wasserstein(pair: Pair) -> float | None:
    if pair.read_as == "labels" or not (len(pair.p.finite) and len(pair.q.finite)):
        return None
    if pair.p.within is not None and pair.q.within is not None:
        return _wasserstein_of_bins(pair.p, pair.q)
    pair = from_smallest(pair)
    p, q = (part.finite.astype(np.float64) for part in (pair.p, pair.q))
    scale = float(np.abs(np.concatenate([p, q])).max()) or 1.0  # the distances of the largest numbers would overflow
    weights = pair.p.finite_count, pair.q.finite_count
    return float(wasserstein_distance(p / scale, q / scale, *weights)) * scale


def _wasserstein_of_bins(p: Part, q: Part) -> float:
    """W₁ = ∫ |F_P − F_Q| of binned rows, by |∫ F_P − F_Q| of each bin, which the means of its rows give exactly.

    That is W₁ where the difference has one sign in the bin, and less where it has not. Where both sides have at most
    three rows in a bin, their mean, least and largest say which these are, and ∫ |F_P − F_Q| is known there too.
    """
    assert p.within is not None and q.within is not None
    scale = float(np.abs(np.concatenate([p.within, q.within])).max()) or 1.0  # differences would overflow
    (x_p, rows_p, bin_p), (x_q, rows_q, bin_q) = _as_points(p, p.within / scale), _as_points(q, q.within / scale)
    x, bins = np.concatenate([x_p, x_q]), np.concatenate([bin_p, bin_q])
    order = np.lexsort((x, bins))
    step = np.concatenate([rows_p / rows_p.sum(), -rows_q / rows_q.sum()])[order]
    x, bins = x[order], bins[order]
    area = np.cumsum(step)[:-1] * np.maximum(np.diff(x), 0.0)
    many = np.concatenate([bin_p[rows_p > 1], bin_q[rows_q > 1]])  # of which not each row is known
    together = (bins[1:] == bins[:-1]) & np.isin(bins[1:], many)
    begins = np.append(True, ~together[1:] | ~together[:-1])
    return float(np.abs(np.add.reduceat(area, np.flatnonzero(begins))).sum()) * scale


def _as_points(part: Part, within: Float[np.ndarray, "finite 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least and the largest row of each bin, and all others at their mean; with their rows and their bins."""
    rows, (mean, low, high) = np.asarray(part.finite_count), within.T
    middle = np.clip((rows * mean - low - high) / np.maximum(rows - 2, 1), low, high)
    count = np.concatenate([np.ones(len(rows)), np.minimum(rows - 1, 1), np.maximum(rows - 2, 0)])
    used = count > 0
    return np.concatenate([low, high, middle])[used], count[used], np.tile(part.finite, 3)[used]


# KL, with what it is worth


def divergences(pair: Pair, request: Request) -> tuple[Estimate, Estimate]:
    """KL of the reference against the current side, and the other way round."""
    return _divergence(pair, request), _flipped(_divergence(replace(pair, p=pair.q, q=pair.p), request))


def joint_divergences(
    pairs: Sequence[Pair], request: Request, alone: Sequence[tuple[Estimate, Estimate]] = ()
) -> tuple[Estimate, Estimate]:
    """KL of all columns together, both ways from one fit; a column with states is two: the state, and the values.

    alone  the divergences of each column by itself, where they are known
    """
    if len(pairs) == 1:
        return divergences(pairs[0], request)
    names = [pair.name for pair in pairs]
    known = [
        dict(zip(names, [(kl.value, kl.standard_error) for kl in way], strict=True)) for way in zip(*alone, strict=True)
    ]
    both = (known[0], known[1]) if known else None
    kl, reverse = both_ways(*_sides(pairs), request, TwoSamples(), named=True, alone=both)
    return kl, _flipped(reverse)


def row_log_ratios(pairs: Sequence[Pair], request: Request) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """log P/Q at each row of the reference and of the current table, by cross-fitted scores of its features.

    Values of a table enter as indicators, so that rows with labels of their own borrow from those that share some.
    """
    from kullback.estimate.density_ratio.estimator import log_ratios  # loads scikit-learn's classifiers

    most = MOST_VALUES if len(pairs) == 1 else MOST_VALUES_TOGETHER
    measured = np.hstack([score_features(pair)[:, 1:] for pair in pairs])
    label = np.hstack([indicator_features(pair, most) for pair in pairs])
    rows, n = Rows(np.zeros(len(measured), np.int64), measured), len(pairs[0].p)
    p, q = rows.take(np.arange(n)), rows.take(np.arange(n, len(rows)))
    found = log_ratios(p, q, label, request.host_rng(Stream.SCORES))
    return found[:n], found[n:]


def joint_divergence(pairs: Sequence[Pair], request: Request) -> Estimate:
    """KL(P‖Q) of all columns together."""
    if len(pairs) == 1:
        return _divergence(pairs[0], request)
    return between_columns(*_sides(pairs), request, TwoSamples(), named=True)


def _sides(pairs: Sequence[Pair]) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    both = [each for pair in pairs for each in _joint_columns(pair)]
    return tuple(p for p, _ in both), tuple(q for _, q in both)


def point_estimate(estimate: Estimate) -> float:
    """The estimate that was made, which is not what is stated where that is a lower bound."""
    return float(estimate.diagnostics.get("estimate", estimate.value))


def _flipped(estimate: Estimate) -> Estimate:
    """An estimate of KL(Q‖P) in the words of the two samples, not of the order of the arguments."""
    return replace(estimate, quantity="KL(Q‖P)", reason=estimate.reason.translate(str.maketrans("PQ", "QP")))


def _divergence(pair: Pair, request: Request) -> Estimate:
    rule = TwoSamples(scores=False)  # quick, and in one dimension as good
    if pair.table:
        sides = [(Column(pair.name, rows, stated="labels"),) for rows in codes(pair)]
        return between_columns(sides[0], sides[1], request, rule)
    pair = from_smallest(pair)
    p, q = ((replace(part.column, stated="measured"),) for part in (pair.p, pair.q))
    if not (pair.states != FINITE).any():
        return between_columns(p, q, request, rule)
    sides = [(Column(pair.name, part.state, stated="labels"),) for part in (pair.p, pair.q)]
    state = between_columns(sides[0], sides[1], request, rule)
    if not len(pair.p.finite):
        return state
    if not len(pair.q.finite):
        return replace(state, guarantee=Guarantee.LOWER_BOUND, reason="Q's sample has no finite value: a lower bound")
    return _chained(state, len(pair.p.finite) / len(pair.p), len(pair.p), between_columns(p, q, request, rule))


def _chained(state: Estimate, share: float, rows: int, value: Estimate) -> Estimate:
    """KL(state) + P(finite) KL(value | finite), the variance of the share included."""
    variance = state.standard_error**2 + (share * value.standard_error) ** 2
    variance += value.value**2 * share * (1 - share) / rows
    guarantee = max(state.guarantee, value.guarantee, key=lambda each: each.rank)
    reasons = dict.fromkeys(part for each in (state, value) for part in each.reason.split("; ") if part)
    return replace(
        value,
        value=state.value + share * value.value,
        standard_error=math.sqrt(variance),
        guarantee=guarantee,
        reason="; ".join(reasons),
    )


def _joint_columns(pair: Pair) -> list[tuple[Column, Column]]:
    if pair.table:
        p, q = (Column(pair.name, rows, stated="labels") for rows in codes(pair))
        return [(p, q)]
    pair = from_smallest(pair)
    parts = (pair.p, pair.q)
    if not (pair.states != FINITE).any():
        p, q = (replace(part.column, stated="measured") for part in parts)
        return [(p, q)]
    typical = float(np.median(pair.pooled)) if len(pair.pooled) else 0.0
    states, values = [], []
    for part in parts:
        filled = np.full(len(part), typical)
        filled[part.state == FINITE] = part.finite
        states.append(Column(f"{pair.name} is missing", part.state, stated="labels"))
        values.append(Column(pair.name, filled, pair.unit, stated="measured", zoned=part.column.zoned))
    return [(states[0], states[1]), (values[0], values[1])]


# Dependence between rows


def block_lengths(pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many rows one after another depend on each other in either table; 1 for independent ones.

    Numbers are looked at together and each column of labels by itself: a combination of many hardly ever repeats. Of
    independent rows dependence is found with a probability of at most 10⁻⁴ for the numbers, and as much for each column
    of labels.
    """
    columns = [each for pair in pairs if pair.unit != "time" for each in _joint_columns(_in_order(pair))]
    found = [_block_length([column[side] for column in columns]) for side in (0, 1)]
    return found[0], found[1]


def _in_order(pair: Pair) -> Pair:
    """The first rows of both sides; frequencies of numbers as numbers."""
    p, q = (part.take(np.arange(len(part)) < MOST_IN_ORDER) for part in (pair.p, pair.q))
    return Pair(pair.name, p, q, table=pair.table and pair.read_as != "frequencies")


def _block_length(columns: Sequence[Column]) -> int:
    if any(_sorts(column) for column in columns):
        return 1
    labels = [column for column in columns if column.stated == "labels"]
    measured = [column for column in columns if column.stated != "labels"]
    together = ([measured] if measured else []) + [[column] for column in labels]
    return max([1, *(dependence(side_by_side(each, each)[0]) for each in together)])


def _sorts(column: Column) -> bool:
    """Whether the rows are sorted or grouped by a column, so that their order says nothing of time."""
    values = column.values
    if column.stated == "labels":
        levels = len(np.unique(values))
        return levels > 1 and int(np.count_nonzero(values[1:] != values[:-1])) < levels
    steps = np.diff(values.astype(np.float64))
    monotone = (steps >= 0).all() or (steps <= 0).all()
    return bool(monotone and steps.any() and np.ptp(steps) > EVEN * np.abs(steps).mean())
