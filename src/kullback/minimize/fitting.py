"""From an objective to a `Fit`: L-BFGS from several starts through the driver, and what every rule reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kullback.errors import FitError
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.minimize import lbfgs
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request
from kullback.training.driver import Iterative, Outcome, Progress, drive, fingerprint
from kullback.training.ravel import Layout

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
        steps = int(np.max(np.asarray(state.steps)))
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
    return Found(np.asarray(outcome.state.x)[order], values[order], outcome, order)


@dataclass(frozen=True)
class Report:
    """What a rule says of its fit beyond the parameters; `message` in place of the driver's."""

    objective: Estimate
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    optima: tuple[tuple[float, Any], ...] = ()
    message: str = ""


def fit_from(side: Known, free: Any, status: Status, report: Report, outcome: Outcome | None = None) -> Fit:
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
