"""What changes while learning on-policy, as one pytree, and what a block adds to the sums over episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from kullback.control.learning.episode_statistics import Totals, line, with_ended
from kullback.control.learning.running_moments import Running
from kullback.training.optimiser import Descent

MEMORY = 0.95  # of the mean over finished episodes, for each that finishes


class State(NamedTuple):
    """Everything that changes: the learner, its scales, log α, counts, episodes, the lanes, and what was recorded.

    inputs, values  running moments of observations and of value targets; `power`: the mean square of advantages
    steps   environment steps learned from; `blocks` blocks
    check   the steps from which on greedy episodes may be played (again), and `look`: whether they should be now
    greedy  the mean return of those that were played last
    failed  the block whose update was not finite, and was not made, negative if already rewards or observations were
            not; or 0
    """

    descent: Descent
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
    return with_ended(totals, playing, over, ends, MEMORY)


def line_of(state: State, kl: Any, alpha: Any) -> Any:
    """A line of history; before an episode has finished, of those that are being played."""
    playing = jnp.append(jnp.mean(state.totals.playing, 1), 0.0)
    return line(state.totals, state.steps, playing, kl, alpha)
