"""Maximum likelihood on all the data at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jax.tree_util import Partial

from kullback.errors import FitError
from kullback.estimate.quadrature import Quadrature
from kullback.exact import CountableSum
from kullback.families.conditional import ConditionalStructure
from kullback.families.learnable import Learnable
from kullback.families.networks import Dense, Rows
from kullback.known import Known, describe
from kullback.known.static import Static
from kullback.minimize.fitting import Report, descend, fit_from, starts_of
from kullback.minimize.objectives import negative_log_likelihood
from kullback.minimize.weighted import COUNTS, NODES, Weighted, can_be_weighted, padded, require_support, weighted
from kullback.result import Estimate, Fit, Guarantee
from kullback.rule import Applies, Missing, Question, Request, Rule


@dataclass(frozen=True)
class MaximumLikelihood(Rule):
    """Minimise H(P, Q_θ) = −E_P[log q_θ] by L-BFGS over the whole sample, the atoms, or quadrature nodes.

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
        if is_deep(learnable):
            # A network fitted to its optimum overfits: the planner prefers the rule that watches held-out data.
            cost, note = 7.0, note + ", to the optimum (a network then overfits)"
        dropped = ("H(P)",) if p.sample is not None else ()
        return Applies(cost=float(cost), dropped=dropped, note=note)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        data = weighted(p)
        require_support(data, q.support, q.name, len(q.event_shape))
        count = self.starts or (1 if learnable.conditional else 4)
        layout, starts = starts_of(learnable, request, count)
        objective = likelihood_objective(learnable, layout, padded(data))
        found = descend(self.name, objective, starts, request)
        free = layout.tree(found.vectors[0])
        report = forward_report(data, p, learnable.wrap(free), float(found.values[0]))
        return fit_from(q, free, found.outcome.status, report, found.outcome.trace)


def likelihood_objective(learnable: Learnable, layout: object, data: Weighted) -> Partial:
    """−Σ w log q_θ over weighted outcomes, as a function of the flat parameters."""
    static = Static((learnable.structure, layout))
    return Partial(negative_log_likelihood, static, learnable.fixed, as_device(data.y), data.weights, data.x)


def as_device(y: np.ndarray) -> np.ndarray:
    """Outcomes in the types that NumPyro's log-probabilities take: booleans become integers."""
    return y.astype(np.int32) if y.dtype.kind in "bu" else y


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


def is_deep(learnable: Learnable) -> bool:
    """Whether the side is a network with hidden layers or of the user's own making."""
    structure = learnable.structure
    if not isinstance(structure, ConditionalStructure):
        return False
    network = structure.network
    return not isinstance(network, Rows) and not (isinstance(network, Dense) and len(network.widths) == 2)
