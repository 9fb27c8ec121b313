"""The adaptor for frozen scipy.stats variables of one number.

A variable becomes NumPyro's distribution where `scipy_families` has a translation; else it is evaluated by callback.
Parameters that are arrays make a batch of distributions, as they do in NumPyro.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jax.typing import ArrayLike
from numpy.typing import ArrayLike as NumPyLike
from numpyro.distributions import Distribution, constraints
from scipy import special, stats

from kullback.errors import InputError
from kullback.known.adaptors import numpyro_distributions
from kullback.known.adaptors.scipy_families import Moved, Number, log_prob_of_power, translated
from kullback.known.host import host_log_prob, host_sampler
from kullback.known.record import Functions, Known, Moments
from kullback.known.support import Support, from_constraint

Frozen = Any  # scipy.stats has no public class of its frozen variables
Family = Any  # nor of the families behind them
LogMass = Callable[..., np.ndarray]  # (counts, *shapes) -> log-probabilities


def accepts(x: object) -> bool:
    ours = any(kind.__module__.startswith("scipy.stats") for kind in type(x).__mro__)
    return ours and hasattr(x, "rvs") and (hasattr(x, "dist") or getattr(x, "numargs", None) == 0)


def known(frozen: Frozen) -> Known:
    """What is known of a frozen scipy.stats variable of one number, or of a batch of them.

    Raises `InputError` where a parameter is out of its range.
    """
    if not hasattr(frozen, "dist"):
        frozen = frozen()  # a law without shapes, as a histogram is
    family = frozen.dist
    name = f"scipy.stats.{family.name}"
    low, high = (np.asarray(end, float) for end in frozen.support())
    if np.isnan(low).any() or np.isnan(high).any():
        raise InputError(f"{name}: a parameter is out of its range; correct the arguments {_said(frozen)}")
    shapes, loc, scale = family._parse_args(*frozen.args, **frozen.kwds)
    moments = partial(_moments, frozen)
    if type(family).__module__.startswith("scipy.stats"):
        parameters = tuple(map(as_number, shapes)), as_number(loc), as_number(scale)
        law = translated(family.name, *parameters)
        facts: dict[str, Any] = {"name": name, "moments": moments, "entropy": frozen.entropy}
        if isinstance(law, Moved):
            facts |= {"support": support_between(low, high, False), "log_prob": Partial(_moved_log_prob, *law[:3])}
        own = log_prob_of_power(family.name, *parameters)
        if own is not None:
            facts |= {"log_prob": own}
        whole = law.law if isinstance(law, Moved) else law
        if whole is not None:
            known = numpyro_distributions.known(whole)
            is_composed = own is not None or type(whole) is dist.TransformedDistribution
            return known.holding(**facts) if is_composed else known
    discrete = hasattr(frozen, "pmf")
    batch = np.broadcast_shapes(low.shape, high.shape)
    listed = getattr(family, "xk", None)
    return Known(
        name=name,
        event_shape=(),
        batch_shape=batch,
        support=support_between(low, high, discrete) if listed is None else _listed(np.asarray(listed) + loc),
        atoms=None if not discrete else counts_between(low, high) if listed is None else np.asarray(listed) + loc,
        functions=Functions(
            sampler=host_sampler(
                partial(_draw_counts, family, shapes, loc, batch) if discrete else partial(_draw, frozen, batch),
                batch,
                whole=discrete and listed is None and _whole(np.asarray(loc)),
            ),
            log_prob=host_log_prob(_log_mass(frozen, shapes, loc) if discrete else frozen.logpdf, 0, batch),
            moments=moments,
            entropy=frozen.entropy,
            differentiable=False,
        ),
    )


def _moved_log_prob(base: Distribution, loc: Number, scale: Number, y: ArrayLike) -> jax.Array:
    """log p((y − loc)/scale) − log |scale|; `base` decides whether y is in the support, since its ends are exact."""
    return numpyro_distributions.log_prob(base, (jnp.asarray(y) - loc) / scale) - jnp.log(jnp.abs(scale))


def support_between(low: np.ndarray, high: np.ndarray, discrete: bool) -> Support | None:
    """The support from one end to the other, by steps of 1 where it is discrete."""
    if discrete and not _whole(low, high):
        return Support(
            "points a step of 1 apart",
            True,
            constraint=lambda x: (x >= low) & (x <= high) & _is_whole(x - np.where(np.isfinite(low), low, high)),
        )
    if np.isneginf(low).all() and np.isposinf(high).all() and not discrete:
        return from_constraint(constraints.real)
    return from_constraint((constraints.integer_interval if discrete else constraints.interval)(low[()], high[()]))


def counts_between(low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """The outcomes of all laws of a batch together, where they are finitely many and a step of 1 apart."""
    first, last = float(low.min()), float(high.max())
    if not (last - first < numpyro_distributions.MAX_ATOMS and _whole(low - first)):
        return None
    counts = np.arange(first, last + 0.5)
    if not _whole(counts):
        return counts
    return counts.astype(np.int32 if np.abs(counts).max() < 2**31 else np.int64)


def _listed(points: np.ndarray) -> Support:
    return Support(f"{points.size} points", True, constraint=lambda x: np.isin(x, points))


def _is_whole(x: np.ndarray) -> np.ndarray:
    return np.abs(x - np.round(x)) < 1e-6


def _whole(*ends: np.ndarray) -> bool:
    return all((end[np.isfinite(end)] == np.round(end[np.isfinite(end)])).all() for end in ends)


def as_number(x: NumPyLike) -> Number:
    """A parameter as a number where it is one, and as an array of doubles or integers else."""
    array = np.asarray(x)
    return array.item() if array.ndim == 0 else array


def _said(frozen: Frozen) -> str:
    given = [str(x) for x in frozen.args] + [f"{name}={x}" for name, x in frozen.kwds.items()]
    return f"({', '.join(given)})"


def _moments(frozen: Frozen) -> Moments:
    with np.errstate(all="ignore"):
        return Moments(np.asarray(frozen.mean()), np.asarray(frozen.var())[..., None, None])


def _log_mass(frozen: Frozen, shapes: tuple[Number, ...], loc: Number) -> LogMass:
    """log P at counts: SciPy's, or one of ours where SciPy's underflows."""
    own = log_mass(frozen.dist.name)
    return frozen.logpmf if own is None else partial(_shifted, own, shapes, loc, frozen.support())


def _shifted(
    own: LogMass, shapes: tuple[Number, ...], loc: Number, ends: tuple[Number, Number], x: np.ndarray
) -> np.ndarray:
    inside = (x >= ends[0]) & (x <= ends[1]) & (x - loc == np.round(x - loc))
    # Counts outside the support are replaced by one inside: the end that is finite, or the location.
    least = np.where(np.isfinite(ends[0]), ends[0], np.where(np.isfinite(ends[1]), ends[1], loc))
    return np.where(inside, own(np.where(inside, x, least) - loc, *shapes), -np.inf)


def _draw_counts(
    family: Family, shapes: tuple[Number, ...], loc: Number, batch: tuple[int, ...], random: np.random.Generator, n: int
) -> np.ndarray:
    """Draws, shifted here: SciPy would round them after the shift."""
    return family(*shapes).rvs(size=(n, *batch) if batch else n, random_state=random) + loc


def _draw(frozen: Frozen, batch: tuple[int, ...], random: np.random.Generator, n: int) -> np.ndarray:
    return frozen.rvs(size=(n, *batch) if batch else n, random_state=random)


# Log-probabilities of counts for which SciPy takes the logarithm of the probability, and so gives −∞ inside the support
# where the probability underflows.


def log_mass(name: str) -> LogMass | None:
    """(k, *shapes) -> log P(k) at counts k of the support, before a shift; None where SciPy's own is accurate."""
    return LOG_MASSES.get(name)


