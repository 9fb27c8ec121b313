"""Sums over the episodes of a training: what its history is made of, and whether to look at the greedy policy."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

CURVE = 64  # lines recorded in one call
COLUMNS = ("step", "objective", "return", "kl", "temperature", "episodes", "length")
LEAST = 1e-6  # weight, so that nothing is divided by 0


class Totals(NamedTuple):
    """Sums over episodes.

    playing   of the episodes being played: the return and the discounted soft return so far, and what else a rule
              counts along [k, n]
    recent    of those that finished, the discounted sums of both and of their lengths [3]; `weight`: of ones
    first     the mean return of those that finished in the first look at which any did
    finished  how many there were
    """

    playing: Any
    recent: Any
    weight: Any
    first: Any
    finished: Any


def nothing_played(sums: int, lanes: int, dtype: Any) -> Totals:
    """Before the first step, on the host."""
    zero = np.zeros((), dtype)
    return Totals(np.zeros((sums, lanes), dtype), np.zeros(3, dtype), zero, zero, np.zeros((), np.int32))


def with_ended(totals: Totals, playing: Any, over: Any, ends: Any, memory: float) -> Totals:
    """The totals after more steps.

    playing  sums of the episodes that are being played now
    over     which episodes ended [t, n]; `ends`: return, discounted soft return and length so far [t, 3, n]
    memory   of the mean over finished episodes, for each that finishes
    """
    count, dtype = jnp.sum(over), ends.dtype
    mean = jnp.sum(jnp.where(over[:, None], ends, 0.0), (0, 2)) / jnp.maximum(count, 1)
    fade = (memory ** count.astype(dtype)).astype(dtype)
    return Totals(
        playing,
        fade * totals.recent + (1.0 - fade) * mean,
        fade * totals.weight + (1.0 - fade),
        jnp.where(totals.finished > 0, totals.first, mean[0]),
        totals.finished + count.astype(totals.finished.dtype),
    )


def recent(totals: Totals, playing: Any) -> Any:
    """Return, discounted soft return and length of recent episodes; before any has finished, `playing` [3]."""
    return jnp.where(totals.finished > 0, totals.recent / jnp.maximum(totals.weight, LEAST), playing)


def is_due(totals: Totals, steps: Any, check: Any, until: Any, hopeful: Any) -> Any:
    """Whether returns in training suggest that the greedy policy reaches the one asked for."""
    past = totals.recent[0] / jnp.maximum(totals.weight, LEAST)
    enough = past >= totals.first + hopeful * (until - totals.first)
    return enough & (steps >= check) & (totals.finished > 0)


def line(totals: Totals, steps: Any, playing: Any, kl: Any, alpha: Any) -> Any:
    """A line of history, in the order of `COLUMNS`."""
    returns, soft, length = recent(totals, playing)
    numbers = steps, -soft / alpha, returns, kl, alpha, totals.finished, length
    return jnp.stack([jnp.asarray(number, soft.dtype) for number in numbers])
