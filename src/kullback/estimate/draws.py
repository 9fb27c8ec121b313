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

from kullback.errors import EstimateError
from kullback.estimate.batch import doubled, spread

ELEMENTS = 1 << 18
LARGEST_CHUNK, SMALLEST_CHUNK = 8192, 64


@dataclass(frozen=True)
class Integrand:
    """log P − log Q at draws of P, and where `control` is true also Q/P − 1, whose mean is 0.

    sampler   (key, n) -> draws [n, *own batch, *event]
    log_p     None for the negative log-probability of Q alone
    weights   over the first batch axis, which they average; None keeps the batch
    shapes    (own batch rank, batch shape, event shape)
    """

    sampler: Callable[..., Any]
    log_p: Callable[..., Any] | None
    log_q: Callable[..., Any]
    weights: np.ndarray | None
    shapes: tuple[int, tuple[int, ...], tuple[int, ...]]
    control: bool = False

    @property
    def chunk(self) -> int:
        """Draws in a chunk: as many as keep it within a few megabytes."""
        _, batch, event = self.shapes
        each = max(1, int(np.prod(batch)) * int(np.prod(event)))
        return int(2 ** np.clip(np.floor(np.log2(ELEMENTS / each)), np.log2(SMALLEST_CHUNK), np.log2(LARGEST_CHUNK)))


@dataclass(frozen=True)
class Sums:
    """Count, means and central second moments of [log-ratio, control] over draws, by element of the batch.

    `escaped` counts the draws to which Q gives probability 0, and `example` is one of them.
    """

    count: int
    mean: np.ndarray
    moment: np.ndarray
    escaped: np.ndarray
    example: np.ndarray | None = None

    def merge(self, other: Sums) -> Sums:
        """Both together. Source: Chan, Golub and LeVeque (1983), eq. 2.1."""
        count = self.count + other.count
        gap = other.mean - self.mean
        cross = gap[..., :, None] * gap[..., None, :] * (self.count * other.count / count)
        return Sums(
            count,
            self.mean + gap * (other.count / count),
            self.moment + other.moment + cross,
            self.escaped + other.escaped,
            self.example if self.example is not None else other.example,
        )


def sum_over_draws(integrand: Integrand, key: jax.Array, draws: int) -> Sums:
    """The integrand over at least `draws` draws, in whole chunks. Double precision, whatever JAX's setting."""
    chunks = max(2, -(-draws // integrand.chunk))
    total: Sums | None = None
    with jax.enable_x64(True):
        for piece in range(chunks):
            part = _chunk(integrand, jax.random.fold_in(key, piece))
            total = part if total is None else total.merge(part)
    assert total is not None
    return total


def _chunk(integrand: Integrand, key: jax.Array) -> Sums:
    sampler = integrand.sampler
    if not isinstance(sampler, Partial):
        sampler = Partial(_drawn, jnp.asarray(sampler(key, integrand.chunk)))
    functions = tuple(doubled(f) if isinstance(f, Partial) else f for f in (sampler, integrand.log_p, integrand.log_q))
    settings = (integrand.chunk, integrand.shapes, integrand.control)
    compiled = all(f is None or isinstance(f, Partial) for f in functions)
    reduce = _compiled if compiled else _reduce
    mean, moment, escaped, strange, example = reduce(functions, integrand.weights, key, settings)
    if np.any(strange):
        raise EstimateError(_strange(functions, np.asarray(example)))
    escaped = np.asarray(escaped)
    shown = np.asarray(example) if escaped.any() else None
    return Sums(integrand.chunk, np.asarray(mean), np.asarray(moment), escaped, shown)


def _drawn(draws: Any, key: Any, n: int) -> Any:
    return draws


def _strange(functions: tuple[Any, ...], x: np.ndarray) -> str:
    shown = np.array2string(x, precision=6, threshold=6)
    return (
        f"p and q: the log-ratio is not a number at a draw of P, {shown}; either a log-density returns NaN there, or "
        "rounding put the draw on the edge of its support. Correct the log-density, or give both sides in another unit"
    )


def _reduce(functions: tuple[Any, ...], weights: Any, key: Any, settings: tuple[Any, ...]) -> tuple[Any, ...]:
    sampler, log_p, log_q = functions
    n, (own, batch, event), control = settings
    draws = jnp.asarray(sampler(key, n))
    x = spread(draws, own, len(batch), len(event))
    value = -jnp.broadcast_to(jnp.asarray(log_q(x), jnp.result_type(float)), (n, *batch))
    if log_p is not None:
        value = value + log_p(x)
    escaped = value == jnp.inf
    strange = ~(jnp.isfinite(value) | escaped)
    odd = jnp.any((strange | escaped).reshape(n, -1), 1)
    kept = jnp.where(escaped | strange, 0.0, value)
    columns = [kept, jnp.expm1(-value)] if control else [kept]
    table = jnp.stack(columns, -1)
    if weights is not None:
        table = jnp.tensordot(jnp.asarray(weights), table, axes=(0, 1))
        escaped = jnp.any(escaped & (jnp.asarray(weights) > 0).reshape(-1, *(1,) * (len(batch) - 1)), 1)
    mean = jnp.mean(table, 0)
    centred = table - mean
    moment = jnp.einsum("n...i,n...j->...ij", centred, centred)
    first = jnp.argmax(odd)
    return mean, moment, jnp.sum(escaped, 0), jnp.any(strange), draws[first]


_compiled = partial(jax.jit, static_argnames="settings")(_reduce)
