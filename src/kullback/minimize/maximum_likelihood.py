"""Maximum likelihood on all the data at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial

from kullback.families.conditional import FittedConditional
from kullback.families.form import Form
from kullback.families.outcome_units import in_units, outcome_units
from kullback.families.units import free_back, free_into
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize import lbfgs
from kullback.minimize.closed_forms.table import closed_form, matches_moments
from kullback.minimize.descent_end import Box, Further, Verdict, box_of, judged, value_of
from kullback.minimize.fitting import (
    Found,
    Report,
    descend,
    fit_from,
    has_prior,
    is_deep,
    is_scarce,
    prior_in_words,
    starts_of,
)
from kullback.minimize.forward import forward_report, outcomes_of, solved, standing_apart
from kullback.minimize.objectives import negative_log_likelihood, negative_log_posterior, within_reach
from kullback.minimize.truncated_limit import exponential_limit
from kullback.minimize.vanishing_scale import vanishing_scale
from kullback.minimize.weighted import Weighted, can_be_weighted, padded, require_support, weighted
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.export_cache import program
from kullback.training.batches import as_device
from kullback.training.ravel import Layout

_SMALL = 2_000_000  # rows times parameters up to which the last digits cost nothing to speak of
_TIGHT, _LOOSE = 1e-17, 1e-10  # nats: the parameters are then right to about the square root of it
_CLOSE = 1e-12  # nats, of a family


@dataclass(frozen=True)
class MaximumLikelihood(Rule):
    """Minimise H(P, Q_θ) = −E_P[log q_θ] by L-BFGS over the whole sample, the atoms, or quadrature nodes.

    A conditional is fitted in double precision: single precision leaves a plateau about the optimum that is as wide as
    the square root of its rounding. Where its weights have a prior the mode of the posterior is found.

    starts  how many starting points; None takes 1 for a conditional and 4 for a family
    """

    name: ClassVar[str] = "maximum likelihood"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = H(P, Q) − H(P), and H(P) does not depend on Q: maximise E_P[log q]"
    needs_p: ClassVar[str] = "a sample, a finite support, or a one-dimensional density"
    needs_q: ClassVar[str] = "learnable"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 5.0
    source: ClassVar[str] = "Fisher (1922); Liu and Nocedal (1989) for L-BFGS"
    aliases: ClassVar[tuple[str, ...]] = ("MLE", "maximum likelihood estimation")

    starts: int | None = None

    def check(self, p: Known, q: Known) -> Applies | Missing:
        source = can_be_weighted(p)
        if isinstance(source, Missing):
            return source
        learnable = q.learnable
        assert learnable is not None
        rows = p.sample.size if p.sample is not None else 1_000
        cost = 3.0 + 0.1 * np.log10(max(rows, 1)) + 0.1 * np.log10(max(learnable.parameter_count, 1))
        note = f"over {source}"
        if is_deep(learnable) or (p.sample is not None and is_scarce(learnable, rows)):
            # What is fitted to its optimum overfits: the planner prefers the rule that watches held-out data.
            cost, note = 7.0, note + ", to the optimum (which overfits)"
        note += prior_in_words(learnable)
        dropped = ("H(P)",) if p.sample is not None else ()
        return Applies(cost=float(cost), dropped=dropped, note=note)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        if learnable.conditional:
            return self._conditional(p, q, request)
        if closed_form(learnable.structure, learnable.fixed) and not matches_moments(learnable.structure):
            return solved(p, q)
        return self._family(p, q, request)

    def _family(self, p: Known, q: Known, request: Request) -> Fit:
        """In units of the outcomes' own and in double, where a stopping rule in nats means the same on any data."""
        learnable, found = q.learnable, outcomes_of(p, q)
        assert learnable is not None
        source, structure = learnable.structure, _below_outcomes(learnable.structure)
        found, repeated = standing_apart(found, structure)
        units = found.units
        layout, starts = starts_of(learnable, request, self.starts or 4)
        if units is not None:
            moved = [free_into(source, structure, units, layout.tree(start)) for start in starts]
            starts = np.stack([layout.flat(free) for free in moved])
        with jax.enable_x64(True):
            full, static = padded(found.data), Static((structure, layout))
            box = box_of(structure, layout, starts)
            objective = Partial(within_reach, static, found.fixed, as_device(full.y), full.weights, *box)
            request = replace(request, tolerance=request.tolerance or _CLOSE)
            descent = descend(self.name, objective, starts, request)

            def further(points: np.ndarray, wider: Box) -> tuple[np.ndarray, float]:
                again = replace(request, checkpoint=None, logger=None, quiet=True)
                wide = Partial(within_reach, static, found.fixed, as_device(full.y), full.weights, *wider)
                # In stacks of as many as before, for which there is a program.
                rows = np.resize(points, (max(len(points), len(starts)), points.shape[1]))
                parts = [rows[i : i + len(starts)] for i in range(0, len(rows) - len(rows) % len(starts), len(starts))]
                ends = [descend(self.name, wide, part, again) for part in parts]
                best = min(ends, key=lambda end: float(end.values[0]))
                return best.vectors[0], float(best.values[0])

            anywhere = Partial(within_reach, static, found.fixed, as_device(full.y), full.weights, *_everywhere(box))
            cut_short, one_number = request.steps is not None, bool((found.data.y == found.data.y[:1]).all())
            verdict, value = _best(structure, layout, descent, box, value_of(anywhere), further, cut_short, one_number)
        if repeated:
            verdict, value = replace(verdict, status=Status.UNBOUNDED, message=repeated), -np.inf
        free = layout.tree(verdict.vector)
        free = free if units is None else free_back(structure, source, units, free)
        report = forward_report(found.data, p, learnable.wrap(free), value + found.log_jacobian)
        message = verdict.message or ("" if units is None else units.rounding)
        return fit_from(q, free, verdict.status, replace(report, message=message), descent.outcome)

    def _conditional(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        data = weighted(p).counted()
        require_support(data, q)
        units, given = outcome_units(learnable.structure, data.y), data
        if units is not None:
            learnable, data = in_units(learnable, units), replace(data, y=units.standardized(data.y))
        layout, starts = starts_of(learnable, request, max(self.starts or 1, learnable.members))
        static, full = Static((learnable.structure, layout)), padded(data)
        small = len(full.weights) * starts.size <= _SMALL
        with jax.enable_x64(True):
            arguments = static, learnable.fixed, as_device(full.y), full.weights, full.x
            if has_prior(learnable):
                objective = Partial(negative_log_posterior, *arguments, data.total)
            else:
                objective = Partial(negative_log_likelihood, *arguments)
            # The parameters of a deep network are not determined: the last digits would be a walk along a flat valley.
            tolerance = _TIGHT if small and not is_deep(learnable) else _LOOSE
            request = replace(request, tolerance=request.tolerance or tolerance)
            found = descend(self.name, objective, starts, request, max_steps=10_000)
            vectors = found.vectors[: learnable.members]
            free = layout.stacked(vectors)
            value = float(found.values[0])
            if has_prior(learnable) or learnable.members > 1:
                value = float(np.mean([_likelihood(*arguments, vector) for vector in vectors]))
        if units is not None:
            q, value = q.holding(learnable=in_units(learnable, units, back=True)), value + units.log_jacobian
        status, message = _settled(q, free, given, found.outcome.status, value)
        objective = Estimate(value, quantity="H(P, Q)", dropped=("H(P)",))
        report = Report(objective, {"train_nll": value}, message=message)
        return fit_from(q, free, status, report, found.outcome)


def _settled(q: Known, free: Any, data: Weighted, status: Status, value: float) -> tuple[Status, str]:
    """How a regression ended, and what to say of it: at a limit law, without a maximum, or as the descent ended."""
    assert q.learnable is not None
    fitted = q.learnable.wrap(free)
    if not isinstance(fitted, FittedConditional):  # a temperature alone
        return status, ""
    if limit := exponential_limit(fitted, data.x, data.y, data.weights):
        return Status.BOUNDARY, limit
    if unbounded := vanishing_scale(fitted, data, status, value):
        return Status.UNBOUNDED, unbounded
    return status, ""


_likelihood = program(negative_log_likelihood, static=())


def _below_outcomes(structure: Any) -> Any:
    """A family whose support begins at its location, with that kept below the least outcome, which is at 0."""
    if isinstance(structure, Form) and structure.cls is dist.Levy and "loc" in structure.names:
        return replace(structure, within=(-np.inf, 0.0))
    return structure


def _best(
    structure: Any,
    layout: Layout,
    descent: Found,
    box: Box,
    value: Any,
    further: Further,
    cut_short: bool,
    one_number: bool,
) -> tuple[Verdict, float]:
    """The best end point that is an optimum or a limit; where there is none, the likelihood has no maximum."""
    if descent.outcome.status is Status.INTERRUPTED or (descent.outcome.status is Status.STEP_LIMIT and cut_short):
        # Where it would have gone is not known.
        return Verdict(descent.outcome.status, "", np.clip(descent.vectors[0], *box)), float(descent.values[0])
    ends = [
        (judged(structure, layout, vector, box, value, further), float(end), how != lbfgs.RUNNING)
        for vector, end, how in zip(descent.vectors, descent.values, descent.ended, strict=True)
        if np.isfinite(end)
    ]
    settled = [end for end in ends if end[0].status is not Status.UNBOUNDED]
    # Beside one that falls without bound nothing is settled by one that was still on its way, nor on a single number.
    if (one_number or not any(ended for _, _, ended in settled)) and len(settled) < len(ends):
        return next(verdict for verdict, _, _ in ends if verdict.status is Status.UNBOUNDED), -np.inf
    verdict, reached, _ = settled[0]
    # That of the parameters that are returned, which a verdict may have moved.
    reached = min(reached, at) if np.isfinite(at := value(verdict.vector)) else reached
    if verdict.status is Status.CONVERGED:
        verdict = replace(verdict, status=descent.outcome.status)
    return verdict, reached


def _everywhere(box: Box) -> Box:
    return np.full_like(box[0], -np.inf), np.full_like(box[1], np.inf)
