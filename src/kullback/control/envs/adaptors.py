"""From what a user calls an environment to what is known of it and the ways to play it: an ordered list of kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym
import jax

from kullback.control.envs.clone import unsteady, why_alone
from kullback.control.envs.functional import functional_simulator, is_functional
from kullback.control.envs.gymnax_side import gymnax_simulator, is_gymnax
from kullback.control.envs.native import twin_of
from kullback.control.envs.simulator import Compiled, Facts, Stepper
from kullback.control.envs.stepping import facts_of, stepper_for
from kullback.control.envs.watchdog import PATIENCE
from kullback.control.tabular.environment import no_environment
from kullback.errors import InputError


@dataclass(frozen=True)
class Source:
    """What is known of an environment, and how to play it: compiled, or by `stepper(lanes)`.

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

    def until(self, horizon: int) -> Source:
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

    def reset(self, parameters: Any, key: jax.Array) -> Any:
        return self.inner.reset(parameters, key)

    def observe(self, parameters: Any, state: Any) -> jax.Array:
        return self.inner.observe(parameters, state)

    def step(self, parameters: Any, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        return self.inner.step(parameters, state, action, key)

    def mask(self, parameters: Any, state: Any) -> jax.Array | None:
        return self.inner.mask(parameters, state)


def source_of(env: Any, compiled: bool = True, patience: float | None = PATIENCE) -> Source:
    """How to play `env`: functional and gymnax environments compiled, Gymnasium's classic ones by a compiled twin, all
    others by steps; where `compiled` is False, whatever can be stepped is. `patience` is that of `stepper_for`.

    Raises `InputError` for what is no environment, and for spaces that no policy can read.
    """
    if is_gymnax(env):
        simulator = gymnax_simulator(env)
        return Source(simulator.facts, simulator)
    stepper = partial(_stepped, env, patience)
    if is_functional(env) and (compiled or not isinstance(env, gym.Env)):
        simulator = functional_simulator(env)
        return Source(simulator.facts, simulator, stepper if isinstance(env, gym.Env) else None)
    if isinstance(env, gym.vector.VectorEnv):
        return Source(facts_of(env), stepper=stepper, lanes=env.num_envs, caveat=unsteady(env))
    if not isinstance(env, gym.Env):
        raise InputError(f"env: {no_environment(env)}")
    twin = twin_of(env) if compiled else None
    return stepped(env, patience) if twin is None else Source(facts_of(env), twin, stepper, "a compiled twin")


def stepped(env: gym.Env[Any, Any], patience: float | None = PATIENCE) -> Source:
    """How to play a Gymnasium environment by nothing but its own steps."""
    facts = facts_of(env)
    if reason := why_alone(env):
        alone = lambda lanes: stepper_for(env, 1, patience)  # noqa: E731
        remark = f"a simulator that steps, alone, as {reason}"
        return Source(facts, stepper=alone, remark=remark, lanes=1, caveat=unsteady(env))
    return Source(facts, stepper=partial(_stepped, env, patience))


def _stepped(env: Any, patience: float | None, lanes: int) -> Stepper:
    return stepper_for(env, lanes, patience)
