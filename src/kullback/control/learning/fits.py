"""From what a rule learned by playing to a `Fit`: assessed on fresh episodes, and exactly where a table is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from kullback.control.learning.assessment import Report, assess
from kullback.control.learning.telling import telling
from kullback.control.task import Task
from kullback.errors import FitError
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.known import Known
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Request
from kullback.training.driver import Outcome

ASSESSMENT = 7_001  # the stream of random numbers of fresh episodes
UNPLAYED = "its fresh episodes were interrupted; kl.KL(fit.q, optimal).estimate() plays them"


def fit_of(p: Known, task: Task, free: Any, fixed: Any, outcome: Outcome, temperature: float, request: Request,
           extra: Mapping[str, Any] | None = None) -> Fit:  # fmt: skip
    """The fit of a policy with parameters `free` and `fixed` (its scales as the training left them).

    Raises `FitError` where the parameters are not finite.
    """
    assert p.learnable is not None and isinstance(p.learnable.structure, ConditionalStructure)
    # What is fixed may be infinite: the reach of an output is where it has no limit.
    lost = any(not np.isfinite(leaf).all() for leaf in jax.tree.leaves(free))
    if lost or any(np.isnan(leaf).any() for leaf in jax.tree.leaves(fixed)):
        raise FitError("q: the policy's parameters became NaN or infinite; pass a smaller rate=")
    learnable = replace(p.learnable, fixed=fixed)
    try:
        with telling(request.quiet) as tell:
            report = assess(task, task.acting(learnable.structure), free, task.fixed(fixed), temperature,
                            request.host_rng(ASSESSMENT), tell)  # fmt: skip
    except KeyboardInterrupt:
        if not len(outcome.trace):
            raise
        report = _of_training(float(outcome.trace[-1]), temperature)
        outcome = replace(outcome, status=Status.INTERRUPTED, message=UNPLAYED)
    q = FittedConditional(p.learnable.structure, fixed, p.name, free)
    exact = task.truth(q, temperature) if task.truth is not None else {}
    return Fit(
        q,
        report.objective,
        outcome.status,
        trace=outcome.trace,
        diagnostics={**report.numbers, **exact, **(extra or {})},
        history=outcome.history,
        message=message_of(outcome),
        record=learnable.record(p.name, free),
    )


def _of_training(objective: float, temperature: float) -> Report:
    """All that is known of a policy of which no fresh episodes were played."""
    last = Estimate(objective, np.inf, Guarantee.CONSISTENT, "KL(π‖P_opt) − log Z", ("log Z",),
                    "of recent episodes in training, in which the policy changed")  # fmt: skip
    return Report(last, {"temperature": temperature, "episodes": 0})


def message_of(outcome: Outcome) -> str:
    """How a training ended, in words, where there is more to say than its status."""
    if not outcome.message and outcome.status is Status.STEP_LIMIT:
        return "all environment steps were used; a larger steps= goes on learning"
    return outcome.message
