"""Compiled twins of Gymnasium's classic control, with exactly their dynamics and the environment's own constants."""

from __future__ import annotations

import abc
from collections import namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs import classic_control

from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.control.envs.spec import is_bare, name_of, threshold_of, time_limit


@dataclass(frozen=True)
class Twin(Compiled):
    """A compiled environment with the dynamics, rewards, ends and law of the first state of one of Gymnasium's.

    Computed in JAX's default type; Gymnasium's are computed in double. Its constants are its parameters.
    """

    known: Facts
    constants: Any = field(compare=False)

    @property
    def facts(self) -> Facts:
        return self.known

    @property
    def parameters(self) -> Any:
        return self.constants

    @classmethod
    def of(cls, env: gym.Env) -> Self | None:
        """The twin of a made environment, or None where it has other dynamics than are written here."""
        inner = env.unwrapped
        try:
            constants = cls.read(inner)
        except (AttributeError, TypeError, ValueError):  # no number where there should be one
            return None
        if constants is None or not all(np.isfinite(x).all() for x in constants):
            return None
        is_usual = constants == type(constants)()
        name, threshold = name_of(env), threshold_of(env) if is_usual else None
        seen, done = observations_of(inner.observation_space, name), actions_of(inner.action_space, name)
        return cls(Facts(name, seen, done, time_limit(env), threshold), constants)

    @classmethod
    @abc.abstractmethod
    def read(cls, inner: gym.Env) -> Any:
        """The constants of an environment, a NamedTuple whose defaults are the usual ones.

        None where the environment has settings that are not followed here.
        """


def numbers(inner: gym.Env, names: Iterable[str]) -> list[float]:
    """Attributes of an environment, as numbers; raises what `float` and `getattr` do."""
    return [float(getattr(inner, name)) for name in names]


class CartPole(Twin):
    """A pole on a cart that is pushed left (0) or right (1); state (position, velocity, angle, angular velocity).

    Angle θ from upright. With total mass M, pole mass m, half length l and push F, f = (F + m l θ̇² sin θ)/M,
    θ̈ = (g sin θ − f cos θ)/(l (4/3 − m cos² θ/M)) and ẍ = f − m l θ̈ cos θ/M.
    Source: Barto, Sutton and Anderson (1983), appendix, without friction; Florian (2007) for the derivation.
    """

    # Masses in kg, half the pole's length in m, force in N, the time of a step in s, thresholds in m and radians.
    # Gymnasium holds the sum of the masses and masspole · length apart, and so they are read.
    PHYSICS: ClassVar = {
        "gravity": 9.8,
        "masspole": 0.1,
        "total_mass": 1.1,
        "length": 0.5,
        "polemass_length": 0.05,
        "force_mag": 10.0,
        "tau": 0.02,
        "theta_threshold_radians": 12.0 * 2.0 * float(np.pi) / 360.0,
        "x_threshold": 2.4,
    }
    # 1 if positions move with the new velocities, 0 if with the old ones; and the rewards of a step after which the
    # pole stands, and of the last one.
    USUAL: ClassVar = {**PHYSICS, "semi_implicit": 0.0, "alive": 1.0, "fallen": 1.0}

    Constants = namedtuple("Constants", USUAL, defaults=USUAL.values())
    Constants.__qualname__ = "CartPole.Constants"  # by which a kept program finds it again

    @classmethod
    def read(cls, inner: Any) -> Constants:
        alive, fallen = (0.0, -1.0) if inner._sutton_barto_reward else (1.0, 1.0)
        semi_implicit = float(inner.kinematics_integrator != "euler")
        physics = cls.Constants(*numbers(inner, cls.PHYSICS))
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


TURN = 2.0 * np.pi


class Pendulum(Twin):
    """A rod swung by a torque u, clipped to its bounds; state (angle θ from upright in [−π, π], angular velocity).

    θ̈ = 3 g sin θ/(2 l) + 3 u/(m l²), by semi-implicit Euler steps; the reward is −(θ² + 0.1 θ̇² + 0.001 u²) before the
    step. It never terminates. Gymnasium lets θ grow and wraps it in the reward alone; nothing else tells turns apart,
    and single precision keeps its digits here. Source: Gymnasium, Pendulum-v1.
    """

    class Constants(NamedTuple):
        """Gravity g, the rod's mass m in kg and length l in m, a step's time dt in s, the largest speed and torque."""

        g: float = 10.0
        m: float = 1.0
        l: float = 1.0  # noqa: E741
        dt: float = 0.05
        max_speed: float = 8.0
        max_torque: float = 2.0

    @classmethod
    def read(cls, inner: gym.Env) -> Constants:
        return cls.Constants(*numbers(inner, cls.Constants._fields))

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


GRAVITY = 9.8


