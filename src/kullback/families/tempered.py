"""`Tempered`: a fitted classifier's logits over a temperature that is learned, a forward KL in one parameter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from kullback.errors import InputError
from kullback.families.conditional import ConditionalStructure, FittedConditional
from kullback.families.conditional_structure import rows_like
from kullback.families.family import support_of_all
from kullback.families.learnable import Learnable, Params, Structure
from kullback.known import Known, LearnableHooks

START = {"log_temperature": np.zeros(())}


class Tempered:
    """q(y∣x) with its logits divided by a temperature T > 0 that is learned: post-hoc calibration.

    KL(P‖Q_T) over held-out pairs, the only free number being log T: `kl.KL(kl.Pairs(x, y), Tempered(q)).minimize()`,
    whose `.q` is `q.tempered(T)`. The order of the classes, and so accuracy, does not change. For an ensemble the
    average is tempered.

    q  a fitted conditional of categorical or Bernoulli outcomes; not the data that it was fitted to, on which it looks
       surer than it may

    Raises `InputError` for another kind of outcome. Source: Guo, Pleiss, Sun and Weinberger (2017), equation 9.
    """

    def __init__(self, q: Any) -> None:
        if not isinstance(q, FittedConditional):
            raise InputError(f"q: {type(q).__name__} is not a fitted conditional; pass fit.q")
        self.q = q.tempered(1.0)  # raises where there are no logits

    def known(self) -> Known:
        return Known(name=f"tempered {self.q.name}", hooks=LearnableHooks(matched=self._matched))

    def _matched(self, other: Known) -> Known:
        q = self.q
        structure, fixed = TemperedStructure(q.structure, q.members), {"free": q.free, "fixed": q.fixed}
        return _matched(structure, fixed, partial(fitted, q), other, kind=Tempering)

    def __repr__(self) -> str:
        return f"Tempered({self.q!r})"


class TemperedLogits:
    """The same for logits [n, K] that are given as the inputs, from a classifier of any make.

    several  whether they are the logits of K labels by themselves rather than of K classes

    What is fitted is the temperature, a float.
    """

    def __init__(self, several: bool = False) -> None:
        self.several = several

    def known(self) -> Known:
        return Known(name="logits over a temperature", hooks=LearnableHooks(matched=self._matched))

    def _matched(self, other: Known) -> Known:
        return _matched(LogitsStructure(self.several), {}, temperature_of, other)


@dataclass(frozen=True)
class TemperedStructure(Structure):
    """What a fitted conditional predicts, over a temperature; `fixed` holds its free and its fixed parameters."""

    base: ConditionalStructure
    members: int = 1

    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        before = fixed["fixed"]
        within = {**before, "temperature": jnp.exp(free["log_temperature"]) * before["temperature"]}
        return self.base.predictive(fixed["free"], within, inputs, self.members)

    def spec(self) -> dict[str, Any] | None:
        return None  # what is kept of such a fit is the conditional: see `Tempering.record`


class Tempering(Learnable):
    """The temperature of a conditional, whose fit is kept as the conditional at that temperature."""

    def record(self, name: str, free: Params) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        q = self.wrap(free)
        return Learnable(
            structure=q.structure, fixed=q.fixed, initial=self.initial, wrap=self.wrap, members=q.members
        ).record(q.name, q.free)


@dataclass(frozen=True)
class LogitsStructure(Structure):
    """Inputs that are logits, over a temperature."""

    several: bool = False

    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        logits = jnp.asarray(inputs) / jnp.exp(free["log_temperature"])
        if self.several:
            return dist.BernoulliLogits(logits, validate_args=False).to_event(1)
        return dist.CategoricalLogits(logits, validate_args=False)

    def spec(self) -> dict[str, Any] | None:
        return None


def temperature_of(free: Params) -> float:
    """The temperature at the free parameter."""
    return float(np.exp(np.asarray(free["log_temperature"], np.float64)))


def fitted(q: FittedConditional, free: Params) -> FittedConditional:
    """What `Fit.q` is: the conditional at the fitted temperature."""
    return q.tempered(temperature_of(free))


def _matched(structure: Structure, fixed: Params, wrap: Any, other: Known, kind: type[Learnable] = Learnable) -> Known:
    name = "logits over a temperature"
    inputs = other.sample.inputs if other.sample is not None else other.inputs
    if inputs is None:
        raise InputError(f"p and q: {name} need inputs, and {other.name} has none; pass kl.Pairs(x, y)")
    side = kind(structure, fixed, lambda rng, start: START, wrap, conditional=True)
    example = jax.eval_shape(structure.distribution, START, fixed, rows_like(inputs, 1))
    if tuple(example.event_shape) != tuple(other.event_shape or ()):
        raise InputError(f"p: outcomes of shape {other.event_shape} for logits of outcomes of {example.event_shape}")
    return Known(name=name, event_shape=other.event_shape, hooks=LearnableHooks(side), support=support_of_all(example))
