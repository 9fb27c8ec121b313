"""Sides known by a log-density: `Density`, and `Tilted`, the target of inference and control.

A `Tilted` side whose base is a sample keeps the sample's rows and changes their weights; the second half of this file
computes these weights, and the temperature at which the tilted sample is a given divergence from the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped
from numpyro.distributions import constraints
from numpyro.distributions.constraints import Constraint
from scipy.optimize import root_scalar

from kullback.arguments import flag, positive
from kullback.errors import InputError
from kullback.known.adaptors.registry import describe
from kullback.known.host import UNTRACEABLE, evaluated, number
from kullback.known.posterior import named_density
from kullback.known.record import Functions, Known, LogDensity, Sample
from kullback.known.static import Static
from kullback.known.support import from_constraint

OutcomeFunction = Callable[..., Float[Array, ""]]  # of one outcome; of pairs of an input and its outcome


class Density:
    """A side whose log-density can be evaluated: log P(x), up to a constant unless `normalized`.

    log_density  a function of one outcome [*event_shape] that returns one number, nats. One that JAX cannot trace,
                 since it uses NumPy or SciPy, is called on the host, outcome by outcome, and has no gradient: rules
                 that follow one then do not apply
    event_shape  the shape of one outcome; () for a number
    support      a NumPyro constraint; the real numbers unless given
    normalized   whether exp(log_density) integrates to 1
    shapes       of named outcomes, the shape of each that is no number

    Outcomes of several named parts are given by a constraint for each, in place of the shape: then `log_density` takes
    a dict, and a fit comes back by name, as that of a `Posterior`:
    `Density(f, {"mu": constraints.real, "w": constraints.simplex}, shapes={"w": (3,)})`.
    """

    def __init__(
        self,
        log_density: Callable[..., Any],
        event_shape: tuple[int, ...] | Mapping[str, Constraint] = (),
        support: Constraint | Mapping[str, Constraint] = constraints.real,
        normalized: bool = False,
        shapes: Mapping[str, int | tuple[int, ...]] | None = None,
    ) -> None:
        if not callable(log_density):
            raise InputError(
                f"log_density: {type(log_density).__name__} is not a function; pass one from an outcome to log P"
            )
        self.log_density, self.normalized = log_density, flag("normalized", normalized)
        named = next((one for one in (event_shape, support) if _is_named(one)), None)
        self.sites = (
            None if named is None else named_density(log_density, named, shapes, f"Density({_name(log_density)})")
        )
        if shapes is not None and named is None:
            raise InputError("shapes: they are of named outcomes; pass such as {'mu': constraints.real} with them")
        self.event_shape: tuple[int, ...] = _shape(event_shape) if self.sites is None else (self.sites.program.size,)
        self.support: Any = constraints.real_vector if self.sites is not None else support

    def known(self) -> Known:
        if self.sites is not None:
            known = self.sites.known()
            return known.holding(log_prob=known.log_density) if self.normalized else known
        log_density, traced = evaluated(self.log_density, self.event_shape, self.support, "log_density")
        support = from_constraint(self.support)
        whole = support.bounded and (np.isneginf(support.lower) & np.isposinf(support.upper)).all()
        if support.bounded and not support.discrete and not whole:
            log_density = Partial(_within, log_density, support.lower, support.upper, Static(len(self.event_shape)))
        return Known(
            name=f"Density({_name(self.log_density)})",
            event_shape=self.event_shape,
            # Without a support of the user's nothing is known of where it is 0.
            support=replace(support, assumed=bool(whole)),
            functions=Functions(
                log_density=log_density,
                log_prob=log_density if self.normalized else None,
                differentiable=traced,
            ),
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
                 of pairs the function takes an input and its outcome. Noisy rewards, such as returns of single
                 episodes, favour lucky rows: `kl.control.advantages` averages the noise out
    temperature  reward per nat, positive; of a sample also `kl.control.TargetKL(nats)`: the temperature at which
                 KL(tilted‖sample) is so many nats

    Raises `InputError` for rewards that are NaN or of another length, and temperatures that are not positive.
    Source: Peters and Schaal (2007) for rewards; Peng, Kumar, Zhang and Levine (2019), arXiv:1910.00177, algorithm 1,
    for advantages; Peters, Mülling and Altün (2010) for a target in nats.
    """

    def __init__(self, base: object, reward: OutcomeFunction | ArrayLike, temperature: float | Budget = 1.0) -> None:
        self.base, self.reward = base, reward
        self._base = describe(base, "base")
        sample = self._base.sample
        if sample is None and not callable(reward):
            raise InputError(f"reward: {type(reward).__name__} is not a function; pass one from an outcome to a number")
        if not isinstance(temperature, Budget):
            temperature = _positive(temperature)
        elif sample is None:
            raise InputError(
                f"temperature: {temperature} is found from a sample, and {self._base.name} is none; pass a number"
            )
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
        assert callable(self.reward)
        reward, traced = evaluated(self.reward, base.event_shape, within, "reward")
        log_density = Partial(_tilted, base.log_density, reward, np.float64(temperature))
        log_prob = None
        if base.atoms is not None:
            log_prob = Partial(_normalized_over, log_density, base.atoms)
        at = "" if temperature == 1.0 else f", temperature={temperature:g}"
        return Known(
            name=f"Tilted({base.name}, {_name(self.reward)}{at})",
            event_shape=base.event_shape,
            support=base.support,
            atoms=base.atoms,
            functions=Functions(
                log_density=log_density,
                log_prob=log_prob,
                differentiable=base.differentiable and traced,
            ),
        )

    def __repr__(self) -> str:
        return self.known().name


