"""gymnax environments, which are made of JAX functions: step_env(key, state, action, params) and reset_env."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from kullback.control.envs import functional
from kullback.control.envs.functional import State
from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import observations_of
from kullback.errors import InputError

FAR = 2**30  # steps: a time limit that is never reached


@dataclass(frozen=True)
class Gymnax(Compiled):
    """A gymnax environment as a compiled one. Make it with `gymnax_simulator`.

    The real numbers among its parameters are arguments; everything else about it is in `content`, by which two are the
    same program. Episodes are reset by whoever plays it, so `step_env` and `reset_env` are called, and its time limit
    truncates. Versions before 1.0 count the limit as an end: the end is then taken from the same step with the limit
    out of reach. gymnax computes in single precision, and so it does here under both settings of `jax_enable_x64`.
    Source: Lange (2022), github.com/RobertTLange/gymnax.

    folds_time  whether its own end includes its time limit
    """

    known: Facts
    folds_time: bool
    content: Hashable
    skeleton: functional.Skeleton
    inner: Any = field(compare=False, repr=False)
    space: gym.Space[Any] = field(compare=False, repr=False)
    seen: gym.Space[Any] = field(compare=False, repr=False)
    numbers: tuple[Any, ...] = field(compare=False, repr=False)

    @property
    def facts(self) -> Facts:
        return self.known

    @property
    def parameters(self) -> tuple[Any, ...]:
        return self.numbers

    def reset(self, parameters: tuple[Any, ...], key: jax.Array) -> State:
        with jax.enable_x64(False):
            settings = self._settings(parameters)
            observation, first = self.inner.reset_env(key, settings)
            action = jnp.zeros(self.known.actions.shape, jnp.int32 if self.known.actions.is_discrete else jnp.float32)
            return functional.settled(
                State(first, self._read(observation)), lambda state: self._moved(settings, state, action, key)[0]
            )

    def observe(self, parameters: tuple[Any, ...], state: State) -> jax.Array:
        return state.observation

    def step(
        self, parameters: tuple[Any, ...], state: State, action: jax.Array, key: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        with jax.enable_x64(False):
            following, reward, ended = self._moved(self._settings(parameters), state, action, key)
            following = functional.fitted_to(following, state)
        return following, reward.astype(jnp.result_type(float)), ended

    def _settings(self, parameters: tuple[Any, ...]) -> Any:
        return functional.join(self.skeleton, functional.single(tuple(map(jnp.asarray, parameters))))

    def _moved(self, settings: PyTree, state: State, action: jax.Array, key: jax.Array) -> tuple[Any, ...]:
        done = functional.write(self.space, action)
        observation, after, reward, ended, *_ = self.inner.step_env(key, state.inner, done, settings)
        if self.folds_time:
            ended = self.inner.step_env(key, state.inner, done, _with_limit(settings, FAR))[3]
        reward = jnp.asarray(reward, jnp.float32)
        return State(after, self._read(observation)), reward.reshape(()), jnp.asarray(ended, bool).reshape(())

    def _read(self, observation: PyTree) -> jax.Array:
        return functional.read(self.seen, observation).reshape(self.known.observations.shape)


def is_gymnax(env: object) -> bool:
    """Whether it is a gymnax environment, or the pair of one and its parameters that `gymnax.make` returns."""
    if isinstance(env, tuple) and len(env) == 2:
        env = env[0]
    names = ("reset_env", "step_env", "default_params", "action_space", "observation_space")
    return not isinstance(env, gym.Env) and all(hasattr(env, name) for name in names)


def gymnax_simulator(env: Any, params: PyTree = None) -> Gymnax:
    """A gymnax environment, alone or as (environment, params), as a compiled one.

    params  its parameters; None for its default ones, or those of the pair

    `LogWrapper` is looked through and `FlattenObservationWrapper` obeyed. Raises `InputError` for other wrappers, for
    an environment that decides by itself when to truncate, and for spaces that no network reads.
    """
    if isinstance(env, tuple):
        env, params = env[0], env[1] if params is None else params
    env, is_flat = _unwrapped(env)
    params = env.default_params if params is None else params
    name = str(getattr(env, "name", type(env).__name__))
    space, seen = as_gymnasium(env.action_space(params)), as_gymnasium(env.observation_space(params))
    observations = observations_of(seen, name)
    if is_flat and observations.labels is None:
        observations = dataclasses.replace(observations, shape=(int(np.prod(observations.shape)),))
    facts = Facts(name, observations, functional.actions_inside(space, name), _limit(params))
    folds_time, env = not _tells_truncation(env, name), _snapshot(env)

    def make(traced: bool) -> Gymnax:
        numbers, skeleton = functional.split(params, traced)
        return Gymnax(facts, folds_time, functional.content(env), skeleton, env, space, seen, numbers)

    return functional.compiles(make, name)


def as_gymnasium(space: Any) -> gym.Space[Any]:
    """The Gymnasium space of a gymnax space; the largest single-precision number there stands for no bound."""
    kind = type(space).__name__
    if kind == "Discrete":
        return gym.spaces.Discrete(int(space.n))
    if kind == "Box":
        shape, dtype = tuple(int(n) for n in np.atleast_1d(space.shape)), np.dtype(space.dtype)
        low, high = (np.broadcast_to(np.asarray(end, np.float64), shape) for end in (space.low, space.high))
        if dtype.kind in "iub":
            return gym.spaces.Box(low.astype(np.int64), high.astype(np.int64), shape, np.int64)
        most = 0.999 * float(np.finfo(np.float32).max)
        low, high = np.where(low < -most, -np.inf, low), np.where(high > most, np.inf, high)
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), shape, np.float32)
    if kind == "Dict":
        return gym.spaces.Dict([(name, as_gymnasium(part)) for name, part in space.spaces.items()])
    if kind == "Tuple":
        return gym.spaces.Tuple([as_gymnasium(part) for part in space.spaces])
    raise InputError(f"env: gymnax has no space {kind} that is known here; Discrete, Box, Dict and Tuple are")


def _snapshot(env: object) -> Any:
    """A copy that later changes do not reach, with its arrays in single precision."""
    env = copy.copy(env)
    for name, value in vars(env).items():
        if functional.holds_arrays(value):
            vars(env)[name] = functional.single(value)
    return env


def _limit(params: PyTree) -> int | None:
    limit = getattr(params, "max_steps_in_episode", None)
    return None if limit is None else int(limit)


def _with_limit(params: PyTree, limit: int) -> Any:
    was = getattr(params, "max_steps_in_episode", None)
    if was is None:
        return params
    return dataclasses.replace(params, max_steps_in_episode=limit if isinstance(was, int) else float(limit))


def _tells_truncation(env: object, name: str) -> bool:
    """Whether ends and time limits are told apart, as since version 1.0."""
    told = getattr(type(env), "is_truncated", None)
    if told is not None and told.__qualname__ != "Environment.is_truncated":
        raise InputError(
            f"env: {name} has its own is_truncated, and time limits other than params.max_steps_in_episode are not "
            "supported; give that one"
        )
    return told is not None


def _unwrapped(env: Any) -> tuple[Any, bool]:
    """The environment without wrappers, and whether one of them flattens observations."""
    is_flat = False
    while not hasattr(type(env), "step_env"):
        kind = type(env).__name__
        if kind not in ("LogWrapper", "FlattenObservationWrapper"):
            raise InputError(
                f"env: the wrapper {kind} may change what the environment does; pass the environment without it"
            )
        env, is_flat = env._env, is_flat or kind == "FlattenObservationWrapper"
    return env, is_flat
