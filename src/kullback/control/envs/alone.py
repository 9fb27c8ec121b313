"""Whether an environment that was given may be played by others that are made like it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from kullback.control.envs.clone import can_be_remade, copies
from kullback.control.tabular.environment import layers

STEPS, LARGE = 3, 10_000  # steps that show which attributes are the state; numbers of an array that is compared


def why_alone(env: Any) -> str:
    """Why the environment is played itself, alone, and not side by side with others made from its spec; or nothing.

    Others would be in the state in which Gymnasium makes them. They are not like it where a wrapper keeps running
    statistics, and where a constant of it was set after it was made.
    """
    if not isinstance(env, gym.Env):
        return ""
    if not can_be_remade(env):
        return "Gymnasium cannot make others like it"
    if any(map(_keeps_statistics, layers(env))):
        return "a wrapper keeps statistics that others would not share"
    name = changed_constant(env)
    return f"its {name} is not as Gymnasium makes it" if name else ""


def unsteady(env: Any) -> str:
    """What is to be said of returns in an environment whose wrapper goes on learning while it is played, or nothing."""
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper):
        if _keeps_statistics(env) and getattr(env, "update_running_mean", True):
            name = type(env).__name__
            return (f"{name} moved its statistics in these episodes as well, so that later ones may return something "
                    "else: set its update_running_mean to False, or leave it out, as observations are scaled "
                    "without it")  # fmt: skip
        env = env.env
    return ""


def changed_constant(env: gym.Env[Any, Any]) -> str:
    """The first public attribute of the innermost environment that was set after it was made, or nothing.

    Two are made to compare with: what differs between them is not constant, and neither is what a reset or a step
    changes, if the given one may have been played.
    """
    with ExitStack() as open_ones:
        first, second = (open_ones.enter_context(closing(one)) for one in copies(env, 2))
        given, made, other = (_numbers(one) for one in (env, first, second))
        constant = {name for name in made.keys() & given.keys() & other.keys() if _same(made[name], other[name])}
        changed = sorted(name for name in constant if not _same(given[name], made[name]))
        if not changed or not _may_have_been_played(env):
            return changed[0] if changed else ""
        after = _played(first)
    return next((name for name in changed if name in after and _same(made[name], after[name])), "")


def _played(env: gym.Env[Any, Any]) -> dict[str, np.ndarray]:
    """The attributes after a few steps; those of one that cannot be played are no constants to anyone."""
    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(STEPS):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
    except Exception:
        return {}
    return _numbers(env)


def _may_have_been_played(env: Any) -> bool:
    order = [layer for layer in layers(env) if isinstance(layer, gym.wrappers.OrderEnforcing)]
    return not order or any(layer.has_reset for layer in order)


def _keeps_statistics(layer: Any) -> bool:
    return any(isinstance(value, RunningMeanStd) for value in vars(layer).values())


def _numbers(env: Any) -> dict[str, np.ndarray]:
    """The public attributes that are numbers, or arrays of them."""
    found = {}
    for name, value in vars(env.unwrapped).items():
        if name.startswith("_") or not isinstance(value, bool | int | float | np.number | np.ndarray):
            continue
        array = np.asarray(value)
        if array.dtype.kind in "biuf" and array.size <= LARGE:
            found[name] = array.copy()
    return found


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    return x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f" and y.dtype.kind == "f")
