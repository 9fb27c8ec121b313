"""The rule: the integral of P log(P/Q) on a line or a plane, with an error in nats.

Of independent coordinates the divergence is the sum over them (Kullback and Leibler (1951), theorem 3.1).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.distributions import Product
from kullback.errors import EstimateError, InputError
from kullback.estimate import log_draws
from kullback.estimate.batch import batch_shape, mean_over_inputs
from kullback.estimate.log_density import LogDensity, box_of, log_densities
from kullback.estimate.quadrature.line import Integrals, Settings, along_line, infinite
from kullback.estimate.quadrature.mass import locate, points_with_mass
from kullback.estimate.quadrature.plane import on_plane
from kullback.estimate.support import escape_of
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.record import Functions
from kullback.known.support import aligned, from_constraint
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

MOST_ELEMENTS = 32
RELATIVE = 1e-10
HIDDEN = 1e-5
SEARCHED = (
    "a side that is not normalised is integrated over the mass that a search finds; the search misses, without a "
    "remark, a mode that is narrower than 1/400 of the others and that no slope leads to"
)
UNSEEN = 1e-6  # nats, and of the value, that may hide where log Q underflows without being said


@dataclass(frozen=True)
class Outcome:
    """One element of the batch: its divergence and error in nats, panels, the mass found, and why where it is ∞.

    A `bound` is a lower one, of a divergence by which log Q could not be followed to the end, as `reason` says.
    It is `assumed` where P's log-density is NaN in places of which nothing is known.
    """

    value: float
    error: float
    panels: int
    mass: float = 1.0
    reason: str = ""
    bound: bool = False
    assumed: bool = False


@dataclass(frozen=True)
class Quadrature(Rule):
    """KL(P‖Q) = ∫ P log(P/Q), adaptive, in one or two dimensions; it normalises a side that is not normalised.

    With P = P̃/Z and Q = Q̃/Y:  KL = ∫ P̃ log(P̃/Q̃) / Z − log Z + log Y, each integral by quadrature. The mass is located
    first (draws, modes, rough quantiles), and tails and singular ends are mapped to exponentials. Log-densities are
    compared, never densities, so that nothing underflows. Where P's is NaN far out, beyond points at which the density
    is next to 0, it counts as −∞, and the reason says so. `diagnostics["numerical_error"]` is the error in nats. Of
    independent coordinates the divergence is the sum over them, in any dimension.

    tolerance        the numerical error aimed at on a line, nats, where the request has none
    plane_tolerance  the same on a plane, where an integral costs a hundred times as much
    panels           the most subdivisions of one panel of a line; there are some tens of them at the start
    boxes            the same for a box of a plane, of which there are about a hundred at the start
    worst            nats: above this error, no number is given but an `EstimateError`

    Source: Piessens et al. (1983), QUADPACK, for the rule; Genz and Malik (1980) for the subdivision, as kept by SciPy.
    """

    tolerance: float = 1e-7
    plane_tolerance: float = 1e-5
    panels: int = 200
    boxes: int = 200
    worst: float = 0.01

    name = "quadrature"
    question = "estimate"
    identity = "KL(P‖Q) = ∫ P log(P/Q), by adaptive quadrature"
    needs_p = "a log-density of one or two real numbers on an interval or a box"
    needs_q = "a log-density"
    guarantee = Guarantee.EXACT
    cost = 4.0
    source = "Piessens et al. (1983), QUADPACK, section 2.2"
    aliases = ("numerical integration", "Gauss–Kronrod", "QUADPACK")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not min(self.tolerance, self.plane_tolerance, self.worst, self.panels, self.boxes) > 0:
            raise InputError("Quadrature: the tolerances, panels, boxes and worst must be positive")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if (parts := coordinates_of(p, q)) is not None:
            found = [self.check(*pair) for pair in parts]
            return next((one for one in found if isinstance(one, Missing)), Applies(cost=self.cost))
        for side, known in (("P", p), ("Q", q)):
            if known.log_density is None:
                return Missing(f"the log-density of {side} is not known", f"{side}'s log-density")
            if known.atoms is not None or (known.support is not None and known.support.discrete):
                return Missing(f"{side} is discrete")
        event = p.event_shape if p.event_shape is not None else q.event_shape
        if event not in ((), (1,), (2,)):
            return Missing(f"outcomes of shape {event} have more than two coordinates")
        if p.support is not None and not p.support.bounded:
            return Missing(f"the support of P, {p.support.name}, is not an interval or a box")
        if not q.normalized and q.support is not None and not q.support.bounded:
            return Missing(f"the support of Q, {q.support.name}, is not an interval or a box")
        if event == (2,) and log_draws.in_logs(p.distribution, q.distribution) is not None:
            return Missing("P has mass nearer to the ends of its support than a plane resolves")
        size = int(np.prod(batch_shape(p, q)))
        if size > MOST_ELEMENTS:
            return Missing(f"a batch of {size:,} is too many integrals (the most is {MOST_ELEMENTS})")
        return Applies(cost=self.cost + (event == (2,)), note="" if p.normalized and q.normalized else SEARCHED)

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        if (parts := coordinates_of(p, q)) is not None and escape_of(p, q) is None:
            return summed([self.run(*pair, request) for pair in parts], batch_shape(p, q))
        batch = batch_shape(p, q)
        on_a_plane = (p.event_shape or q.event_shape) == (2,)
        tolerance = request.tolerance or (self.plane_tolerance if on_a_plane else self.tolerance)
        escape = escape_of(p, q)
        if escape is None and (logs := log_draws.on_line(p.distribution, q.distribution)) is not None:
            p, q = (_along(side, log) for side, log in ((p, logs[0]), (q, logs[1])))
        elif p.support is not None and q.support is not None:
            p = dataclasses.replace(p, support=aligned(p.support, q.support))
        outcomes = []
        for index in np.ndindex(batch):
            if escape is not None and np.broadcast_to(escape.where, batch)[index]:
                outcomes.append(Outcome(value=np.inf, error=0.0, panels=0, reason=escape.reason))
            else:
                outcomes.append(self._one(p, q, index, tolerance, request))
        weights = mean_over_inputs(p, q)
        values = np.reshape([outcome.value for outcome in outcomes], batch)
        if weights is not None:
            values = np.tensordot(weights, values, 1)
        error = max(outcome.error for outcome in outcomes)
        reason = next((outcome.reason for outcome in outcomes if outcome.reason), "")
        if not reason and error > max(tolerance, RELATIVE * float(np.max(np.abs(values)))):
            reason = f"the numerical error, {error:.1g} nats, is above the tolerance of {tolerance:g}"
        panels = sum(outcome.panels for outcome in outcomes)
        guarantee = Guarantee.CONSISTENT if any(outcome.assumed for outcome in outcomes) else Guarantee.EXACT
        guarantee = Guarantee.LOWER_BOUND if any(outcome.bound for outcome in outcomes) else guarantee
        diagnostics = {"numerical_error": error, "panels": panels}
        return Estimate(values, guarantee=guarantee, reason=reason, diagnostics=diagnostics)

    def _one(self, p: Known, q: Known, index: tuple[int, ...], tolerance: float, request: Request) -> Outcome:
        log_p, log_q = log_densities(p, q, index)
        log_p = dataclasses.replace(log_p, far=[])
        on_a_plane = log_p.event_shape == (2,)
        integrate = on_plane if on_a_plane else on_line
        # No error that would be refused in the end is aimed at.
        least = min(tolerance, 0.1 * self.worst)
        settings = Settings(least, self.boxes if on_a_plane else self.panels, request)
        first = combine(p, q, *integrate(p, q, log_p, log_q, settings))
        if on_a_plane or abs(first.mass - 1.0) < HIDDEN:
            return _remarked(self._checked(first), p, log_p)
        settings = dataclasses.replace(settings, draw=True)
        second = combine(p, q, *integrate(p, q, log_p, log_q, settings))
        return _remarked(self._checked(min(first, second, key=lambda outcome: outcome.error)), p, log_p)

    def _checked(self, outcome: Outcome) -> Outcome:
        """The outcome. Raises `EstimateError` where its error is too large for its value to be of use."""
        if outcome.error <= max(self.worst, 1e-3 * abs(outcome.value)):
            return outcome
        if abs(outcome.mass - 1.0) > 0.5 * outcome.error / (1.0 + abs(outcome.value)):
            raise EstimateError(
                f"p: quadrature found a total probability of {outcome.mass:.6g} instead of 1; if its log-density is "
                "right, mass is hidden from the search, and rule='monte carlo' would do; else state normalized=False"
            )
        raise EstimateError(
            f"p and q: quadrature did not settle: the numerical error is {outcome.error:.2g} nats on "
            f"{outcome.value:.6g}; raise Quadrature(panels=..., boxes=...), or use rule='monte carlo'"
        )


def _along(side: Known, log_density: Any) -> Known:
    """A side in the coordinate of `log_draws.on_line`, on a line without ends."""
    return Known(
        name=side.name,
        event_shape=(),
        batch_shape=side.batch_shape,
        support=from_constraint(constraints.real),
        functions=Functions(log_prob=log_density, log_density=log_density),
    )


def _remarked(outcome: Outcome, p: Known, log_p: LogDensity) -> Outcome:
    """The outcome, with a remark where P's log-density is NaN far out, where a normalised P has no mass."""
    if not log_p.far:
        return outcome
    reason = f"P's log-density is NaN far out, as at {log_p.far[0].squeeze()}, and counts as −∞ there"
    reason += "" if p.normalized else ", of which nothing is known"
    reason = "; ".join(filter(None, (outcome.reason, reason)))
    return dataclasses.replace(outcome, reason=reason, assumed=not p.normalized)


