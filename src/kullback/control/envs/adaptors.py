"""From what a user calls an environment to its `EnvSpec`: an ordered list of kinds; the first that fits counts.

To add a kind, write a function that returns the `EnvSpec` of what it knows and None for everything else, and put it
into `KINDS` before those that would also accept it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym

from kullback.control.envs.clone import unsteady, why_alone
from kullback.control.envs.functional import functional_simulator, is_functional
from kullback.control.envs.gymnax_side import gymnax_simulator, is_gymnax
from kullback.control.envs.native import twin_of
from kullback.control.envs.simulator import Stepper
from kullback.control.envs.spec import EnvSpec, facts_of
from kullback.control.envs.stepping import stepper_for
from kullback.control.envs.watchdog import PATIENCE
from kullback.control.tabular.environment import no_environment
from kullback.errors import InputError


def spec_of(env: Any, compiled: bool = True, patience: float | None = PATIENCE) -> EnvSpec:
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


def _gymnax(env: Any, compiled: bool, patience: float | None) -> EnvSpec | None:
    """A gymnax environment, which is always compiled."""
    if not is_gymnax(env):
        return None
    simulator = gymnax_simulator(env)
    return EnvSpec(simulator.facts, compiled=simulator)


def _functional(env: Any, compiled: bool, patience: float | None) -> EnvSpec | None:
    """A functional environment of Gymnasium; one that can also be stepped is compiled where it may be."""
    is_stepped = isinstance(env, gym.Env)
    if not is_functional(env) or (is_stepped and not compiled):
        return None
    simulator = functional_simulator(env)
    return EnvSpec(simulator.facts, compiled=simulator, stepper=_stepper(env, patience) if is_stepped else None)


def _vector(env: Any, compiled: bool, patience: float | None) -> EnvSpec | None:
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


def _single(env: Any, compiled: bool, patience: float | None) -> EnvSpec | None:
    """Any other environment of Gymnasium, which is stepped."""
    return stepped(env, patience) if isinstance(env, gym.Env) else None


def _stepper(env: Any, patience: float | None) -> Callable[[int], Stepper]:
    return partial(_stepper_for, env, patience)


def _stepper_for(env: Any, patience: float | None, lanes: int) -> Stepper:
    return stepper_for(env, lanes, patience)


KINDS: tuple[Callable[[Any, bool, float | None], EnvSpec | None], ...] = (
    _gymnax,
    _functional,
    _vector,
    _native,
    _single,
)
