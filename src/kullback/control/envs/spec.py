"""What Gymnasium environments, single and vector, say of themselves; and the fault of one that does not keep to it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from kullback.control.envs.clone import copies
from kullback.control.envs.observations import Mismatch
from kullback.control.envs.simulator import Facts
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.control.envs.wrappers import time_limit
from kullback.control.tabular.environment import is_harmless, name_of, stated_limit
from kullback.errors import EnvironmentFault, InputError

KEEP_TO_SPACES = (
    "correct the environment, or wrap it so that it gives finite numbers of the shapes and kinds that its spaces state"
)


def facts_of(env: Any) -> Facts:
    """What is known of an id, an environment or a vector environment before it is played.

    Raises `InputError` for unknown ids, and for spaces that no policy can read.
    """
    if isinstance(env, str | EnvSpec):
        with closing(copies(env, 1)[0]) as made:
            return facts_of(made)
    if isinstance(env, gym.vector.VectorEnv):
        spec, limit = _vector_spec(env)
        name = spec.id if spec is not None else name_of(env)
        observation_space, action_space = env.single_observation_space, unclipped(env)
    else:
        spec, limit = env.spec, time_limit(env) or stated_limit(env.spec)
        name, observation_space, action_space = name_of(env), getattr(env, "observation_space", None), unclipped(env)
    for which, space in (("observation_space", observation_space), ("action_space", action_space)):
        if not isinstance(space, gym.Space):
            raise InputError(f"env: {name} has no {which}; set it to one of gymnasium.spaces where it is made")
    threshold = None if spec is None or spec.reward_threshold is None else float(spec.reward_threshold)
    return Facts(name, observations_of(observation_space, name), actions_of(action_space, name), limit, threshold)


def unclipped(env: Any) -> Any:
    """The space of one action: of a wrapper that clips actions to a box it is that box, in which nothing is clipped."""
    at, name = env, "single_action_space" if isinstance(env, gym.vector.VectorEnv) else "action_space"
    while isinstance(at, gym.Wrapper | gym.vector.VectorWrapper):
        if isinstance(at, gym.wrappers.ClipAction | gym.wrappers.vector.ClipAction):
            return getattr(at.env, name, None)
        if not is_harmless(at):
            break
        at = at.env
    return getattr(env, name, None)


def fault(name: str, what: str, where: str, remedy: str = KEEP_TO_SPACES) -> EnvironmentFault:
    """The error of an environment that did `what` at `where`."""
    return EnvironmentFault(f"env: {name} {what}, {where}; {remedy}")


def blame(name: str, error: Exception, where: str) -> EnvironmentFault:
    """The error of an environment that raised one, or that gave what does not fit its spaces."""
    if isinstance(error, Mismatch):
        return fault(name, f"gave {error}", where)
    return fault(name, f"raised {type(error).__name__} ({error})", where, "correct what the environment raises there")


def hung(name: str, call: str, patience: float | None, where: str) -> EnvironmentFault:
    """The error of an environment whose call did not return."""
    return fault(name, f"has not returned from {call} in {patience:g} s", where, "a larger patience= waits longer")


def _vector_spec(env: Any) -> tuple[Any, int | None]:
    """The spec of a vector environment or else of its first part, and its time limit."""
    if env.spec is not None:
        return env.spec, stated_limit(env.spec)
    try:
        spec = env.unwrapped.get_attr("spec")[0]
    except (AttributeError, NotImplementedError):
        return None, None
    return spec, stated_limit(spec)
