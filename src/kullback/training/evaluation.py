"""What parameters are worth: the cost of a row, and the mean over rows in blocks, for members and their mixture.

Predicted scales have a minimum. Beyond its training rows a network that is not linear may predict any logarithm of a
scale, and one new row at e⁻¹³ costs more than all the others together. The predicted scale is therefore never below
its minimum over the training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

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


class Losses(NamedTuple):
    """What rows cost: those held out by themselves, those learned from in sum.

    held      of each member [m, n], with 0 for rows without weight; `together`: of the members' mixture [n]
    training  the sum over the rows learned from of what the mixture costs, by their weights; `weight`: of these rows
    """

    held: Float[Array, "m n"]
    together: Float[Array, " n"]
    training: Float[Array, ""]
    weight: Float[Array, ""]


def losses_of(
    config: EpochConfig, fixed: Params, held: Rows | None, rows: Rows | None, vectors: Float[Array, "m n"], whole: Any
) -> Losses:
    """What the held-out rows cost and, where `whole`, those learned from, a block after another.

    One loop goes over both, so that what evaluates a block is compiled once.
    """
    parts = [part for part in (held, rows) if part is not None]
    block = min(BLOCK, *(part.weights.shape[0] for part in parts))
    first = 0 if held is None else _blocks(held, block)
    starts = (0, first)[: len(parts)]
    last = first if rows is None else first + jnp.where(whole, _blocks(rows, block), 0)
    padded, dtype = 0 if held is None else held.weights.shape[0], parts[0].weights.dtype

    def body(i: Any, found: Losses) -> Losses:
        of_held = i < first
        blocks = [_block(config, part, block, i - start) for part, start in zip(parts, starts, strict=True)]
        x, y, w, fresh, at = jax.tree.map(partial(jnp.where, of_held), *blocks) if len(blocks) > 1 else blocks[0]
        each, together = _losses_at(config, fixed, x, y, w, vectors)
        counted = jnp.where(of_held, 0.0, fresh)
        cost = jnp.where(counted > 0, together, 0.0)
        training, weight = found.training + cost @ counted, found.weight + jnp.sum(counted)
        if held is None:
            return found._replace(training=training, weight=weight)
        # Rows learned from are put behind those that are held out.
        put = partial(lax.dynamic_update_slice_in_dim, start_index=jnp.where(of_held, at, padded), axis=-1)
        return Losses(put(found.held, each), put(found.together, together), training, weight)

    zeros = jnp.zeros((len(vectors), padded + (0 if held is None else block)), dtype)
    start = Losses(held=zeros, together=zeros[0], training=jnp.zeros((), dtype), weight=jnp.zeros((), dtype))
    found = lax.fori_loop(0, last, body, start)
    return found._replace(held=found.held[:, :padded], together=found.together[:padded])


def judged(held: Rows, losses: Float[Array, "m n"]) -> tuple[Float[Array, " m"], Float[Array, "m n"]]:
    """What each member is judged by, the mean of its bounded losses of the held-out rows; and these."""
    w, padded = held.weights, held.weights.shape[0]
    below = jax.vmap(lambda one: bounded(w, one, np.arange(padded)[some_of(padded)]))(losses)
    return below @ w / jnp.sum(w), below


def means(held: Rows | None, losses: Losses) -> Float[Array, 2]:
    """The mean of the rows learned from and of those held out; NaN for either where there are none."""
    training = losses.training / losses.weight
    aside = jnp.nan if held is None else losses.together @ held.weights / jnp.sum(held.weights)
    return jnp.stack([training, jnp.asarray(aside, training.dtype)])


def _blocks(rows: Rows, block: int) -> Any:
    return ((rows.size + block - 1) // block).astype(jnp.int32)


def _block(config: EpochConfig, rows: Rows, block: int, i: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Inputs, outcomes and weights of the i-th block of rows, the weights of those that no block before it had, and
    its first row: the last block begins early where rows are not whole blocks."""
    first = jnp.clip(i * block, 0, rows.weights.shape[0] - block)
    at = first + jnp.arange(block)
    if isinstance(rows.y, jax.Array) and config.mesh is None:
        x, y, w = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, first, block), (rows.x, rows.y, rows.weights))
    else:
        x, y, w = rows_at(rows, at)
    return x, y, w, jnp.where(at >= i * block, w, 0.0), first


def _losses_at(
    config: EpochConfig, fixed: Params, x: Any, y: Any, w: Float[Array, " n"], vectors: Float[Array, "m n"]
) -> tuple[Float[Array, "m n"], Float[Array, " n"]]:
    """The losses of each member and of their mixture at rows; 0 where they have no weight."""
    members = vectors.shape[0]
    losses = each_member(members, lambda v: row_losses(config, fixed, x, y, v), vectors)
    losses = jnp.where(w > 0, losses, 0.0)
    if config.kind == "sample" and members > 1:
        return losses, jnp.log(members) - jax.nn.logsumexp(-losses, axis=0)
    return losses, jnp.mean(losses, axis=0)


def final_values(
    config: EpochConfig, fixed: Params, rows: Rows, held: Rows | None, vectors: Float[Array, "m n"]
) -> jax.Array:
    """The training and the held-out value of the best parameters; NaN where nothing was held out."""
    return means(held, losses_of(config, fixed, held, rows, vectors, True))


def valued(config: EpochConfig, fixed: Params, rows: Rows, vectors: Float[Array, "m n"]) -> tuple[Any, Any]:
    """The minima of the outputs and, with these in force, the final values of rows of which none is held out."""
    least = least_outputs(config, fixed, rows, vectors)
    return least, final_values(config, with_least(fixed, least), rows, None, vectors)


final_now, valued_now = program(final_values), program(valued)
