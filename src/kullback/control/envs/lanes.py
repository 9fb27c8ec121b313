"""Many lanes of one compiled environment on the device: time limits, resets, and what a step saw."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kullback.control.envs.simulator import Compiled, Transition


class Lanes(NamedTuple):
    """Where n lanes stand: the environment's states, the observations [n, ...], masks or None, and steps so far [n]."""

    state: Any
    observation: jax.Array
    mask: jax.Array | None
    elapsed: jax.Array


def start(simulator: Compiled, parameters: Any, key: jax.Array, lanes: int) -> Lanes:
    """`lanes` fresh episodes."""
    return fresh(simulator, parameters, jax.random.split(key, lanes))


def fresh(simulator: Compiled, parameters: Any, keys: jax.Array) -> Lanes:
    """A fresh episode by each of n keys."""
    state = jax.vmap(simulator.reset, (None, 0))(parameters, keys)
    observation, mask = _seen(simulator, parameters, state)
    return Lanes(state, observation, mask, jnp.zeros(keys.shape[0], jnp.int32))


def advance(
    simulator: Compiled, parameters: Any, lanes: Lanes, action: jax.Array, key: jax.Array
) -> tuple[Lanes, Transition]:
    """One step of every lane by `action` [n, *shape]; lanes that end start again."""
    n = lanes.elapsed.shape[0]
    keys = jax.random.split(key, 2 * n)
    return moved(simulator, parameters, lanes, action, keys[:n], fresh(simulator, parameters, keys[n:]))


def moved(
    simulator: Compiled, parameters: Any, lanes: Lanes, action: jax.Array, keys: jax.Array, instead: Lanes
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
        Lanes(state, following, following_mask, elapsed),
    )
    seen = Transition(
        lanes.observation,
        action,
        reward.astype(jnp.result_type(float)),
        terminated,
        truncated,
        following,
        jnp.ones(n, bool),
        lanes.mask,
        following_mask,
    )
    return now, seen


def _seen(simulator: Compiled, parameters: Any, state: Any) -> tuple[jax.Array, jax.Array | None]:
    observation = jax.vmap(simulator.observe, (None, 0))(parameters, state)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    if jax.eval_shape(simulator.mask, parameters, one) is None:
        return observation, None
    return observation, jax.vmap(simulator.mask, (None, 0))(parameters, state)
