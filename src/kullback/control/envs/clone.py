"""Several environments from one that a user has made, and whether those may be played in its place."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, closing, suppress
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers.utils import RunningMeanStd

from kullback.control.tabular.environment import layers, make, name_of
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


STEPS, LARGE = 3, 10_000  # steps that show which attributes are the state; numbers of an array that is compared


# Whether others may be played in the place of one that was given.


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
            return (
                f"{name} moved its statistics in these episodes as well, so that later ones may return something "
                "else: set its update_running_mean to False, or leave it out, as observations are scaled "
                "without it"
            )
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
