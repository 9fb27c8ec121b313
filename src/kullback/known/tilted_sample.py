"""A sample tilted by a reward: its rows weighted, and the temperature at which it strays so far and no farther."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float
from scipy.optimize import root_scalar

from kullback.errors import InputError
from kullback.known.evaluated import UNTRACEABLE, number
from kullback.known.record import Sample

FEW = 10.0  # rows that count, below which a plan says that they are few


@runtime_checkable
class Budget(Protocol):
    """A divergence to spend, in nats, and the bounds of the temperature that spends it: `kl.control.TargetKL`."""

    @property
    def nats(self) -> float: ...
    @property
    def lowest(self) -> float: ...
    @property
    def highest(self) -> float: ...


@dataclass(frozen=True)
class Weighting:
    """What tilting makes of a sample of n rows.

    weights      [n], with the total of the sample's own
    temperature  reward per nat
    nats         KL(tilted‖sample) = Σ w log(w/b), with both weights summing to 1
    rows         the effective sample size (Σ w)²/Σ w² (Kish 1965); `before`, that of the sample's own
    remark       what the plan says of a temperature that was found
    """

    weights: Float[np.ndarray, " n"]
    temperature: float
    nats: float
    rows: float
    before: float
    remark: str = ""

    def __str__(self) -> str:
        few = "" if self.rows >= min(FEW, self.before / 2) else " (few: a higher temperature keeps more)"
        size = f"{_rounded(self.rows)} of {_rounded(self.before)}{few}"
        return f"temperature={self.temperature:.4g}{self.remark}, effective sample size {size}"


def tilted(sample: Sample, reward: Float[np.ndarray, " n"], temperature: float | Budget) -> Weighting:
    """The sample with weights ∝ its own · exp(reward/temperature), in double precision.

    A budget ε asks for the α at which KL(tilted‖sample) = ε. This is the minimum of the dual
    g(α) = α ε + α log Σ b exp(r/α), which is convex in α with g′(α) = ε − KL; the divergence falls as α rises, so that
    the root is bracketed by the budget's bounds and found to rounding. Where it lies outside them, the nearer bound is
    taken.
    Source: Peters, Mülling and Altün (2010), the dual of relative entropy policy search.
    """
    base = sample.normalized_weights()
    with np.errstate(over="ignore"):
        shifted = reward - reward[base > 0].max()
    remark = ""
    if not isinstance(temperature, int | float):
        temperature, remark = _temperature(base, shifted, temperature)
    p, nats = _tilted(base, shifted, float(temperature))
    total = float(sample.size) if sample.weights is None else float(sample.weights.sum())
    return Weighting(total * p, float(temperature), nats, _effective(p), _effective(base), remark)


def rewards_of(sample: Sample, reward: Any) -> Float[np.ndarray, " n"]:
    """The reward of every row as float64 [n]; minus infinity excludes a row.

    reward  an array [n], or a function of one outcome (of pairs: of an input and its outcome), which is evaluated
            in double precision

    Raises `InputError` for another length, NaN or plus infinity, and where no row is left.
    """
    values = _evaluated(sample, reward) if callable(reward) else np.asarray(reward)
    if values.dtype.kind not in "iubf":
        raise InputError(f"reward: values of type {values.dtype} are no numbers; pass one number for each row")
    if values.shape != (sample.size,):
        raise InputError(f"reward: shape {values.shape} for {sample.size} rows; pass one number for each row")
    values = values.astype(np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        row = int(np.argmax(np.isnan(values) | np.isposinf(values)))
        raise InputError(f"reward: it is {values[row]} in row {row}; drop such rows, or correct the reward")
    if np.isneginf(values[sample.normalized_weights() > 0]).all():
        raise InputError("reward: it is minus infinity in every row that counts; at least one must be possible")
    return values


def _evaluated(sample: Sample, reward: Callable[..., Any]) -> np.ndarray:
    if sample.values is None:
        raise InputError("reward: some columns of the sample are no numbers; pass the rewards as an array")
    rows = (sample.values,) if sample.inputs is None else (sample.inputs, sample.values)
    with jax.enable_x64(True):
        try:
            return np.asarray(jax.vmap(lambda *row: jax.numpy.reshape(reward(*row), ()))(*rows))
        except UNTRACEABLE:
            return np.asarray([number(reward, *row) for row in zip(*rows, strict=True)])


def _effective(weights: np.ndarray) -> float:
    return float(1.0 / np.square(weights).sum())


def _rounded(rows: float) -> str:
    return f"{rows:,.0f}" if rows >= 100.0 else f"{rows:.3g}"


def _tilted(base: np.ndarray, shifted: np.ndarray, temperature: float) -> tuple[np.ndarray, float]:
    """The weights of the tilted rows, which sum to 1, and Σ w log(w/b), as a sum of terms that are not negative."""
    with np.errstate(over="ignore", under="ignore"):
        log_ratio = shifted / temperature
        log_ratio = log_ratio - np.log(base @ np.exp(log_ratio))
        ratio = np.exp(log_ratio)
    p = base * ratio
    # w log(w/b) summed is Σ b (ρ log ρ − ρ + 1) with ρ = w/b; near ρ = 1 the bracket is ρ (log ρ + expm1(−log ρ)).
    finite = np.where(ratio > 0, log_ratio, 0.0)
    near = ratio * (finite + np.expm1(np.minimum(-finite, 1.0)))
    terms = np.where(np.abs(log_ratio) < 1.0, near, ratio * finite - ratio + 1.0)
    return p / p.sum(), float(base @ terms)


def _temperature(base: np.ndarray, shifted: np.ndarray, budget: Budget) -> tuple[float, str]:
    excess = lambda log_alpha: _tilted(base, shifted, float(np.exp(log_alpha)))[1] - budget.nats  # noqa: E731
    low, high = np.log(budget.lowest), np.log(budget.highest)
    asked = f" for {budget.nats:g} nats"
    least = excess(low)
    if least <= 0.0:
        return budget.lowest, f", its lower bound{asked}, where there are {least + budget.nats:.3g} at most"
    most = excess(high)
    if most >= 0.0:
        return budget.highest, f", its upper bound{asked}, where there are still {most + budget.nats:.3g}"
    root = root_scalar(excess, bracket=(low, high), xtol=1e-14, rtol=1e-14).root
    return float(np.exp(root)), asked
