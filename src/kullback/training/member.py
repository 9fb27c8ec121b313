"""One network in training: its steps, and after each epoch whether to go on, to go back, or to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from kullback.training.early_stopping import Plateau, decrease, no_progress_yet, watched
from kullback.training.optimiser import DEFAULT, Descent, begin, descend, restarted
from kullback.training.ravel import on_host

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
