"""Environments that do what a test says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

LINE = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
TWO = gym.spaces.Discrete(2)


class Scripted(gym.Env):
    """`script(env, action)` gives what a step returns; `env.time` counts the steps of the episode, `env.episode` these.

    Its observation is [noise of the seed, time]; `first(env)` may give another first one and its info.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        script: Callable[[Any, Any], Any] | None = None,
        first: Callable[[Any], Any] | None = None,
        observation_space: gym.Space = LINE,
        action_space: gym.Space = TWO,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.script, self.first = script or (lambda env, action: self.seen()), first
        self.time = self.episode = 0
        self.noise = 0.0

    def seen(self, **changes: Any) -> Any:
        """What a step returns that goes on, but for `changes`."""
        usual = {"observation": np.array([self.noise, self.time], np.float32), "reward": 1.0,
                 "terminated": False, "truncated": False, "info": {}}  # fmt: skip
        return tuple((usual | changes).values())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time, self.noise = 0, float(self.np_random.random())
        self.episode += 1
        if self.first is not None:
            return self.first(self)
        return np.array([self.noise, 0.0], np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return self.script(self, action)


@contextmanager
def registered(make: Callable[..., gym.Env], name: str = "Scripted-v0", **facts: Any) -> Iterator[str]:
    """The id of an environment, of which copies can be made."""
    gym.register(name, entry_point=make, **facts)
    try:
        yield name
    finally:
        del gym.registry[name]