def _dlaplace(k: Number, a: Number) -> np.ndarray:
    return np.log(np.tanh(0.5 * a)) - a * np.abs(k)


def _logser(k: Number, p: Number) -> np.ndarray:
    return k * np.log(p) - np.log(k) - np.log(-np.log1p(-p))


def _planck(k: Number, rate: Number) -> np.ndarray:
    return np.log(-np.expm1(-rate)) - rate * k


def _boltzmann(k: Number, rate: Number, n: Number) -> np.ndarray:
    return np.log(np.expm1(-rate) / np.expm1(-rate * n)) - rate * k


def _zipf(k: Number, a: Number) -> np.ndarray:
    return -a * np.log(k) - np.log(special.zeta(a))


def _zipfian(k: Number, a: Number, n: Number) -> np.ndarray:
    return -a * np.log(k) + stats.zipfian.logpmf(1, a, n)


def _skellam(k: Number, one: Number, other: Number) -> np.ndarray:
    """−(√μ₁ − √μ₂)² + (k/2) log(μ₁/μ₂) + log e⁻ᶻ I_|k|(z), with z = 2√(μ₁μ₂). Source: Skellam (1946)."""
    z = 2.0 * np.sqrt(one * other)
    return -((np.sqrt(one) - np.sqrt(other)) ** 2) + 0.5 * k * np.log(one / other) + _log_bessel(np.abs(k), z)


def _log_bessel(order: Number, z: Number) -> np.ndarray:
    """log e⁻ᶻ I_v(z) at whole v ≥ 0, also where it underflows.

    There v is large beside √z: by the power series where its terms fall from the first on, else by the uniform
    expansion. Source: NIST Digital Library of Mathematical Functions, 10.25.2 and 10.41.3.
    """
    v, z = np.broadcast_arrays(np.asarray(order, float), np.asarray(z, float))
    scaled = special.ive(v, z)
    direct = scaled > 1e-280
    v = np.where(direct, 400.0, v)
    series = v * np.log(0.5 * z) - special.gammaln(v + 1.0) + np.log(special.hyp0f1(v + 1.0, 0.25 * z**2)) - z
    few = 0.25 * z**2 < v + 1.0
    return np.where(direct, np.log(np.where(direct, scaled, 1.0)), np.where(few, series, _debye(v, z)))


def _debye(v: np.ndarray, z: np.ndarray) -> np.ndarray:
    x = z / v
    root = np.sqrt(1.0 + x**2)
    p = 1.0 / root
    # η + log of the prefactor; √(1 + x²) − z/v loses nothing, since x is not large where this is used.
    exponent = v * (root - x + np.log(x / (1.0 + root)))
    square = p**2
    first = p * (3.0 - 5.0 * square) / 24.0
    second = square * (81.0 - 462.0 * square + 385.0 * square**2) / 1152.0
    third = p**3 * (30375.0 - 369603.0 * square + 765765.0 * square**2 - 425425.0 * square**3) / 414720.0
    fourth = (
        square**2
        * (
            4465125.0
            - 94121676.0 * square
            + 349922430.0 * square**2
            - 446185740.0 * square**3
            + 185910725.0 * square**4
        )
        / 39813120.0
    )
    correction = np.log1p(first / v + second / v**2 + third / v**3 + fourth / v**4)
    return exponent - 0.5 * np.log(2.0 * np.pi * v) - 0.5 * np.log(root) + correction


LOG_MASSES: dict[str, LogMass] = {
    "boltzmann": _boltzmann,
    "dlaplace": _dlaplace,
    "logser": _logser,
    "planck": _planck,
    "skellam": _skellam,
    "zipf": _zipf,
    "zipfian": _zipfian,
}
