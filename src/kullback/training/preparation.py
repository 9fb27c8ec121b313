"""What training by batches is given: rows to learn from and to watch, a start, a schedule, the scaling of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kullback.errors import FitError
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.rule import Request
from kullback.training.batches import Table
from kullback.training.early_stopping import held_out_mask

LINEAR_ROWS = 4096  # that the linear model is fitted to, or four times the inputs
_HELD = 2  # a stream of random numbers
# What single precision holds: whole numbers, outcomes whose squares are numbers, shares of which 1 − y has four digits.
LARGEST_COUNT, SMALLEST, LARGEST, NEAREST = 2**24, 1e-18, 1e18, 1e-3


def begun(learner: Known, train: Table) -> Known:
    """The learner, starting at a linear model of some of the rows to learn from where its outcomes have one."""
    learnable = learner.learnable
    assert learnable is not None
    if learnable.begin is None or train.x is None or not isinstance(train.y, np.ndarray):
        return learner
    few = train.numbers[:: -(-train.size // max(LINEAR_ROWS, 4 * int(np.prod(train.x.shape[1:]))))]
    few = few[train.weights[few] > 0]
    started = learnable.begin(train.x[few], train.y[few], train.weights[few]) if len(few) > 1 else {}
    return learner.holding(learnable=learnable.holding(**started)) if started else learner


def split(table: Table, kept: int, request: Request) -> tuple[Table, Table | None]:
    """The rows to learn from and the rows to watch, by random numbers of the request; weights of mean 1 in each."""
    watched = held_out_mask(table.size, kept, request.host_rng(_HELD))
    train, held = table.part(~watched), table.part(watched) if kept else None
    if train.total == 0 or (held is not None and held.total == 0):
        raise FitError("weights: a part of the rows has no weight at all; pass more weighted rows")
    return train, held


def needs_double(y: Any) -> bool:
    """Whether single precision loses outcomes y [n, ...]: counts that it cannot hold, numbers that become 0 or ∞, and
    shares so near to 1 that nothing is left of what they lack."""
    y = np.asarray(y)
    if y.size == 0 or y.dtype.kind not in "iuf":
        return False
    least, most = float(y.min()), float(y.max())
    if y.dtype.kind in "iu":
        return max(-least, most) >= LARGEST_COUNT
    size = max(-least, most)
    tiny = 0.0 < size < SMALLEST or 0.0 < least < np.finfo(np.float32).tiny
    return size > LARGEST or tiny or (least > 0.0 and 1.0 - NEAREST < most < 1.0)


def default_batch(size: int) -> int:
    """About a 25th of the rows, a power of 2 between 32 and 512."""
    return int(2 ** np.clip(np.round(np.log2(size / 25)), 5, 9))


def scaling_of(learnable: Learnable, x: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """How inputs are standardised, where the structure does so and inputs are no labels."""
    fixed = learnable.fixed
    if x is None or not isinstance(fixed, dict) or "x_mean" not in fixed or (np.ndim(x) == 1 and x.dtype.kind in "iub"):
        return None
    return np.asarray(fixed["x_mean"], np.float64), np.asarray(fixed["x_scale"], np.float64)


def without_scaling(fixed: Any) -> Any:
    """Inputs that were standardised on the host, in double, are not standardised again."""
    shape = np.shape(fixed["x_mean"])
    return {**fixed, "x_mean": np.zeros(shape), "x_scale": np.ones(shape)}
