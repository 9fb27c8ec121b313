"""One environment that is stepped: how it is reset, stepped and read, and the log from which it is restored.

Some environments hang: a thread looks whether calls return, and interrupts the main thread if one does not.
"""

from __future__ import annotations

import hashlib
import math
import signal
import struct
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Shaped

from kullback.control.envs.observations import Mismatch, read_mask, read_reward, reader_of, writer_of
from kullback.control.envs.spaces import Actions
from kullback.errors import InputError

PATIENCE = 120.0  # seconds
LOOKS = 10  # within the patience of one call
ECHO = 0.1  # seconds after a signal of ours in which another is its echo


class Hung(BaseException):
    """Raised in the main thread where a call has not returned; no `except Exception` of an environment stops it."""


class Watchdog:
    """Watches the calls made inside `with watchdog:`, each announced by `watchdog.calls += 1`.

    A call that has not returned after `patience` seconds (None: for ever) is interrupted by a `Hung` raised inside it.
    A daemon thread looks ten times in that time whether the count has moved, so that a call costs no more than counting
    it, and time in which the whole process is stopped does not count. It then sends SIGINT to the main thread: sleeping
    and waiting for another process end at once, and so does a loop of Python; what is outside Python, once it returns.
    The handler of SIGINT is ours while any watchdog runs; an interrupt of the user's goes to the handler before it.

    Signals reach only the main thread. Calls made from any other one are not watched, and may hang for ever.
    """

    def __init__(self, patience: float | None) -> None:
        if patience is not None and not patience > 0:
            raise InputError(f"patience: {patience} is no positive number of seconds; pass None to wait for ever")
        self.patience = patience
        self.calls = 0
        self.busy = self.hung = False
        self.sent = -math.inf
        self._main = threading.main_thread().ident
        self._stopped = threading.Event()
        catches = signal.getsignal(signal.SIGINT) is not None  # None is a handler from outside Python
        if patience is not None and catches and threading.get_ident() == self._main:
            _guard(self)
            arguments = (weakref.ref(self), self._stopped, min(patience / LOOKS, threading.TIMEOUT_MAX))
            threading.Thread(target=_look, args=arguments, name="kullback-watchdog", daemon=True).start()

    def __enter__(self) -> None:
        self.busy = threading.get_ident() == self._main

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.busy = False
        if kind is KeyboardInterrupt and self.hung:  # a handler set after ours took our signal
            self.hung = False
            raise Hung

    def stop(self) -> None:
        """Look no more; the last watchdog gives the handler of SIGINT back."""
        self._stopped.set()
        _release(self)


def _look(watched: weakref.ref[Watchdog], stopped: threading.Event, pause: float) -> None:
    """Count the looks at which one and the same call was under way."""
    seen, looks = -1, 0
    while not stopped.wait(pause):
        watchdog = watched()
        if watchdog is None:
            return
        looks = looks + 1 if watchdog.busy and watchdog.calls == seen else 0
        seen = watchdog.calls
        if looks >= LOOKS and watchdog._main is not None:
            watchdog.hung, watchdog.sent = True, time.monotonic()
            _interrupt(watchdog._main)
        del watchdog


