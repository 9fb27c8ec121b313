"""Gymnasium's functional environments, `gymnasium.experimental.functional.FuncEnv`, which JAX can compile.

The first part serves JAX environments of any library: it separates numbers from other fields, and fixes types.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv
from jaxtyping import PyTree

from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import Actions, actions_of, observations_of
from kullback.control.envs.spec import is_bare, name_of, threshold_of, time_limit
from kullback.errors import InputError

spaces = gym.spaces


class Skeleton(NamedTuple):
    """What is left of a pytree without its numbers: None where each was. Hashable."""

    structure: Any
    fixed: tuple[_Same | None, ...]


def split(tree: PyTree, traced: bool = True) -> tuple[tuple[Any, ...], Skeleton]:
    """The numbers of a pytree, and the rest of it.

    traced  whether single real numbers are among them; arrays always are, and booleans, integers and words never
    """
    leaves, structure = jax.tree.flatten(tree)
    taken = [_is_array(leaf) or (traced and isinstance(leaf, float | np.floating)) for leaf in leaves]
    numbers = tuple(leaf for leaf, is_taken in zip(leaves, taken, strict=True) if is_taken)
    fixed = tuple(None if is_taken else _Same(leaf) for leaf, is_taken in zip(leaves, taken, strict=True))
    return numbers, Skeleton(structure, fixed)


def join(skeleton: Skeleton, numbers: tuple[Any, ...]) -> Any:
    """The pytree again, from its skeleton and its numbers."""
    rest = iter(numbers)
    leaves = [next(rest) if leaf is None else leaf.value for leaf in skeleton.fixed]
    return jax.tree.unflatten(skeleton.structure, leaves)


def content(thing: object) -> Hashable:
    """What tells an object from others of its class: the same for two that hold equal values.

    Whatever is neither a number, a word, an array nor a container of these counts as itself alone.
    """
    if not hasattr(thing, "__dict__"):
        return _Same(thing)
    return type(thing), tuple((name, _held(value)) for name, value in sorted(vars(thing).items()))


def compiles(make: Callable[[bool], Any], name: str) -> Any:
    """`make(traced)`, the first of True and False under which JAX can follow the reset and the step of what it makes.

    A parameter that Python code branches on cannot be an argument of the program.
    Raises `InputError` where neither can be followed.
    """
    error: Exception | None = None
    for traced in (True, False):
        simulator = make(traced)
        try:
            jax.eval_shape(simulator.reset, simulator.parameters, jax.random.key(0))
        except InputError:
            raise
        except Exception as found:  # whatever the environment's own code raises
            error = found
        else:
            return simulator
    raise InputError(
        f"env: {name} cannot be compiled by JAX ({type(error).__name__}); its functions must be made of JAX operations"
    ) from error


def single(tree: PyTree) -> Any:
    """A pytree with its JAX arrays in 32 bits, for programs that are made of these."""
    narrow = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}
    return jax.tree.map(lambda x: x.astype(narrow.get(str(x.dtype), x.dtype)) if isinstance(x, jax.Array) else x, tree)


class _Same:
    """A value that can be hashed and compared by what it holds; arrays by their bytes, and 1, 1.0 and True apart."""

    def __init__(self, value: Any) -> None:
        self.value = value
        if _is_array(value):
            if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                value = jax.random.key_data(value)
            array = np.asarray(value)
            self._key: Hashable = (array.shape, str(array.dtype), array.tobytes())
        elif isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            self._key = (type(value), value)
        else:
            self._key = id(value)  # `self.value` keeps it alive, so that no other object gets its id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def settled(first: PyTree, step: Callable[[Any], Any]) -> Any:
    """The state `first`, broadcast and cast so that `step` changes neither shapes nor types.

    A state may begin as Python numbers, or with other shapes than it has after a step; a loop needs it to keep them.
    Raises `InputError` where that does not come to rest.
    """
    state = jax.tree.map(jnp.asarray, first)
    for _ in range(4):
        after = jax.eval_shape(step, state)
        if jax.tree.structure(after) != jax.tree.structure(state):
            raise InputError("env: its state has another structure after a step; a state must keep one structure")
        try:
            grown = jax.tree.map(_widened, state, after)
        except ValueError:  # no shape holds both
            break
        if all(jax.tree.leaves(jax.tree.map(_alike, state, grown))):
            return grown
        state = grown
    raise InputError("env: its state changes its shapes or types from step to step; a state must keep them")


def fitted_to(state: PyTree, like: PyTree) -> Any:
    """A state with the shapes and types of another."""
    return jax.tree.map(lambda x, y: jnp.broadcast_to(jnp.asarray(x, y.dtype), y.shape), state, like)


def read(space: gym.Space[Any], observation: PyTree) -> jax.Array:
    """One observation inside a JAX program: an int32 label, or float32 as `spaces.read_observation` gives it."""
    if isinstance(space, spaces.Discrete):
        return jnp.reshape(jnp.asarray(observation, jnp.int32) - int(space.start), ())
    if isinstance(space, spaces.Box):
        return jnp.reshape(jnp.asarray(observation, jnp.float32), space.shape or (1,))
    return jnp.concatenate(_flat(space, observation))


def actions_inside(space: Any, name: str) -> Actions:
    """`spaces.actions_of`, and boxes of integers as choices."""
    if _is_integer_box(space):
        sizes = tuple(int(n) for n in np.ravel(space.high.astype(np.int64) - space.low.astype(np.int64) + 1))
        return Actions("choices", space.shape, sizes)
    return actions_of(space, name)


def write(space: Any, action: jax.Array) -> Any:
    """One action of ours [*shape] as the environment wants it, inside a JAX program."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return jnp.asarray(action, jnp.int32) + jnp.asarray(space.start, jnp.int32)
    if _is_integer_box(space):
        return jnp.asarray(action, jnp.int32) + jnp.asarray(space.low, jnp.int32)
    if isinstance(space, spaces.MultiBinary):
        return jnp.asarray(action, jnp.int8)
    if isinstance(space, spaces.Box):
        return jnp.asarray(action, jnp.result_type(float))
    parts: list[Any] = list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)
    flat, values = jnp.ravel(action), []
    for part in parts:
        width = int(np.prod(part.shape))
        values.append(write(part, jnp.reshape(flat[:width], part.shape)))
        flat = flat[width:]
    return dict(zip(space.spaces, values, strict=True)) if isinstance(space, spaces.Dict) else tuple(values)


