"""What lies between a made Gymnasium environment and the environment itself."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from kullback.control.environment import HARMLESS


def is_bare(env: Any) -> bool:
    """Whether every wrapper around it is one of Gymnasium's own that only watches or limits time."""
    layer = env
    while isinstance(layer, gym.Wrapper):
        if type(layer).__name__ not in HARMLESS or not type(layer).__module__.startswith("gymnasium."):
            return False
        layer = layer.env
    return True


def time_limit(env: Any) -> int | None:
    """The steps after which one of its wrappers truncates an episode, or None."""
    limits, layer = [], env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.wrappers.TimeLimit):
            limits.append(int(layer._max_episode_steps))
        layer = layer.env
    return min(limits, default=None)


def threshold_of(env: Any) -> float | None:
    """The return at which its authors call it solved, or None."""
    given = env.spec.reward_threshold if getattr(env, "spec", None) is not None else None
    return None if given is None else float(given)
