"""One environment: how it is reset, stepped and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from kullback.control.envs.actions import read_mask, writer_of
from kullback.control.envs.observations import Mismatch, read_reward, reader_of
from kullback.control.envs.spaces import Actions
from kullback.control.envs.watchdog import Watchdog

MASK = "action_mask"  # in the info of a reset or a step
RESET = ("observation", "info")
STEP = ("observation", "reward", "terminated", "truncated", "info")


class Lane:
    """One environment, whose observations and masks are written into a row of tables.

    Masks are what `info["action_mask"]` says, or the method `action_masks()` of the environment or a wrapper of it.
    Its first reset decides whether there are any; where a later one is missing, everything is allowed.
    Everything raises `Mismatch` for what does not fit the spaces, and what the environment itself raises.
    """

    def __init__(self, env: Any, actions: Actions) -> None:
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

    def step(self, action: Any, rows: np.ndarray, mask: np.ndarray, at: int) -> tuple[float, Any, Any]:
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

    def _given(self, info: Any) -> Any:
        if not self._actions.is_discrete:
            return None
        if info and MASK in info:
            return info[MASK]
        return None if self._ask is None else self._ask()

    def _allowed(self, info: Any) -> Any:
        given = self._given(info)
        return self._actions.exists if given is None else read_mask(self._space, self._actions, given)


def _parts(returned: Any, names: tuple[str, ...]) -> Any:
    is_several = isinstance(returned, tuple | list)
    if is_several and len(returned) == len(names):
        return returned
    what = f"{len(returned)} values" if is_several else f"one {type(returned).__name__}"
    raise Mismatch(f"{what}, and not ({', '.join(names)})")


def _mask_method(env: Any) -> Callable[[], Any] | None:
    try:
        method = env.get_wrapper_attr("action_masks")
    except AttributeError:
        return None
    return method if callable(method) else None
