"""Monte Carlo: the mean of the log-ratio over draws of P."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kullback.errors import InputError
from kullback.estimate.batch import batch_shape, mean_over_inputs
from kullback.estimate.control_variate import ratio_second_moment
from kullback.estimate.draws import Integrand, Sums, sum_over_draws
from kullback.estimate.support import escape_of
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

WORST_SECOND_MOMENT = 100.0


@dataclass(frozen=True)
class MonteCarlo(Rule):
    """KL(P‖Q) = E_P[log P − log Q], averaged over draws of P until the standard error meets a tolerance.

    A pilot's variance sets the number of draws, and the pilot is then thrown away: a number of draws that depends
    on the draws averaged would bias the mean. Where Q is known up to a constant the answer is KL(P‖Q) − log Z.

    tolerance  the standard error aimed at, nats, where the request has none
    pilot      draws of the pilot
    draws      the most draws of the answer; the standard error says what they gave
    control    whether to subtract a multiple of Q/P − 1, whose mean is 0, where its second moment is known to be
               small (normals and mixtures of them); never elsewhere, since its variance can be infinite

    Source: Owen (2013), Monte Carlo theory, methods and examples, sections 2.1 and 8.9; Stein (1945), for the pilot.
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

    def __post_init__(self) -> None:
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
    return Integrand(p.sampler, log_p, q.log_density, mean_over_inputs(p, q), shapes, control)


def average(integrand: Integrand, p: Known, q: Known, request: Request, rule: Any, constant: str = "") -> Estimate:
    """The mean of the integrand to the tolerance asked, as an `Estimate` of KL(P‖Q), or of H(P, Q) without log P."""
    quantity = "KL(P‖Q)" if integrand.log_p is not None else "H(P, Q)"
    tolerance = request.tolerance or rule.tolerance
    pilot_key, key = jax.random.split(request.key)
    pilot = sum_over_draws(integrand, pilot_key, rule.pilot)
    slope = _slope(pilot, integrand.control)
    needed = int(min(rule.draws, 1.1 * np.max(_variance(pilot, slope)) / tolerance**2 + 1))
    main = sum_over_draws(integrand, key, max(needed, 2 * integrand.chunk))
    value = main.mean[..., 0] - (slope * main.mean[..., 1] if integrand.control else 0.0)
    error = np.sqrt(_variance(main, slope) / main.count)
    infinite, reason = _escape(p, q, pilot.merge(main), integrand.weights is not None)
    if not infinite.any() and np.max(error) > 1.2 * tolerance:
        reason = f"the standard error is above the tolerance of {tolerance:g} nats at the limit of {main.count:,} draws"
    dropped = ("H(P)",) if integrand.log_p is None else ()
    return Estimate(
        np.where(infinite, np.inf, value),
        np.where(infinite, 0.0, error),
        Guarantee.UNBIASED,
        quantity=f"{quantity} − {constant}" if constant else quantity,
        dropped=(*dropped, constant) if constant else dropped,
        reason=reason,
        diagnostics={"draws": main.count, "pilot_draws": pilot.count, "control_variate": float(integrand.control)},
    )


def _slope(pilot: Sums, control: bool) -> np.ndarray | float:
    """The multiple of the control that leaves the least variance, from the pilot alone."""
    if not control:
        return 0.0
    spread = pilot.moment[..., 1, 1]
    return np.where(spread > 0, pilot.moment[..., 0, 1] / np.where(spread > 0, spread, 1.0), 0.0)


def _variance(sums: Sums, slope: Any) -> np.ndarray:
    moment = sums.moment[..., 0, 0]
    if sums.moment.shape[-1] == 2:
        moment = moment - 2 * slope * sums.moment[..., 0, 1] + slope**2 * sums.moment[..., 1, 1]
    return np.maximum(moment, 0.0) / (sums.count - 1)


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
