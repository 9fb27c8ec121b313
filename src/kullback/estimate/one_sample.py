"""One side a sample, the other a law: the law's log-probability as it is, the sample's by neighbours or frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import digamma

from kullback.errors import EstimateError, InputError
from kullback.estimate.columns import columns_of, rounding_step, scale_of, weighted
from kullback.estimate.cross_entropy import losses_of
from kullback.estimate.rows import Rows, by_cell
from kullback.estimate.subsampling import subsampled
from kullback.estimate.weights import log_weights
from kullback.estimate.worth import judged
from kullback.known import Known
from kullback.known.reading import is_table
from kullback.known.record import Sample
from kullback.known.support import SURFACES
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

FEWEST_DRAWS, MOST_DRAWS = 2_000, 10_000


@dataclass(frozen=True)
class OneSample(Rule):
    """KL(P‖Q) from a finite sample of one side and the log-probability of the other.

    With a sample of P it is the mean over its n rows of log p̂ − log q, where log p̂ = ψ(k) − ψ(n) − d log 2ε for the
    distance ε to the k-th nearest other row, or ψ(nᵢ) − ψ(n) for a row whose value has nᵢ rows. With a sample of m rows
    of Q it is the mean over draws of P of log p − log q̂, with log q̂ = ψ(k) − ψ(m + 1) − d log 2ε, or
    ψ(mᵢ + 1) − ψ(m + 1); where Q's sample does not reach enough of P the answer is a lower bound. Two samples would
    know the law by its draws alone, and say no more than about the log of their number. The value can be negative: it
    is not clipped.

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

    def __post_init__(self) -> None:
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
        return _from_p(p.sample, q, request, self) if p.sample is not None else _from_q(p, q.sample, request, self)


def _unsuitable(name: str, sample: Sample, other: str, law: Known) -> Missing | None:
    if sample.inputs is not None:
        return Missing(f"{name} is a sample of pairs, whose inputs the law would have to share")
    if sample.values is None:
        return Missing(f"{name}'s sample has columns that are not numbers", "a sample of numbers")
    if sample.size < 2:
        return Missing(f"{name}'s sample is of one row", "more rows")
    if law.support is not None and any(law.support.constraint is surface for surface, _ in SURFACES):
        return Missing(f"{other} lives on a surface, where neighbours fill balls of fewer dimensions")
    if name == "Q" and not _discrete(sample, law) and all(is_table(column) for column in columns_of(sample)):
        return Missing("Q's sample is of labels or counts, and P is continuous")
    return None


def _discrete(sample: Sample, law: Known) -> bool:
    if law.support is not None:
        return law.support.discrete
    return all(is_table(column) for column in columns_of(sample))


def _from_p(sample: Sample, q: Known, request: Request, rule: OneSample) -> Estimate:
    discrete = _discrete(sample, q)
    values = _rows_of(sample.values, discrete)
    log_q = -losses_of(Sample(values), q)
    counted = np.ones(len(values), bool) if sample.weights is None else sample.weights > 0
    if np.isnan(log_q[counted]).any():
        row = int(np.argmax(np.isnan(log_q) & counted))
        raise EstimateError(f"q: its log-probability is NaN at row {row} of P's sample; correct it, or drop the row")
    if np.isneginf(log_q[counted]).any():
        row = int(np.argmax(np.isneginf(log_q) & counted))
        return Estimate(np.inf, 0.0, Guarantee.CONSISTENT, reason=f"Q gives probability 0 to row {row} of P's sample")
    flat = values.reshape(len(values), -1)
    scale = np.ones(flat.shape[1]) if discrete else np.array([scale_of(column) for column in flat.T])
    rows, spread = _as_rows(flat, scale, discrete, request)
    # The law of x/s has the density q(x) ∏ s.
    p = weighted(Rows(rows.cell, rows.point, log_density=log_q + np.log(scale).sum()), sample.weights)
    notes, diagnostics = _notes(spread), {"rows": len(p), "effective_rows": p.effective_size}
    statistic = partial(_divergence_of_sample, neighbours=rule.neighbours)
    value = statistic(p)
    if np.isinf(value):
        reason = "P's sample repeats a value as an atom would, to which the continuous Q gives probability 0"
        return Estimate(np.inf, 0.0, Guarantee.CONSISTENT, reason=reason, diagnostics=diagnostics)
    varied = subsampled(statistic, (p,), rule.repeats, request.host_rng(3), p.point.shape[1])
    return judged(value, varied, p, None, notes, diagnostics)