# Both sides integrated, on a line or a plane


def combine(p: Known, q: Known, over_p: Integrals, log_y: float, y_error: float) -> Outcome:
    """KL = ∫ P̃ log(P̃/Q̃)/Z − log Z + log Y with its error, which includes the mass that was not found of a normalised P.

    That mass may lie where the log-ratio is larger than anywhere else: twice the largest value met is assumed.
    """
    if over_p.reason:
        return Outcome(value=np.inf, error=0.0, panels=over_p.panels, reason=over_p.reason)
    log_z = over_p.log_mass
    mean = float(over_p.value[1] / over_p.value[0])
    error = float(over_p.error[1] + abs(mean) * over_p.error[0]) / float(over_p.value[0]) + y_error
    rounding = 4 * float(np.finfo(float).eps) * (abs(mean) + abs(log_y) + abs(log_z))
    mass = 1.0
    if p.normalized:
        mass = float(np.exp(log_z))
        mean, error = mean * mass, error + abs(mass - 1.0) * (1.0 + 2.0 * max(abs(mean), over_p.extent))
    else:
        mean, error = mean - log_z, error + over_p.log_mass_error
    value, error, deficit = mean + log_y, error + rounding, over_p.deficit / float(over_p.value[0])
    if deficit <= max(error, UNSEEN * max(1.0, abs(value))):
        return Outcome(value=value, error=error + deficit, panels=over_p.panels, mass=mass)
    reason = (
        f"Q's log-density underflows to −∞ below {over_p.deepest:.0f} nats, where P still has mass, and counts there "
        "as that much; a log-density that is not the logarithm of a density would do"
    )
    return Outcome(value=value, error=error, panels=over_p.panels, mass=mass, reason=reason, bound=True)


