"""What changes while learning on-policy, as one pytree, and the sums over episodes that a history is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from kullback.control.learning.on_policy_update import Adam
from kullback.control.learning.running import Running

CURVE = 64  # blocks recorded in one call
COLUMNS = ("step", "objective", "return", "kl", "temperature", "episodes", "length")
LEAST = 1e-6  # weight, so that nothing is divided by 0
MEMORY = 0.95  # of the mean over finished episodes, for each that finishes


class Totals(NamedTuple):
    """Sums over episodes.

    playing   of the episodes being played, the return and the discounted soft return so far [2, n]
    recent    of those that finished, the discounted sums of both and of their lengths [3]; `weight`: of ones
    first     the mean return of those that finished in the first block in which any did
    finished  how many there were
    """

    playing: Any
    recent: Any
    weight: Any
    first: Any
    finished: Any


class State(NamedTuple):
    """Everything that changes: the learner, its scales, log α, counts, episodes, the lanes, and what was recorded.

    inputs, values  running moments of observations and of value targets; `power`: the mean square of advantages
    steps   environment steps learned from; `blocks` blocks
    check   the steps from which on greedy episodes may be played (again), and `look`: whether they should be now
    greedy  the mean return of those that were played last
    failed  the block whose update was not finite, and was not made, negative if already rewards or observations were
            not; or 0
    """

    adam: Adam
    inputs: Running
    values: Running
    power: Any
    log_alpha: Any
    steps: Any
    blocks: Any
    check: Any
    look: Any
    greedy: Any
    failed: Any
    totals: Totals
    lanes: Any
    curve: Any
    recorded: Any


class Block(NamedTuple):
    """T steps of n lanes [T, n, ...]; `elapsed` are the steps of the episode before each."""

    observation: Any
    mask: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    following: Any
    valid: Any
    elapsed: Any


def totals_after(totals: Totals, block: Block, soft: Any, discount: Any) -> Totals:
    """The sums over episodes after a block."""
    over = block.valid & (block.terminated | block.truncated)
    weight = (discount**block.elapsed).astype(soft.dtype)
    gains = jnp.where(block.valid[:, None], jnp.stack([block.reward.astype(soft.dtype), weight * soft], 1), 0.0)

    def step(playing: Any, now: Any) -> Any:
        gain, ended = now
        playing = playing + gain
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, totals.playing, (gains, over))
    ends = jnp.concatenate([so_far, (block.elapsed + 1).astype(soft.dtype)[:, None]], 1)
    count = jnp.sum(over)
    mean = jnp.sum(jnp.where(over[:, None], ends, 0.0), (0, 2)) / jnp.maximum(count, 1)
    fade = (MEMORY ** count.astype(soft.dtype)).astype(soft.dtype)
    return Totals(
        playing,
        fade * totals.recent + (1.0 - fade) * mean,
        fade * totals.weight + (1.0 - fade),
        jnp.where(totals.finished > 0, totals.first, mean[0]),
        totals.finished + count.astype(totals.finished.dtype),
    )


def line_of(state: State, kl: Any, alpha: Any) -> Any:
    """A line of history; before an episode has finished, of those that are being played."""
    t = state.totals
    playing = jnp.append(jnp.mean(t.playing, 1), 0.0)
    returns, soft, length = jnp.where(t.finished > 0, t.recent / jnp.maximum(t.weight, LEAST), playing)
    line = state.steps, -soft / alpha, returns, kl, alpha, t.finished, length
    return jnp.stack([jnp.asarray(number, soft.dtype) for number in line])