def holds_arrays(value: object) -> bool:
    """Whether it is a JAX array, or a container with some inside."""
    taken = _taken_apart(value)
    return taken is not None and any(isinstance(leaf, jax.Array) for leaf in taken[0])


def _held(value: object) -> Hashable:
    taken = _taken_apart(value)
    return _Same(value) if taken is None else (taken[1], tuple(_Same(leaf) for leaf in taken[0]))


def _taken_apart(value: object) -> tuple[list[Any], Any] | None:
    try:
        leaves, structure = jax.tree.flatten(value)
        hash(structure)
    except (TypeError, ValueError):  # keys that cannot be sorted, or a container that cannot be hashed
        return None
    return leaves, structure


def _flat(space: gym.Space[Any], value: Any) -> list[jax.Array]:
    """The parts of an observation in the order of `gymnasium.spaces.flatten`, float32."""
    if isinstance(space, spaces.Dict):
        return [part for name, inner in space.spaces.items() for part in _flat(inner, _part(value, name))]
    if isinstance(space, spaces.Tuple):
        return [part for inner, x in zip(space.spaces, value, strict=True) for part in _flat(inner, x)]
    if isinstance(space, spaces.Discrete):
        return [jnp.ravel(jax.nn.one_hot(value - space.start, int(space.n), dtype=jnp.float32))]
    if isinstance(space, spaces.MultiDiscrete):
        sizes, start = np.ravel(space.nvec), np.ravel(space.start)
        places = enumerate(zip(sizes, start, strict=True))
        return [jax.nn.one_hot(jnp.ravel(value)[i] - begin, int(n), dtype=jnp.float32) for i, (n, begin) in places]
    return [jnp.ravel(jnp.asarray(value, jnp.float32))]


def _part(value: object, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)


