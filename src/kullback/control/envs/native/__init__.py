"""Compiled twins of Gymnasium's classic control, with exactly their dynamics."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs import classic_control

from kullback.control.envs.native.acrobot import Acrobot
from kullback.control.envs.native.cart_pole import CartPole
from kullback.control.envs.native.mountain_car import MountainCar
from kullback.control.envs.native.mountain_car_continuous import MountainCarContinuous
from kullback.control.envs.native.pendulum import Pendulum
from kullback.control.envs.native.twin import Twin
from kullback.control.envs.spec import is_bare

TWINS: dict[type, type[Twin]] = {
    classic_control.CartPoleEnv: CartPole,
    classic_control.PendulumEnv: Pendulum,
    classic_control.AcrobotEnv: Acrobot,
    classic_control.MountainCarEnv: MountainCar,
    classic_control.Continuous_MountainCarEnv: MountainCarContinuous,
}

__all__ = ["TWINS", "Acrobot", "CartPole", "MountainCar", "MountainCarContinuous", "Pendulum", "Twin", "twin_of"]


def twin_of(env: Any) -> Twin | None:
    """The compiled twin of a Gymnasium environment, or None where nothing that is compiled here does the same.

    The environment must be exactly of a class in `TWINS`, with numbers for constants and none of its functions
    replaced, and only Gymnasium's own wrappers that watch or limit time around it. Their time limit is the twin's.
    """
    if not isinstance(env, gym.Env) or not is_bare(env):
        return None
    inner = env.unwrapped
    twin = TWINS.get(type(inner))
    # A function or a space of another kind on the instance itself would change what it does.
    if twin is None or any(callable(getattr(type(inner), name, None)) for name in vars(inner)):
        return None
    if getattr(inner.action_space, "start", 0) != 0:
        return None
    return twin.of(env)
