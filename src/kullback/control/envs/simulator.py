"""What a rule asks of an environment: one that JAX can compile, or one that only steps; and many compiled in lanes."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from kullback.control.envs.spaces import Actions, Observations

MOST_REWARD = 1e18  # rewards are learned from in single precision, by the squares of their sums


@dataclass(frozen=True)
class Facts:
    """What is known of an environment before it is played. Hashable.

    limit      steps after which it truncates an episode, or None
    threshold  the return at which its authors call it solved, or None
    """

    name: str
    observations: Observations
    actions: Actions
    limit: int | None = None
    threshold: float | None = None


class Transition(NamedTuple):
    """One step of each of n lanes, or T of them: arrays [n, ...] or [T, n, ...].

    observation  what the policy saw; `mask` the actions allowed there, booleans [..., *shape, categories], or None
    action       what it did; `reward` what it got
    terminated   the episode ended: nothing is to come
    truncated    it was cut off by a time limit: what would have come is to be bootstrapped at `following`
    following    the observation after the step and before any reset; `following_mask` the actions allowed there
    valid        False for a dead transition, of a lane that is being reset; it is not to be learned from
    """

    observation: Shaped[Array, "*t n ..."]
    action: Shaped[Array, "*t n ..."]
    reward: Float[Array, "*t n"]
    terminated: Bool[Array, "*t n"]
    truncated: Bool[Array, "*t n"]
    following: Shaped[Array, "*t n ..."]
    valid: Bool[Array, "*t n"]
    mask: Bool[Array, "*t n ..."] | None = None
    following_mask: Bool[Array, "*t n ..."] | None = None


def is_sound(seen: Any) -> Bool[Array, ""]:
    """Whether rewards have squares and observations are finite, of a `Transition` or what has its fields."""
    rewards = (jnp.abs(jnp.where(seen.valid, seen.reward, 0.0)) <= MOST_REWARD).all()
    return rewards & jnp.isfinite(seen.observation).all() & jnp.isfinite(seen.following).all()


class Compiled(abc.ABC):
    """An environment of pure JAX functions of one lane; whoever plays it adds lanes, the time limit and resets.

    A subclass is a frozen dataclass, hashable without arrays: compiled programs are keyed by it. Numbers that may
    differ between two environments of one kind (masses, a table) are `parameters`, an argument of every function.
    States are pytrees of arrays. Actions are ours: integers from 0, or real numbers in the environment's units.
    """

    @property
    @abc.abstractmethod
    def facts(self) -> Facts:
        """What is known of it."""

    @property
    def parameters(self) -> Any:
        """A pytree of numbers that its functions take."""
        return ()

    @abc.abstractmethod
    def reset(self, parameters: PyTree, key: jax.Array) -> Any:
        """The first state of an episode."""

    @abc.abstractmethod
    def observe(self, parameters: PyTree, state: PyTree) -> jax.Array:
        """The observation in a state: float32 [*shape], or an int32 label."""

    @abc.abstractmethod
    def step(self, parameters: PyTree, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        """The next state, the reward, and whether the episode terminated there."""

    def mask(self, parameters: PyTree, state: PyTree) -> jax.Array | None:
        """Which actions are allowed in a state, booleans [*shape, categories]; None where all always are."""
        return None


class Stepper(abc.ABC):
    """An environment that only steps, on the host: `lanes` of them side by side, each reset as soon as it ends.

    observation, mask  of every lane, now [lanes, ...]; mask is None where the environment gives none
    """

    facts: Facts
    lanes: int
    observation: np.ndarray
    mask: np.ndarray | None

    @abc.abstractmethod
    def reset(self, seed: int) -> None:
        """Start a fresh episode in every lane; all that follows is determined by `seed` and the actions."""

    @abc.abstractmethod
    def step(self, action: np.ndarray) -> Transition:
        """Act in every lane [lanes, *shape], and reset the lanes that ended.

        Raises `EnvironmentFault` where a reward or an observation is not finite, or the environment raises or hangs.
        """

    @abc.abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Where every lane stands, as arrays that a file can hold."""

    @abc.abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> str:
        """Go to where `state` says; returns what could not be restored, in words, or nothing."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let the environments go."""


# Many lanes of one compiled environment.


class Lanes(NamedTuple):
    """Where n lanes stand: the environment's states, the observations [n, ...], masks or None, and steps so far [n]."""

    state: Any
    observation: Shaped[Array, "n ..."]
    mask: Bool[Array, "n ..."] | None
    elapsed: Int[Array, " n"]


def start_lanes(simulator: Compiled, parameters: PyTree, key: Key[Array, ""], lanes: int) -> Lanes:
    """`lanes` fresh episodes."""
    return fresh_lanes(simulator, parameters, jax.random.split(key, lanes))


def fresh_lanes(simulator: Compiled, parameters: PyTree, keys: Key[Array, " n"]) -> Lanes:
    """A fresh episode by each of n keys."""
    state = jax.vmap(simulator.reset, (None, 0))(parameters, keys)
    observation, mask = _seen(simulator, parameters, state)
    elapsed = jnp.zeros(keys.shape[0], jnp.int32)
    return Lanes(state=state, observation=observation, mask=mask, elapsed=elapsed)


def advance_lanes(
    simulator: Compiled, parameters: PyTree, lanes: Lanes, action: Shaped[Array, "n ..."], key: Key[Array, ""]
) -> tuple[Lanes, Transition]:
    """One step of every lane by `action` [n, *shape]; lanes that end start again."""
    n = lanes.elapsed.shape[0]
    keys = jax.random.split(key, 2 * n)
    return moved_lanes(simulator, parameters, lanes, action, keys[:n], fresh_lanes(simulator, parameters, keys[n:]))


def moved_lanes(
    simulator: Compiled,
    parameters: PyTree,
    lanes: Lanes,
    action: Shaped[Array, "n ..."],
    keys: Key[Array, " n"],
    instead: Lanes,
) -> tuple[Lanes, Transition]:
    """One step of every lane by its own key [n]; those that end go on as the fresh ones that are given."""
    n = lanes.elapsed.shape[0]
    state, reward, terminated = jax.vmap(simulator.step, (None, 0, 0, 0))(parameters, lanes.state, action, keys)
    following, following_mask = _seen(simulator, parameters, state)
    elapsed, limit = lanes.elapsed + 1, simulator.facts.limit
    truncated = ~terminated & (elapsed >= limit) if limit is not None else jnp.zeros(n, bool)
    over = terminated | truncated
    now = jax.tree.map(
        lambda new, old: jnp.where(over.reshape(n, *(1,) * (new.ndim - 1)), new, old),
        instead,
        Lanes(state=state, observation=following, mask=following_mask, elapsed=elapsed),
    )
    seen = Transition(
        observation=lanes.observation,
        action=action,
        reward=reward.astype(jnp.result_type(float)),
        terminated=terminated,
        truncated=truncated,
        following=following,
        valid=jnp.ones(n, bool),
        mask=lanes.mask,
        following_mask=following_mask,
    )
    return now, seen


def _seen(simulator: Compiled, parameters: PyTree, state: PyTree) -> tuple[jax.Array, jax.Array | None]:
    observation = jax.vmap(simulator.observe, (None, 0))(parameters, state)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    if jax.eval_shape(simulator.mask, parameters, one) is None:
        return observation, None
    return observation, jax.vmap(simulator.mask, (None, 0))(parameters, state)
