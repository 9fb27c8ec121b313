"""Monte Carlo: the mean of the log-ratio over draws of P."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from kullback.errors import EstimateError, InputError
from kullback.estimate.batch import batch_shape, mean_over_inputs
from kullback.estimate.control_variate import ratio_second_moment
from kullback.estimate.draws import Integrand, Sums, sum_over_draws
from kullback.estimate.log_density import floored, guarded
from kullback.estimate.log_draws import in_logs, rounds
from kullback.estimate.pareto_tail import Seen, Tails
from kullback.estimate.strata import strata_of, whole
from kullback.estimate.support import escape_of
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

WORST_SECOND_MOMENT = 100.0
EQUAL_SHARE, LEAST_DRAWS = 0.1, 64
HOPELESS, FEW = 0.85, 1 << 18  # the tail index of a pilot beyond which more draws hardly help, and as many as do


@dataclass(frozen=True)
class MonteCarlo(Rule):
    """KL(P‖Q) = E_P[log P − log Q], averaged over draws of P until the standard error meets a tolerance.

    A pilot's variance sets the number of draws, and the pilot is then thrown away: a number of draws that depends
    on the draws averaged would bias the mean. Where Q is known up to a constant the answer is KL(P‖Q) − log Z.

    Where P is known to be Σ wₖ Pₖ, E_P = Σ wₖ E_{Pₖ}, each from draws of its own: a component is met however small its
    weight is. Their numbers are proportional to wₖ times the standard deviation in Pₖ, but for a tenth that is shared
    out equally, since a pilot may underrate a deviation.

    tolerance  the standard error aimed at, nats, where the request has none
    pilot      draws of the pilot
    draws      the most draws of the answer; the standard error says what they gave
    control    whether to subtract a multiple of Q/P − 1, whose mean is 0, where its second moment is known to be
               small (normals and mixtures of them); never elsewhere, since its variance can be infinite

    Where the largest log-ratios have the tail of a law of infinite variance or mean, the reason says so: the mean is
    then unbiased all the same, and its standard error no measure of how far off it is. Where the pilot shows such a
    tail, of index k ≥ 0.85, 262,144 draws are made at most: the error falls like n^(k − 1) there, and 16 times as many
    would at best halve it.

    Where a library's density underflows at draws of P, its logarithm counts as the last one before that, and the answer
    is a lower bound.

    Source: Owen (2013), Monte Carlo theory, methods and examples, sections 2.1, 8.4 and 8.9; Stein (1945), for the
    pilot; Vehtari et al. (2024), section 3.2, for the tail.
    """

    tolerance: float = 0.005
    pilot: int = 8192
    draws: int = 1 << 22
    control: bool = True

    name = "monte carlo"
    question = "estimate"
    identity = "KL(P‖Q) = E_P[log P − log Q], by draws of P"
    needs_p = "a sampler and a normalised log-probability"
    needs_q = "a log-density"
    guarantee = Guarantee.UNBIASED
    cost = 6.0
    source = "Owen (2013), Monte Carlo theory, methods and examples, 2.1, 8.9"
    aliases = ("MC", "sampling", "k1 estimator")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0 or self.pilot < 1 or self.draws < 1:
            raise InputError("MonteCarlo: tolerance, pilot and draws must be positive")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.sampler is None:
            return Missing("P cannot be sampled", "a sampler of P")
        if p.log_prob is None:
            return Missing("the normalised log-probability of P is not known", "P's normalised log-probability")
        if q.log_density is None:
            return Missing("the log-density of Q is not known", "Q's log-density")
        return Applies(dropped=() if q.normalized else ("log Z",))

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        control = self.control and ratio_second_moment(p, q) <= WORST_SECOND_MOMENT
        integrand = integrand_of(p, q, p.log_prob, control)
        return average(integrand, p, q, request, self, "" if q.normalized else "log Z")


def integrand_of(p: Known, q: Known, log_p: Any, control: bool = False) -> Integrand:
    """log_p − log Q over draws of P, batched over both sides and averaged over the inputs of a conditional."""
    assert p.sampler is not None
    assert q.log_density is not None
    batch, event = batch_shape(p, q), p.event_shape or q.event_shape or ()
    shapes = (len(p.batch_shape), batch, event)
    if (logs := in_logs(p.distribution, q.distribution)) is not None:
        strata, shapes = whole(logs.sampler, p.batch_shape), (len(p.batch_shape), batch, logs.event)
        own = None if log_p is None else logs.log_p
        return Integrand(strata, own, logs.log_q, mean_over_inputs(p, q), shapes, False)
    if rounds(p.distribution):
        raise EstimateError(
            "p: shares of so small a concentration are drawn as 0 or 1 themselves, where no log-ratio is right; give Q "
            "as a NumPyro law of shares, or leave the rule to the planner"
        )
    strata = strata_of(p.distribution) or whole(p.sampler, p.batch_shape)
    return Integrand(strata, log_p, q.log_density, mean_over_inputs(p, q), shapes, control)


@np.errstate(over="ignore", invalid="ignore")
def average(integrand: Integrand, p: Known, q: Known, request: Request, rule: Any, constant: str = "") -> Estimate:
    """The mean of the integrand to the tolerance asked, as an `Estimate` of KL(P‖Q), or of H(P, Q) without log P."""
    quantity = "KL(P‖Q)" if integrand.log_p is not None else "H(P, Q)"
    tolerance = request.tolerance or rule.tolerance
    live = integrand.live
    pilot_key, key = jax.random.split(request.key)
    seen = Seen()
    pilot = sum_over_draws(integrand, pilot_key, _shared_out(rule.pilot, live / live.sum(), live), seen)
    slope = _slope(pilot, integrand.control)
    variances = _variances(pilot, slope)
    share = _neyman(variances, live)
    needed = int(
        min(
            rule.draws if seen.index() < HOPELESS else min(rule.draws, FEW),
            1.1 * np.max(_over(variances, share)) / tolerance**2 + 1,
        )
    )
    counts = _shared_out(max(needed, 2 * integrand.chunk), share, live)
    tails = Tails(variances / _along(np.where(live, share, 1.0), variances), counts)
    main = sum_over_draws(integrand, key, counts, tails)
    value = main.total[..., 0] - (slope * main.total[..., 1] if integrand.control else 0.0)
    error = np.sqrt(_over(_variances(main, slope), main.counts))
    infinite, reason = _escape(p, q, pilot.merge(main), integrand.weights is not None)
    if not np.isfinite(np.where(infinite, 0.0, value + error)).all():
        raise EstimateError(
            f"p and q: log-ratios at draws of P add up beyond the largest double, so that {quantity} has no mean of "
            "draws; give both sides as laws of log x, or in a larger unit"
        )
    (index, unbounded), draws = tails.verdict(), int(main.counts.sum())
    if infinite.ndim == 0 and infinite and escape_of(p, q) is None and (least := _underflow(integrand, key, main)) < 0:
        found = average(
            dataclasses.replace(integrand, log_q=floored(integrand.log_q, least)), p, q, request, rule, constant
        )
        reason = f"log Q underflows at draws of P, where it counts as {least:.0f}, which is more than it is"
        reason = "; ".join(filter(None, [reason, found.reason]))
        return dataclasses.replace(found, guarantee=Guarantee.LOWER_BOUND, reason=reason)
    if not infinite.any():
        missed = np.max(error) > 1.2 * tolerance
        limit = f"the standard error is above the tolerance of {tolerance:g} nats with {draws:,} draws"
        reason = "; ".join(filter(None, [untrusted(index, unbounded, quantity), limit if missed else ""]))
    dropped = ("H(P)",) if integrand.log_p is None else ()
    return Estimate(
        np.where(infinite, np.inf, value),
        np.where(infinite, 0.0, error),
        Guarantee.UNBIASED,
        quantity=f"{quantity} − {constant}" if constant else quantity,
        dropped=(*dropped, constant) if constant else dropped,
        reason=reason,
        diagnostics={
            "draws": draws,
            "pilot_draws": int(pilot.counts.sum()),
            "strata": int(live.sum()),
            "control_variate": float(integrand.control),
            **({"tail_index": index} if np.isfinite(index) else {}),
        },
    )


def _underflow(integrand: Integrand, key: jax.Array, sums: Sums) -> float:
    """The last log Q on the way to a draw of P at which it underflows to −∞; 0 where Q is 0 there indeed."""
    if sums.example is None or np.asarray(sums.example).dtype.kind != "f":
        return 0.0
    some, event = np.arange(128) % len(integrand.live), np.shape(sums.example)
    with jax.enable_x64(True):
        sampler = integrand.strata.sampler
        draws = np.asarray(sampler(key, jnp.asarray(some)) if isinstance(sampler, Partial) else sampler(key, len(some)))

    def log_q(points: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(integrand.log_q(jnp.asarray(points.reshape(-1, *event))))

    guard = guarded(log_q, draws.reshape(len(draws), -1))
    guard(np.reshape(sums.example, (1, -1)))
    return guard.deepest if guard.edge is None else 0.0


def _shared_out(draws: int, share: Float[np.ndarray, " k"], live: np.ndarray) -> Int[np.ndarray, " k"]:
    """So many draws by share, and a least number for each stratum that has weight."""
    least = 0 if live.sum() == 1 else LEAST_DRAWS
    return np.where(live, np.maximum(np.ceil(draws * share), least), 0).astype(int)


def _neyman(variances: Float[np.ndarray, " k *batch"], live: np.ndarray) -> Float[np.ndarray, " k"]:
    """The share of the draws of each stratum: by its standard deviation, and a part of them equally.

    Source: Neyman (1934), section III.
    """
    deviation = np.sqrt(variances).max(tuple(range(1, variances.ndim)))
    equal = live / live.sum()
    if live.sum() == 1 or not deviation.any():
        return equal
    return (1.0 - EQUAL_SHARE) * deviation / deviation.sum() + EQUAL_SHARE * equal


def _slope(pilot: Sums, control: bool) -> np.ndarray | float:
    """The multiple of the control that leaves the least variance, from the pilot alone."""
    if not control:
        return 0.0
    variance = pilot.variances().sum(0)
    spread = variance[..., 1, 1]
    return np.where(spread > 0, variance[..., 0, 1] / np.where(spread > 0, spread, 1.0), 0.0)


def _variances(sums: Sums, slope: Any) -> Float[np.ndarray, " k *batch"]:
    """The variance of one draw of each stratum, with the control taken off."""
    table = sums.variances()
    variance = table[..., 0, 0]
    if table.shape[-1] == 2:
        variance = variance - 2 * slope * table[..., 0, 1] + slope**2 * table[..., 1, 1]
    return np.maximum(variance, 0.0)


def _over(variances: Float[np.ndarray, " k *batch"], draws: Float[np.ndarray, " k"]) -> Float[np.ndarray, "*batch"]:
    """Σₖ σₖ²/nₖ: the variance of a sum of means over strata."""
    return (variances / _along(np.where(draws > 0, draws, 1.0), variances)).sum(0)


def _along(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return x.reshape(-1, *(1,) * (other.ndim - 1))


def untrusted(index: float, unbounded: str, quantity: str) -> str:
    """What the tail of the values says against their mean and its standard error, if it says anything."""
    if not unbounded:
        return ""
    found = f"the largest values averaged have a tail index of {index:.2f}, that of a law of infinite {unbounded}"
    if unbounded == "mean":
        return f"{found} (1 or above): {quantity} is likely ∞, and no mean of draws approaches it"
    return f"{found} (1/2 or above): the standard error is not to be trusted"


def _escape(p: Known, q: Known, sums: Sums, averaged: bool) -> tuple[np.ndarray, str]:
    """Which elements are infinite: by the supports' bounds, or since a draw of P has probability 0 under Q."""
    infinite, reason = sums.escaped > 0, ""
    if sums.example is not None:
        shown = np.array2string(sums.example, precision=6, threshold=6)
        reason = f"P drew an outcome, {shown}, to which Q gives probability 0"
    found = escape_of(p, q)
    if found is not None:
        infinite = infinite | (found.where.any() if averaged else found.where)
        reason = found.reason
    return infinite, reason
