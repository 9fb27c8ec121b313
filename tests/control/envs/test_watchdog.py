"""Environments that hang."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.envs.scripted import Scripted, registered

from kullback.control.envs.lane import Hung, Watchdog
from kullback.control.envs.stepping import stepper_for
from kullback.errors import EnvironmentFault, InputError

PATIENCE = 0.3
LONG = 60.0  # seconds that nobody waits for


@pytest.fixture(autouse=True)
def everything_is_as_it_was() -> Iterator[None]:
    before, threads = signal.getsignal(signal.SIGINT), threading.enumerate()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    yield
    after = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler
    for thread in set(threading.enumerate()) - set(threads):
        thread.join(5.0)
        assert not thread.is_alive()


def sleep() -> None:
    time.sleep(LONG)


def loop() -> None:
    until = time.monotonic() + LONG
    for _ in itertools.count():
        if time.monotonic() > until:
            return


def swallow() -> None:
    """What environments do that lose their connections."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        with suppress(Exception):
            time.sleep(LONG)


def wait() -> None:
    threading.Event().wait(LONG)


def watched(watchdog: Watchdog, call: Callable[[], None] = sleep) -> bool:
    with watchdog:
        watchdog.calls += 1
        call()
    return True


WAYS = pytest.mark.parametrize("hang", [sleep, loop, swallow, wait], ids=lambda way: way.__name__)


@WAYS
def test_a_step_that_does_not_return(hang: Callable[[], None]) -> None:
    def script(env: Any, action: Any) -> Any:
        if env.time == 3 and env.episode == 1:
            hang()
        return env.seen()

    stepper = stepper_for(Scripted(script), patience=PATIENCE)
    stepper.reset(0)
    words = (
        r"env: Scripted has not returned from step in 0.3 s, in step 3 of .* lane 0 .*; a larger patience= waits longer"
    )
    for _ in range(2):
        stepper.step(np.zeros(1, int))
    with pytest.raises(EnvironmentFault, match=words):
        stepper.step(np.zeros(1, int))
    assert stepper.step(np.zeros(1, int)).following[0, 1] == 3  # it is taken up again
    stepper.close()


def test_a_reset_that_does_not_return() -> None:
    stepper = stepper_for(Scripted(first=lambda env: sleep()), patience=PATIENCE)
    with pytest.raises(EnvironmentFault, match=r"has not returned from reset in 0.3 s, in the reset of lane 0"):
        stepper.reset(0)
    stepper.close()


def test_an_episode_that_hangs_when_it_is_played_again() -> None:
    late: list[int] = []

    def script(env: Any, action: Any) -> Any:
        if late:
            sleep()
        return env.seen()

    stepper = stepper_for(Scripted(script), patience=PATIENCE)
    stepper.reset(0)
    stepper.step(np.zeros(1, int))
    late.append(1)
    with pytest.raises(EnvironmentFault, match=r"has not returned from step in 0.3 s, as lane 0 was played again"):
        stepper.restore(stepper.state())
    stepper.close()


def test_a_vector_environment_that_does_not_return() -> None:
    def script(env: Any, action: Any) -> Any:
        return sleep() or env.seen()

    stepper = stepper_for(gym.vector.SyncVectorEnv([lambda: Scripted(script)] * 2), patience=PATIENCE)
    stepper.reset(0)
    with pytest.raises(EnvironmentFault, match=r"has not returned from step in 0.3 s, in step 1"):
        stepper.step(np.zeros(2, int))
    stepper.close()


def test_many_calls_may_take_longer_together() -> None:
    """Six lanes of 0.2 s each, with a patience of 0.9 s for one call."""

    def script(env: Any, action: Any) -> Any:
        time.sleep(0.2)
        return env.seen()

    with registered(lambda: Scripted(script)) as name:
        stepper = stepper_for(name, 6, patience=0.9)
        stepper.reset(0)
        time.sleep(1.2)  # between the calls nobody is watched
        stepper.step(np.zeros(6, int))
        stepper.close()


@pytest.mark.parametrize("patience", [None, np.inf, 1e9])
def test_no_end_of_patience(patience: float | None) -> None:
    stepper = stepper_for("CartPole-v1", 2, patience)
    stepper.reset(0)
    stepper.step(np.zeros(2, int))
    stepper.close()


@pytest.mark.parametrize("patience", [0, -1.0, np.nan])
def test_patience_is_positive(patience: float) -> None:
    with pytest.raises(InputError, match=r"patience: .* is no positive number of seconds; pass None"):
        Watchdog(patience)


def test_an_interrupt_of_the_user_stays_one() -> None:
    def script(env: Any, action: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return env.seen()

    stepper = stepper_for(Scripted(script), patience=LONG)
    stepper.reset(0)
    with pytest.raises(KeyboardInterrupt):
        stepper.step(np.zeros(1, int))
    stepper.close()


def test_an_interrupt_goes_to_the_handler_before_ours() -> None:
    """Also where that ignores it; a call that hangs is interrupted all the same."""
    caught: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    try:
        for handler in (lambda number, frame: caught.append(number), signal.SIG_IGN):
            signal.signal(signal.SIGINT, handler)
            watchdog = Watchdog(PATIENCE)
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(Hung):
                watched(watchdog)
            watchdog.stop()
            assert signal.getsignal(signal.SIGINT) is handler
        assert caught == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, usual)


def test_a_handler_set_after_ours_may_take_the_signal() -> None:
    watchdog = Watchdog(PATIENCE)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(Hung):
        watched(watchdog)
    signal.signal(signal.SIGINT, ours)
    watchdog.stop()


def test_several_watchdogs_share_one_handler() -> None:
    """And are stopped in any order."""
    usual = signal.getsignal(signal.SIGINT)
    first, second = Watchdog(PATIENCE), Watchdog(LONG)
    first.stop()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    third = Watchdog(PATIENCE)
    with pytest.raises(Hung):
        watched(third)
    second.stop()
    third.stop()
    third.stop()  # twice does no harm
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_watchdog_that_was_forgotten_looks_no_more() -> None:
    watchdog = Watchdog(PATIENCE)
    del watchdog
    Watchdog(LONG).stop()  # gives the handler back


def test_in_another_thread_nothing_is_watched() -> None:
    results: list[Any] = []

    def train() -> None:
        stepper = stepper_for(Scripted(lambda env, action: time.sleep(2 * PATIENCE) or env.seen()), patience=PATIENCE)
        stepper.reset(0)
        results.append(stepper.step(np.zeros(1, int)).valid[0])
        stepper.close()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert results == [True]
    watchdog = Watchdog(PATIENCE)  # made here, and used there
    thread = threading.Thread(target=lambda: results.append(watched(watchdog, lambda: time.sleep(2 * PATIENCE))))
    thread.start()
    thread.join()
    watchdog.stop()
    assert results == [True, True]
