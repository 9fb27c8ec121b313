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

_LINEAR_ROWS = 4096  # that the linear model is fitted to, or four times the inputs
_HELD = 2  # a stream of random numbers


def begun(learner: Known, train: Table) -> Known:
    """The learner, starting at a linear model of some of the rows to learn from where its outcomes have one."""
    learnable = learner.learnable
    assert learnable is not None
    if learnable.begin is None or train.x is None or not isinstance(train.y, np.ndarray):
        return learner
    few = train.numbers[:: -(-train.size // max(_LINEAR_ROWS, 4 * int(np.prod(train.x.shape[1:]))))]
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
