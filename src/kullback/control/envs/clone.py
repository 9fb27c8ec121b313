"""Several of an environment that a user has made one of."""

from __future__ import annotations

import warnings
from contextlib import suppress
from copy import deepcopy
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from kullback.control.tabular.environment import make, name_of
from kullback.errors import InputError


def can_be_remade(env: Any) -> bool:
    """Whether Gymnasium knows how an environment was made, every wrapper of it included."""
    if not isinstance(env, gym.Env):
        return True
    return env.spec is not None and all(wrapper.kwargs is not None for wrapper in env.spec.additional_wrappers)


def copies(env: Any, lanes: int) -> list[Any]:
    """`lanes` new environments of an id, a spec, or the spec of an environment, whose state they do not share.

    They are made without Gymnasium's checker, which looks at the first step only and warns of what does no harm; what
    is read is checked at every step. No windows are opened.
    Raises `InputError` where Gymnasium cannot make them, or makes others than the one that was given.
    """
    if isinstance(env, str):
        env = make(env)
        spec = env.spec
        with suppress(Exception):
            env.close()
    else:
        spec = env if isinstance(env, EnvSpec) else env.spec
    name = name_of(env) if isinstance(env, gym.Env) else spec.id
    remedy = f"register it with gymnasium, or pass gymnasium.vector.SyncVectorEnv([make_env] * {lanes})"
    if spec is None:
        raise InputError(f"env: {name} has no spec from which {lanes} could be made; {remedy}")
    spec = deepcopy(spec)
    if spec.kwargs.get("render_mode") == "human":
        del spec.kwargs["render_mode"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever made the one that was given has seen them
            made = [gym.make(spec, disable_env_checker=True) for _ in range(lanes)]
    except Exception as error:
        raise InputError(f"env: Gymnasium cannot make {lanes} of {name} ({error}); {remedy}") from error
    spaces = made[0].observation_space, made[0].action_space
    if isinstance(env, gym.Env) and spaces != (env.observation_space, env.action_space):
        raise InputError(
            f"env: what Gymnasium makes from the spec of {name} has other spaces than the environment has; {remedy}"
        )
    return made
