"""From a Gymnasium environment that publishes its transition table, `env.unwrapped.P`, to a `Model`."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium as gym
import numpy as np

from kullback.control.mdp import Model, model_from_outcomes
from kullback.errors import InputError

SUPPORTED = (
    "Gymnasium ids and environments (single, vector or functional), gymnax environments, "
    "and kl.control.FiniteMDP of arrays"
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
        raise InputError(f"env: {type(env).__name__} is no environment; supported are {SUPPORTED}")
    if ":" not in env and env not in gym.registry:
        near = difflib.get_close_matches(env, gym.registry, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "gymnasium.pprint_registry() lists the ids"
        raise InputError(f"env: Gymnasium has no environment {env!r}; {hint}")
    try:
        return gym.make(env)
    except (gym.error.Error, ImportError) as error:
        raise InputError(f"env: Gymnasium cannot make {env!r} ({error})") from error


def has_table(env: Any) -> bool:
    """Whether an environment publishes its transition table."""
    return isinstance(getattr(env.unwrapped, "P", None), dict)


def read_table(env: Any) -> Model:
    """The outcomes that `env.unwrapped.P` lists, and its `initial_state_distrib`.

    Raises `InputError` for a table that does not describe what the environment does.
    """
    inner, name = env.unwrapped, name_of(env)
    table = inner.P
    _check_wrappers(env, name)
    if getattr(inner, "fickle_passenger", False):
        raise InputError(
            f"env: the passenger of {name} is fickle, which its table leaves out; pass fickle_passenger=False"
        )
    start = getattr(inner, "initial_state_distrib", None)
    if start is None:
        raise InputError(f"env: {name} publishes no initial_state_distrib; pass a FiniteMDP with start= instead")
    if not isinstance(inner.action_space, gym.spaces.Discrete):
        raise InputError(f"env: {name} has the action space {inner.action_space}, and a table needs a Discrete one")
    rows = [
        (s, a, int(successor), float(p), float(reward), bool(ends))
        for s, actions in table.items()
        for a, outcomes in actions.items()
        for p, successor, reward, ends in outcomes
    ]
    state, action, successor, probability, reward, ends = (np.array(column) for column in zip(*rows, strict=True))
    sizes = len(table), int(inner.action_space.n)
    return model_from_outcomes(*sizes, (state, action, successor), probability, reward, ends, start, name)


def step_limit(env: Any) -> int:
    """The steps after which the environment truncates; raises `InputError` where it has no such limit."""
    limit = env.spec.max_episode_steps if getattr(env, "spec", None) is not None else None
    if limit is None:
        raise InputError(
            f"horizon: {name_of(env)} states no step limit; pass a number of steps, or None for no horizon"
        )
    return int(limit)


def name_of(env: Any) -> str:
    """The id an environment was made from, or its class."""
    return env.spec.id if getattr(env, "spec", None) is not None else type(env.unwrapped).__name__


def _check_wrappers(env: Any, name: str) -> None:
    layer = env
    while isinstance(layer, gym.Wrapper):
        if type(layer).__name__ not in HARMLESS:
            raise InputError(
                f"env: the wrapper {type(layer).__name__} may change what the table of {name} says; "
                "pass the environment without it"
            )
        layer = layer.env
