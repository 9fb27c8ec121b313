"""Maximum likelihood on all the data at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import numpy as np
from jax.tree_util import Partial

from kullback.errors import FitError
from kullback.estimate.quadrature import Quadrature
from kullback.exact.countable_sum import CountableSum
from kullback.known import Known, describe
from kullback.known.static import Static
from kullback.minimize.fitting import Report, descend, fit_from, starts_of
from kullback.minimize.objectives import negative_log_likelihood, negative_log_posterior
from kullback.minimize.sides import has_prior, is_deep, is_scarce, prior_in_words
from kullback.minimize.table import as_device
from kullback.minimize.weighted import COUNTS, NODES, Weighted, can_be_weighted, padded, require_support, weighted
from kullback.programs import program
from kullback.result import Estimate, Fit, Guarantee
from kullback.rule import Applies, Missing, Question, Request, Rule

_SMALL = 2_000_000  # rows times parameters up to which the last digits cost nothing to speak of
_TIGHT, _LOOSE = 1e-17, 1e-10  # nats: the parameters are then right to about the square root of it


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
        data = weighted(p)
        require_support(data, q.support, q.name, len(q.event_shape))
        if learnable.conditional:
            return self._conditional(data, q, request)
        layout, starts = starts_of(learnable, request, self.starts or 4)
        static, full = Static((learnable.structure, layout)), padded(data)
        objective = Partial(negative_log_likelihood, static, learnable.fixed, as_device(full.y), full.weights, full.x)
        found = descend(self.name, objective, starts, request)
        free = layout.tree(found.vectors[0])
        report = forward_report(data, p, learnable.wrap(free), float(found.values[0]))
        return fit_from(q, free, found.outcome.status, report, found.outcome)

    def _conditional(self, data: Weighted, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None
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
        report = Report(Estimate(value, quantity="H(P, Q)", dropped=("H(P)",)), {"train_nll": value})
        return fit_from(q, free, found.outcome.status, report, found.outcome)


_likelihood = program(negative_log_likelihood, static=())


def forward_report(data: Weighted, p: Known, q: Any, cross_entropy: float) -> Report:
    """H(P, Q) where P is a sample, and KL(P‖Q) itself where log P is known.

    On nodes and counts the divergence is evaluated again at the fitted q, tails included: points alone cannot tell
    that it is infinite. Raises `FitError` where it is.
    """
    if data.source in (NODES, COUNTS):
        whole = Quadrature() if data.source == NODES else CountableSum()
        objective = whole.run(p, describe(q), Request())
        if np.isinf(objective.value):
            raise FitError(f"p: KL(P‖Q) is infinite at every member of this family: {objective.reason}")
        return Report(objective)
    if data.negentropy is None:
        objective = Estimate(cross_entropy, quantity="H(P, Q)", dropped=("H(P)",))
        return Report(objective, {"train_nll": cross_entropy})
    return Report(Estimate(data.negentropy + cross_entropy), {"cross_entropy": cross_entropy})
