"""Adam over whole epochs, watching rows that are held out.

No learning rate is asked of the user. After each epoch the held-out value at the mean of its iterates is compared, in
nats, with the best so far; after `patience` epochs without improvement the parameters go back to the best ones and the
step size falls, and after `cuts` such falls the best are returned. The mean of the iterates (Polyak and Juditsky 1992)
is as good as what a far smaller step would reach, so that large steps can be kept long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.result import Status
from kullback.training.batches import Feed, Rows, Table, spans_processes
from kullback.training.driver import Iterative, Progress, fingerprint
from kullback.training.early_stopping import DIVERGED, Numbers, at_start
from kullback.training.epoch_program import CURVE, Problem, State, advance, positions

_SECONDS = 0.4  # that one call should take
_MOST = 2**30  # steps in one call
MUCH = 0.05  # nats a row, of which a doubt is worth a word
_FEED = 2**25  # bytes of batches that are brought from the host at once, at most


@dataclass(frozen=True)
class Schedule:
    """The first step size, what it is multiplied by at a fall, epochs of patience, and how often it falls.

    caution  standard errors of the held-out decrease by which parameters must be better than the start
    """

    rate: float
    fall: float
    patience: int
    cuts: int
    caution: float


class EpochDescent(Iterative):
    """Adam from the starts [m, n] on the rows of `train`, watching those of `held` (None: the training loss)."""

    def __init__(
        self, title: str, problem: Problem, fixed: Any, train: Table, held: Table | None, starts: np.ndarray,
        schedule: Schedule, tolerance: float, seed: Any, limit: int, memory: int,
    ) -> None:  # fmt: skip
        self.title, self.problem, self.fixed, self.starts = title, problem, fixed, starts
        self.schedule, self.tolerance, self.seed, self.limit = schedule, tolerance, seed, limit
        self.train, self.held, self.memory = train, held, memory
        self.streamed = train.bytes > memory * (1 if problem.mesh is None else problem.mesh.devices.shape[0])
        self.rows = None if self.streamed else train.resident(problem.mesh)
        self.aside = held.resident(problem.mesh) if held is not None else None
        self.shared = spans_processes(problem.mesh)
        self.budget = CURVE

    def init(self) -> State:
        dtype, whole = jnp.result_type(float), np.zeros((), np.int32)
        held = 0 if self.aside is None else len(self.aside.weights)
        steps = np.int32(max(self.train.size // self.problem.batch, 1)) if self.aside is not None else whole
        each = [at_start(x, self.schedule.rate, int(steps), held) for x in np.asarray(self.starts, dtype)]
        members = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
        nothing = np.full(2, np.nan, dtype)
        least = np.zeros(len(self.problem.floor), dtype)
        # Where rows are held out the start is judged by them first, as the mean of an epoch that did not move.
        epoch = whole if self.aside is None else np.int32(-1)
        return State(members, epoch, steps, whole, np.zeros((CURVE, 5), dtype), whole, least, nothing)

    def step(self, state: State) -> State:
        start = time.monotonic()
        numbers = self._numbers()
        if self.rows is not None:
            state = jax.block_until_ready(advance(self.problem, self.fixed, self.rows, self.aside, state, numbers))
        else:
            state = self._streamed(state, numbers)
        # How much is done between two looks changes nothing but the time between them. Processes that work on one
        # problem must do the same, and their clocks differ.
        if not self.shared:
            took = max(time.monotonic() - start, 1e-3)
            self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
            self.budget = min(max(self.budget, 1), _MOST)
        return state

    def _numbers(self) -> Numbers:
        s, dtype = self.schedule, jnp.result_type(float)
        return Numbers(
            seed=self.seed,
            tolerance=np.asarray(self.tolerance, dtype),
            caution=np.asarray(s.caution, dtype),
            fall=np.asarray(s.fall, dtype),
            patience=np.int32(s.patience),
            cuts=np.int32(s.cuts),
            total_weight=np.asarray(self.train.total, dtype),
            limit=np.int32(self.limit),
            budget=np.int32(self.budget),
        )

    def _streamed(self, state: State, numbers: Numbers) -> State:
        train, batch, members = self.train, self.problem.batch, len(self.starts)
        whole, row = train.size // batch, max(1, train.bytes // train.size * members * batch)
        # So many steps at once, the whole run through, for one compiled program; at the end of an epoch some are idle.
        steps = max(1, min(whole, min(_FEED, self.memory // 2) // row))
        left = max(0, min(steps, whole - int(state.step), self.limit - int(state.total)))
        rows = positions(self.problem, state, members, np.uint32(train.size), numbers.seed, steps)
        x, y, weights = train.take(np.asarray(rows))
        feed = Feed(x, y, weights.astype(jnp.result_type(float)))
        size = Rows(None, None, None, np.uint32(train.size))
        return advance(self.problem, self.fixed, size, self.aside, state, numbers._replace(budget=np.int32(left)), feed)

    def progress(self, state: State) -> Progress:
        ended, best = np.asarray(state.members.ended), np.asarray(state.members.best_value)
        total = int(state.total)
        value = float(np.mean(best))
        if not (ended > 0).all():
            return Progress(value, total)
        if (ended == DIVERGED).any():
            return Progress(value, total, Status.DIVERGED, _failure(state))
        if self.held is None:
            return Progress(value, total, Status.CONVERGED)
        message = _undecided(state, self.held.size)
        return Progress(value, total, Status.UNDECIDED if message else Status.EARLY_STOPPED, message)

    def history(self, state: State) -> tuple[dict[str, float], ...]:
        names = ("epoch", "step", "train_nll", "heldout_nll", "rate")
        shown = names if self.held is not None else tuple(name for name in names if name != "heldout_nll")
        rows = np.asarray(state.curve, np.float64)[: int(state.recorded)]
        return tuple({n: float(v) for n, v in zip(names, row, strict=True) if n in shown} for row in rows)

    @cached_property
    def _fingerprint(self) -> str:
        parts = (self.fixed, self.starts, self.tolerance, repr(self.schedule), self.problem.batch, self.problem.kind)
        data = (self.train.x, self.train.y, self.train.weights, self.train.numbers)
        return fingerprint(self.title, *parts, *data, self.seed)

    def fingerprint(self) -> str:
        return self._fingerprint


def _undecided(state: State, held: int) -> str:
    """What is to be said where no step was clearly better than the start, though one may be by much; else nothing."""
    gains, errors = np.asarray(state.members.doubtful, np.float64).T
    k = int(np.argmax(gains + 2.0 * errors))
    return "" if (np.asarray(state.members.best_step) > 0).any() else doubtful(gains[k], errors[k], held)


def doubtful(gain: float, error: float, held: int) -> str:
    """What is to be said of a gain over the start that was not taken, where it may be large; else nothing."""
    if not (gain > 0 and gain + 2.0 * error > MUCH):
        return ""
    return (
        f"the {held:,} held-out rows are too few to tell: the best step was {gain:.2g} ± {error:.2g} nats a row "
        "better than the start, which is returned; more rows would tell, or a larger held_out="
    )


def _failure(state: State) -> str:
    steps = np.asarray(state.members.failed)
    step = int(steps[steps > 0].min())
    best = int(np.asarray(state.members.best_step).max())
    kept = f"the best fit so far, of step {best}, is returned" if best else "no step before it was usable"
    return (
        f"the objective became NaN or infinite at step {step}, and again after smaller steps from the best fit: "
        f"{kept}; check the data for extreme values, or pass a rule with a smaller rate="
    )
