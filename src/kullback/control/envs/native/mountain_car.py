"""The twin of MountainCar."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kullback.control.envs.native.twin import Twin, numbers


class Constants(NamedTuple):
    """The ends of the valley, the largest speed, the flag, the speed needed there, the car's force, and gravity."""

    min_position: float = -1.2
    max_position: float = 0.6
    max_speed: float = 0.07
    goal_position: float = 0.5
    goal_velocity: float = 0.0
    force: float = 0.001
    gravity: float = 0.0025


class MountainCar(Twin):
    """A car too weak for its hill, driven left (0), not (1) or right (2); state (position x, velocity v).

    v ← v + (action − 1) force − gravity cos 3x and x ← x + v, both clipped; the left wall stops the car. Each step
    costs 1. Source: Moore (1990); Sutton (1996), for these constants.
    """

    @classmethod
    def read(cls, inner: Any) -> Constants:
        return Constants(*numbers(inner, Constants._fields))

    def reset(self, parameters: Constants, key: jax.Array) -> jax.Array:
        return jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])

    def observe(self, parameters: Constants, state: jax.Array) -> jax.Array:
        return state.astype(jnp.float32)

    def step(
        self, parameters: Constants, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        p = parameters
        position, speed = state
        drive = (action - 1).astype(state.dtype) * p.force
        position, speed = roll(p, position, speed + drive - p.gravity * jnp.cos(3.0 * position))
        there = (position >= p.goal_position) & (speed >= p.goal_velocity)
        return jnp.stack([position, speed]), jnp.full_like(position, -1.0), there


def roll(p: Any, position: jax.Array, speed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the car gets to, and how fast it is there."""
    speed = jnp.clip(speed, -p.max_speed, p.max_speed)
    position = jnp.clip(position + speed, p.min_position, p.max_position)
    return position, jnp.where((position <= p.min_position) & (speed < 0), 0.0, speed)