def _interrupt(thread: int) -> None:
    """A signal, and not `_thread.interrupt_main`, which would let a sleep go on to its end."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


_watchdogs: weakref.WeakSet[Watchdog] = weakref.WeakSet()
_handler: partial[None] | None = None  # ours, bound to the one before it


def _guard(watchdog: Watchdog) -> None:
    global _handler
    before = signal.getsignal(signal.SIGINT)
    if not _watchdogs and before is not _handler:
        _handler = partial(_handle, before)
        signal.signal(signal.SIGINT, _handler)
    _watchdogs.add(watchdog)


def _release(watchdog: Watchdog) -> None:
    _watchdogs.discard(watchdog)
    in_main = threading.current_thread() is threading.main_thread()
    if not _watchdogs and in_main and _handler is not None and signal.getsignal(signal.SIGINT) is _handler:
        signal.signal(signal.SIGINT, _handler.args[0])


def _handle(before: object, number: int, frame: FrameType | None) -> None:
    """A signal of ours raises `Hung` where its call is still under way, and else does nothing; others are passed on."""
    ours, now = False, time.monotonic()
    for watchdog in tuple(_watchdogs):
        ours |= now - watchdog.sent < ECHO
        if watchdog.hung:
            watchdog.hung, ours = False, True
            if watchdog.busy:
                raise Hung
    if ours or before is signal.SIG_IGN:
        return
    if callable(before):
        before(number, frame)
    else:
        raise KeyboardInterrupt


MASK = "action_mask"  # in the info of a reset or a step
RESET = ("observation", "info")
STEP = ("observation", "reward", "terminated", "truncated", "info")


class Lane:
    """One environment, whose observations and masks are written into a row of tables.

    Masks are what `info["action_mask"]` says, or the method `action_masks()` of the environment or a wrapper of it.
    Its first reset decides whether there are any; where a later one is missing, everything is allowed.
    Everything raises `Mismatch` for what does not fit the spaces, and what the environment itself raises.
    """

    def __init__(self, env: gym.Env, actions: Actions) -> None:
        self.env = env
        self.masked: bool | None = None
        self._actions, self._space = actions, env.action_space
        self._read, self._write = reader_of(env.observation_space), writer_of(env.action_space)
        self._ask = _mask_method(env) if actions.is_discrete else None

    def reset(self, seed: int, rows: Shaped[np.ndarray, "n ..."], mask: Bool[np.ndarray, "n ..."], at: int) -> None:
        """Begin an episode; the first observation and mask go to row `at`."""
        observation, info = _parts(self.env.reset(seed=seed), RESET)
        self._read(rows, at, observation)
        if self.masked is None:
            self.masked = self._given(info) is not None
        if self.masked:
            mask[at] = self._allowed(info)

    def step(self, action: object, rows: np.ndarray, mask: np.ndarray, at: int) -> tuple[float, Any, Any]:
        """The reward, and whether the episode terminated and was truncated; no mask is read at its end."""
        observation, reward, terminated, truncated, info = _parts(self.env.step(action), STEP)
        self._read(rows, at, observation)
        if self.masked:
            if not terminated:
                mask[at] = self._allowed(info)
        elif info and MASK in info and self._actions.is_discrete:
            raise Mismatch("an action mask in a step, and none in its reset")
        return read_reward(reward), terminated, truncated

    def play(
        self, actions: Shaped[np.ndarray, "t ..."], watchdog: Watchdog, rows: np.ndarray, mask: np.ndarray, at: int
    ) -> bool:
        """Act so from where it stands; whether the episode still goes on then."""
        for action in self._write(actions):
            watchdog.calls += 1
            _, terminated, truncated = self.step(action, rows, mask, at)
            if terminated or truncated:
                return False
        return True

    def _given(self, info: Mapping[str, Any]) -> Any:
        if not self._actions.is_discrete:
            return None
        if info and MASK in info:
            return info[MASK]
        return None if self._ask is None else self._ask()

    def _allowed(self, info: Mapping[str, Any]) -> Any:
        given = self._given(info)
        return self._actions.exists if given is None else read_mask(self._space, self._actions, given)


def _parts(returned: object, names: tuple[str, ...]) -> Any:
    is_several = isinstance(returned, tuple | list)
    if is_several and len(returned) == len(names):
        return returned
    what = f"{len(returned)} values" if is_several else f"one {type(returned).__name__}"
    raise Mismatch(f"{what}, and not ({', '.join(names)})")


def _mask_method(env: gym.Env) -> Callable[[], Any] | None:
    try:
        method = env.get_wrapper_attr("action_masks")
    except AttributeError:
        return None
    return method if callable(method) else None


FIRST = 256  # steps that the table has room for at first


# What was done since each episode in progress began, from which it can be played again.


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
