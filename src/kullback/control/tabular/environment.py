"""From a Gymnasium environment that publishes its transition table, `env.unwrapped.P`, to a `Model`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from kullback.control.tabular.mdp import Model, model_from_outcomes
from kullback.errors import InputError

SUPPORTED = (
    "Gymnasium ids and environments (single, vector or functional), gymnax environments, "
    "and kl.control.FiniteMDP of arrays"
)
ELSEWHERE = (
    'import the package that registers it, or write "module:id"; '
    "gymnasium.pprint_registry() lists the ids that are known"
)
# These watch the environment without changing what it does; any other wrapper may make the table wrong.
HARMLESS = frozenset(
    (
        "TimeLimit",
        "OrderEnforcing",
        "PassiveEnvChecker",
        "Autoreset",
        "RecordEpisodeStatistics",
        "RecordVideo",
        "RenderCollection",
        "HumanRendering",
    )
)


def make(env: Any) -> Any:
    """The environment of a registered id, or the environment itself.

    Raises `InputError` for an unknown id, naming the nearest ones, and for what is no environment.
    """
    if isinstance(env, gym.Env):
        return env
    if not isinstance(env, str):
        raise InputError(f"env: {no_environment(env)}")
    if ":" not in env and env not in gym.registry:
        near = difflib.get_close_matches(env, gym.registry, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"env: Gymnasium has no environment {env!r}; {hint}{ELSEWHERE}")
    try:
        return gym.make(env)
    except (gym.error.Error, ImportError) as error:
        raise InputError(f"env: Gymnasium cannot make {env!r} ({error})") from error


def no_environment(env: Any) -> str:
    """Why something is no environment, and what would be one."""
    if isinstance(env, type):
        return f"{env.__name__} is a class; pass an instance of it, {env.__name__}()"
    if callable(env):
        return f"a {type(env).__name__} is no environment; pass what it returns"
    return f"{type(env).__name__} is no environment; supported are {SUPPORTED}"


def table_of(env: Any) -> tuple[Model | None, str]:
    """The outcomes that `env.unwrapped.P` lists with its `initial_state_distrib`; or None, and why there are none.

    The reason is empty where the environment publishes no table, and else says why its table is not what it does.
    Raises `InputError` for a table whose probabilities are none.
    """
    inner, name = env.unwrapped, name_of(env)
    table = getattr(inner, "P", None)
    if not (isinstance(table, dict) and table and all(isinstance(actions, dict) for actions in table.values())):
        return None, ""
    if reason := _why_not(env, table):
        return None, reason
    rows = [
        (s, a, int(successor), float(p), float(reward), bool(ends))
        for s, actions in table.items()
        for a, outcomes in actions.items()
        for p, successor, reward, ends in outcomes
    ]
    state, action, successor, probability, reward, ends = (np.array(column) for column in zip(*rows, strict=True))
    sizes, start = (len(table), int(inner.action_space.n)), inner.initial_state_distrib
    return model_from_outcomes(*sizes, (state, action, successor), probability, reward, ends, start, name), ""


def _why_not(env: Any, table: dict[Any, Any]) -> str:
    """Why a published table is not what the environment does, or nothing."""
    inner = env.unwrapped
    changing = next((type(layer).__name__ for layer in layers(env) if not is_harmless(layer)), None)
    if changing is not None:
        return f"the wrapper {changing} may change what its table says"
    if getattr(inner, "fickle_passenger", False):
        return "its passenger is fickle, which its table leaves out"
    if getattr(inner, "initial_state_distrib", None) is None:
        return "its table has no initial_state_distrib"
    for space, keys, called in (
        (inner.observation_space, table.keys(), "observations"),
        (inner.action_space, {a for actions in table.values() for a in actions}, "actions"),
    ):
        counted = isinstance(space, gym.spaces.Discrete) and int(space.start) == 0
        if not (counted and set(keys) == set(range(int(space.n)))):
            return f"its {called} are not those of its table"
    return ""


def layers(env: Any) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    """The wrappers around an environment, the outermost first."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def is_harmless(layer: Any) -> bool:
    """Whether a wrapper is one of Gymnasium's own that only watches or limits time."""
    return type(layer).__name__ in HARMLESS and type(layer).__module__.startswith("gymnasium.")


def time_limit(env: Any) -> int | None:
    """The steps after which one of its wrappers truncates an episode, or None."""
    limits = (int(layer._max_episode_steps) for layer in layers(env) if isinstance(layer, gym.wrappers.TimeLimit))
    return min(limits, default=None)


def stated_limit(spec: Any) -> int | None:
    """The time limit of a spec; `make_vec` keeps one that was passed to it among the keyword arguments."""
    limit = None if spec is None else spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
    return None if limit is None or limit < 0 else int(limit)


def step_limit(env: Any) -> int:
    """The steps after which the environment truncates; raises `InputError` where it has no such limit."""
    limit = time_limit(env) or stated_limit(getattr(env, "spec", None))
    if limit is None:
        raise InputError(
            f"horizon: {name_of(env)} states no step limit; pass a number of steps, or None for no horizon"
        )
    return limit


def name_of(env: Any) -> str:
    """The id an environment was made from, or its class."""
    return env.spec.id if getattr(env, "spec", None) is not None else type(env.unwrapped).__name__
