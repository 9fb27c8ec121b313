"""Draws of P in chunks of one size, each reduced to means and squares: what the Monte Carlo rules are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int

from kullback.errors import EstimateError
from kullback.estimate.batch import doubled, spread
from kullback.estimate.pareto_tail import Seen, Tails
from kullback.estimate.strata import Strata
from kullback.runtime.export_cache import program
from kullback.runtime.identity import is_spelled

ELEMENTS = 1 << 18
LARGEST_CHUNK, SMALLEST_CHUNK = 8192, 64
UNDERFLOWING = 1e-150  # the square is no number of double precision that is not 0


@dataclass(frozen=True)
class Integrand:
    """log P − log Q at draws of P, and where `control` is true also Q/P − 1, whose mean is 0.

    strata    what P consists of; the integrand is multiplied by a stratum's weight, and its means over strata add
    log_p     None for the negative log-probability of Q alone
    weights   over the first batch axis, which they average; None keeps the batch
    shapes    (own batch rank, batch shape, event shape)
    """

    strata: Strata
    log_p: Callable[..., Any] | None
    log_q: Callable[..., Any]
    weights: np.ndarray | None
    shapes: tuple[int, tuple[int, ...], tuple[int, ...]]
    control: bool = False

    @property
    def chunk(self) -> int:
        """Draws in a chunk: as many as keep it within a few megabytes."""
        _, batch, event = self.shapes
        each = max(1, int(np.prod(batch)) * int(np.prod(event)) * self.strata.width)
        return int(2 ** np.clip(np.floor(np.log2(ELEMENTS / each)), np.log2(SMALLEST_CHUNK), np.log2(LARGEST_CHUNK)))

    @property
    def live(self) -> np.ndarray:
        """The strata that have weight in some element of the batch: booleans [k]."""
        weights = self.strata.weights
        return np.asarray((weights > 0).reshape(len(weights), -1).any(1))


@dataclass(frozen=True)
class Sums:
    """Counts [k], means and central second moments of [log-ratio, control], by stratum and element of the batch.

    `escaped` counts the draws to which Q gives probability 0, and `example` is one of them.
    """

    counts: Int[np.ndarray, " k"]
    mean: Float[np.ndarray, " k *batch c"]
    moment: Float[np.ndarray, " k *batch c c"]
    escaped: np.ndarray
    example: np.ndarray | None = None

    @property
    def total(self) -> Float[np.ndarray, " *batch c"]:
        """The means over P: those over its strata, which hold their weights, add."""
        return self.mean.sum(0)

    def variances(self) -> Float[np.ndarray, " k *batch c c"]:
        """The covariance of [log-ratio, control] of one draw of each stratum."""
        return self.moment / _along(np.maximum(self.counts - 1, 1), self.moment)

    def merge(self, other: Sums) -> Sums:
        """Both together. Source: Chan, Golub and LeVeque (1983), eq. 2.1."""
        counts = self.counts + other.counts
        share = other.counts / np.maximum(counts, 1)
        gap = other.mean - self.mean
        cross = gap[..., :, None] * gap[..., None, :]
        return Sums(
            counts,
            self.mean + gap * _along(share, gap),
            self.moment + other.moment + cross * _along(self.counts * share, cross),
            self.escaped + other.escaped,
            self.example if self.example is not None else other.example,
        )


def _along(x: Float[np.ndarray, " k"], other: np.ndarray) -> np.ndarray:
    return x.reshape(-1, *(1,) * (other.ndim - 1))


def sum_over_draws(
    integrand: Integrand, key: jax.Array, counts: Int[np.ndarray, " k"], tails: Tails | Seen | None = None
) -> Sums:
    """The integrand over at least `counts` draws of each stratum, in whole chunks.

    What is left of the last chunk goes to the stratum that has the most draws; there are two chunks at least. Double
    precision, whatever JAX's setting. `tails` is shown every value.
    """
    size = integrand.chunk
    chunks = max(2, -(-int(counts.sum()) // size))
    counts = counts + (np.arange(len(counts)) == np.argmax(counts)) * (chunks * size - counts.sum())
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts).reshape(chunks, size)
    total: Sums | None = None
    with jax.enable_x64(True):
        for piece, row in enumerate(labels):
            part, values = _chunk(integrand, jax.random.fold_in(key, piece), row)
            total = part if total is None else total.merge(part)
            if tails is not None:
                tails.add(row, values)
    assert total is not None
    return total


def _chunk(integrand: Integrand, key: jax.Array, labels: Int[np.ndarray, " n"]) -> tuple[Sums, np.ndarray]:
    strata = integrand.strata
    sampler = strata.sampler
    if not isinstance(sampler, Partial):
        sampler = Partial(_drawn, jnp.asarray(sampler(key, len(labels))))
    functions = tuple(doubled(f) if isinstance(f, Partial) else f for f in (sampler, integrand.log_p, integrand.log_q))
    settings = (integrand.shapes, integrand.control)
    compiled = all(f is None or isinstance(f, Partial) for f in functions)
    reduce = _reduce if not compiled else _compiled if all(map(is_spelled, functions)) else _kept
    weights = strata.weights, integrand.weights
    mean, moment, escaped, strange, example, values = reduce(functions, weights, key, labels, settings)
    if np.any(strange):
        raise EstimateError(_strange(functions, np.asarray(example)))
    escaped = np.asarray(escaped)
    shown = np.asarray(example) if escaped.any() else None
    counts = np.bincount(labels, minlength=len(strata.weights))
    return Sums(counts, np.asarray(mean), np.asarray(moment), escaped, shown), values


def _drawn(draws: Any, key: Any, labels: Any) -> Any:
    return draws


def _strange(functions: tuple[Any, ...], x: np.ndarray) -> str:
    shown = np.array2string(x, precision=6, threshold=6)
    if _underflows(functions[1], x):
        return (
            f"p and q: P drew {shown}, so near to 0 that double precision ends, and the log-ratio there is no number, "
            "so that no mean over draws of P is right; leave the rule to the planner, or give both sides as "
            "laws of log x, between which the divergence is the same"
        )
    return (
        f"p and q: the log-ratio is not a number at a draw of P, {shown}; either a log-density returns NaN there, or "
        "rounding put the draw on the edge of its support. Correct the log-density, or give both sides in another unit"
    )


def _underflows(log_p: Any, x: np.ndarray) -> bool:
    """Whether a draw of a continuous law lies so near to 0 that it, or its powers, are rounded to 0."""
    if x.dtype.kind != "f":
        return False
    if ((x != 0) & (np.abs(x) < UNDERFLOWING)).any():
        return True
    # A count of 0 has a finite log-probability.
    return bool((x == 0).any()) and log_p is not None and not np.isfinite(np.asarray(log_p(jnp.asarray(x)[None]))).all()


def _reduce(
    functions: tuple[Any, ...], weights: tuple[Any, Any], key: Any, labels: Any, settings: tuple[Any, ...]
) -> tuple[Any, ...]:
    sampler, log_p, log_q = functions
    (own, batch, event), control = settings
    labels = jnp.asarray(labels)
    n, k = len(labels), len(weights[0])
    draws = jnp.asarray(sampler(key, labels))
    x = spread(draws, own, len(batch), len(event))
    value = -jnp.broadcast_to(jnp.asarray(log_q(x), jnp.result_type(float)), (n, *batch))
    if log_p is not None:
        value = value + log_p(x)
    share = spread(jnp.asarray(weights[0])[labels], own, len(batch), 0)
    drawn = jnp.broadcast_to(share > 0, value.shape)
    escaped = drawn & (value == jnp.inf)
    strange = drawn & ~(jnp.isfinite(value) | escaped)
    odd = jnp.any((strange | escaped).reshape(n, -1), 1)
    kept = jnp.where(drawn & ~(escaped | strange), value, 0.0)
    columns = [kept, jnp.where(drawn, jnp.expm1(-kept), 0.0)] if control else [kept]
    table = share[..., None] * jnp.stack(columns, -1)
    if weights[1] is not None:
        over = jnp.asarray(weights[1])
        table = jnp.tensordot(over, table, axes=(0, 1))
        escaped = jnp.any(escaped & (over > 0).reshape(-1, *(1,) * (len(batch) - 1)), 1)
    belongs = jax.nn.one_hot(labels, k, axis=0)
    counts = jnp.maximum(belongs.sum(1), 1.0)
    mean = jnp.tensordot(belongs, table, 1) / counts.reshape(-1, *(1,) * (table.ndim - 1))
    centred = table - mean[labels]
    moment = jnp.tensordot(belongs, centred[..., :, None] * centred[..., None, :], 1)
    first = jnp.argmax(odd)
    return mean, moment, jnp.sum(escaped, 0), jnp.any(strange), draws[first], table[..., 0]


_compiled = partial(jax.jit, static_argnames="settings")(_reduce)
_kept = program(_reduce, static=(4,))  # of functions of the user's own, of whose traces nothing may last
