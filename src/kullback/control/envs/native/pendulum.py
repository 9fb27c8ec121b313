"""The twin of Pendulum."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.native.twin import Twin, numbers

TURN = 2.0 * np.pi


class Constants(NamedTuple):
    """Gravity g, the rod's mass m in kg and length l in m, the time of a step dt in s, the largest speed and torque."""

    g: float = 10.0
    m: float = 1.0
    l: float = 1.0  # noqa: E741
    dt: float = 0.05
    max_speed: float = 8.0
    max_torque: float = 2.0


class Pendulum(Twin):
    """A rod swung by a torque u, clipped to its bounds; state (angle θ from upright in [−π, π], angular velocity).

    θ̈ = 3 g sin θ/(2 l) + 3 u/(m l²), by semi-implicit Euler steps; the reward is −(θ² + 0.1 θ̇² + 0.001 u²) before the
    step. It never terminates. Gymnasium lets θ grow and wraps it in the reward alone; nothing else tells turns apart,
    and single precision keeps its digits here. Source: Gymnasium, Pendulum-v1.
    """

    @classmethod
    def read(cls, inner: Any) -> Constants:
        return Constants(*numbers(inner, Constants._fields))

    def reset(self, parameters: Constants, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (2,), minval=-1.0) * jnp.array([np.pi, 1.0])

    def observe(self, parameters: Constants, state: jax.Array) -> jax.Array:
        angle, speed = state
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed]).astype(jnp.float32)

    def step(
        self, parameters: Constants, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        p = parameters
        angle, speed = state
        torque = jnp.clip(action[0].astype(state.dtype), -p.max_torque, p.max_torque)
        cost = jnp.square(angle) + 0.1 * jnp.square(speed) + 0.001 * jnp.square(torque)
        pull = 1.5 * p.g / p.l * jnp.sin(angle) + 3.0 / (p.m * p.l * p.l) * torque
        speed = jnp.clip(speed + p.dt * pull, -p.max_speed, p.max_speed)
        angle = angle + p.dt * speed
        angle = angle - TURN * jnp.round(angle / TURN)
        return jnp.stack([angle, speed]), -cost, jnp.array(False)
