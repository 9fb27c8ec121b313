"""Early stopping: which rows are held out, how a held-out value is computed, and what follows from it.

After each epoch the value that decides is compared, in nats, with the best so far. After `patience` epochs without
progress the parameters go back to the best ones and the step size falls by `factor`; after `max_reductions` such falls
the best parameters are returned. A `Member` is one network in training with its state of early stopping; `decided` is
the decision after an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt32
from numpy.random import Generator

from kullback.training.optimiser import DEFAULT, Descent, begin, descend, restarted
from kullback.training.ravel import on_host

# Held-out rows and their value


HELD_OUT = 0.1  # share of the rows
_HELD_AT_LEAST = 50  # rows, of which fewer say too little, but never more than a quarter
_HELD_AT_MOST = 65_536  # rows; more would cost time and tell little
_MANY_ROWS = 10_000
_PATIENT_STEPS = 500  # without progress, where rows are few
_CAUTION = 2.0  # standard errors
_MUCH = 0.05  # nats a row, of which a doubt is worth a word
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
        return Schedule(rate=rate or 5e-3, factor=0.3, patience=patience or 10, max_reductions=3, caution=_CAUTION)
    return Schedule(
        rate=rate or 1e-2,
        factor=0.3,
        patience=patience or max(5, -(-_PATIENT_STEPS // steps)),
        max_reductions=2,
        caution=_CAUTION,
    )


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
    weights: Float[Any, " n"], before: Float[Any, " n"], after: Float[Any, " n"], xp: Any = jnp
) -> tuple[Any, Any]:
    """The mean decrease of losses by their weights, and its standard error, since they are of the same rows."""
    share = weights / xp.maximum(xp.sum(weights), 1e-30)
    each = xp.where(weights > 0, before - after, 0.0)
    mean = xp.vdot(share, each)
    return mean, xp.sqrt(xp.vdot(xp.square(share), xp.square(each - mean)))


def doubtful(gain: float, error: float, held: int) -> str:
    """What is to be said of a gain over the start that was not taken, where it may be large; else nothing."""
    if not (gain > 0 and gain + 2.0 * error > _MUCH):
        return ""
    return (
        f"the {held:,} held-out rows are too few to tell: the best step was {gain:.2g} ± {error:.2g} nats a row "
        "better than the start, which is returned; more rows would tell, or a larger held_out="
    )


# Progress and patience


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


# One network in training


STOPPED, DIVERGED = 1, 2


class Hyperparameters(NamedTuple):
    """What a compiled program is told at each call: the settings that are no sizes.

    seed             two words
    tolerance        nats by which a value must be lower to count as progress
    caution, factor, patience, max_reductions  as in `Schedule`
    total_weight     of the rows to learn from
    limit            steps of the whole training; `budget`: of this call
    """

    seed: UInt32[Array, 2]
    tolerance: Float[Array, ""]
    caution: Float[Array, ""]
    factor: Float[Array, ""]
    patience: Int[Array, ""]
    max_reductions: Int[Array, ""]
    total_weight: Float[Array, ""]
    limit: Int[Array, ""]
    budget: Int[Array, ""]


class Best(NamedTuple):
    """The best parameters so far, the value by which they are, and their step."""

    x: Float[Array, " n"]
    value: Float[Array, ""]
    step: Int[Array, ""]


class Member(NamedTuple):
    """One network.

    x_sum, loss_sum  over the steps of the epoch: its mean iterate is what is judged
    start_losses     of the held-out rows at the start
    doubtful         the largest mean decrease from them that was not taken, and its standard error
    failed           the first step without a finite loss, or 0
    ended            0, `STOPPED` or `DIVERGED`
    """

    descent: Descent
    x_sum: Float[Array, " n"]
    loss_sum: Float[Array, ""]
    best: Best
    plateau: Plateau
    start_losses: Float[Array, " held"]
    doubtful: Float[Array, 2]
    failed: Int[Array, ""]
    ended: Int[Array, ""]


def at_start(
    x: np.ndarray, rate: float, steps: int = 0, held: int = 0, optimiser: optax.GradientTransformation = DEFAULT
) -> Member:
    """A member before its first step, on the host: at the end of an epoch of `steps` that stayed where it is."""
    dtype, whole = jnp.result_type(float), np.zeros((), np.int32)
    return on_host(
        Member,
        descent=begin(x, optimiser),
        x_sum=x * steps,
        loss_sum=np.zeros((), dtype),
        best=on_host(Best, x=x, value=np.asarray(np.inf, dtype), step=whole),
        plateau=no_progress_yet(rate),
        start_losses=np.zeros(held, dtype),
        doubtful=np.zeros(2, dtype),
        failed=whole,
        ended=whole,
    )


def stepped(
    m: Member,
    gradient: Float[Array, " n"],
    loss: Float[Array, ""],
    total: Int[Array, ""],
    optimiser: optax.GradientTransformation = DEFAULT,
) -> Member:
    """The member after one step, the `total`-th, along a gradient."""
    descent = descend(m.descent, gradient, m.plateau.rate, optimiser)
    failed = jnp.where(jnp.isfinite(loss) | (m.failed > 0), m.failed, total)
    return m._replace(descent=descent, x_sum=m.x_sum + descent.x, loss_sum=m.loss_sum + loss, failed=failed)


def decided(
    hyper: Hyperparameters,
    optimiser: optax.GradientTransformation,
    total: Int[Array, ""],
    steps: Int[Array, ""],
    weights: Float[Array, " held"],
    m: Member,
    value: Float[Array, ""],
    losses: Float[Array, " held"],
) -> Member:
    """The member after an epoch of `steps`, whose mean iterate has the value that decides, and held-out losses."""
    usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(m.descent.x)) & jnp.isfinite(m.loss_sum)
    first = jnp.isinf(m.best.value)
    gain, se = decrease(weights, m.start_losses, losses)
    # A few held-out rows often look better by chance at one of many epochs: only what is clearly better than the start
    # takes its place.
    clear = first | ~(gain <= hyper.caution * se) if losses.size else jnp.ones((), bool)
    better = usable & (value < m.best.value) & clear
    plateau, reduced = watched(m.plateau, value, usable, hyper.tolerance, hyper.patience, hyper.factor)
    best = Best(
        x=jnp.where(better, m.x_sum / steps, m.best.x),
        value=jnp.where(better, value, m.best.value),
        step=jnp.where(better, total, m.best.step).astype(m.best.step.dtype),
    )
    failed = jnp.where(~usable & (m.failed == 0), total, m.failed)
    over = plateau.reductions > hyper.max_reductions
    after = Member(
        descent=restarted(m.descent, best.x, reduced, optimiser),
        x_sum=jnp.zeros_like(m.x_sum),
        loss_sum=jnp.zeros_like(m.loss_sum),
        best=best,
        plateau=plateau,
        start_losses=jnp.where(first, losses, m.start_losses),
        doubtful=jnp.where(usable & ~clear & (gain > m.doubtful[0]), jnp.stack([gain, se]), m.doubtful),
        failed=failed.astype(m.failed.dtype),
        ended=jnp.where(over, jnp.where(usable, STOPPED, DIVERGED), 0).astype(m.ended.dtype),
    )
    # A member that has ended waits for the others as it is.
    return jax.tree.map(lambda new, old: jnp.where(m.ended > 0, old, new), after, m)


def each_member(members: int, function: Callable[..., Any], *trees: Any) -> Any:
    """The function for each member: one member without a leading axis, which compiles to plain matrix products."""
    if members > 1:
        return jax.vmap(function)(*trees)
    result = function(*jax.tree.map(lambda leaf: leaf[0], trees))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)
