"""What a fit of a posterior is worth: the evidence between two bounds, and draws corrected by their weights.

At draws x of q the weights are w = p̃(x)/q(x), of which p̃ is the joint density of sites and data. E log w is the
bound that a fit maximises. The logarithm of the mean of w is below log Z as well, in expectation, and nearer (Burda,
Grosse and Salakhutdinov 2016, theorem 1). The mean of log w under the posterior itself is log Z + KL(P‖q), above log Z;
it is estimated by the weighted draws, as expectations of any function are. These estimates are good while the largest
weights have a finite variance, which the shape k̂ of their tail tells: they are smoothed by a generalised Pareto law,
and above k̂ = 0.7 nothing rests on them (Vehtari, Simpson, Gelman, Yao and Gabry 2024).

In one or two dimensions log Z is an integral, and what a fit lacks of it is known whatever the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from kullback.estimate.pareto_tail import following, pareto_fit, tail_size
from kullback.inference.named_law import NamedLaw
from kullback.known.posterior import BLOCK
from kullback.minimize.improper import log_density_at
from kullback.result import Estimate, Guarantee

DRAWS, BATCHES = 8192, 8
RELIABLE = 0.7  # k̂, above which weights correct nothing


@dataclass(frozen=True)
class Weighted:
    """Draws of q and their weights.

    x            vectors [n, D]
    log_weights  log p̃ − log q [n]
    rounding     of these
    share        how many independent draws each counts for; below 1 for those of a Markov chain
    missed       nats of log Z that are known to lie where q has no draws
    """

    x: Float[np.ndarray, "n d"]
    log_weights: Float[np.ndarray, " n"]
    rounding: float
    share: float = 1.0
    missed: float = 0.0

    @cached_property
    def khat(self) -> float:
        """The shape of the tail of the weights; −∞ where they are equal but for rounding."""
        return pareto_tail(self.log_weights, self.rounding)[0]

    @cached_property
    def khat_error(self) -> float:
        """The standard error of k̂, from its values on batches of the draws."""
        each = np.array([pareto_tail(part, self.rounding)[0] for part in np.array_split(self.log_weights, BATCHES)])
        finite = each[np.isfinite(each)]
        return float(finite.std(ddof=1) / np.sqrt(BATCHES)) if len(finite) == BATCHES else 0.0

    @property
    def reliable(self) -> bool:
        return self.khat < RELIABLE and not self.missed

    @cached_property
    def smoothed(self) -> Float[np.ndarray, " n"]:
        """The logarithms of the weights with the largest ones smoothed."""
        return pareto_smoothed(self.log_weights, self.rounding)

    @cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Smoothed weights that sum to 1."""
        return np.exp(self.smoothed - np.logaddexp.reduce(self.smoothed))

    @property
    def effective(self) -> float:
        """The effective sample size of the weights, 1/Σ w² (Kish 1965)."""
        return self.share * float(1.0 / np.square(self.weights).sum())

    @cached_property
    def bound(self) -> Estimate:
        """E_q log w ≤ log Z."""
        return _mean(self.log_weights, Guarantee.LOWER_BOUND)

    @cached_property
    def lower(self) -> Estimate:
        """log of the mean weight: below log Z in expectation."""
        value, ratio = _log_mean(self.log_weights)
        error = float(ratio.std(ddof=1) / np.sqrt(len(ratio)))
        return Estimate(value, error, Guarantee.LOWER_BOUND, quantity="log Z")

    @cached_property
    def evidence(self) -> Estimate:
        """log of the mean of the smoothed weights."""
        value, ratio = _log_mean(self.smoothed)
        error = float(ratio.std(ddof=1) / np.sqrt(len(ratio)))
        return Estimate(value, error, Guarantee.CONSISTENT, quantity="log Z", reason=self.reason)

    @cached_property
    def upper(self) -> Estimate:
        """log Z + KL(P‖q), a forward estimate; ∞ where the weights are not reliable."""
        if not self.reliable:
            return Estimate(np.inf, 0.0, Guarantee.UPPER_BOUND, quantity="log Z", reason=self.reason)
        logs = np.where(np.isfinite(self.log_weights), self.log_weights, 0.0)
        value = float(self.weights @ logs)
        error = float(np.sqrt(np.square(self.weights * (logs - value)).sum()))
        reason = "its expectation under the posterior is estimated by weighted draws"
        return Estimate(value, error, Guarantee.UPPER_BOUND, quantity="log Z", reason=reason)

    @cached_property
    def gap(self) -> Estimate:
        """KL(q‖P) = log Z − E_q log w, or a lower bound of it where the weights are not reliable."""
        logs = self.smoothed if self.reliable else self.log_weights
        value, ratio = _log_mean(logs)
        # Both terms are of the same draws, and vary together.
        away = ratio - (self.log_weights - self.bound.value)
        error = float(away.std(ddof=1) / np.sqrt(len(away))) if np.isfinite(away).all() else np.inf
        guarantee = Guarantee.CONSISTENT if self.reliable else Guarantee.LOWER_BOUND
        return Estimate(value - self.bound.value, error, guarantee, quantity="KL(q‖posterior)", reason=self.reason)

    @property
    def reason(self) -> str:
        if self.missed:
            return f"{self.missed:.2g} nats of log Z lie where q has no draws"
        return "" if self.reliable else f"k̂ = {self.khat:.2f} is above {RELIABLE}: the weights' error is not known"

    def expectation(self, values: Float[np.ndarray, "n ..."]) -> tuple[np.ndarray, np.ndarray]:
        """The weighted mean of values at the draws, and its standard error by the delta method."""
        w = self.weights.reshape(-1, *(1,) * (values.ndim - 1))
        mean = (w * values).sum(0)
        return mean, np.sqrt(np.square(w * (values - mean)).sum(0) / self.share)

    def resampled(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Places of n draws of the posterior among these, by systematic resampling, in random order."""
        ends = np.cumsum(self.weights)
        places = np.searchsorted(ends, (rng.uniform() + np.arange(n)) / n * ends[-1])
        return rng.permutation(np.minimum(places, len(ends) - 1))


def weighted(q: NamedLaw, key: jax.Array, draws: int = DRAWS) -> Weighted:
    """Fresh draws of q with their weights."""
    x, log_q = q.vectors(key, draws)
    log_p = log_joint_of(q, x)
    with np.errstate(invalid="ignore"):
        logs = log_p.astype(np.float64) - log_q
    size = max(1.0, *(float(np.max(np.abs(v), where=np.isfinite(v), initial=0.0)) for v in (log_q, log_p)))
    rounding = 4 * size * max(float(np.finfo(v.dtype).eps) for v in (log_q, log_p))
    return Weighted(x, np.where(np.isnan(logs), -np.inf, logs), rounding)


MISSED = 0.05  # nats


def missing(corrected: Weighted, known: float | None, others: Sequence[float]) -> Weighted:
    """The draws with what is known of the mass that they miss: from log Z itself, or from other modes, each of which
    has at least the mass of its own bound.

    others  bounds of fits to modes that q has no draws at
    """
    if known is not None:
        missed = known - corrected.evidence.value
        least = MISSED + 5 * corrected.evidence.standard_error
    else:
        here = corrected.lower.value
        missed, least = float(np.logaddexp.reduce([here, *others]) - here), MISSED
    return replace(corrected, missed=missed) if missed > least else corrected


def log_joint_of(q: NamedLaw, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """log p̃ of unconstrained vectors."""
    return log_density_of(q.sites.log_density, x, q.sites.double)


def log_density_of(target: Any, x: Float[np.ndarray, "n d"], double: bool) -> Float[np.ndarray, " n"]:
    with jax.enable_x64(double):
        rows = np.concatenate([x, np.repeat(x[:1], -len(x) % BLOCK, 0)])
        found = [np.asarray(log_density_at(target, rows[i : i + BLOCK])) for i in range(0, len(rows), BLOCK)]
    return np.concatenate(found)[: len(x)]


def _mean(logs: Float[np.ndarray, " n"], guarantee: Guarantee) -> Estimate:
    if np.isneginf(logs).any():
        return Estimate(-np.inf, 0.0, guarantee, quantity="log Z", reason="q has mass where the posterior has none")
    return Estimate(logs.mean(), logs.std(ddof=1) / np.sqrt(len(logs)), guarantee, quantity="log Z")


def _log_mean(logs: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """The logarithm of the mean of weights, and the weights in units of their mean."""
    value = float(np.logaddexp.reduce(logs) - np.log(len(logs)))
    return value, np.exp(logs - value) if np.isfinite(value) else np.zeros(len(logs))


def pareto_tail(log_weights: Float[np.ndarray, " n"], rounding: float = 0.0) -> tuple[float, int]:
    """k̂ of the largest weights, and how many of them follow the law; −∞ and 0 where they are equal but for rounding.

    A tail that does not follow a generalised Pareto law is halved: its least values are then the crest of the weights'
    bulk. Weights that are equal but for the crest of log w have a k̂ of 3 or more otherwise.
    """
    finite = np.sort(log_weights[np.isfinite(log_weights)])
    tail = tail_size(len(finite))
    if tail < 5:
        return np.inf, 0
    top = finite[-tail - 1 :]
    if top[-1] - top[0] <= rounding or -np.expm1(top[0] - top[-1]) <= 1e-12:
        return -np.inf, 0
    values = np.exp(top - top[-1])
    if values[tail // 4] - values[0] < 1e-200:  # a few weights are all of them
        return np.inf, 0
    return following(values[0] + np.concatenate([[0.0], np.maximum(values[1:] - values[0], 1e-300)]))


def pareto_smoothed(log_weights: Float[np.ndarray, " n"], rounding: float = 0.0) -> Float[np.ndarray, " n"]:
    """Log-weights of which the largest are replaced by quantiles of the generalised Pareto law fitted to them, and
    none is above the largest. Source: Vehtari et al. (2024), algorithm 1."""
    found, order = log_weights.copy(), np.argsort(log_weights, kind="stable")
    _, tail = pareto_tail(log_weights, rounding)
    if not tail:
        return found
    top, most = order[-tail:], log_weights[order[-1]]
    cut = np.exp(log_weights[order[-tail - 1]] - most)
    excess = np.maximum(np.exp(log_weights[top] - most) - cut, 1e-300)
    shape, logs = pareto_fit(excess)
    # b = −k/σ of the law's distribution function 1 − (1 − b x)^(−1/k).
    scale = float(logs.mean()) * excess[-1] / np.expm1(logs[-1])
    share = (np.arange(1, tail + 1) - 0.5) / tail
    stretched = -np.log1p(-share) if shape == 0 else np.expm1(-shape * np.log1p(-share)) / shape
    found[top] = np.minimum(np.log(cut + scale * stretched) + most, most)
    return found


# The evidence as an integral

REACH = {1: 24.0, 2: 6.0}  # of t in u = sinh t standard deviations: up to 1e10 of them, and 200
FINE = {1: 16384, 2: 192}  # intervals along an axis
RESOLVED = 1e-4  # nats, by which the integral may change when every other point is left out


def integrated(
    log_p: Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, " n"]],
    centre: Float[np.ndarray, " d"],
    factor: Float[np.ndarray, "d d"],
) -> float | None:
    """log ∫ p̃ in one or two dimensions, by the trapezoid rule over x = centre + factor · sinh t, which is exact beyond
    all powers of the step for smooth densities; None where it is not resolved.

    Source: Trefethen and Weideman (2014), section 4, for the rule.
    """
    d = len(centre)
    if d not in FINE:
        return None
    t = np.linspace(-REACH[d], REACH[d], FINE[d] + 1)
    grid = np.stack(np.meshgrid(*[t] * d, indexing="ij"), -1)
    x = centre + np.sinh(grid.reshape(-1, d)) @ factor.T
    logs = log_p(x) + np.log(np.cosh(grid)).sum(-1).reshape(-1)
    logs = np.where(np.isnan(logs), -np.inf, logs).reshape(grid.shape[:-1])
    step = t[1] - t[0]
    jacobian = float(np.linalg.slogdet(factor)[1])
    fine = np.logaddexp.reduce(logs, None) + d * np.log(step)
    coarse = np.logaddexp.reduce(logs[(slice(None, None, 2),) * d], None) + d * np.log(2 * step)
    edge = max(logs.take([0, -1], axis).max() for axis in range(d))
    resolved = abs(fine - coarse) <= RESOLVED and edge < logs.max() - 20.0
    return float(fine + jacobian) if resolved and np.isfinite(fine) else None
