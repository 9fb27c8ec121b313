"""What changes while learning off-policy, as one pytree, and what a round adds to the sums over episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from kullback.control.envs.simulator import Transition
from kullback.control.learning.episode_statistics import Totals, line, with_ended
from kullback.control.learning.running_moments import Running
from kullback.control.off_policy.replay import Replay
from kullback.control.off_policy.update import Learner

MEMORY = 0.9  # of the mean over finished episodes, for each that finishes


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
    return with_ended(totals, playing, over[:, skipped:], so_far[:, :, skipped:], MEMORY)


def line_of(state: State, alpha: Any, skipped: int) -> Any:
    """A line of history; before an episode has finished, of those that are being played."""
    playing = jnp.mean(state.totals.playing[:, skipped:], 1)
    return line(state.totals, state.steps, playing, state.kl, alpha)
