"""What changes while learning off-policy, as one pytree, and the sums over episodes that a history is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from kullback.control.learning.off_policy_update import Learner, Numbers
from kullback.control.learning.replay import Replay
from kullback.control.learning.running import Running
from kullback.control.simulators.simulator import Transition

CURVE = 64  # lines recorded in one call
COLUMNS = ("step", "objective", "return", "kl", "temperature", "episodes", "length")
MEMORY = 0.9  # of the mean over finished episodes, for each that finishes
LEAST = 1e-6  # weight, so that nothing is divided by 0


class Totals(NamedTuple):
    """Sums over episodes.

    playing   of the episodes being played: the return, the discounted soft return and the steps so far [3, n]
    recent    of those that finished, the discounted sums of these [3]; `weight`: of ones
    first     the mean return of those that finished in the first round in which any did
    finished  how many there were
    """

    playing: Any
    recent: Any
    weight: Any
    first: Any
    finished: Any


class State(NamedTuple):
    """Everything that changes: the learner, what is kept, scales of inputs, noise, counts, episodes, lanes, history.

    steps   environment steps so far; `rounds` likewise
    kl      KL(π‖π₀) a step where the policy has been of late, nats
    check   the steps from which on greedy episodes may be played (again), and `look`: whether they should be now
    greedy  the mean return of those that were played last
    failed  the round whose updates were not finite, and were not made, negative if already rewards or observations were
            not; or 0
    """

    learner: Learner
    replay: Replay
    inputs: Running
    noise: Any
    steps: Any
    rounds: Any
    kl: Any
    check: Any
    look: Any
    greedy: Any
    failed: Any
    totals: Totals
    lanes: Any
    curve: Any
    recorded: Any


def nothing_played(lanes: int, dtype: Any) -> Totals:
    """Before the first step, on the host."""
    zero = np.zeros((), dtype)
    return Totals(np.zeros((3, lanes), dtype), np.zeros(3, dtype), zero, zero, np.zeros((), np.int32))


def totals_after(totals: Totals, block: Transition, spent: Any, discount: Any, skipped: int) -> Totals:
    """The sums over episodes after a round of transitions [t, n, ...] and what they spent, α KL [t, n].

    The first `skipped` lanes do not count, since the prior has a part in what they do.
    """
    over = block.valid & (block.terminated | block.truncated)
    dtype = totals.playing.dtype

    def step(playing: Any, now: Any) -> Any:
        reward, spent, valid, ended = now
        soft = discount ** playing[2] * (reward - spent)
        playing = playing + jnp.where(valid, jnp.stack([reward, soft, jnp.ones_like(soft)]), 0.0).astype(dtype)
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, totals.playing, (block.reward.astype(dtype), spent, block.valid, over))
    over, ends = over[:, skipped:], so_far[:, :, skipped:]
    count = jnp.sum(over)
    mean = jnp.sum(jnp.where(over[:, None], ends, 0.0), (0, 2)) / jnp.maximum(count, 1)
    fade = (MEMORY ** count.astype(dtype)).astype(dtype)
    return Totals(
        playing,
        fade * totals.recent + (1.0 - fade) * mean,
        fade * totals.weight + (1.0 - fade),
        jnp.where(totals.finished > 0, totals.first, mean[0]),
        totals.finished + count.astype(totals.finished.dtype),
    )


def recent(totals: Totals, skipped: int) -> Any:
    """Return, discounted soft return and steps of recent episodes; before any has finished, of those being played."""
    past = totals.recent / jnp.maximum(totals.weight, LEAST)
    return jnp.where(totals.finished > 0, past, jnp.mean(totals.playing[:, skipped:], 1))


def is_due(totals: Totals, steps: Any, check: Any, numbers: Numbers) -> Any:
    """Whether returns in training suggest that the greedy policy reaches the one asked for."""
    past = totals.recent[0] / jnp.maximum(totals.weight, LEAST)
    enough = past >= totals.first + numbers.hopeful * (numbers.until - totals.first)
    return enough & (steps >= check) & (totals.finished > 0)


def line_of(state: State, alpha: Any, skipped: int) -> Any:
    """A line of history."""
    returns, soft, length = recent(state.totals, skipped)
    line = state.steps, -soft / alpha, returns, state.kl, alpha, state.totals.finished, length
    return jnp.stack([jnp.asarray(number, state.curve.dtype) for number in line])
