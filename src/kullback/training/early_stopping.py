"""One network in training: its step by Adam, and after each epoch whether to go on, to go back, or to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kullback.training.optimiser import MEAN, SQUARES, shortened

_ADAM = optax.scale_by_adam(b1=MEAN, b2=SQUARES)
STOPPED, DIVERGED = 1, 2


class Member(NamedTuple):
    """One network: where it is, the sums of its iterates and losses over the epoch, the best so far, and how long
    without progress. `failed` is a step number, or 0.

    start_losses  of the held-out rows at the start
    doubtful      the largest mean decrease from them that was not taken, and its standard error
    lowest        the lowest value so far, of parameters that were taken or not: patience counts from it
    """

    x: Any
    sum: Any
    adam: Any
    rate: Any
    best: Any
    best_value: Any
    best_step: Any
    start_losses: Any
    doubtful: Any
    lowest: Any
    loss: Any
    stale: Any
    cuts: Any
    failed: Any
    ended: Any


class Numbers(NamedTuple):
    """What a compiled program is told at each call."""

    seed: Any
    tolerance: Any
    caution: Any  # standard errors by which held-out rows must be better than at the start
    fall: Any
    patience: Any
    cuts: Any
    total_weight: Any
    limit: Any
    budget: Any


def at_start(x: np.ndarray, rate: float, steps: int = 0, held: int = 0) -> Member:
    """A member before its first step, on the host: at the end of an epoch of `steps` that stayed where it is."""
    dtype = jnp.result_type(float)
    zero, whole, inf = np.zeros((), dtype), np.zeros((), np.int32), np.asarray(np.inf, dtype)
    adam = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(_ADAM.init, x))
    return Member(
        x=x,
        sum=x * steps,
        adam=adam,
        rate=np.asarray(rate, dtype),
        best=x,
        best_value=inf,
        best_step=whole,
        start_losses=np.zeros(held, dtype),
        doubtful=np.zeros(2, dtype),
        lowest=inf,
        loss=zero,
        stale=whole,
        cuts=whole,
        failed=whole,
        ended=whole,
    )


def moved(m: Member, gradient: Any, loss: Any, total: Any) -> Member:
    """The member after one step, the `total`-th, along a gradient."""
    update, adam = _ADAM.update(shortened(gradient, m.adam.nu, m.adam.count), m.adam)
    failed = jnp.where(jnp.isfinite(loss) | (m.failed > 0), m.failed, total)
    x = m.x - m.rate * update
    return m._replace(x=x, sum=m.sum + x, adam=adam, loss=m.loss + loss, failed=failed)


def decided(numbers: Numbers, total: Any, steps: Any, weights: Any, m: Member, value: Any, losses: Any) -> Member:
    """The member after an epoch of `steps`, whose mean iterate has the value that decides."""
    usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(m.x)) & jnp.isfinite(m.loss)
    first = jnp.isinf(m.best_value)
    gain, se = gain_of(weights, m.start_losses, losses)
    # A few held-out rows often look better by chance at one of many epochs: only what is clearly better than the start
    # takes its place.
    clear = first | ~(gain <= numbers.caution * se) if losses.size else jnp.ones((), bool)
    better = usable & (value < m.best_value) & clear
    enough = usable & ((value < m.lowest - numbers.tolerance) | jnp.isinf(m.lowest))
    stale = jnp.where(enough, 0, m.stale + 1)
    cut = ~usable | (stale >= numbers.patience)
    cuts = m.cuts + cut
    best = jnp.where(better, m.sum / steps, m.best)
    out_of_cuts = cuts > numbers.cuts
    failed = jnp.where(~usable & (m.failed == 0), total, m.failed)
    ended = jnp.where(out_of_cuts, jnp.where(usable, STOPPED, DIVERGED), 0)
    pick = lambda new, old: jnp.where(cut, new, old)  # noqa: E731
    after = Member(
        x=pick(best, m.x),
        sum=jnp.zeros_like(m.sum),
        adam=jax.tree.map(lambda a: pick(jnp.zeros_like(a), a), m.adam),
        rate=pick(m.rate * numbers.fall, m.rate),
        best=best,
        best_value=jnp.where(better, value, m.best_value),
        best_step=jnp.where(better, total, m.best_step).astype(m.best_step.dtype),
        start_losses=jnp.where(first, losses, m.start_losses),
        doubtful=jnp.where(usable & ~clear & (gain > m.doubtful[0]), jnp.stack([gain, se]), m.doubtful),
        lowest=jnp.where(enough, value, m.lowest),
        loss=jnp.zeros_like(m.loss),
        stale=pick(0, stale).astype(m.stale.dtype),
        cuts=cuts.astype(m.cuts.dtype),
        failed=failed.astype(m.failed.dtype),
        ended=ended.astype(m.ended.dtype),
    )
    # A member that has ended waits for the others as it is.
    return jax.tree.map(lambda new, old: jnp.where(m.ended > 0, old, new), after, m)


def gain_of(weights: Any, before: Any, after: Any) -> tuple[Any, Any]:
    """The mean decrease of losses [n] by their weights, and its standard error, since they are of the same rows."""
    share = weights / jnp.maximum(jnp.sum(weights), 1e-30)
    each = jnp.where(weights > 0, before - after, 0.0)
    mean = jnp.vdot(share, each)
    return mean, jnp.sqrt(jnp.vdot(jnp.square(share), jnp.square(each - mean)))


def each_member(members: int, function: Callable[..., Any], *trees: Any) -> Any:
    """The function for each member: one member without a leading axis, which compiles to plain matrix products."""
    if members > 1:
        return jax.vmap(function)(*trees)
    result = function(*jax.tree.map(lambda leaf: leaf[0], trees))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)