def _is_array(x: object) -> bool:
    return isinstance(x, np.ndarray | jax.Array) and not (isinstance(x, np.ndarray) and x.dtype == object)


def _is_integer_box(space: gym.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer)


def _alike(x: np.ndarray | jax.Array, y: np.ndarray | jax.Array) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype


def _widened(x: jax.Array, after: PyTree) -> jax.Array:
    """x in the shape and the type that hold both x and what it becomes."""
    shape, dtype = jnp.broadcast_shapes(x.shape, after.shape), jnp.promote_types(x.dtype, after.dtype)
    return jnp.broadcast_to(x.astype(dtype), shape)


class State(NamedTuple):
    """The environment's own state, and what is seen in it (which may be random, so it is drawn once)."""

    inner: Any
    observation: jax.Array


# Gymnasium's functional environments.


@dataclass(frozen=True)
class Functional(Compiled):
    """A `FuncEnv` as a compiled environment. Make it with `functional_simulator`.

    The real numbers among its parameters are arguments; everything else about it is in `content`, by which two are the
    same program. A step uses one key for transition, observation, reward and end, as Gymnasium's own wrapper does.
    Source: Towers et al. (2024), arXiv:2407.17032.
    """

    known: Facts
    content: Hashable
    skeleton: Skeleton
    inner: Any = field(compare=False, repr=False)
    numbers: tuple[Any, ...] = field(compare=False, repr=False)

    @property
    def facts(self) -> Facts:
        return self.known

    @property
    def parameters(self) -> tuple[Any, ...]:
        return self.numbers

    def reset(self, parameters: tuple[Any, ...], key: jax.Array) -> State:
        settings = join(self.skeleton, parameters)
        first = self.inner.initial(key, *settings)
        first = State(first, read(self.inner.observation_space, self.inner.observation(first, key, *settings)))
        action = jnp.zeros(self.known.actions.shape, jnp.int32 if self.known.actions.is_discrete else None)
        return settled(first, lambda state: self._moved(settings, state, action, key)[0])

    def observe(self, parameters: tuple[Any, ...], state: State) -> jax.Array:
        return state.observation

    def step(
        self, parameters: tuple[Any, ...], state: State, action: jax.Array, key: jax.Array
    ) -> tuple[State, jax.Array, jax.Array]:
        following, reward, ended = self._moved(join(self.skeleton, parameters), state, action, key)
        return fitted_to(following, state), reward, ended

    def _moved(self, settings: tuple[Any, ...], state: State, action: jax.Array, key: jax.Array) -> tuple[Any, ...]:
        env, done = self.inner, write(self.inner.action_space, action)
        after = env.transition(state.inner, done, key, *settings)
        seen = read(env.observation_space, env.observation(after, key, *settings))
        reward = jnp.asarray(env.reward(state.inner, done, after, key, *settings), jnp.result_type(float))
        ended = jnp.asarray(env.terminal(after, key, *settings), bool)
        return State(after, seen), reward.reshape(()), ended.reshape(())


def is_functional(env: Any) -> bool:
    """Whether it is a `FuncEnv`, or a Gymnasium environment made of one that nothing else changes."""
    if isinstance(env, FuncEnv):
        return True
    return isinstance(getattr(getattr(env, "unwrapped", None), "func_env", None), FuncEnv) and is_bare(env)


def functional_simulator(env: Any, params: PyTree = None, limit: int | None = None) -> Functional:
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
    seen, done = observations_of(env.observation_space, name), actions_inside(env.action_space, name)
    facts = Facts(name, seen, done, limit, threshold)

    def make(traced: bool) -> Functional:
        numbers, skeleton = split(settings, traced)
        return Functional(facts, content(env), skeleton, env, numbers)

    return compiles(make, name)


def _snapshot(env: object) -> Any:
    """A copy that later changes do not reach, with the functions of its class where it holds only them, compiled."""
    env, original = copy.copy(env), env
    for name, value in list(vars(env).items()):
        plain: Any = getattr(value, "__wrapped__", None)
        is_own = getattr(plain, "__self__", None) is original and plain.__func__ is getattr(type(env), name, None)
        if hasattr(value, "lower") and (is_own or name == "step_info"):
            delattr(env, name)
    return env
