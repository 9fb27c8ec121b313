"""Early stopping: which rows are held out, how a held-out value is computed, and what follows from it.

After each epoch the value that decides is compared, in nats, with the best so far. After `patience` epochs without
progress the parameters go back to the best ones and the step size falls by `factor`; after `max_reductions` such falls
the best parameters are returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.random import Generator

from kullback.training.ravel import on_host

HELD_OUT = 0.1  # share of the rows
_HELD_AT_LEAST = 50  # rows, of which fewer say too little, but never more than a quarter
_HELD_AT_MOST = 65_536  # rows; more would cost time and tell little
_MANY_ROWS = 10_000
_PATIENT_STEPS = 500  # without progress, where rows are few
_CAUTION = 2.0  # standard errors
# Nats, and interquartile ranges, beyond the median: what one held-out row may cost where it is decided to go on. More
# than that no part of the data can tell of a model, and a mistyped row would decide alone.
_COSTLIEST, _RANGES = 20.0, 10.0


@dataclass(frozen=True)
class Schedule:
    """How long to wait, and what follows.

    rate            the first step size
    factor          by which the step size is multiplied where progress has stopped
    patience        epochs without progress before that
    max_reductions  how often it may happen before training ends
    caution         standard errors by which the held-out decrease must exceed 0 before the start is given up
    """

    rate: float
    factor: float
    patience: int
    max_reductions: int
    caution: float = 0.0


def schedule_for(rows: int, steps: int, rate: float | None, patience: int | None) -> Schedule:
    """What was asked for; else, where rows are few, a patience in steps: an epoch of few `steps` moves nothing far."""
    if rows >= _MANY_ROWS:
        return Schedule(rate or 5e-3, 0.3, patience or 10, 3, _CAUTION)
    return Schedule(rate or 1e-2, 0.3, patience or max(5, -(-_PATIENT_STEPS // steps)), 2, _CAUTION)


def rows_held_out(rows: int, share: float) -> int:
    """How many of so many rows are held out: a share of them, of few rows more, and of 0 none."""
    few = min(_HELD_AT_LEAST, rows // 4)
    return min(max(round(share * rows), few), _HELD_AT_MOST) if share > 0 else 0


def held_out_mask(rows: int, held: int, rng: Generator) -> Bool[np.ndarray, " rows"]:
    """Which rows are held out."""
    mask = np.zeros(rows, bool)
    mask[rng.permutation(rows)[:held]] = True
    return mask


def bounded(weights: Float[Array, " n"], losses: Float[Array, " n"], some: Int[np.ndarray, " k"]) -> Float[Array, " n"]:
    """Held-out losses, none far above those of most (of `some` rows); an infinite one stays: that row is impossible."""
    counted = weights[some] > 0
    ranks = (jnp.sum(counted) * jnp.array([1, 2, 3])) // 4
    low, middle, high = jnp.sort(jnp.where(counted, losses[some], jnp.inf))[ranks]
    spread = jnp.where(jnp.isfinite(high), high - low, jnp.inf)
    most = middle + jnp.maximum(_COSTLIEST, _RANGES * spread)
    return jnp.where(jnp.isinf(losses), losses, jnp.minimum(losses, most))


def decrease(
    weights: Float[Array, " n"], before: Float[Array, " n"], after: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean decrease of losses by their weights, and its standard error, since they are of the same rows."""
    share = weights / jnp.maximum(jnp.sum(weights), 1e-30)
    each = jnp.where(weights > 0, before - after, 0.0)
    mean = jnp.vdot(share, each)
    return mean, jnp.sqrt(jnp.vdot(jnp.square(share), jnp.square(each - mean)))


class Plateau(NamedTuple):
    """The step size, and how long there was no progress.

    lowest      the lowest value so far, by which progress is judged
    stale       epochs since
    reductions  how often the step size has fallen
    """

    rate: Float[Array, ""]
    lowest: Float[Array, ""]
    stale: Int[Array, ""]
    reductions: Int[Array, ""]


def no_progress_yet(rate: float) -> Plateau:
    """Before the first epoch, on the host."""
    dtype, whole = jnp.result_type(float), np.zeros((), np.int32)
    return on_host(
        Plateau, rate=np.asarray(rate, dtype), lowest=np.asarray(np.inf, dtype), stale=whole, reductions=whole
    )


def watched(
    plateau: Plateau,
    value: Float[Array, ""],
    usable: Bool[Array, ""],
    tolerance: Float[Array, ""],
    patience: Int[Array, ""],
    factor: Float[Array, ""],
) -> tuple[Plateau, Bool[Array, ""]]:
    """After a value: the plateau, and whether the step size fell, so that parameters are to go back to the best."""
    progress = usable & ((value < plateau.lowest - tolerance) | jnp.isinf(plateau.lowest))
    stale = jnp.where(progress, 0, plateau.stale + 1)
    reduced = ~usable | (stale >= patience)
    after = Plateau(
        rate=jnp.where(reduced, plateau.rate * factor, plateau.rate),
        lowest=jnp.where(progress, value, plateau.lowest),
        stale=jnp.where(reduced, 0, stale).astype(plateau.stale.dtype),
        reductions=(plateau.reductions + reduced).astype(plateau.reductions.dtype),
    )
    return after, reduced