def on_line(
    p: Known, q: Known, log_p: LogDensity, log_q: LogDensity, settings: Settings
) -> tuple[Integrals, float, float]:
    """([∫ P̃, ∫ P̃ log(P̃/Q̃)], log Y, its error) on a line; log Y is 0 where Q is normalised."""

    def of_p(x: np.ndarray) -> np.ndarray:
        return log_p(x[:, None])

    low, high = _bounds(q, log_q)

    def of_q(x: np.ndarray) -> np.ndarray:
        return np.where((x >= low) & (x <= high), log_q(np.clip(x, low, high)[:, None]), -np.inf)

    hints_p, hints_q = (
        points_with_mass(side, log, settings.request, settings.draw)[:, 0] for side, log in ((p, log_p), (q, log_q))
    )
    p_mass = locate("p", of_p, *_bounds(p, log_p), hints_p, thorough=settings.draw or not p.normalized)
    beyond = p_mass.inside[(p_mass.inside < low) | (p_mass.inside > high)]
    if len(beyond) and q.support is not None:
        reason = f"P has mass at x = {beyond[0]:.6g}, outside the support of Q, {q.support.name}"
        return infinite(reason), 0.0, 0.0
    near = np.concatenate([hints_q, p_mass.inside])
    q_mass = locate("q", of_q, *_bounds(p if q.normalized else q, log_q), near, thorough=not q.normalized)
    target = 0.2 * settings.tolerance
    over_p = along_line(of_p, of_q, p_mass, q_mass.inside, target, settings.panels)
    if q.normalized:
        return over_p, 0.0, 0.0
    over_q = along_line(of_q, None, q_mass, p_mass.inside, target, settings.panels)
    if not np.isfinite(over_q.error[0]):
        raise EstimateError(
            "q: its log-density falls too slowly, or not at all, so that it is improper and no divergence to it is "
            "defined; give it a density that can be integrated"
        )
    return over_p, over_q.log_mass, over_q.log_mass_error


