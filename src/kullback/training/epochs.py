"""Training over whole epochs: one compiled program of shuffling, steps, the held-out value and what follows from it.

No learning rate is asked of the user. After each epoch the held-out value at the mean of its iterates decides, as
`early_stopping` says. The mean of the iterates (Polyak and Juditsky 1992) is as good as what a far smaller step would
reach, so that large steps can be kept long. The members of an ensemble are trained together, each with an order of rows
of its own. Counts (rows, steps, epochs) are arguments, so that another split of the same data compiles nothing.

An epoch visits every row once, in an order of its own. Sorting random keys gives such an order at O(n log n) and an
array as long as the data; a keyed bijection gives the same rows where they are needed, in a few integer operations
each, with n an argument and not a constant of the program. The bijection is a generalised Feistel network on
Z_a × Z_b with ab ≥ n, iterated until its value is below n (Black and Rogaway 2002, section 4 and method 3).
"""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from kullback.families.learnable import Params
from kullback.known.adaptors.numpyro_distributions import rows_of
from kullback.result import Status
from kullback.runtime.export_cache import program
from kullback.runtime.random import key_of
from kullback.training.batches import Feed, Rows, Table, on_each, over, spans_processes
from kullback.training.driver import Iterative, Progress, fingerprint
from kullback.training.early_stopping import (
    DIVERGED,
    Hyperparameters,
    Member,
    Schedule,
    at_start,
    decided,
    doubtful,
    each_member,
    stepped,
)
from kullback.training.evaluation import (
    EpochConfig,
    Losses,
    judged,
    least_outputs,
    losses_of,
    means,
    negative_log_prior,
    row_losses,
    rows_at,
    with_least,
)
from kullback.training.optimiser import in_words
from kullback.training.ravel import on_host

# The shuffle: a permutation of 0 … n − 1, computed position by position


ROUNDS = 6


def words_of(seed: Any, epoch: Any, members: int) -> jax.Array:
    """The words [m, `ROUNDS`] that name the order of each member in an epoch, from the two words of a seed."""
    numbers = jnp.arange(1, members * ROUNDS + 1, dtype=jnp.uint32).reshape(members, ROUNDS)
    return _mixed(_mixed(numbers + seed[0]) ^ _mixed(jnp.asarray(epoch, jnp.uint32) ^ _mixed(seed[1])))


def shuffled(words: Array, size: Any, positions: Int[Array, " k"]) -> jax.Array:
    """The rows at `positions` of the permutation of 0 … size − 1 that `words` name; positions must be below size."""
    size = jnp.asarray(size, jnp.uint32)
    wide = jnp.maximum(jnp.ceil(jnp.sqrt(size.astype(jnp.float32))).astype(jnp.uint32), 1)
    high = (size + wide - 1) // wide

    def walk(walked: tuple[Any, Any]) -> tuple[Any, Any]:
        row, outside = walked
        row = jnp.where(outside, _once(row, words, wide, high), row)
        return row, row >= size

    # The first step, which every row takes, is one of the loop: it is long, and would be compiled twice.
    start = jnp.asarray(positions, jnp.uint32)
    row, _ = lax.while_loop(lambda walked: jnp.any(walked[1]), walk, (start, jnp.ones(start.shape, bool)))
    return row.astype(jnp.int32)


# Compiled functions within a compiled function are traced once, however often they are called.


@jax.jit
def _once(row: Array, words: Array, wide: Array, high: Array) -> Any:
    left, right = row // wide, row % wide
    for i in range(0, ROUNDS, 2):
        left = _shifted(left, right, words[i], high)
        right = _shifted(right, left, words[i + 1], wide)
    return left * wide + right


@jax.jit
def _shifted(part: Array, other: Array, word: Array, modulus: Array) -> Any:
    # A product and a shift give as even a share of 16 bits as a remainder does, and processors have them for vectors.
    moved = part + (((_mixed(other ^ word) & 0xFFFF) * modulus) >> 16)
    return jnp.where(moved >= modulus, moved - modulus, moved)


