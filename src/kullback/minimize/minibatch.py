"""Maximum likelihood on minibatches with a held-out part: how networks are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from kullback.errors import FitError
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.driver import drive
from kullback.minimize.fitting import Report, fit_from, starts_of
from kullback.minimize.maximum_likelihood import as_device
from kullback.minimize.objectives import model, negative_log_likelihood
from kullback.minimize.stochastic import Pace, StochasticDescent
from kullback.minimize.weighted import Weighted, can_be_weighted, padded, require_support, weighted
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

TOLERANCE = 1e-4  # nats an example


@dataclass(frozen=True)
class Minibatches(Rule):
    """Minimise H(P, Q_θ) by Adam on minibatches, stopping where a held-out part stops improving.

    held_out  share of the rows set aside; batch: rows a step, None takes about n/25 between 32 and 512
    rate      the first step size; it falls by itself
    patience  chunks of 64 steps without improvement before it does
    """

    name: ClassVar[str] = "minibatches"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = H(P, Q) − H(P), with E_P[∇ log q] over minibatches of the sample"
    needs_p: ClassVar[str] = "a sample of at least 50 rows"
    needs_q: ClassVar[str] = "learnable"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Kingma and Ba (2015), algorithm 1; Prechelt (1998) for early stopping"

    held_out: float = 0.1
    batch: int | None = None
    rate: float = 1e-3
    patience: int = 6

    def check(self, p: Known, q: Known) -> Applies | Missing:
        source = can_be_weighted(p)
        if isinstance(source, Missing):
            return source
        if p.sample is None:
            return Missing("P is no sample, so there are no rows to hold out")
        if p.sample.size < 50:
            return Missing(f"{p.sample.size} rows are too few to hold some out", "50 rows")
        return Applies(dropped=("H(P)",), note=f"{self.held_out:.0%} of the rows held out")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        data = weighted(p)
        require_support(data, q.support, q.name, len(q.event_shape))
        rows = request.host_rng(2).permutation(data.size)
        kept = max(1, round(self.held_out * data.size))
        held, train = _subset(data, rows[:kept]), _subset(data, rows[kept:])
        layout, starts = starts_of(learnable, request, 1)
        static = Static((learnable.structure, layout))
        full, aside = padded(train), padded(held)
        batch = self.batch or int(2 ** np.clip(np.round(np.log2(data.size / 25)), 5, 9))
        pace = Pace(self.rate, steps=64, patience=self.patience, cuts=2)
        objective = Partial(_on_rows, static, learnable.fixed, as_device(full.y), full.weights * train.size, full.x)
        monitor = Partial(negative_log_likelihood, static, learnable.fixed, as_device(aside.y), aside.weights, aside.x)
        stream = _Stream(request, train.size, batch, pace.steps)
        algorithm = StochasticDescent(
            self.name, objective, stream, starts, request.tolerance or TOLERANCE, pace, monitor, str(request.seed)
        )
        outcome = drive(algorithm, request, 200_000)
        if outcome.status is Status.DIVERGED:
            raise FitError("minibatches: the objective was not finite from the start; check the data's scale")
        vector = np.asarray(outcome.state.best)[0]
        training = float(_evaluate(static, learnable.fixed, as_device(full.y), full.weights, full.x, vector))
        objective_value = Estimate(training, quantity="H(P, Q)", dropped=("H(P)",))
        report = Report(
            objective_value, {"train_nll": training, "heldout_nll": float(np.asarray(outcome.state.best_value)[0])}
        )
        return fit_from(q, layout.tree(vector), outcome.status, report, outcome.trace)


_evaluate = jax.jit(negative_log_likelihood)


def _on_rows(static: Static, fixed: Any, y: Any, w: Any, x: Any, rows: Any, vector: Any) -> jax.Array:
    return -jnp.mean(w[rows] * model(static, fixed, vector, None if x is None else x[rows]).log_prob(y[rows]))


def _subset(data: Weighted, rows: np.ndarray) -> Weighted:
    weights = data.weights[rows]
    total = weights.sum()
    if total == 0:
        raise FitError("weights: a part of the rows has no weight at all; pass more weighted rows")
    return Weighted(data.y[rows], weights / total, None if data.x is None else data.x[rows], data.source)


class _Stream:
    """Row numbers [steps, batch] of a chunk: consecutive shuffles, a function of the seed and the chunk alone."""

    def __init__(self, request: Request, size: int, batch: int, steps: int) -> None:
        self.request, self.size, self.shape = request, size, (steps, batch)

    def __call__(self, chunk: int) -> np.ndarray:
        length = self.shape[0] * self.shape[1]
        first, last = chunk * length, (chunk + 1) * length
        epochs = range(first // self.size, -(-last // self.size))
        shuffled = np.concatenate([self.request.host_rng(3, epoch).permutation(self.size) for epoch in epochs])
        start = first - epochs[0] * self.size
        return shuffled[start : start + length].reshape(self.shape).astype(np.int32)
