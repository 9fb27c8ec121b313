"""Whole epochs in one compiled program: shuffling, steps, the held-out value, and what each member decides on it.

The members of an ensemble are trained together, each with an order of rows of its own. Counts (rows, steps, epochs) are
arguments, so that another split of the same data compiles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kullback.known.index_batch import rows_of
from kullback.minimize.objectives import negative_log_prior, row_losses
from kullback.runtime.export_cache import program
from kullback.runtime.random import key_of
from kullback.training.batches import BLOCK, Feed, Rows, on_each, over, some_of
from kullback.training.early_stopping import Member, Numbers, decided, each_member, moved
from kullback.training.min_scale import floored, least_outputs
from kullback.training.shuffle import shuffled, words_of

CURVE = 64  # epochs recorded in one call
# Nats, and interquartile ranges, beyond the median: what one held-out row may cost where it is decided to go on. More
# than that no part of the data can tell of a model, and a mistyped row would decide alone.
COSTLIEST, RANGES = 20.0, 10.0


class State(NamedTuple):
    """Members [m, ...], the position in the data, the epochs recorded in the last call, and what was found at the end.

    least  of the outputs [width] of what is returned; empty where a floor is not asked for
    final  the training and the held-out value of what is returned
    """

    members: Member
    epoch: Any
    step: Any
    total: Any
    curve: Any
    recorded: Any
    least: Any
    final: Any


@dataclass(frozen=True)
class Problem:
    """What is fixed of a compiled program: the structure, the layout, what a row's loss is, rows a step, the mesh.

    floor     which outputs, if any, are never to be less at a new row than at those of the training
    weighted  whether rows on the device count differently; weights that are all 1 need not be fetched
    """

    structure: Any
    layout: Any
    kind: str
    batch: int
    stochastic: bool
    mesh: Any
    floor: tuple[bool, ...]
    weighted: bool


@program(static=(0, 2, 5))
def positions(problem: Problem, state: State, members: int, size: Any, seed: Any, steps: int) -> jax.Array:
    """The rows [steps, m, batch] of the next steps, for the host to gather; past the end of an epoch, any rows."""
    words = words_of(seed, state.epoch, members)

    def at(i: Any, word: Any) -> jax.Array:
        positions = (state.step + i) * problem.batch + jnp.arange(problem.batch)
        return shuffled(word, size, jnp.minimum(positions.astype(jnp.uint32), size - 1))

    return jax.vmap(lambda i: jax.vmap(partial(at, i))(words))(jnp.arange(steps))


@program
def advance(
    problem: Problem,
    fixed: Any,
    rows: Rows,
    held: Rows | None,
    state: State,
    numbers: Numbers,
    feed: Feed | None = None,
) -> State:
    """As many steps as `numbers.budget` says, with what follows each epoch that ends among them."""
    members = state.members.x.shape[0]
    steps = jnp.maximum(rows.size // problem.batch, 1).astype(jnp.int32)
    target = jnp.minimum(state.total + numbers.budget, numbers.limit)

    def running(s: State) -> Any:
        return ((s.total < target) | (s.step == steps)) & (s.recorded < CURVE) & jnp.any(s.members.ended == 0)

    def segment(s: State) -> State:
        stop = jnp.minimum(steps, s.step + target - s.total)
        words = words_of(numbers.seed, s.epoch, members)
        offset = s.step

        def body(i: Any, carry: Member) -> Member:
            one = partial(_step, problem, fixed, rows, feed, numbers, i, i - offset, s.total + 1 + i - offset)
            return each_member(members, one, carry, jnp.arange(members), words)

        after = lax.fori_loop(s.step, stop, body, s.members)
        total = s.total + stop - s.step
        s = s._replace(members=after, step=stop, total=total)
        return lax.cond(stop == steps, lambda s: _epoch(problem, fixed, held, s, numbers), lambda s: s, s)

    # What was recorded before this call has been read, and final values of a shorter run hold no more.
    fresh = state._replace(recorded=jnp.zeros_like(state.recorded), final=jnp.full_like(state.final, jnp.nan))
    state = lax.while_loop(running, segment, fresh)
    if feed is not None:
        return on_each(problem.mesh, state)
    over_now = jnp.all(state.members.ended > 0) | (state.total >= numbers.limit)

    def last(s: State) -> State:
        least, final = valued(problem, fixed, rows, held, chosen(s, jnp))
        return s._replace(least=least, final=final)

    return on_each(problem.mesh, lax.cond(over_now, last, lambda s: s, state))


def _step(
    problem: Problem, fixed: Any, rows: Rows, feed: Feed | None, numbers: Numbers, i: Any, nth: Any, total: Any,
    member: Member, k: Any, words: Any,
) -> Member:  # fmt: skip
    if feed is None:
        at = shuffled(words, rows.size, i * problem.batch + jnp.arange(problem.batch))
        x, y, w = _rows_at(rows, at)
        w = w if problem.weighted else None
    else:
        x, y, w = _batch_of(feed, nth, k)
    if problem.mesh is not None:
        x, y, w = jax.tree.map(lambda a: lax.with_sharding_constraint(a, over(problem.mesh)), (x, y, w))
    key = _noise(numbers.seed, total, k) if problem.stochastic else None

    def objective(vector: Any) -> tuple[Any, Any]:
        losses = row_losses(problem, fixed, x, y, vector, key)
        loss = jnp.mean(losses if w is None else w * losses)
        return loss + negative_log_prior(problem, fixed, vector) / numbers.total_weight, loss

    gradient, loss = jax.grad(objective, has_aux=True)(member.x)
    return moved(member, gradient, loss, total)


def _noise(seed: Any, total: Any, k: Any) -> jax.Array:
    """The key of what a member draws at a step, from the two words of a seed."""
    return jax.random.fold_in(jax.random.fold_in(key_of(seed), total), k)


def _rows_at(rows: Rows, at: Any) -> tuple[Any, Any, Any]:
    y = rows.y[at] if isinstance(rows.y, jax.Array) else rows_of(rows.y, at)
    return None if rows.x is None else rows.x[at], y, rows.weights[at]


def _batch_of(feed: Feed, nth: Any, k: Any) -> tuple[Any, Any, Any]:
    _, members, batch = feed.weights.shape
    at = (nth * members + k) * batch + jnp.arange(batch)
    y = feed.y[nth, k] if isinstance(feed.y, jax.Array) else rows_of(feed.y, at)
    return None if feed.x is None else feed.x[nth, k], y, feed.weights[nth, k]


def _epoch(problem: Problem, fixed: Any, held: Rows | None, s: State, numbers: Numbers) -> State:
    """The end of an epoch: the value to decide by, the decision of each member, and a line of the curve."""
    members = s.members
    training = members.loss / s.step
    if held is None:
        # What is minimised decides: the training loss alone would choose weights that the prior has not drawn in yet.
        prior = each_member(len(training), partial(negative_log_prior, problem, fixed), members.sum / s.step)
        values, pooled = training + prior / numbers.total_weight, jnp.mean(training)
        losses, weights = members.start_losses, jnp.zeros(0, training.dtype)
    else:
        values, pooled, losses = judged(problem, fixed, held, members.sum / s.step)
        weights = held.weights
    line = [s.epoch + 1, s.total, jnp.mean(training), pooled, jnp.mean(members.rate)]
    after = each_member(len(members.rate), partial(decided, numbers, s.total, s.step, weights), members, values, losses)
    return s._replace(
        members=after,
        epoch=s.epoch + 1,
        step=jnp.zeros_like(s.step),
        curve=s.curve.at[s.recorded].set(jnp.stack([jnp.asarray(v, s.curve.dtype) for v in line])),
        # Before the first step there is nothing to record, and the next line takes its place.
        recorded=s.recorded + (s.epoch >= 0),
    )


def chosen(s: State, xp: Any = np) -> Any:
    """The parameters to return [m, n]: the best, or before a first epoch has ended the mean of the iterates."""
    judged = (xp.isfinite(s.members.best_value)[:, None] & (s.epoch > 0)) | (s.step == 0)
    return xp.where(judged, s.members.best, s.members.sum / xp.maximum(s.step, 1))


@partial(jax.jit, static_argnums=0)
def evaluate(problem: Problem, fixed: Any, rows: Rows, vectors: Any) -> tuple[Any, Any]:
    """The mean loss of each member [m], and that of their mixture, over weighted rows in blocks."""

    def body(i: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        sums, pooled, weight = carry
        losses, together, w = _block(problem, fixed, rows, vectors, i)
        return sums + losses @ w, pooled + together @ w, weight + jnp.sum(w)

    zero = jnp.zeros((), rows.weights.dtype)
    start = jnp.zeros(vectors.shape[0], zero.dtype), zero, zero
    sums, pooled, weight = lax.fori_loop(0, _blocks(rows), body, start)
    return sums / weight, pooled / weight


def judged(problem: Problem, fixed: Any, held: Rows, vectors: Any) -> tuple[Any, Any, Any]:
    """What each member is judged by [m], the mean of its bounded losses; the mean loss of their mixture; the losses."""
    padded = held.weights.shape[0]

    def body(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        losses, together, _ = _block(problem, fixed, held, vectors, i)
        put = partial(lax.dynamic_update_slice_in_dim, start_index=i * _block_of(held), axis=-1)
        return put(carry[0], losses), put(carry[1], together)

    zeros = jnp.zeros((len(vectors), padded), held.weights.dtype)
    losses, together = lax.fori_loop(0, _blocks(held), body, (zeros, zeros[0]))
    w, weight = held.weights, jnp.sum(held.weights)
    bounded = jax.vmap(partial(_bounded, w))(losses)
    return bounded @ w / weight, together @ w / weight, bounded


def _bounded(w: Any, losses: Any) -> Any:
    """Losses [n] of rows, none far above those of most; an infinite one stays: that row was held impossible."""
    every = some_of(len(w))
    some, counted = losses[every], w[every] > 0
    ranks = (jnp.sum(counted) * jnp.array([1, 2, 3])) // 4
    low, middle, high = jnp.sort(jnp.where(counted, some, jnp.inf))[ranks]
    spread = jnp.where(jnp.isfinite(high), high - low, jnp.inf)
    return jnp.where(jnp.isinf(losses), losses, jnp.minimum(losses, middle + jnp.maximum(COSTLIEST, RANGES * spread)))


def _block_of(rows: Rows) -> int:
    """How many rows are evaluated at once."""
    return min(BLOCK, rows.weights.shape[0])


def _blocks(rows: Rows) -> Any:
    return ((rows.size + _block_of(rows) - 1) // _block_of(rows)).astype(jnp.int32)


def _block(problem: Problem, fixed: Any, rows: Rows, vectors: Any, i: Any) -> tuple[Any, Any, Any]:
    """The losses of each member [m, n] and of their mixture [n] at the i-th block of rows, and their weights."""
    members, block = vectors.shape[0], _block_of(rows)
    if isinstance(rows.y, jax.Array) and problem.mesh is None:
        x, y, w = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i * block, block), (rows.x, rows.y, rows.weights))
    else:
        x, y, w = _rows_at(rows, i * block + jnp.arange(block))
    losses = each_member(members, lambda v: row_losses(problem, fixed, x, y, v), vectors)
    losses = jnp.where(w > 0, losses, 0.0)
    if problem.kind == "sample" and members > 1:
        together = jnp.log(members) - jax.nn.logsumexp(-losses, axis=0)
    else:
        together = jnp.mean(losses, axis=0)
    return losses, together, w


def final_values(problem: Problem, fixed: Any, rows: Rows, held: Rows | None, vectors: Any) -> jax.Array:
    """The training and the held-out value of the best parameters; NaN where nothing was held out."""
    training = evaluate(problem, fixed, rows, vectors)[1]
    aside = jnp.asarray(jnp.nan) if held is None else evaluate(problem, fixed, held, vectors)[1]
    return jnp.stack([training, aside.astype(training.dtype)])


def valued(problem: Problem, fixed: Any, rows: Rows, held: Rows | None, vectors: Any) -> tuple[Any, Any]:
    """The least outputs and, with them as a floor, the final values."""
    least = least_outputs(problem, fixed, rows, vectors)
    return least, final_values(problem, floored(fixed, least), rows, held, vectors)


final_now, valued_now, judged_now = program(final_values), program(valued), program(judged)