def _from_q(p: Known, sample: Sample | None, request: Request, rule: OneSample) -> Estimate:
    assert sample is not None and p.sampler is not None
    discrete = _discrete(sample, p)
    count = int(np.clip(sample.size, FEWEST_DRAWS, MOST_DRAWS))
    with jax.enable_x64(True):
        draws = np.asarray(p.sampler(request.key, count))
    draws, values = _rows_of(draws, discrete), _rows_of(sample.values, discrete)
    log_p = -losses_of(Sample(draws), p)
    flat_p, flat_q = draws.reshape(count, -1), values.reshape(len(values), -1)
    scale = np.ones(flat_q.shape[1]) if discrete else np.array([scale_of(column) for column in flat_q.T])
    if discrete:
        _, cell = np.unique(np.concatenate([flat_p, flat_q]), axis=0, return_inverse=True)
        first, second = (Rows(c, np.zeros((len(c), 0))) for c in (cell.ravel()[:count], cell.ravel()[count:]))
        spread = False
    else:
        first = Rows(np.zeros(count, np.int64), flat_p / scale)
        second, spread = _as_rows(flat_q, scale, False, request)
    drawn = Rows(first.cell, first.point, log_density=log_p + np.log(scale).sum())
    known = weighted(second, sample.weights)
    notes, diagnostics = _notes(spread), {"rows": len(known), "effective_rows": known.effective_size, "draws": count}
    statistic = partial(_divergence_from_sample, neighbours=rule.neighbours)
    varied = subsampled(statistic, (drawn, known), rule.repeats, request.host_rng(3), drawn.point.shape[1])
    return judged(statistic(drawn, known), varied, drawn, known, notes, diagnostics)


def _notes(spread: bool) -> list[str]:
    return ["rounded measurements are spread evenly over the step of the rounding"] if spread else []


def _rows_of(values: np.ndarray | None, discrete: bool) -> np.ndarray:
    assert values is not None
    if not discrete:
        return values.astype(np.float64)
    return values.astype(np.int64) if (values == np.round(values)).all() else values


def _as_rows(flat: np.ndarray, scale: np.ndarray, discrete: bool, request: Request) -> tuple[Rows, bool]:
    """The rows of a sample, rounded measurements spread over the step of their rounding, and whether there were any."""
    if discrete:
        _, cell = np.unique(flat, axis=0, return_inverse=True)
        return Rows(cell.ravel(), np.zeros((len(flat), 0))), False
    point, rng = flat / scale, request.host_rng(4)
    steps = np.array([rounding_step(column) for column in point.T])
    point = point + steps * rng.uniform(-0.5, 0.5, point.shape)
    return Rows(np.zeros(len(flat), np.int64), point), bool(steps.any())


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
        terms[rows] = digamma(len(rows))
    if p.point.shape[1] == 0:
        return terms - digamma(len(p))
    k = min(neighbours, len(p) - 1)
    return digamma(k) - digamma(len(p)) - _log_volume(p.point, p.point, k + 1)


def _log_other(p: Rows, q: Rows, neighbours: int) -> Float[np.ndarray, " n"]:
    if p.point.shape[1] == 0:
        terms = np.empty(len(p))
        for rows, inside in by_cell(p, q):
            terms[rows] = digamma(len(inside) + 1)
        return terms - digamma(len(q) + 1)
    k = min(neighbours, len(q))
    return digamma(k) - digamma(len(q) + 1) - _log_volume(p.point, q.point, k)


def _log_volume(at: np.ndarray, of: np.ndarray, k: int) -> Float[np.ndarray, " n"]:
    """log of the volume of the cube around each point that reaches its k-th nearest in `of`."""
    distance, _ = cKDTree(of).query(at, k=[k], p=np.inf)
    with np.errstate(divide="ignore"):
        return at.shape[1] * np.log(2.0 * distance[:, 0])
