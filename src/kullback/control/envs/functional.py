"""Gymnasium's functional environments, `gymnasium.experimental.functional.FuncEnv`, which JAX can compile."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium.experimental.functional import FuncEnv

from kullback.control.envs import external_jax as foreign
from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import observations_of
from kullback.control.envs.wrappers import is_bare, threshold_of, time_limit
from kullback.control.tabular.environment import name_of
from kullback.errors import InputError


class State(NamedTuple):
    """The environment's own state, and what is seen in it (which may be random, so it is drawn once)."""

    inner: Any
    observation: jax.Array


@dataclass(frozen=True)
class Functional(Compiled):
    """A `FuncEnv` as a compiled environment. Make it with `functional_simulator`.

    The real numbers among its parameters are arguments; everything else about it is in `content`, by which two are the
    same program. A step uses one key for transition, observation, reward and end, as Gymnasium's own wrapper does.
    Source: Towers et al. (2024), arXiv:2407.17032.
    """

    known: Facts
    content: Hashable
    skeleton: foreign.Skeleton
    inner: Any = field(compare=False, repr=False)
    numbers: tuple[Any, ...] = field(compare=False, repr=False)

    @property
    def facts(self) -> Facts:
        return self.known

    @property
    def parameters(self) -> tuple[Any, ...]:
        return self.numbers

    def reset(self, parameters: tuple[Any, ...], key: jax.Array) -> State:
        settings = foreign.join(self.skeleton, parameters)
        first = self.inner.initial(key, *settings)
        first = State(first, foreign.read(self.inner.observation_space, self.inner.observation(first, key, *settings)))
        action = jnp.zeros(self.known.actions.shape, jnp.int32 if self.known.actions.is_discrete else None)
        return foreign.settled(first, lambda state: self._moved(settings, state, action, key)[0])

    def observe(self, parameters: tuple[Any, ...], state: State) -> jax.Array:
        return state.observation

    def step(
        self, parameters: tuple[Any, ...], state: State, action: jax.Array, key: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        following, reward, ended = self._moved(foreign.join(self.skeleton, parameters), state, action, key)
        return foreign.fitted_to(following, state), reward, ended

    def _moved(self, settings: tuple[Any, ...], state: State, action: jax.Array, key: jax.Array) -> tuple[Any, ...]:
        env, done = self.inner, foreign.write(self.inner.action_space, action)
        after = env.transition(state.inner, done, key, *settings)
        seen = foreign.read(env.observation_space, env.observation(after, key, *settings))
        reward = jnp.asarray(env.reward(state.inner, done, after, key, *settings), jnp.result_type(float))
        ended = jnp.asarray(env.terminal(after, key, *settings), bool)
        return State(after, seen), reward.reshape(()), ended.reshape(())


def is_functional(env: Any) -> bool:
    """Whether it is a `FuncEnv`, or a Gymnasium environment made of one that nothing else changes."""
    if isinstance(env, FuncEnv):
        return True
    return isinstance(getattr(getattr(env, "unwrapped", None), "func_env", None), FuncEnv) and is_bare(env)


def functional_simulator(env: Any, params: Any = None, limit: int | None = None) -> Functional:
    """A functional environment, or one made of it such as `phys2d/CartPole-v1`, as a compiled environment.

    params  the parameters of a `FuncEnv`, None for its default ones; an environment made of one has the default ones
    limit   steps after which it truncates; None for the time limit of a made environment

    Raises `InputError` for an environment that JAX cannot compile, and for spaces that no network reads.
    """
    if isinstance(env, FuncEnv):
        params = env.default_params if params is None else params
        return _simulator(env, () if params is None else (params,), type(env).__name__, limit, None)
    if params is not None:
        raise InputError("params: a made environment has its own parameters; pass its func_env with other ones")
    limit = time_limit(env) if limit is None else limit
    return _simulator(env.unwrapped.func_env, (), name_of(env), limit, threshold_of(env))


def _simulator(
    env: Any, settings: tuple[Any, ...], name: str, limit: int | None, threshold: float | None
) -> Functional:
    env = _snapshot(env)
    seen, done = observations_of(env.observation_space, name), foreign.actions_inside(env.action_space, name)
    facts = Facts(name, seen, done, limit, threshold)

    def make(traced: bool) -> Functional:
        numbers, skeleton = foreign.split(settings, traced)
        return Functional(facts, foreign.content(env), skeleton, env, numbers)

    return foreign.compiles(make, name)


def _snapshot(env: Any) -> Any:
    """A copy that later changes do not reach, with the functions of its class where it holds only them, compiled."""
    env, original = copy.copy(env), env
    for name, value in list(vars(env).items()):
        plain: Any = getattr(value, "__wrapped__", None)
        is_own = getattr(plain, "__self__", None) is original and plain.__func__ is getattr(type(env), name, None)
        if hasattr(value, "lower") and (is_own or name == "step_info"):
            delattr(env, name)
    return env