@jax.jit
def _mixed(x: Any) -> Any:
    """A bijection of 32-bit words in which every bit of the result depends on every bit of x."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


# Epochs


CURVE = 64  # epochs recorded in one call
_SECONDS = 0.4  # that one call should take
_MOST = 2**30  # steps in one call
_FEED = 2**25  # bytes of batches that are brought from the host at once, at most


class State(NamedTuple):
    """Members [m, ...], the position in the data, the epochs recorded in the last call, and what was found at the end.

    least  of the outputs [width] of what is returned; empty where no minimum is asked for
    final  the training and the held-out value of what is returned
    """

    members: Member
    epoch: Int[Array, ""]
    step: Int[Array, ""]
    total: Int[Array, ""]
    curve: Float[Array, "epochs 5"]
    recorded: Int[Array, ""]
    least: Float[Array, " width"]
    final: Float[Array, 2]


class EpochDescent(Iterative):
    """Descent from the starts [m, n] on the rows of `train`, watching those of `held` (None: the training loss)."""

    def __init__(
        self,
        title: str,
        config: EpochConfig,
        *,
        fixed: Params,
        train: Table,
        held: Table | None,
        starts: np.ndarray,
        schedule: Schedule,
        tolerance: float,
        seed: Any,
        limit: int,
        memory: int,
    ) -> None:
        self.title, self.config, self.fixed, self.starts = title, config, fixed, starts
        self.schedule, self.tolerance, self.seed, self.limit = schedule, tolerance, seed, limit
        self.train, self.held, self.memory = train, held, memory
        self.streamed = train.bytes > memory * (1 if config.mesh is None else config.mesh.devices.shape[0])
        self.rows = None if self.streamed else train.resident(config.mesh)
        self.aside = held.resident(config.mesh) if held is not None else None
        self.shared = spans_processes(config.mesh)
        self.budget = CURVE

    def init(self) -> State:
        dtype, whole = jnp.result_type(float), np.zeros((), np.int32)
        held = 0 if self.aside is None else len(self.aside.weights)
        steps = np.int32(max(self.train.size // self.config.batch, 1)) if self.aside is not None else whole
        start = partial(at_start, rate=self.schedule.rate, steps=int(steps), held=held, optimiser=self.config.descent)
        members = jax.tree.map(lambda *leaves: np.stack(leaves), *map(start, np.asarray(self.starts, dtype)))
        return on_host(
            State,
            members=members,
            # Where rows are held out the start is judged by them first, as the mean of an epoch that did not move.
            epoch=whole if self.aside is None else np.int32(-1),
            step=steps,
            total=whole,
            curve=np.zeros((CURVE, 5), dtype),
            recorded=whole,
            least=np.zeros(len(self.config.min_scale), dtype),
            final=np.full(2, np.nan, dtype),
        )

    def step(self, state: State) -> State:
        start = time.monotonic()
        hyper = self._hyperparameters()
        if self.rows is not None:
            state = jax.block_until_ready(advance(self.config, self.fixed, self.rows, self.aside, state, hyper))
        else:
            state = self._streamed(state, hyper)
        # How much is done between two looks changes nothing but the time between them. Processes that work on one
        # problem must do the same, and their clocks differ.
        if not self.shared:
            took = max(time.monotonic() - start, 1e-3)
            self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
            self.budget = min(max(self.budget, 1), _MOST)
        return state

    def _hyperparameters(self) -> Hyperparameters:
        s, dtype = self.schedule, jnp.result_type(float)
        return on_host(
            Hyperparameters,
            seed=self.seed,
            tolerance=np.asarray(self.tolerance, dtype),
            caution=np.asarray(s.caution, dtype),
            factor=np.asarray(s.factor, dtype),
            patience=np.int32(s.patience),
            max_reductions=np.int32(s.max_reductions),
            total_weight=np.asarray(self.train.total, dtype),
            limit=np.int32(self.limit),
            budget=np.int32(self.budget),
        )

    def _streamed(self, state: State, hyper: Hyperparameters) -> State:
        train, batch, members = self.train, self.config.batch, len(self.starts)
        whole, row = train.size // batch, max(1, train.bytes // train.size * members * batch)
        # So many steps at once, the whole run through, for one compiled program; at the end of an epoch some are idle.
        steps = max(1, min(whole, min(_FEED, self.memory // 2) // row))
        left = max(0, min(steps, whole - int(state.step), self.limit - int(state.total)))
        rows = positions(self.config, state, members, np.uint32(train.size), hyper.seed, steps)
        x, y, weights = train.take(np.asarray(rows))
        feed = Feed(x, y, weights.astype(jnp.result_type(float)))
        size = Rows(x=None, y=None, weights=None, size=np.uint32(train.size))
        return advance(self.config, self.fixed, size, self.aside, state, hyper._replace(budget=np.int32(left)), feed)

    def progress(self, state: State) -> Progress:
        ended, best = np.asarray(state.members.ended), np.asarray(state.members.best.value)
        total = int(state.total)
        value = float(np.mean(best))
        if not (ended > 0).all():
            return Progress(value, total)
        if (ended == DIVERGED).any():
            return Progress(value=value, steps=total, status=Status.DIVERGED, message=_failure(state))
        if self.held is None:
            return Progress(value, total, Status.CONVERGED)
        message = _undecided(state, self.held.size)
        return Progress(
            value=value, steps=total, status=Status.UNDECIDED if message else Status.EARLY_STOPPED, message=message
        )

    def history(self, state: State) -> tuple[dict[str, float], ...]:
        names = ("epoch", "step", "train_nll", "heldout_nll", "rate")
        shown = names if self.held is not None else tuple(name for name in names if name != "heldout_nll")
        rows = np.asarray(state.curve, np.float64)[: int(state.recorded)]
        return tuple({n: float(v) for n, v in zip(names, row, strict=True) if n in shown} for row in rows)

    @cached_property
    def _fingerprint(self) -> str:
        parts = (self.fixed, self.starts, self.tolerance, repr(self.schedule), self.config.batch, self.config.kind)
        data = (self.train.x, self.train.y, self.train.weights, self.train.numbers)
        own = () if self.config.optimiser is None else (in_words(self.config.optimiser),)
        return fingerprint(self.title, *parts, *own, *data, self.seed)

    def fingerprint(self) -> str:
        return self._fingerprint


@program(static=(0, 2, 5))
def positions(config: EpochConfig, state: State, members: int, size: Any, seed: Any, steps: int) -> jax.Array:
    """The rows [steps, m, batch] of the next steps, for the host to gather; past the end of an epoch, any rows."""
    words = words_of(seed, state.epoch, members)

    def at(i: Any, word: Array) -> jax.Array:
        positions = (state.step + i) * config.batch + jnp.arange(config.batch)
        return shuffled(word, size, jnp.minimum(positions.astype(jnp.uint32), size - 1))

    return jax.vmap(lambda i: jax.vmap(partial(at, i))(words))(jnp.arange(steps))


@program
def advance(
    config: EpochConfig,
    fixed: Params,
    rows: Rows,
    held: Rows | None,
    state: State,
    hyper: Hyperparameters,
    feed: Feed | None = None,
) -> State:
    """As many steps as `hyper.budget` says, with what follows each epoch that ends among them."""
    members = len(state.members.best.x)
    steps = jnp.maximum(rows.size // config.batch, 1).astype(jnp.int32)
    target = jnp.minimum(state.total + hyper.budget, hyper.limit)

    def running(s: State) -> Any:
        return ((s.total < target) | (s.step == steps)) & (s.recorded < CURVE) & jnp.any(s.members.ended == 0)

    def going(carry: tuple[State, Any]) -> Any:
        s, closed = carry
        over_now = jnp.all(s.members.ended > 0) | (s.total >= hyper.limit)
        return running(s) | (over_now & ~closed)

    def segment(carry: tuple[State, Any]) -> tuple[State, Any]:
        s, closed = carry
        closing = ~running(s)
        stop = jnp.where(closing, s.step, jnp.minimum(steps, s.step + target - s.total))
        words = words_of(hyper.seed, s.epoch, members)
        offset = s.step

        def body(i: Any, carry: Member) -> Member:
            one = partial(_step, config, fixed, rows, feed, hyper, i, i - offset, s.total + 1 + i - offset)
            return each_member(members, one, carry, jnp.arange(members), words)

        after = lax.fori_loop(s.step, stop, body, s.members)
        total = s.total + stop - s.step
        s = s._replace(members=after, step=stop, total=total)
        resident = rows if feed is None else None
        evaluated = lambda s: _evaluated(config, fixed, resident, held, s, hyper, closing)  # noqa: E731
        return lax.cond((stop == steps) | closing, evaluated, lambda s: s, s), closed | closing

    # What was recorded before this call has been read, and final values of a shorter run hold no more.
    fresh = state._replace(recorded=jnp.zeros_like(state.recorded), final=jnp.full_like(state.final, jnp.nan))
    # Data that are brought in chunks are evaluated in chunks, by the host.
    state, _ = lax.while_loop(going, segment, (fresh, jnp.asarray(feed is not None)))
    return on_each(config.mesh, state)


def _step(
    config: EpochConfig,
    fixed: Params,
    rows: Rows,
    feed: Feed | None,
    hyper: Hyperparameters,
    i: Int[Array, ""],
    nth: Int[Array, ""],
    total: Int[Array, ""],
    member: Member,
    k: Int[Array, ""],
    words: UInt32[Array, " rounds"],
) -> Member:
    """The `k`-th member after a batch: the `i`-th of the epoch, the `nth` of what was brought from the host."""
    if feed is None:
        at = shuffled(words, rows.size, i * config.batch + jnp.arange(config.batch))
        x, y, w = rows_at(rows, at)
        w = w if config.weighted else None
    else:
        x, y, w = _batch_of(feed, nth, k)
    if config.mesh is not None:
        x, y, w = jax.tree.map(lambda a: lax.with_sharding_constraint(a, over(config.mesh)), (x, y, w))
    key = _noise(hyper.seed, total, k) if config.stochastic else None

    def objective(vector: Float[Array, " n"]) -> tuple[Any, Any]:
        losses = row_losses(config, fixed, x, y, vector, key)
        loss = jnp.mean(losses if w is None else w * losses)
        return loss + negative_log_prior(config, fixed, vector) / hyper.total_weight, loss

    gradient, loss = jax.grad(objective, has_aux=True)(member.descent.x)
    return stepped(member, gradient, loss, total, config.descent)


def _noise(seed: Any, total: Any, k: Any) -> jax.Array:
    """The key of what a member draws at a step, from the two words of a seed."""
    return jax.random.fold_in(jax.random.fold_in(key_of(seed), total), k)


def _batch_of(feed: Feed, nth: Any, k: Any) -> tuple[Any, Any, Any]:
    _, members, batch = feed.weights.shape
    at = (nth * members + k) * batch + jnp.arange(batch)
    y = feed.y[nth, k] if isinstance(feed.y, jax.Array) else rows_of(feed.y, at)
    return None if feed.x is None else feed.x[nth, k], y, feed.weights[nth, k]


def _evaluated(
    config: EpochConfig,
    fixed: Params,
    rows: Rows | None,
    held: Rows | None,
    s: State,
    hyper: Hyperparameters,
    last: Any,
) -> State:
    """The end of an epoch; or the `last` evaluation, of the parameters to return, by the same part of the program."""
    if held is None and rows is None:
        return _epoch(config, fixed, None, s, hyper, None)
    vectors = jnp.where(last, chosen(s, jnp), s.members.x_sum / s.step)
    least = s.least
    if config.min_scale:
        least = jnp.broadcast_to(-fixed["reach"], least.shape).astype(least.dtype)
        if rows is not None:
            found = partial(least_outputs, config, fixed, rows)
            least = lax.cond(last, lambda v: found(v).astype(least.dtype), lambda _: least, vectors)
    losses = losses_of(config, with_least(fixed, least), held, rows, vectors, last)
    ended = lambda s: s._replace(least=least, final=means(held, losses))  # noqa: E731
    return lax.cond(last, ended, lambda s: _epoch(config, fixed, held, s, hyper, losses), s)


def _epoch(
    config: EpochConfig, fixed: Params, held: Rows | None, s: State, hyper: Hyperparameters, losses: Losses | None
) -> State:
    """The end of an epoch: the value to decide by, the decision of each member, and a line of the curve."""
    members = s.members
    training = members.loss_sum / s.step
    if held is None or losses is None:
        # What is minimised decides: the training loss alone would choose weights that the prior has not drawn in yet.
        prior = each_member(len(training), partial(negative_log_prior, config, fixed), members.x_sum / s.step)
        values, pooled = training + prior / hyper.total_weight, jnp.mean(training)
        below, weights = members.start_losses, jnp.zeros(0, training.dtype)
    else:
        values, below = judged(held, losses.held)
        pooled, weights = losses.together @ held.weights / jnp.sum(held.weights), held.weights
    line = [s.epoch + 1, s.total, jnp.mean(training), pooled, jnp.mean(members.plateau.rate)]
    after = each_member(
        len(values), partial(decided, hyper, config.descent, s.total, s.step, weights), members, values, below
    )
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
    judged = (xp.isfinite(s.members.best.value)[:, None] & (s.epoch > 0)) | (s.step == 0)
    return xp.where(judged, s.members.best.x, s.members.x_sum / xp.maximum(s.step, 1))


def _undecided(state: State, held: int) -> str:
    """What is to be said where no step was clearly better than the start, though one may be by much; else nothing."""
    gains, errors = np.asarray(state.members.doubtful, np.float64).T
    k = int(np.argmax(gains + 2.0 * errors))
    return "" if (np.asarray(state.members.best.step) > 0).any() else doubtful(gains[k], errors[k], held)


def _failure(state: State) -> str:
    steps = np.asarray(state.members.failed)
    step = int(steps[steps > 0].min())
    best = int(np.asarray(state.members.best.step).max())
    kept = f"the best fit so far, of step {best}, is returned" if best else "no step before it was usable"
    return (
        f"the objective became NaN or infinite at step {step}, and again after smaller steps from the best fit: "
        f"{kept}; check the data for extreme values, or pass a rule with a smaller rate="
    )
