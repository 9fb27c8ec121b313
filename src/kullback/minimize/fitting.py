"""From an objective to a `Fit`: what rules ask of their sides, L-BFGS from several starts, and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kullback.errors import FitError
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.dense import Dense, Rows
from kullback.families.initialisation.guess import is_dispersion
from kullback.families.learnable import Learnable, Params
from kullback.known import Known
from kullback.minimize import lbfgs
from kullback.result import Estimate, Fit, Status
from kullback.rule import Applies, Missing, Request
from kullback.training.driver import Iterative, Outcome, Progress, drive, fingerprint
from kullback.training.ravel import Layout

# What rules ask of their sides


ROWS_A_WEIGHT = 10  # below which residuals near 0 pass for certainty


def is_deep(learnable: Learnable) -> bool:
    """Whether the side is a network with hidden layers or of the user's own making."""
    structure = learnable.structure
    if not isinstance(structure, ConditionalStructure):
        return False
    return not isinstance(structure.network, Rows) and not structure.network.linear


def has_prior(learnable: Learnable) -> bool:
    """Whether the weights have a Gaussian prior."""
    return isinstance(learnable.fixed, dict) and "prior_scale" in learnable.fixed


def is_scarce(learnable: Learnable, rows: int) -> bool:
    """Whether rows are too few to learn how sure to be at each of them, though the weights have a prior."""
    structure = learnable.structure
    if not isinstance(structure, ConditionalStructure) or not has_prior(learnable):
        return False
    network, form = structure.network, structure.form
    if not isinstance(network, Dense) or not any(is_dispersion(form, name) for name in form.names):
        return False
    return rows < ROWS_A_WEIGHT * network.widths[0]


def prior_in_words(learnable: Learnable) -> str:
    """What a plan's note says of the prior on the weights, if there is one."""
    if not has_prior(learnable):
        return ""
    return f"; the mode of the posterior under a Gaussian prior of scale {float(learnable.fixed['prior_scale']):g}"


def reverse_target(p: Known, q: Known, gradient: bool = True) -> Applies | Missing:
    """Whether the fixed side q can be the target of a reverse KL, and what is dropped if it can."""
    assert p.learnable is not None
    if q.log_density is None:
        return Missing("the fixed side has no log-density to evaluate at chosen points", "log P up to a constant")
    if q.batch_shape or p.learnable.conditional:
        return Missing("one distribution is fitted at a time, and a side is conditional or a batch")
    if gradient and not q.differentiable:
        return Missing("the log-density comes from a library that JAX cannot differentiate", "a JAX log-density")
    return Applies(dropped=() if q.normalized else ("log Z",))


# Descent and report


TOLERANCE = 1e-6  # nats


class Descent(Iterative):
    """L-BFGS on one objective from a stack of starts; it ends when every start has."""

    def __init__(self, title: str, objective: Any, starts: np.ndarray, tolerance: float, chunk: int = 40) -> None:
        self.title, self.objective, self.starts = title, objective, starts
        self.tolerance, self.chunk = tolerance, chunk

    def init(self) -> lbfgs.State:
        states = [lbfgs.start(x) for x in self.starts]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *states)

    def step(self, state: lbfgs.State) -> lbfgs.State:
        return lbfgs.advance(self.objective, state, self.tolerance, self.chunk)

    def progress(self, state: lbfgs.State) -> Progress:
        value, ended = np.asarray(state.value), np.asarray(state.status)
        steps = int(np.max(np.asarray(state.evaluations)))
        if (ended == lbfgs.RUNNING).any():
            return Progress(float(np.min(value)), steps)
        converged = (ended == lbfgs.CONVERGED).any()
        return Progress(float(np.min(value)), steps, Status.CONVERGED if converged else Status.DIVERGED)

    def fingerprint(self) -> str:
        return fingerprint(self.title, self.objective, self.starts, self.tolerance, self.chunk)


@dataclass(frozen=True)
class Found:
    """The end points of a descent: flat parameters by increasing objective, the objectives, and their starts."""

    vectors: np.ndarray
    values: np.ndarray
    outcome: Outcome
    order: np.ndarray | None = None

    @property
    def ended(self) -> np.ndarray:
        """How each ended, in their order: one of the states of `lbfgs`."""
        ended = np.asarray(self.outcome.state.status)
        return ended if self.order is None else ended[self.order]


def starts_of(side: Learnable, request: Request, count: int) -> tuple[Layout, np.ndarray]:
    """The layout of the free parameters, and `count` starts [count, n] made on the host."""
    trees = [side.initial(request.host_rng(0, k), k) for k in range(count)]
    return Layout.of(trees[0]), np.stack([Layout.flat(tree).astype(np.float64) for tree in trees])


def descend(
    title: str, objective: Any, starts: np.ndarray, request: Request, max_steps: int = 2000, chunk: int = 40
) -> Found:
    """Minimise from each start. Raises `FitError` where no start has a finite objective."""
    outcome = drive(Descent(title, objective, starts, request.tolerance or TOLERANCE, chunk), request, max_steps)
    values = np.asarray(outcome.state.value, np.float64)
    if not np.isfinite(values).any() and outcome.status is not Status.INTERRUPTED:
        raise FitError(
            f"{title}: the objective is not finite at any of the {len(starts)} starts; check that the log-density is "
            "finite where the family puts its mass, or pass kl.learnable(q) of a nearer q"
        )
    order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
    return Found(vectors=np.asarray(outcome.state.x)[order], values=values[order], outcome=outcome, order=order)


@dataclass(frozen=True)
class Report:
    """What a rule says of its fit beyond the parameters; `message` in place of the driver's."""

    objective: Estimate
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    optima: tuple[tuple[float, Any], ...] = ()
    message: str = ""


def fit_from(side: Known, free: Params, status: Status, report: Report, outcome: Outcome | None = None) -> Fit:
    """The `Fit` of a learnable side at free parameters, which an iterative rule's outcome led to."""
    learnable = side.learnable
    assert learnable is not None
    host = jax.tree.map(np.asarray, free)
    return Fit(
        q=learnable.wrap(host),
        objective=report.objective,
        status=status,
        trace=np.zeros(0) if outcome is None else outcome.trace,
        history=() if outcome is None else outcome.history,
        message=report.message or ("" if outcome is None else outcome.message),
        diagnostics=report.diagnostics,
        optima=report.optima,
        record=learnable.record(side.name, host),
    )


def clustered(values: np.ndarray, distance: Callable[[int, int], float], threshold: float = 0.01) -> list[int]:
    """Indices of distinct optima, best first: two are one where `distance` (nats) between them is small."""
    kept: list[int] = []
    for i in np.argsort(values, kind="stable"):
        if np.isfinite(values[i]) and all(distance(int(i), j) > threshold for j in kept):
            kept.append(int(i))
    return kept
