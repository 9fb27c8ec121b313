"""From what a user calls an environment to its `EnvSpec`: an ordered list of kinds; the first that fits counts.

To add a kind, write a function that returns the `EnvSpec` of what it knows and None for everything else, and put it
into `KINDS` before those that would also accept it.

Where the host must step what is compiled, as for a rollout, `Hosted` steps it as if it were one that only steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from kullback.control.envs.functional import functional_simulator, is_functional
from kullback.control.envs.gymnax_side import gymnax_simulator, is_gymnax
from kullback.control.envs.lane import PATIENCE
from kullback.control.envs.native import twin_of
from kullback.control.envs.simulator import Compiled, Lanes, Stepper, Transition, advance_lanes, start_lanes
from kullback.control.envs.spec import EnvSpec, facts_of, make, no_environment, unsteady, why_alone
from kullback.control.envs.stepping import stepper_for
from kullback.control.envs.table import table_simulator
from kullback.control.tabular.mdp import FiniteMDP
from kullback.errors import EnvironmentFault, InputError


def spec_of(env: object, compiled: bool = True, patience: float | None = PATIENCE) -> EnvSpec:
    """The description of `env` by the first of `KINDS` that knows it.

    compiled  whether what could be stepped may be played by a compiled program in its place
    patience  that of `stepper_for`

    Raises `InputError` for what is no environment, and for spaces that no policy can read.
    """
    for kind in KINDS:
        if (spec := kind(env, compiled, patience)) is not None:
            return spec
    raise InputError(f"env: {no_environment(env)}")


def stepped(env: gym.Env[Any, Any], patience: float | None = PATIENCE) -> EnvSpec:
    """A Gymnasium environment that is played by nothing but its own steps."""
    facts = facts_of(env)
    if reason := why_alone(env):
        alone = lambda lanes: stepper_for(env, 1, patience)  # noqa: E731
        remark = f"a simulator that steps, alone, as {reason}"
        return EnvSpec(facts, stepper=alone, remark=remark, lanes=1, caveat=unsteady(env))
    return EnvSpec(facts, stepper=_stepper(env, patience))


def _gymnax(env: object, compiled: bool, patience: float | None) -> EnvSpec | None:
    """A gymnax environment, which is always compiled."""
    if not is_gymnax(env):
        return None
    simulator = gymnax_simulator(env)
    return EnvSpec(simulator.facts, compiled=simulator)


def _functional(env: object, compiled: bool, patience: float | None) -> EnvSpec | None:
    """A functional environment of Gymnasium; one that can also be stepped is compiled where it may be."""
    is_stepped = isinstance(env, gym.Env)
    if not is_functional(env) or (is_stepped and not compiled):
        return None
    simulator = functional_simulator(env)
    return EnvSpec(simulator.facts, compiled=simulator, stepper=_stepper(env, patience) if is_stepped else None)


def _vector(env: object, compiled: bool, patience: float | None) -> EnvSpec | None:
    """A vector environment of Gymnasium, with its own number of lanes."""
    if not isinstance(env, gym.vector.VectorEnv):
        return None
    return EnvSpec(facts_of(env), stepper=_stepper(env, patience), lanes=env.num_envs, caveat=unsteady(env))


def _native(env: Any, compiled: bool, patience: float | None) -> EnvSpec | None:
    """One of Gymnasium's classic environments, played by a compiled twin."""
    twin = twin_of(env) if compiled else None
    if twin is None:
        return None
    return EnvSpec(facts_of(env), compiled=twin, stepper=_stepper(env, patience), remark="a compiled twin")


def _single(env: object, compiled: bool, patience: float | None) -> EnvSpec | None:
    """Any other environment of Gymnasium, which is stepped."""
    return stepped(env, patience) if isinstance(env, gym.Env) else None


def _stepper(env: object, patience: float | None) -> Callable[[int], Stepper]:
    return partial(_stepper_for, env, patience)


