"""The environment behind a transition table, stepped as a policy for the table reads it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class AsTable(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """States as the labels s, or with a horizon t · S + s after t steps, the last of which ends the episode.

    A table knows of no action masks: its prior allows what `prior=` says, and so they are left out.
    """

    action_masks = None

    def __init__(self, env: gym.Env[Any, Any], horizon: int | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, horizon=horizon)
        super().__init__(env)
        assert isinstance(env.observation_space, gym.spaces.Discrete)
        self._states, self._horizon, self._time = int(env.observation_space.n), horizon, 0
        self.observation_space = gym.spaces.Discrete(self._states * (horizon or 1))

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        self._time = 0
        return self.env.reset(**settings)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        state, reward, terminated, truncated, _ = self.env.step(action)
        if self._horizon is None:
            return state, reward, terminated, truncated, {}
        self._time += 1
        is_last = self._time >= self._horizon
        # There is no label for the time after the last step: nothing is to come.
        label = min(self._time, self._horizon - 1) * self._states + int(state)
        return label, reward, terminated or is_last, truncated and not is_last, {}
