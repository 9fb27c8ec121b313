"""Discrete latent sites, summed out of a joint density exactly.

Sites of one value each are summed over every combination of their values. A site in a plate has as many values as the
plate is long, and K^n combinations; but where each term of log p depends on the value of its own row alone, the sum is
a product over rows, log Σ_z p = Σ_n log Σ_k p_n(z_n = k), and all rows are evaluated at once for each k. Whether it
is one is tried, not assumed: at random assignments of values the terms of the rows must add up to the joint density.
Where they do not, the combinations are summed one by one if they are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from kullback.errors import InputError
from kullback.runtime.export_cache import program

MOST = 4096  # combinations, each of which is one evaluation of the model
TRIALS, POINTS = 4, 2  # assignments, and vectors, at which independence is tried
ROUNDING = 1e-6  # of the joint density, in double precision

LogProbs = Callable[[dict[str, Any]], dict[str, Array]]  # values of the discrete sites -> terms of log p by site


@dataclass(frozen=True)
class Choice:
    """A discrete site: `count` whole numbers from `first` on, for each element of a batch."""

    name: str
    shape: tuple[int, ...]
    first: int
    count: int

    @property
    def combinations(self) -> float:
        return float(self.count) ** int(np.prod(self.shape))


@dataclass(frozen=True)
class Enumerated:
    """How discrete sites are summed out.

    choices  all of them
    rows     the names of those whose rows are independent, which have one shape
    touched  the terms of log p that these appear in
    """

    choices: tuple[Choice, ...]
    rows: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()

    def first(self) -> dict[str, Array]:
        """The first value everywhere."""
        return {c.name: jnp.full(c.shape, c.first) for c in self.choices}

    @property
    def whole(self) -> tuple[Choice, ...]:
        """The sites of which every combination of values is summed."""
        return tuple(c for c in self.choices if c.name not in self.rows)

    @property
    def by_row(self) -> tuple[Choice, ...]:
        return tuple(c for c in self.choices if c.name in self.rows)

    @staticmethod
    def of(choices: tuple[Choice, ...], log_probs: Callable[[Array], LogProbs], size: int) -> Enumerated:
        """The cheapest way that is exact. Raises `InputError`, which names the sites, where none is short enough."""
        if _count(choices) <= 16:
            return Enumerated(choices)
        for shape in sorted({c.shape for c in choices if c.shape}, key=lambda s: -np.prod(s)):
            rows = tuple(c.name for c in choices if c.shape == shape)
            found = Enumerated(choices, rows, _touched(choices, rows, log_probs, size))
            if _count(found.whole) * _count_of_one(found.by_row) <= MOST and _adds_up(found, log_probs, size):
                return found
        if _count(choices) <= MOST:
            return Enumerated(choices)
        most = max(choices, key=lambda c: c.combinations)
        raise InputError(
            f"model: site {most.name!r} cannot be summed out: it has {most.count} values in each of "
            f"{int(np.prod(most.shape)):,} elements, whose terms of log p depend on one another; write the sum into a "
            "numpyro.factor, as the forward algorithm does for a chain"
        )


def _count(choices: tuple[Choice, ...]) -> float:
    return float(np.prod([c.combinations for c in choices]))


def _count_of_one(choices: tuple[Choice, ...]) -> float:
    return float(np.prod([float(c.count) for c in choices]))


def log_sum(found: Enumerated, log_probs: LogProbs) -> Array:
    """log Σ_z p."""
    totals, _ = _totals(found, log_probs)
    return jax.nn.logsumexp(totals)


def posterior_choice(found: Enumerated, log_probs: LogProbs, key: Array) -> dict[str, Array]:
    """A draw of the discrete sites from their law given all others."""
    first, *keys = jax.random.split(key, 1 + len(found.choices))
    totals, table = _totals(found, log_probs)
    chosen = jax.random.categorical(first, totals)
    values = {name: column[chosen] for name, column in _assignments(found.whole).items()}
    if found.rows:
        shape = found.by_row[0].shape
        picked = jax.random.categorical(keys[0], jnp.moveaxis(table[chosen], 0, -1))
        values |= {
            name: jnp.broadcast_to(column, (len(column),))[picked].reshape(shape)
            for name, column in _row_values(found).items()
        }
    return values


def _totals(found: Enumerated, log_probs: LogProbs) -> tuple[Array, Array]:
    """log p with the rows summed out, for each combination of the others [C], and the terms of the rows
    [C, K, *rows]."""

    def one(whole: dict[str, Array]) -> tuple[Array, Array]:
        if not found.rows:
            return _summed(log_probs(whole)), jnp.zeros(())
        beside, table = _table(found, log_probs, whole)
        return beside + jnp.sum(jax.nn.logsumexp(table, 0)), table

    if not found.whole:
        total, table = one({})
        return total[None], table[None]
    return jax.lax.map(one, _assignments(found.whole), batch_size=16)


def _table(found: Enumerated, log_probs: LogProbs, whole: dict[str, Array]) -> tuple[Array, Array]:
    """The terms of log p that do not hold the rows' sites, summed, and those that do, by value and row [K, *rows]."""
    shape = found.by_row[0].shape

    def at(values: dict[str, Array]) -> tuple[Array, Array]:
        terms = log_probs({**whole, **{name: jnp.full(shape, value) for name, value in values.items()}})
        beside = _summed({name: term for name, term in terms.items() if name not in found.touched})
        rows = sum((_onto(term, shape) for name, term in terms.items() if name in found.touched), jnp.zeros(shape))
        return beside, rows

    beside, rows = jax.vmap(at)(_row_values(found))
    return beside[0], rows


