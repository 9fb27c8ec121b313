"""Environments that hang: a thread that looks whether calls return, and interrupts the main thread if one does not."""

from __future__ import annotations

import math
import signal
import threading
import time
import weakref
from functools import partial
from types import FrameType
from typing import Any

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


def _handle(before: Any, number: int, frame: FrameType | None) -> None:
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
