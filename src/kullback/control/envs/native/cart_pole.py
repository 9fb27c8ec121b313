"""The twin of CartPole."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.native.twin import Twin, numbers


class Constants(NamedTuple):
    """Masses in kg, half the pole's length in m, force in N, the time of a step in s, thresholds in m and radians.

    Gymnasium holds the sum of the masses and masspole · length apart, and so they are read.
    semi_implicit  1 if positions move with the new velocities, 0 if with the old ones
    alive, fallen  rewards of a step after which the pole stands, and of the last one
    """

    gravity: float = 9.8
    masspole: float = 0.1
    total_mass: float = 1.1
    length: float = 0.5
    polemass_length: float = 0.05
    force_mag: float = 10.0
    tau: float = 0.02
    theta_threshold_radians: float = 12.0 * 2.0 * float(np.pi) / 360.0
    x_threshold: float = 2.4
    semi_implicit: float = 0.0
    alive: float = 1.0
    fallen: float = 1.0


class CartPole(Twin):
    """A pole on a cart that is pushed left (0) or right (1); state (position, velocity, angle, angular velocity).

    Angle θ from upright. With total mass M, pole mass m, half length l and push F, f = (F + m l θ̇² sin θ)/M,
    θ̈ = (g sin θ − f cos θ)/(l (4/3 − m cos² θ/M)) and ẍ = f − m l θ̈ cos θ/M.
    Source: Barto, Sutton and Anderson (1983), appendix, without friction; Florian (2007) for the derivation.
    """

    @classmethod
    def read(cls, inner: Any) -> Constants:
        alive, fallen = (0.0, -1.0) if inner._sutton_barto_reward else (1.0, 1.0)
        semi_implicit = float(inner.kinematics_integrator != "euler")
        physics = Constants(*numbers(inner, Constants._fields[:9]))
        return physics._replace(semi_implicit=semi_implicit, alive=alive, fallen=fallen)

    def reset(self, parameters: Constants, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)

    def observe(self, parameters: Constants, state: jax.Array) -> jax.Array:
        return state.astype(jnp.float32)

    def step(
        self, parameters: Constants, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        p = parameters
        x, x_speed, angle, angle_speed = state
        push = jnp.where(action == 1, p.force_mag, -p.force_mag)
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        force = (push + p.polemass_length * jnp.square(angle_speed) * sine) / p.total_mass
        inertia = p.length * (4.0 / 3.0 - p.masspole * jnp.square(cosine) / p.total_mass)
        angle_pull = (p.gravity * sine - cosine * force) / inertia
        x_pull = force - p.polemass_length * angle_pull * cosine / p.total_mass
        speed = jnp.stack([x_speed, angle_speed])
        pull = p.tau * jnp.stack([x_pull, angle_pull])
        x, angle = jnp.stack([x, angle]) + p.tau * (speed + p.semi_implicit * pull)
        x_speed, angle_speed = speed + pull
        fell = (jnp.abs(x) > p.x_threshold) | (jnp.abs(angle) > p.theta_threshold_radians)
        return jnp.stack([x, x_speed, angle, angle_speed]), jnp.where(fell, p.fallen, p.alive), fell
