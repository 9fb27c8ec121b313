"""Transitions that are kept to be learned from again: rows of one array on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt32

from kullback.control.envs.simulator import Transition
from kullback.control.envs.spaces import Actions, Observations
from kullback.training.ravel import on_host

MOST_LABELS = 2**24  # integers up to it are exact in single precision
FIRST = 2**16  # rows that a buffer begins with; it grows as it fills, so that a file holds little more than was seen
GROWTH = 8


class Replay(NamedTuple):
    """Rows [capacity, width] in single precision, and how many were ever put in; the oldest are written over."""

    rows: Float[Array, "c w"]
    count: Any  # Int[Array, ""]: the type checker knows the method of tuples

    @property
    def size(self) -> Int[Array, ""]:
        """How many rows there are."""
        return jnp.minimum(self.count, self.rows.shape[0])


class Batch(NamedTuple):
    """Transitions [n, ...]; `ended` is 1 where nothing is to come, and `weight` 0 where nothing is to be learned."""

    observation: Shaped[Array, "n ..."]
    action: Shaped[Array, "n ..."]
    reward: Float[Array, " n"]
    ended: Float[Array, " n"]
    weight: Float[Array, " n"]
    following: Shaped[Array, "n ..."]
    mask: Bool[Array, "n ..."] | None
    following_mask: Bool[Array, "n ..."] | None


@dataclass(frozen=True)
class Columns:
    """How a transition lies in a row of numbers, so that a batch is gathered at once. Hashable."""

    observations: Observations
    actions: Actions
    masked: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the parts of a `Batch`, in order."""
        seen, done = (int(np.prod(of.shape)) for of in (self.observations, self.actions))
        mask = done * self.actions.categories if self.masked else 0
        return seen, done, 1, 1, 1, seen, mask, mask

    @property
    def width(self) -> int:
        return sum(self.widths)

    def written(self, seen: Transition, ended: Float[Array, " n"]) -> Float[Array, "n width"]:
        """Transitions [n, ...] as rows."""
        masks = (seen.mask, seen.following_mask) if self.masked else ()
        parts = (seen.observation, seen.action, seen.reward, ended, seen.valid, seen.following, *masks)
        n = seen.reward.shape[0]
        return jnp.concatenate([jnp.asarray(part).reshape(n, -1).astype(jnp.float32) for part in parts], 1)

    def read(self, rows: Float[Array, "n width"]) -> Batch:
        """Rows as transitions."""
        widths = self.widths if self.masked else self.widths[:-2]
        parts = lax.split(rows, widths, 1)
        n, dtype = rows.shape[0], jnp.result_type(float)
        label = self.observations.labels is not None
        see = lambda x: x.reshape(n, *self.observations.shape).astype(jnp.int32 if label else jnp.float32)  # noqa: E731
        kind = jnp.int32 if self.actions.is_discrete else dtype
        action = parts[1].reshape(n, *self.actions.shape).astype(kind)
        reward, ended, weight = (part[:, 0].astype(dtype) for part in parts[2:5])
        mask = following_mask = None
        if self.masked:
            shape = (n, *self.actions.shape, self.actions.categories)
            mask, following_mask = parts[6].reshape(shape) > 0, parts[7].reshape(shape) > 0
        return Batch(
            observation=see(parts[0]),
            action=action,
            reward=reward,
            ended=ended,
            weight=weight,
            following=see(parts[5]),
            mask=mask,
            following_mask=following_mask,
        )


def empty(capacity: int, width: int) -> Replay:
    """A buffer without rows, on the host."""
    return on_host(Replay, rows=np.zeros((capacity, width), np.float32), count=np.zeros((), np.int32))


def inserted(replay: Replay, rows: Float[Array, "n width"]) -> Replay:
    """The buffer with n more rows; its capacity must be a multiple of n."""
    capacity, n = replay.rows.shape[0], rows.shape[0]
    assert capacity % n == 0
    at = replay.count % capacity
    return Replay(lax.dynamic_update_slice_in_dim(replay.rows, rows, at, 0), replay.count + n)


def drawn(replay: Replay, words: UInt32[Array, ...]) -> Float[Array, "... width"]:
    """Rows at random from random words of 32 bits; each row's probability is off by at most size/2³² of itself."""
    return replay.rows[(words % replay.size.astype(jnp.uint32)).astype(jnp.int32)]


def latest(replay: Replay, words: UInt32[Array, "2 n"], lanes: int, skipped: int, past: int) -> Float[Array, "n width"]:
    """Rows at random of the latest `past` steps, of any lane but the first `skipped`; steps were put in one by one."""
    steps = jnp.clip(replay.size // lanes, 1, past).astype(jnp.uint32)
    back, lane = words[0] % steps, skipped + words[1] % (lanes - skipped)
    at = replay.count - lanes * (1 + back.astype(jnp.int32)) + lane.astype(jnp.int32)
    return replay.rows[at % replay.rows.shape[0]]


def capacity_for(count: int, final: int, multiple: int) -> int:
    """Rows of a buffer that holds `count` now and `final` in the end: a multiple of `multiple`."""
    size = FIRST
    while size <= count:
        size *= GROWTH
    # Growing once more for a little would be another compiled program.
    size = final if 2 * size >= final else size
    return -(-size // multiple) * multiple


def grown(replay: Replay, capacity: int) -> Replay:
    """The buffer with room for `capacity` rows, on the host; nothing in it has been written over yet."""
    rows = np.zeros((capacity, replay.rows.shape[1]), np.float32)
    rows[: replay.rows.shape[0]] = np.asarray(replay.rows)
    return on_host(Replay, rows=rows, count=replay.count)
