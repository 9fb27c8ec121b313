"""The twin of MountainCarContinuous."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kullback.control.envs.native.mountain_car import roll
from kullback.control.envs.native.twin import Twin, numbers


class Constants(NamedTuple):
    """The bounds of the force, the ends of the valley, the largest speed, the flag, the speed needed there, power."""

    min_action: float = -1.0
    max_action: float = 1.0
    min_position: float = -1.2
    max_position: float = 0.6
    max_speed: float = 0.07
    goal_position: float = 0.45
    goal_velocity: float = 0.0
    power: float = 0.0015


class MountainCarContinuous(Twin):
    """A car too weak for its hill, driven by a force; state (position x, velocity v), kept in single precision.

    v ← v + power · force − 0.0025 cos 3x and x ← x + v, both clipped; the left wall stops the car. A step pays
    −0.1 action², of the action before it is clipped to a force, and arriving pays 100.
    Source: Moore (1990); Gymnasium, MountainCarContinuous-v0, after A. de Broissia.
    """

    @classmethod
    def read(cls, inner: Any) -> Constants:
        return Constants(*numbers(inner, Constants._fields))

    def reset(self, parameters: Constants, key: jax.Array) -> jax.Array:
        position = jax.random.uniform(key, minval=-0.6, maxval=-0.4)
        return jnp.stack([position, jnp.zeros(())]).astype(jnp.float32)

    def observe(self, parameters: Constants, state: jax.Array) -> jax.Array:
        return state.astype(jnp.float32)

    def step(
        self, parameters: Constants, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        p = parameters
        position, speed = state.astype(jnp.result_type(float))
        wanted = action[0].astype(position.dtype)
        force = jnp.clip(wanted, p.min_action, p.max_action)
        position, speed = roll(p, position, speed + force * p.power - 0.0025 * jnp.cos(3.0 * position))
        there = (position >= p.goal_position) & (speed >= p.goal_velocity)
        reward = jnp.where(there, 100.0, 0.0) - 0.1 * jnp.square(wanted)
        return jnp.stack([position, speed]).astype(jnp.float32), reward, there