def _onto(term: Array, shape: tuple[int, ...]) -> Array:
    """A term of log p summed over all axes that the shape of the rows does not have."""
    term = jnp.sum(term, tuple(range(term.ndim - len(shape)))) if term.ndim > len(shape) else term
    extra = [i for i in range(term.ndim) if shape[len(shape) - term.ndim + i] == 1 != term.shape[i]]
    return jnp.sum(term, tuple(extra), keepdims=True)


def _summed(terms: dict[str, Array]) -> Array:
    return sum((jnp.sum(term) for term in terms.values()), jnp.zeros(()))


def _assignments(choices: tuple[Choice, ...]) -> dict[str, Array]:
    """Every combination of values [C, *shape] by site."""
    if not choices:
        return {}
    cells = [range(c.first, c.first + c.count) for c in choices for _ in range(int(np.prod(c.shape)))]
    table = np.array(list(product(*cells)), np.int32).reshape(-1, len(cells))
    parts = np.split(table, np.cumsum([int(np.prod(c.shape)) for c in choices])[:-1], 1)
    return {c.name: jnp.asarray(part.reshape(-1, *c.shape)) for c, part in zip(choices, parts, strict=True)}


def _row_values(found: Enumerated) -> dict[str, Array]:
    """Every combination of the values of one row [K] by site."""
    table = np.array(list(product(*(range(c.first, c.first + c.count) for c in found.by_row))), np.int32)
    return {c.name: jnp.asarray(table[:, i]) for i, c in enumerate(found.by_row)}


def _touched(
    choices: tuple[Choice, ...], rows: tuple[str, ...], log_probs: Callable[[Array], LogProbs], size: int
) -> tuple[str, ...]:
    """The terms of log p that may depend on the values of these sites: those that the trace leads to from them."""
    first = {c.name: np.full(c.shape, c.first, np.int32) for c in choices}
    own = {name: first[name] for name in rows}

    def terms(z: dict[str, Any]) -> dict[str, Array]:
        return log_probs(jnp.zeros(size))({**first, **z})

    closed, shapes = jax.make_jaxpr(terms, return_shape=True)(own)
    reached = set(closed.jaxpr.invars)
    for equation in closed.jaxpr.eqns:
        if any(_is_variable(v) and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    names = sorted(shapes)
    return tuple(n for n, v in zip(names, closed.jaxpr.outvars, strict=True) if _is_variable(v) and v in reached)


def _is_variable(v: Any) -> bool:
    return not hasattr(v, "val")  # a literal has one, and cannot be hashed


def _adds_up(found: Enumerated, log_probs: Callable[[Array], LogProbs], size: int) -> bool:
    """Whether the terms of the rows add up to log p, at random assignments of values and random vectors."""
    shape, rng = found.by_row[0].shape, np.random.default_rng(0)
    counts = [c.count for c in found.by_row]

    def gap(x: Array, picked: Int[Array, ...], whole: dict[str, Array]) -> tuple[Array, Array]:
        terms = log_probs(x)
        beside, table = _table(found, terms, whole)
        rows = {name: column[picked] for name, column in _row_values(found).items()}
        by_rows = beside + jnp.sum(jnp.take_along_axis(table, picked[None], 0))
        joint = _summed(terms({**whole, **rows}))
        return by_rows - joint, jnp.abs(joint)

    def draws(c: Choice) -> np.ndarray:
        return rng.integers(c.first, c.first + c.count, (TRIALS * POINTS, *c.shape)).astype(np.int32)

    with jax.enable_x64(True):
        x = np.repeat(rng.uniform(-1, 1, (POINTS, size)), TRIALS, 0)
        picked = rng.integers(0, int(np.prod(counts)), (TRIALS * POINTS, *shape)).astype(np.int32)
        try:
            whole = {c.name: draws(c) for c in found.whole}
            off, sizes = map(np.asarray, program(jax.vmap(gap), static=())(x, picked, whole))
        except (TypeError, ValueError):  # terms of other shapes than the rows
            return False
    finite = np.isfinite(sizes)
    return bool((np.abs(off[finite]) <= ROUNDING * (1.0 + sizes[finite])).all())