def _within(log_density: LogDensity, lower: np.ndarray, upper: np.ndarray, event_ndim: Static, x: ArrayLike) -> Array:
    """The log-density, and −∞ at outcomes outside the box of its support, where the function is not defined."""
    x = jnp.asarray(x)
    slack = 4 * jnp.finfo(x.dtype).eps * jnp.where(jnp.isfinite(upper - lower), jnp.maximum(abs(lower), abs(upper)), 0)
    inside = (x >= lower - slack) & (x <= upper + slack)
    # The function is not evaluated outside, where its gradient may be NaN.
    beside = jnp.where(jnp.isfinite(lower), lower + 1, jnp.where(jnp.isfinite(upper), upper - 1, 0.0))
    middle = jnp.where(jnp.isfinite(upper - lower), lower + (upper - lower) / 2, beside)
    asked = jnp.where(inside, jnp.clip(x, lower, upper), middle)
    axes = tuple(range(x.ndim - event_ndim.value, x.ndim))
    return jnp.where(inside.all(axes), log_density(asked), -jnp.inf)


def _tilted(base: LogDensity, reward: LogDensity, temperature: np.float64, x: ArrayLike) -> Array:
    return base(x) + reward(x) / temperature


def _normalized_over(log_density: LogDensity, atoms: Shaped[np.ndarray, "k ..."], x: ArrayLike) -> Array:
    return log_density(x) - jax.nn.logsumexp(log_density(jnp.asarray(atoms)))


def _positive(temperature: object) -> float:
    return positive("temperature", temperature)


def _is_named(supports: object) -> TypeGuard[Mapping[str, Constraint]]:
    """Whether it is a constraint for each name; a single other value is told as one of these by name."""
    return isinstance(supports, Mapping) and (
        not supports or any(isinstance(one, Constraint) for one in supports.values())
    )


def _shape(event_shape: object) -> tuple[int, ...]:
    sizes = event_shape if isinstance(event_shape, tuple | list) else None
    if sizes is None or not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in sizes):
        raise InputError(
            f"event_shape: {event_shape!r} is not a tuple of sizes such as () or (2,); one outcome is one array, so "
            "stack named draws into one of shape (n,) and take them apart in log_density, or pass a constraint for "
            "each name, as {'mu': constraints.real}"
        )
    return tuple(int(n) for n in sizes)


def _name(function: object) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "λ" if name == "<lambda>" else name


# A sample tilted by a reward: new weights for its rows, and the temperature for a given divergence.

FEW_ROWS = 10.0  # an effective sample size below this is called few in the plan


@runtime_checkable
class Budget(Protocol):
    """A divergence to reach, in nats, and bounds of the temperature that reaches it: `kl.control.TargetKL`."""

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
        few = "" if self.rows >= min(FEW_ROWS, self.before / 2) else " (few: a higher temperature keeps more)"
        size = f"{_shown(self.rows)} of {_shown(self.before)}{few}"
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
    p, nats = _reweighted(base, shifted, float(temperature))
    total = float(sample.size) if sample.weights is None else float(sample.weights.sum())
    return Weighting(
        weights=total * p,
        temperature=float(temperature),
        nats=nats,
        rows=_effective(p),
        before=_effective(base),
        remark=remark,
    )


def rewards_of(sample: Sample, reward: OutcomeFunction | ArrayLike) -> Float[np.ndarray, " n"]:
    """The reward of every row as float64 [n]; minus infinity excludes a row.

    reward  an array [n], or a function of one outcome (of pairs: of an input and its outcome), which is evaluated
            in double precision

    Raises `InputError` for another length, NaN or plus infinity, and where no row is left.
    """
    values = _rewards_by_row(sample, reward) if callable(reward) else np.asarray(reward)
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


def _rewards_by_row(sample: Sample, reward: Callable[..., Any]) -> np.ndarray:
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


def _shown(rows: float) -> str:
    return f"{rows:,.0f}" if rows >= 100.0 else f"{rows:.3g}"


def _reweighted(base: np.ndarray, shifted: np.ndarray, temperature: float) -> tuple[np.ndarray, float]:
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
    excess = lambda log_alpha: _reweighted(base, shifted, float(np.exp(log_alpha)))[1] - budget.nats  # noqa: E731
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
