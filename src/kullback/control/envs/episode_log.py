"""The episodes in progress: what was done in each since it began, from which it can be played again."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped

from kullback.control.envs.spaces import Actions
from kullback.errors import InputError

FIRST = 256  # steps that the table has room for at first


def seed_of(seed: int, lane: int, episode: int) -> int:
    """The seed of an episode of a lane, below 2³¹, since some environments take no larger one.

    A hash, as NumPy's `SeedSequence` takes as long as a step; the environment spreads it over its generator's state.
    """
    digest = hashlib.blake2b(struct.pack("<3q", seed, lane, episode), digest_size=4).digest()
    return int.from_bytes(digest, "little") & 0x7FFFFFFF


def check_seed(seed: int) -> int:
    """Raises `InputError` for what is no seed."""
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: {seed} is not in [0, 2^63)")
    return int(seed)


class Memory:
    """The actions of the episodes in progress, in one table of all lanes that grows with the longest of them.

    episodes  the number of the episode in progress in every lane [lanes]
    """

    def __init__(self, lanes: int, actions: Actions) -> None:
        self.episodes = np.zeros(lanes, np.int64)
        self._begun = np.zeros(lanes, np.int64)
        self._now = 0
        self._table = np.zeros((FIRST, lanes, *actions.shape), np.int64 if actions.is_discrete else np.float64)

    @classmethod
    def of(cls, actions: Actions, arrays: Mapping[str, np.ndarray]) -> Memory:
        """The memory whose `arrays()` were saved."""
        lengths = arrays["lengths"].astype(np.int64)
        memory = cls(len(lengths), actions)
        now = memory._now = int(lengths.max())
        memory._begun, memory.episodes = now - lengths, arrays["episodes"].astype(np.int64)
        table = memory._table
        memory._table = np.zeros((max(FIRST, 2 * now), *table.shape[1:]), table.dtype)
        for lane, length in enumerate(lengths):
            memory._table[now - length : now, lane] = arrays["actions"][lane, :length]
        return memory

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it: `episodes`, `lengths` [lanes] and `actions` [lanes, longest, *shape], zeros after the last."""
        actions, lengths = self.actions(), self.lengths
        table = np.zeros((len(lengths), int(lengths.max()), *self._table.shape[2:]), self._table.dtype)
        for row, played in zip(table, actions, strict=True):
            row[: len(played)] = played
        return {"episodes": self.episodes.copy(), "lengths": lengths, "actions": table}

    @property
    def lengths(self) -> Shaped[np.ndarray, " lanes"]:
        """The steps taken in every lane."""
        return self._now - self._begun

    def begin(self, lane: int) -> None:
        """A lane has begun its next episode."""
        self.episodes[lane] += 1
        self._begun[lane] = self._now

    def add(self, action: Shaped[np.ndarray, "lanes ..."]) -> None:
        """Every lane has acted."""
        if self._now == len(self._table):
            self._make_room()
        self._table[self._now] = action
        self._now += 1

    def actions(self) -> list[Shaped[np.ndarray, "length ..."]]:
        """The actions of every lane, from its episode's first on."""
        return [self._table[begun : self._now, lane] for lane, begun in enumerate(self._begun)]

    def _make_room(self) -> None:
        """Drop what no lane needs any more, and double the table if that leaves it more than half full."""
        first = int(self._begun.min())
        kept = self._table[first : self._now]
        room = len(self._table) * (2 if 2 * len(kept) > len(self._table) else 1)
        self._table = np.zeros((room, *kept.shape[1:]), kept.dtype)
        self._table[: len(kept)] = kept
        self._begun -= first
        self._now -= first
