"""`EnvSpec`, an environment described once; what Gymnasium says of one; and the faults of one that breaks its word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
from gymnasium.envs import registration
from jaxtyping import PyTree

from kullback.control.envs.gymnasium_env import copies, is_harmless, layers, name_of, stated_limit, time_limit
from kullback.control.envs.observations import Mismatch
from kullback.control.envs.simulator import Compiled, Facts, Stepper
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.errors import EnvironmentFault, InputError


def is_bare(env: gym.Env) -> bool:
    """Whether every wrapper around it is one of Gymnasium's own that only watches or limits time."""
    return all(map(is_harmless, layers(env)))


def threshold_of(env: Any) -> float | None:
    """The return at which its authors call it solved, or None."""
    given = env.spec.reward_threshold if getattr(env, "spec", None) is not None else None
    return None if given is None else float(given)


KEEP_TO_SPACES = (
    "correct the environment, or wrap it so that it gives finite numbers of the shapes and kinds that its spaces state"
)


@dataclass(frozen=True)
class EnvSpec:
    """An environment, described once: what is known of it, and how to play it, compiled or by `stepper(lanes)`.

    facts   what is known of it before it is played
    remark  what the plan calls it
    lanes   how many of it there are side by side where it is stepped; None for as many as are wanted
    caveat  what is to be said of every return in it
    """

    facts: Facts
    compiled: Compiled | None = None
    stepper: Callable[[int], Stepper] | None = None
    remark: str = ""
    lanes: int | None = None
    caveat: str = ""

    def until(self, horizon: int) -> EnvSpec:
        """The same cut off after so many steps; raises `InputError` where a stepped environment goes on longer."""
        facts = replace(self.facts, limit=horizon)
        if self.compiled is not None:
            return replace(self, facts=facts, compiled=Cut(self.compiled, horizon))
        if horizon != self.facts.limit:
            raise InputError(
                f"horizon: {self.facts.name} is cut off after {self.facts.limit} steps and not {horizon}; pass the "
                f'environment gymnasium.make("{self.facts.name}", max_episode_steps={horizon})'
            )
        return self


@dataclass(frozen=True)
class Cut(Compiled):
    """A compiled environment with another time limit."""

    inner: Compiled
    limit: int

    @property
    def facts(self) -> Facts:
        return replace(self.inner.facts, limit=self.limit)

    @property
    def parameters(self) -> Any:
        return self.inner.parameters

    def reset(self, parameters: PyTree, key: jax.Array) -> Any:
        return self.inner.reset(parameters, key)

    def observe(self, parameters: PyTree, state: PyTree) -> jax.Array:
        return self.inner.observe(parameters, state)

    def step(self, parameters: PyTree, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        return self.inner.step(parameters, state, action, key)

    def mask(self, parameters: PyTree, state: PyTree) -> jax.Array | None:
        return self.inner.mask(parameters, state)


def facts_of(env: Any) -> Facts:
    """What is known of an id, an environment or a vector environment before it is played.

    Raises `InputError` for unknown ids, and for spaces that no policy can read.
    """
    if isinstance(env, str | registration.EnvSpec):
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
