"""`EnvSpec`, an environment described once; what Gymnasium says of one; and the faults of one that breaks its word.

What Gymnasium says: how an environment is made and copied, its name, wrappers and limits, and its published transition
table, `env.unwrapped.P`, as a `Model`. Copies are made from the spec, where those may be played in place of the one
that the user has made.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.envs import registration
from gymnasium.wrappers.utils import RunningMeanStd
from jaxtyping import PyTree

from kullback.control.envs.observations import Mismatch
from kullback.control.envs.simulator import Compiled, Facts, Stepper
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.control.tabular.mdp import Model, model_from_outcomes
from kullback.errors import EnvironmentFault, InputError

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


def make(env: object) -> Any:
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


def no_environment(env: object) -> str:
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


def layers(env: gym.Env) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    """The wrappers around an environment, the outermost first."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def is_harmless(layer: object) -> bool:
    """Whether a wrapper is one of Gymnasium's own that only watches or limits time."""
    return type(layer).__name__ in HARMLESS and type(layer).__module__.startswith("gymnasium.")


def time_limit(env: gym.Env) -> int | None:
    """The steps after which one of its wrappers truncates an episode, or None."""
    limits = (int(layer._max_episode_steps) for layer in layers(env) if isinstance(layer, gym.wrappers.TimeLimit))
    return min(limits, default=None)


def stated_limit(spec: registration.EnvSpec | None) -> int | None:
    """The time limit of a spec; `make_vec` keeps one that was passed to it among the keyword arguments."""
    limit = None if spec is None else spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
    return None if limit is None or limit < 0 else int(limit)


def step_limit(env: gym.Env) -> int:
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


def can_be_remade(env: object) -> bool:
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
        spec = env if isinstance(env, registration.EnvSpec) else env.spec
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


def why_alone(env: gym.Env) -> str:
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


def _may_have_been_played(env: gym.Env) -> bool:
    order = [layer for layer in layers(env) if isinstance(layer, gym.wrappers.OrderEnforcing)]
    return not order or any(layer.has_reset for layer in order)


def _keeps_statistics(layer: object) -> bool:
    return any(isinstance(value, RunningMeanStd) for value in vars(layer).values())


def _numbers(env: gym.Env) -> dict[str, np.ndarray]:
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
