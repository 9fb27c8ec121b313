"""Sides known by a log-density: `Density`, and `Tilted`, the one target of inference and control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from kullback.arguments import flag, positive
from kullback.errors import InputError
from kullback.known.evaluated import evaluated
from kullback.known.record import Known
from kullback.known.static import Static
from kullback.known.support import from_constraint
from kullback.known.tilted_sample import Budget, Weighting, rewards_of, tilted

LogDensity = Callable[[Any], Float[Array, ""]]


class Density:
    """A side whose log-density can be evaluated: log P(x), up to a constant unless `normalized`.

    log_density  a function of one outcome [*event_shape] that returns one number, nats. One that JAX cannot trace,
                 since it uses NumPy or SciPy, is called on the host, outcome by outcome, and has no gradient: rules
                 that follow one then do not apply
    event_shape  the shape of one outcome; () for a number
    support      a NumPyro constraint; the real numbers unless given
    normalized   whether exp(log_density) integrates to 1
    """

    def __init__(
        self,
        log_density: LogDensity,
        event_shape: tuple[int, ...] = (),
        support: Any = constraints.real,
        normalized: bool = False,
    ) -> None:
        if not callable(log_density):
            raise InputError(
                f"log_density: {type(log_density).__name__} is not a function; pass one from an outcome to log P"
            )
        self.log_density, self.event_shape = log_density, _shape(event_shape)
        self.support, self.normalized = support, flag("normalized", normalized)

    def known(self) -> Known:
        log_density, traced = evaluated(self.log_density, self.event_shape, self.support, "log_density")
        support = from_constraint(self.support)
        whole = support.bounded and (np.isneginf(support.lower) & np.isposinf(support.upper)).all()
        if support.bounded and not support.discrete and not whole:
            log_density = Partial(_within, log_density, support.lower, support.upper, Static(len(self.event_shape)))
        return Known(
            name=f"Density({_name(self.log_density)})",
            event_shape=self.event_shape,
            log_density=log_density,
            log_prob=log_density if self.normalized else None,
            # Without a support of the user's nothing is known of where it is 0.
            support=replace(support, assumed=bool(whole)),
            differentiable=traced,
        )

    def __repr__(self) -> str:
        return self.known().name


class Tilted:
    """P(x) ∝ base(x) · exp(reward(x) / temperature): a prior tilted by a reward.

    With a log-likelihood as the reward and temperature 1 it is a Bayesian posterior, and log Z the evidence. Where the
    base is known by a sample, it is that sample with each row's weight multiplied by exp(reward/temperature): fitting a
    policy to tilted pairs of observations and actions, by forward KL, is reward- or advantage-weighted regression. An
    input then counts with its own Z(x), which changes no answer of a q that can hold every p(y∣x).

    base         any side with a log-density (a NumPyro distribution, a `Density`), or known by a sample (an array, a
                 frame, `Samples`, `Pairs`, another `Tilted`)
    reward       a function of one outcome that returns one number, as `Density` takes; of a sample also an array [n];
                 of pairs the function takes an input and its outcome. Rewards that hold luck, such as returns of
                 single episodes, make an optimist: `kl.control.advantages` averages it out
    temperature  reward per nat, positive; of a sample also `kl.control.TargetKL(nats)`: the temperature at which
                 KL(tilted‖sample) is so many nats

    Raises `InputError` for rewards that are NaN or of another length, and temperatures that are not positive.
    Source: Peters and Schaal (2007) for rewards; Peng, Kumar, Zhang and Levine (2019), arXiv:1910.00177, algorithm 1,
    for advantages; Peters, Mülling and Altün (2010) for a target in nats.
    """

    def __init__(self, base: Any, reward: LogDensity | Any, temperature: float | Budget = 1.0) -> None:
        from kullback.known.adaptors import describe

        self.base, self.reward = base, reward
        self._base = describe(base, "base")
        sample = self._base.sample
        if sample is None and not callable(reward):
            raise InputError(f"reward: {type(reward).__name__} is not a function; pass one from an outcome to a number")
        if not isinstance(temperature, Budget):
            temperature = _positive(temperature)
        elif sample is None:
            raise InputError(f"temperature: {temperature} is found from a sample, and {self._base.name} is none; "
                             "pass a number")  # fmt: skip
        self.temperature: float | Budget = temperature
        self.weighting: Weighting | None = None
        if sample is not None:
            self.weighting = tilted(sample, rewards_of(sample, reward), temperature)

    def known(self) -> Known:
        if self.weighting is not None:
            return self._of_sample(self.weighting)
        assert isinstance(self.temperature, float)
        return self._of_density(self.temperature)

    def _of_sample(self, weighting: Weighting) -> Known:
        base = self._base
        assert base.sample is not None
        function = f", {_name(self.reward)}" if callable(self.reward) else ""
        sample = replace(base.sample, weights=weighting.weights)
        return replace(base, name=f"Tilted({base.name}{function}), {weighting}", sample=sample)

    def _of_density(self, temperature: float) -> Known:
        base = self._base
        if base.log_density is None or base.event_shape is None or base.batch_shape:
            raise InputError(
                f"base: {base.name} has no log-density of a single outcome; pass a distribution, a Density or a sample"
            )
        within = None if base.support is None else base.support.constraint
        reward, traced = evaluated(self.reward, base.event_shape, within, "reward")
        log_density = Partial(_tilted, base.log_density, reward, np.float64(temperature))
        log_prob = None
        if base.atoms is not None:
            log_prob = Partial(_normalized_over, log_density, base.atoms)
        at = "" if temperature == 1.0 else f", temperature={temperature:g}"
        return Known(
            name=f"Tilted({base.name}, {_name(self.reward)}{at})",
            event_shape=base.event_shape,
            log_density=log_density,
            log_prob=log_prob,
            support=base.support,
            atoms=base.atoms,
            differentiable=base.differentiable and traced,
        )

    def __repr__(self) -> str:
        return self.known().name


def _within(log_density: Callable[[Any], Array], lower: Any, upper: Any, event_ndim: Static, x: Any) -> Array:
    """The log-density, and −∞ at outcomes outside the box of its support, where the function means nothing."""
    x = jnp.asarray(x)
    slack = 4 * jnp.finfo(x.dtype).eps * jnp.where(jnp.isfinite(upper - lower), jnp.maximum(abs(lower), abs(upper)), 0)
    inside = (x >= lower - slack) & (x <= upper + slack)
    # The function is not asked outside, where its gradient may be NaN.
    beside = jnp.where(jnp.isfinite(lower), lower + 1, jnp.where(jnp.isfinite(upper), upper - 1, 0.0))
    middle = jnp.where(jnp.isfinite(upper - lower), lower + (upper - lower) / 2, beside)
    asked = jnp.where(inside, jnp.clip(x, lower, upper), middle)
    axes = tuple(range(x.ndim - event_ndim.value, x.ndim))
    return jnp.where(inside.all(axes), log_density(asked), -jnp.inf)


def _tilted(base: Callable[[Any], Array], reward: Callable[[Any], Array], temperature: Any, x: Any) -> Array:
    return base(x) + reward(x) / temperature


def _normalized_over(log_density: Callable[[Any], Array], atoms: Any, x: Any) -> Array:
    return log_density(x) - jax.nn.logsumexp(log_density(jnp.asarray(atoms)))


def _positive(temperature: Any) -> float:
    return positive("temperature", temperature)


def _shape(event_shape: Any) -> tuple[int, ...]:
    sizes = event_shape if isinstance(event_shape, tuple | list) else None
    if sizes is None or not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in sizes):
        raise InputError(
            f"event_shape: {event_shape!r} is not a tuple of sizes such as () or (2,); one outcome is one array, so "
            "stack named draws into one of shape (n,) and take them apart in log_density"
        )
    return tuple(int(n) for n in sizes)


def _name(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "λ" if name == "<lambda>" else name
