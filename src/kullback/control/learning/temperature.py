"""Temperatures, in reward per nat: a number, a schedule, or what a divergence asked for makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kullback.arguments import positive
from kullback.errors import InputError

RATE = 0.02  # of the step on log α at each adaptation, per relative error of the divergence
LOWEST, HIGHEST = 1e-6, 1e6


@dataclass(frozen=True)
class Temperature:
    """What α is during a training. Hashable without its numbers, which are `numbers`.

    kind  "number"; "schedule", which moves from a first to a last number; or "target": found by the dual
    """

    kind: str
    first: float
    last: float
    nats: float = 0.0
    lowest: float = LOWEST
    highest: float = HIGHEST

    @property
    def is_adapted(self) -> bool:
        return self.kind == "target"

    @property
    def numbers(self) -> np.ndarray:
        """log first, log last, nats, log lowest, log highest: the argument of compiled programs."""
        logs = np.log([self.first, self.last, self.lowest, self.highest])
        return np.array([logs[0], logs[1], self.nats, logs[2], logs[3]])

    def __str__(self) -> str:
        if self.kind == "number":
            return f"temperature {self.first:g}"
        if self.kind == "schedule":
            return f"temperature {self.first:g} to {self.last:g}"
        return f"temperature for {self.nats:g} nats a step"


@dataclass(frozen=True)
class TargetKL:
    """A temperature that is found: the one at which the policy keeps KL(π‖π₀) = `nats` a step on average.

    It is the multiplier of the constraint E[KL(π(·∣s)‖π₀(·∣s))] ≤ nats, followed by dual ascent on log α.

    nats             the divergence from the prior to spend at each step, positive
    start            the temperature to start from, reward per nat
    lowest, highest  bounds of the temperature; one that ends at a bound is reported so
    Source: Haarnoja et al. (2018), arXiv:1812.05905, section 5, with the KL to a prior for the entropy.
    """

    nats: float
    start: float = 1.0
    lowest: float = LOWEST
    highest: float = HIGHEST

    def __post_init__(self) -> None:
        for name in ("nats", "start", "lowest", "highest"):
            value = getattr(self, name)
            if not _is_positive(value):
                raise InputError(f"{name}: {value!r} is not a positive number")
        if not self.lowest <= self.start <= self.highest:
            raise InputError(f"start: {self.start:g} is not between the bounds {self.lowest:g} and {self.highest:g}")


@dataclass(frozen=True)
class Annealed:
    """A temperature that moves geometrically from `first` to `last`, reward per nat, over the steps of a training."""

    first: float
    last: float

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            value = getattr(self, name)
            if not _is_positive(value):
                raise InputError(f"{name}: {value!r} is not a positive number of reward units per nat")


def as_temperature(value: Any) -> Temperature:
    """A number, `Annealed` or `TargetKL` as a `Temperature`.

    Raises `InputError` for anything else, or a number that is not positive and finite.
    """
    if isinstance(value, Temperature):
        return value
    if isinstance(value, TargetKL):
        return Temperature("target", value.start, value.start, value.nats, value.lowest, value.highest)
    if isinstance(value, Annealed):
        return Temperature("schedule", value.first, value.last)
    if _is_positive(value):
        return Temperature("number", float(value), float(value))
    raise InputError(
        f"temperature: {value} is not a positive number of reward units per nat, a kl.control.Annealed(first, last) "
        "or a kl.control.TargetKL(nats)"
    )


def log_temperature(
    numbers: Float[Array | np.ndarray, " 5"], adapted: jax.Array, fraction: jax.Array, is_adapted: bool
) -> jax.Array:
    """log α when `fraction` of the training is done; `adapted` is what the dual has found so far."""
    if is_adapted:
        return adapted
    return numbers[0] + fraction * (numbers[1] - numbers[0])


def adapt(
    numbers: Float[Array | np.ndarray, " 5"], log_alpha: jax.Array, kl: jax.Array, rate: float = RATE
) -> jax.Array:
    """log α after a look at the divergence: more where the policy strays farther than asked, within the bounds."""
    error = jnp.clip(kl / numbers[2] - 1.0, -1.0, 1.0)
    return jnp.clip(log_alpha + rate * error, numbers[3], numbers[4])


def _is_positive(value: object) -> bool:
    try:
        return positive("temperature", value) > 0
    except InputError:
        return False