def _stepper_for(env: object, patience: float | None, lanes: int) -> Stepper:
    return stepper_for(env, lanes, patience)


KINDS: tuple[Callable[[Any, bool, float | None], EnvSpec | None], ...] = (
    _gymnax,
    _functional,
    _vector,
    _native,
    _single,
)


class Hosted(Stepper):
    """Lanes of a compiled environment. Each step is one compiled program; its key is made of the seed and a count."""

    def __init__(self, simulator: Compiled, lanes: int) -> None:
        if lanes < 1:
            raise InputError(f"lanes: {lanes} is no positive number of environments")
        self.simulator, self.facts, self.lanes = simulator, simulator.facts, lanes
        self._now: Lanes | None = None
        self._seed, self._count = 0, 0

    def reset(self, seed: int) -> None:
        self._seed, self._count = int(seed), 0
        self._stand(_start(self.simulator, self.lanes, self.simulator.parameters, self._key()))

    def step(self, action: Shaped[np.ndarray, "lanes ..."]) -> Transition:
        if self._now is None:
            raise InputError("step: there is nothing to step before the first reset(seed)")
        self._count += 1
        now, seen = _advance(self.simulator, self.simulator.parameters, self._now, np.asarray(action), self._key())
        seen = jax.tree.map(np.asarray, seen)
        if not (np.isfinite(seen.reward).all() and np.isfinite(seen.following).all()):
            what = "a reward" if not np.isfinite(seen.reward).all() else "an observation"
            raise EnvironmentFault(
                f"env: {self.facts.name} gave {what} that is not finite in step {self._count}; correct the environment"
            )
        self._stand(now)
        return seen

    def state(self) -> dict[str, np.ndarray]:
        if self._now is None:
            raise InputError("state: there is none before the first reset(seed)")
        leaves = {f"lanes.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self._now))}
        return {"seed": np.asarray(self._seed, np.int64), "count": np.asarray(self._count, np.int64), **leaves}

    def restore(self, state: dict[str, np.ndarray]) -> str:
        self.reset(int(state["seed"]))
        leaves, structure = jax.tree.flatten(self._now)
        self._count = int(state["count"])
        self._stand(jax.tree.unflatten(structure, [state[f"lanes.{i}"] for i in range(len(leaves))]))
        return ""

    def close(self) -> None:
        self._now = None

    def _key(self) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self._seed), self._count)

    def _stand(self, now: Lanes) -> None:
        self._now = now
        self.observation = np.asarray(now.observation)
        self.mask = None if now.mask is None else np.asarray(now.mask)


@partial(jax.jit, static_argnums=(0, 1))
def _start(simulator: Compiled, lanes: int, parameters: PyTree, key: jax.Array) -> Lanes:
    return start_lanes(simulator, parameters, key, lanes)


@partial(jax.jit, static_argnums=0)
def _advance(
    simulator: Compiled, parameters: PyTree, lanes: Lanes, action: jax.Array, key: jax.Array
) -> tuple[Lanes, Transition]:
    return advance_lanes(simulator, parameters, lanes, action, key)


def on_the_host(env: object, horizon: int | None = None) -> EnvSpec:
    """How to step an environment of any kind from the host, cut off after `horizon` steps if that is given.

    Raises `InputError` for what is no environment, for spaces that no policy can read, and for a vector environment
    that goes on for longer than the horizon.
    """
    if isinstance(env, FiniteMDP):
        table = table_simulator(env.model(), limit=horizon)
        return EnvSpec(table.facts, table, partial(Hosted, table))
    env = make(env) if isinstance(env, str) else env
    if horizon is not None and isinstance(env, gym.Env):
        env = gym.wrappers.TimeLimit(env, horizon)
    source = spec_of(env, compiled=False)
    if horizon is not None and (source.facts.limit is None or source.facts.limit > horizon):
        source = source.until(horizon)
    if source.stepper is None:
        assert source.compiled is not None
        source = replace(source, stepper=partial(Hosted, source.compiled))
    return source