class Acrobot(Twin):
    """Two links hanging one from another, a torque at the joint between them; state (θ₁, θ₂, their velocities).

    θ₁ from hanging down, θ₂ relative to the first link, both in [−π, π]. One step is one Runge-Kutta step of order 4.
    Each step costs 1, but for the last, when the tip is above the bar by a length: −cos θ₁ − cos(θ₁ + θ₂) > 1.
    Source: Sutton (1996); Sutton and Barto (1998), section 11.3, for the dynamics.
    """

    # Of the two links, by our names: what Gymnasium calls them, and what they usually are. The first one's length, the
    # masses, where the centres of mass lie, the inertia, the largest speeds.
    LINKS: ClassVar = {
        "dt": ("dt", 0.2),
        "length": ("LINK_LENGTH_1", 1.0),
        "mass_1": ("LINK_MASS_1", 1.0),
        "mass_2": ("LINK_MASS_2", 1.0),
        "centre_1": ("LINK_COM_POS_1", 0.5),
        "centre_2": ("LINK_COM_POS_2", 0.5),
        "inertia": ("LINK_MOI", 1.0),
        "max_speed_1": ("MAX_VEL_1", float(4 * np.pi)),
        "max_speed_2": ("MAX_VEL_2", float(9 * np.pi)),
    }
    # What the actions do at the joint; and 1 for the dynamics of the book, 0 for those of the paper, which leave a term
    # out.
    USUAL: ClassVar = {**{k: usual for k, (_, usual) in LINKS.items()}, "torques": (-1.0, 0.0, 1.0), "coriolis": 1.0}

    Constants = namedtuple("Constants", USUAL, defaults=USUAL.values())
    Constants.__qualname__ = "Acrobot.Constants"  # by which a kept program finds it again

    @classmethod
    def read(cls, inner: Any) -> Constants | None:
        if inner.torque_noise_max > 0 or inner.book_or_nips not in ("book", "nips"):
            return None
        torques, coriolis = tuple(float(x) for x in inner.AVAIL_TORQUE), float(inner.book_or_nips == "book")
        links = numbers(inner, (name for name, _ in cls.LINKS.values()))
        return cls.Constants(*links, torques=torques, coriolis=coriolis)

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


def _slope(p: Acrobot.Constants, state: jax.Array, torque: jax.Array) -> jax.Array:
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


def _runge_kutta(slope: Callable[[jax.Array], jax.Array], state: jax.Array, dt: float | jax.Array) -> jax.Array:
    first = slope(state)
    second = slope(state + 0.5 * dt * first)
    third = slope(state + 0.5 * dt * second)
    return state + dt / 6.0 * (first + 2.0 * second + 2.0 * third + slope(state + dt * third))


class MountainCar(Twin):
    """A car too weak for its hill, driven left (0), not (1) or right (2); state (position x, velocity v).

    v ← v + (action − 1) force − gravity cos 3x and x ← x + v, both clipped; the left wall stops the car. Each step
    costs 1. Source: Moore (1990); Sutton (1996), for these constants.
    """

    class Constants(NamedTuple):
        """The ends of the valley, the largest speed, the flag, the speed needed there, the car's force, and gravity."""

        min_position: float = -1.2
        max_position: float = 0.6
        max_speed: float = 0.07
        goal_position: float = 0.5
        goal_velocity: float = 0.0
        force: float = 0.001
        gravity: float = 0.0025

    @classmethod
    def read(cls, inner: gym.Env) -> Constants:
        return cls.Constants(*numbers(inner, cls.Constants._fields))

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


def roll(
    p: MountainCar.Constants | MountainCarContinuous.Constants, position: jax.Array, speed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where the car gets to, and how fast it is there."""
    speed = jnp.clip(speed, -p.max_speed, p.max_speed)
    position = jnp.clip(position + speed, p.min_position, p.max_position)
    return position, jnp.where((position <= p.min_position) & (speed < 0), 0.0, speed)


class MountainCarContinuous(Twin):
    """A car too weak for its hill, driven by a force; state (position x, velocity v), kept in single precision.

    v ← v + power · force − 0.0025 cos 3x and x ← x + v, both clipped; the left wall stops the car. A step pays
    −0.1 action², of the action before it is clipped to a force, and arriving pays 100.
    Source: Moore (1990); Gymnasium, MountainCarContinuous-v0, after A. de Broissia.
    """

    class Constants(NamedTuple):
        """Bounds of the force, ends of the valley, the largest speed, the flag, the speed needed there, power."""

        min_action: float = -1.0
        max_action: float = 1.0
        min_position: float = -1.2
        max_position: float = 0.6
        max_speed: float = 0.07
        goal_position: float = 0.45
        goal_velocity: float = 0.0
        power: float = 0.0015

    @classmethod
    def read(cls, inner: gym.Env) -> Constants:
        return cls.Constants(*numbers(inner, cls.Constants._fields))

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


TWINS: dict[type, type[Twin]] = {
    classic_control.CartPoleEnv: CartPole,
    classic_control.PendulumEnv: Pendulum,
    classic_control.AcrobotEnv: Acrobot,
    classic_control.MountainCarEnv: MountainCar,
    classic_control.Continuous_MountainCarEnv: MountainCarContinuous,
}

__all__ = ["TWINS", "Acrobot", "CartPole", "MountainCar", "MountainCarContinuous", "Pendulum", "Twin", "twin_of"]


def twin_of(env: object) -> Twin | None:
    """The compiled twin of a Gymnasium environment, or None where nothing that is compiled here does the same.

    The environment must be exactly of a class in `TWINS`, with numbers for constants and none of its functions
    replaced, and only Gymnasium's own wrappers that watch or limit time around it. Their time limit is the twin's.
    """
    if not isinstance(env, gym.Env) or not is_bare(env):
        return None
    inner = env.unwrapped
    twin = TWINS.get(type(inner))
    # A function or a space of another kind on the instance itself would change what it does.
    if twin is None or any(callable(getattr(type(inner), name, None)) for name in vars(inner)):
        return None
    if getattr(inner.action_space, "start", 0) != 0:
        return None
    return twin.of(env)
