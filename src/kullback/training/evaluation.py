"""What parameters are worth: the cost of a row, and the mean over rows in blocks, for members and their mixture.

Predicted scales have a minimum. Beyond its training rows a network that is not linear may predict any logarithm of a
scale, and one new row at e⁻¹³ costs more than all the others together. The predicted scale is therefore never below
its minimum over the training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float

from kullback.distributions.log_density import log_prob
from kullback.exact import kl_divergence
from kullback.families.initialisation.output_scaling import scales
from kullback.families.learnable import Params
from kullback.known import Known
from kullback.known.adaptors.numpyro_distributions import rows_of
from kullback.runtime.export_cache import program
from kullback.training.batches import BLOCK, Rows, some_of
from kullback.training.early_stopping import bounded, each_member
from kullback.training.optimiser import DEFAULT

# The minimum of predicted scales


def bounded_scales(structure: Any) -> tuple[bool, ...]:
    """Which outputs have a minimum: the scales of a network that is not linear, at inputs that are no labels."""
    network = getattr(structure, "network", None)
    if network is None or network.linear or network.labels is not None:
        return ()
    found = scales(structure)
    return tuple(found.tolist()) if found.any() else ()


def with_min_scale(side: Known, least: np.ndarray) -> Known:
    """The side with the minima of its outputs among its fixed parameters, where there are any."""
    learnable = side.learnable
    if learnable is None or not least.size:
        return side
    return side.holding(learnable=learnable.holding(least=least))


def least_outputs(
    config: EpochConfig, fixed: Params, rows: Rows, vectors: Float[Array, "m n"]
) -> Float[Array, " width"]:
    """The minimum of each output that has one, over members and some of the rows.

    Not over all rows: the minimum over very many belongs to a row that was learned by heart.
    """
    if not config.min_scale:
        return jnp.zeros(0)
    some = some_of(len(rows.weights))
    x, counted = rows.x[some], rows.weights[some] > 0
    at_one = lambda v: config.structure.beyond_offset(config.layout.tree(v), fixed, x)  # noqa: E731
    outputs = jnp.where(counted[:, None], each_member(len(vectors), at_one, vectors), jnp.inf)
    least = jnp.min(outputs, (0, 1))
    return jnp.where(np.array(config.min_scale) & jnp.isfinite(least), least, -fixed["reach"])


def with_least(fixed: Params, least: Float[Array, " width"] | np.ndarray) -> Params:
    """`fixed` with the minima of the outputs, where there are any."""
    return {**fixed, "least": least} if np.size(least) else fixed


least_now = program(least_outputs)


# Losses and means over rows


def row_losses(config: Any, fixed: Params, x: Any, y: Any, vector: Float[Array, " n"], key: Any = None) -> jax.Array:
    """What each row costs [n], in nats: −log q(y∣x), or the divergence from or to a teacher's distribution y.

    `config`, an `EpochConfig`, holds the structure, the layout and the kind: "sample", "forward" or "reverse". A key
    means training.
    """
    free = config.layout.tree(vector)
    extra = {} if key is None else {"key": key}
    d = config.structure.distribution(free, fixed, x, **extra)
    if config.kind == "sample":
        return -log_prob(d, y)
    return kl_divergence(y, d) if config.kind == "forward" else kl_divergence(d, y)


def negative_log_prior(config: Any, fixed: Params, vector: Float[Array, " n"]) -> Any:
    """−log π(θ) up to a constant, where the structure has a prior; 0 where it has none."""
    if "prior_scale" not in fixed:
        return 0.0
    return config.structure.negative_log_prior(config.layout.tree(vector), fixed)


@dataclass(frozen=True)
class EpochConfig:
    """What is fixed of a compiled program.

    kind        what a row costs: "sample" (−log q), "forward" or "reverse" (the divergence from or to a teacher)
    batch       rows a step
    stochastic  whether the network draws while it learns
    mesh        of devices, over which the rows are spread
    min_scale   which outputs, if any, are never below their minimum over the training rows
    weighted    whether rows on the device count differently; unit weights are not gathered
    optimiser   of the user's; None is the default
    """

    structure: Any
    layout: Any
    kind: str
    batch: int
    stochastic: bool
    mesh: Any
    min_scale: tuple[bool, ...]
    weighted: bool
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT


def rows_at(rows: Rows, at: Any) -> tuple[Any, Any, Any]:
    """Inputs, outcomes and weights of rows by position."""
    y = rows.y[at] if isinstance(rows.y, jax.Array) else rows_of(rows.y, at)
    return None if rows.x is None else rows.x[at], y, rows.weights[at]


@partial(jax.jit, static_argnums=0)
def evaluate(config: EpochConfig, fixed: Params, rows: Rows, vectors: Float[Array, "m n"]) -> tuple[Any, Any]:
    """The mean loss of each member [m], and that of their mixture, over weighted rows in blocks."""

    def body(i: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        sums, pooled, weight = carry
        losses, together, w = _block(config, fixed, rows, vectors, i)
        return sums + losses @ w, pooled + together @ w, weight + jnp.sum(w)

    zero = jnp.zeros((), rows.weights.dtype)
    start = jnp.zeros(vectors.shape[0], zero.dtype), zero, zero
    sums, pooled, weight = lax.fori_loop(0, _blocks(rows), body, start)
    return sums / weight, pooled / weight


def judged(config: EpochConfig, fixed: Params, held: Rows, vectors: Float[Array, "m n"]) -> tuple[Any, Any, Any]:
    """What each member is judged by [m], the mean of its bounded losses; the mean loss of their mixture; the losses."""
    padded = held.weights.shape[0]

    def body(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        losses, together, _ = _block(config, fixed, held, vectors, i)
        put = partial(lax.dynamic_update_slice_in_dim, start_index=i * _block_of(held), axis=-1)
        return put(carry[0], losses), put(carry[1], together)

    zeros = jnp.zeros((len(vectors), padded), held.weights.dtype)
    losses, together = lax.fori_loop(0, _blocks(held), body, (zeros, zeros[0]))
    w, weight = held.weights, jnp.sum(held.weights)
    below = jax.vmap(lambda one: bounded(w, one, np.arange(padded)[some_of(padded)]))(losses)
    return below @ w / weight, together @ w / weight, below


def _block_of(rows: Rows) -> int:
    """How many rows are evaluated at once."""
    return min(BLOCK, rows.weights.shape[0])


def _blocks(rows: Rows) -> Any:
    return ((rows.size + _block_of(rows) - 1) // _block_of(rows)).astype(jnp.int32)


def _block(
    config: EpochConfig, fixed: Params, rows: Rows, vectors: Float[Array, "m n"], i: Any
) -> tuple[Any, Any, Any]:
    """The losses of each member [m, n] and of their mixture [n] at the i-th block of rows, and their weights."""
    members, block = vectors.shape[0], _block_of(rows)
    if isinstance(rows.y, jax.Array) and config.mesh is None:
        x, y, w = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i * block, block), (rows.x, rows.y, rows.weights))
    else:
        x, y, w = rows_at(rows, i * block + jnp.arange(block))
    losses = each_member(members, lambda v: row_losses(config, fixed, x, y, v), vectors)
    losses = jnp.where(w > 0, losses, 0.0)
    if config.kind == "sample" and members > 1:
        together = jnp.log(members) - jax.nn.logsumexp(-losses, axis=0)
    else:
        together = jnp.mean(losses, axis=0)
    return losses, together, w


def final_values(
    config: EpochConfig, fixed: Params, rows: Rows, held: Rows | None, vectors: Float[Array, "m n"]
) -> jax.Array:
    """The training and the held-out value of the best parameters; NaN where nothing was held out."""
    training = evaluate(config, fixed, rows, vectors)[1]
    aside = jnp.asarray(jnp.nan) if held is None else evaluate(config, fixed, held, vectors)[1]
    return jnp.stack([training, aside.astype(training.dtype)])


def valued(
    config: EpochConfig, fixed: Params, rows: Rows, held: Rows | None, vectors: Float[Array, "m n"]
) -> tuple[Any, Any]:
    """The minima of the outputs and, with these in force, the final values."""
    least = least_outputs(config, fixed, rows, vectors)
    return least, final_values(config, with_least(fixed, least), rows, held, vectors)


final_now, valued_now, judged_now = program(final_values), program(valued), program(judged)