def _bounds(side: Known, log: LogDensity) -> tuple[float, float]:
    low, high = box_of(side, log)
    return float(low[0]), float(high[0])


# Independent coordinates


def coordinates_of(p: Known, q: Known) -> list[tuple[Known, Known]] | None:
    """Pairs of sides whose divergences add up, where both sides have independent coordinates; else None.

    Those of `Independent` are one pair, with the coordinates as the last axes of its batch.
    """
    if p.inputs is not None or q.inputs is not None:
        return None
    one, other = p.distribution, q.distribution
    if _is_independent(one) and _is_independent(other) and one.event_shape == other.event_shape:
        return [(numpyro_distributions.known(one.base_dist), numpyro_distributions.known(other.base_dist))]
    if type(one) is not Product or type(other) is not Product:
        return None
    if [part.event_shape for part in one.parts] != [part.event_shape for part in other.parts]:
        return None
    return [
        (numpyro_distributions.known(a), numpyro_distributions.known(b))
        for a, b in zip(one.parts, other.parts, strict=True)
    ]


def _is_independent(d: object) -> TypeGuard[dist.Independent]:
    return type(d) is dist.Independent and not d.base_dist.event_shape


def summed(parts: list[Estimate], batch: tuple[int, ...]) -> Estimate:
    """The sum of estimates by quadrature, over their axes beyond the batch as well."""
    total, error, panels = np.zeros(batch), 0.0, 0
    for part in parts:
        values = np.asarray(part.value, np.float64)
        own = values.ndim - len(batch)
        total = total + (values.sum(tuple(range(len(batch), values.ndim))) if own > 0 else values)
        error += part.diagnostics["numerical_error"] * max(1, values.size // max(1, total.size))
        panels += part.diagnostics["panels"]
    bound = any(part.guarantee is Guarantee.LOWER_BOUND for part in parts)
    reason = next((part.reason for part in parts if part.reason), "")
    return Estimate(
        total,
        guarantee=Guarantee.LOWER_BOUND if bound else Guarantee.EXACT,
        reason=reason,
        diagnostics={"numerical_error": error, "panels": panels},
    )
