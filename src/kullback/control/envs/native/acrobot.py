"""The twin of Acrobot."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.native.twin import Twin, numbers

GRAVITY = 9.8
TURN = 2.0 * np.pi
ATTRIBUTES = {  # what Gymnasium calls them
    "dt": "dt",
    "length": "LINK_LENGTH_1",
    "mass_1": "LINK_MASS_1",
    "mass_2": "LINK_MASS_2",
    "centre_1": "LINK_COM_POS_1",
    "centre_2": "LINK_COM_POS_2",
    "inertia": "LINK_MOI",
    "max_speed_1": "MAX_VEL_1",
    "max_speed_2": "MAX_VEL_2",
}


class Constants(NamedTuple):
    """Of the two links: the first one's length, masses, where the centres of mass lie, inertia, the largest speeds.

    torques  what the actions do at the joint
    coriolis 1 for the dynamics of the book, 0 for those of the paper, which leave a term out
    """

    dt: float = 0.2
    length: float = 1.0
    mass_1: float = 1.0
    mass_2: float = 1.0
    centre_1: float = 0.5
    centre_2: float = 0.5
    inertia: float = 1.0
    max_speed_1: float = float(4 * np.pi)
    max_speed_2: float = float(9 * np.pi)
    torques: tuple[float, ...] = (-1.0, 0.0, 1.0)
    coriolis: float = 1.0


class Acrobot(Twin):
    """Two links hanging one from another, a torque at the joint between them; state (θ₁, θ₂, their velocities).

    θ₁ from hanging down, θ₂ relative to the first link, both in [−π, π]. One step is one Runge-Kutta step of order 4.
    Each step costs 1, but for the last, when the tip is above the bar by a length: −cos θ₁ − cos(θ₁ + θ₂) > 1.
    Source: Sutton (1996); Sutton and Barto (1998), section 11.3, for the dynamics.
    """

    @classmethod
    def read(cls, inner: Any) -> Constants | None:
        if inner.torque_noise_max > 0 or inner.book_or_nips not in ("book", "nips"):
            return None
        torques, coriolis = tuple(float(x) for x in inner.AVAIL_TORQUE), float(inner.book_or_nips == "book")
        links: dict[str, Any] = dict(zip(ATTRIBUTES, numbers(inner, ATTRIBUTES.values()), strict=True))
        return Constants(**links, torques=torques, coriolis=coriolis)

    def reset(self, parameters: Constants, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)

    def observe(self, parameters: Constants, state: jax.Array) -> jax.Array:
        angles, speeds = state[:2], state[2:]
        turned = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1).reshape(4)
        return jnp.concatenate([turned, speeds]).astype(jnp.float32)

    def step(
        self, parameters: Constants, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        p = parameters
        torque = jnp.asarray(p.torques, state.dtype)[action]
        after = _runge_kutta(lambda x: _slope(p, x, torque), state, p.dt)
        angles = after[:2] - TURN * jnp.round(after[:2] / TURN)
        top = jnp.asarray([p.max_speed_1, p.max_speed_2], state.dtype)
        after = jnp.concatenate([angles, jnp.clip(after[2:], -top, top)])
        up = -jnp.cos(after[0]) - jnp.cos(after[0] + after[1]) > 1.0
        return after, jnp.where(up, 0.0, -1.0), up


def _slope(p: Constants, state: jax.Array, torque: jax.Array) -> jax.Array:
    """d state/dt, the equations of motion solved for the two angular accelerations."""
    angle_1, angle_2, speed_1, speed_2 = state
    lever = p.mass_2 * p.length * p.centre_2
    own_2 = p.mass_2 * p.centre_2 * p.centre_2 + p.inertia
    own_1 = p.mass_1 * p.centre_1 * p.centre_1 + p.mass_2 * p.length * p.length + p.inertia
    bend, stretch = lever * jnp.sin(angle_2), lever * jnp.cos(angle_2)
    d_1, d_2 = own_1 + own_2 + 2.0 * stretch, own_2 + stretch
    weight_2 = p.mass_2 * p.centre_2 * GRAVITY * jnp.sin(angle_1 + angle_2)
    weight_1 = (p.mass_1 * p.centre_1 + p.mass_2 * p.length) * GRAVITY * jnp.sin(angle_1)
    force_1 = weight_1 + weight_2 - bend * speed_2 * (speed_2 + 2.0 * speed_1)
    force_2 = weight_2 + p.coriolis * bend * jnp.square(speed_1)
    pull_2 = (torque + d_2 / d_1 * force_1 - force_2) / (own_2 - d_2 * d_2 / d_1)
    pull_1 = -(d_2 * pull_2 + force_1) / d_1
    return jnp.stack([speed_1, speed_2, pull_1, pull_2])


def _runge_kutta(slope: Any, state: jax.Array, dt: Any) -> jax.Array:
    first = slope(state)
    second = slope(state + 0.5 * dt * first)
    third = slope(state + 0.5 * dt * second)
    return state + dt / 6.0 * (first + 2.0 * second + 2.0 * third + slope(state + dt * third))
