"""What the exact rules share: log-probabilities in double precision, means over inputs, and reasons of an infinity."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from kullback.estimate.batch import batch_shape, mean_over_inputs, spread
from kullback.estimate.support import escape_of
from kullback.exact.closed_forms.categorical import log_probabilities_kl
from kullback.known import Known
from kullback.known.host import on_host
from kullback.rule import Missing

# Log-probabilities of both sides at the points of a sum.


def double_precision(p: Known, q: Known) -> AbstractContextManager[Any]:
    """A context of double precision, if each side is a NumPyro distribution, whose parameters can be widened, or is
    evaluated on the host, where numbers are double anyway.

    A log-probability of counts is a difference of terms that grow with the count, which single precision loses. A
    user's own function keeps the precision that it was written for.
    """
    return jax.enable_x64(True) if _can_widen(p) and _can_widen(q) else nullcontext()


def log_probs(p: Known, q: Known, atoms: ArrayLike) -> tuple[Float[Array, "*batch k"], Float[Array, "*batch k"]]:
    """log P and log Q at the atoms [K, *event], each [*batch, K] of the common batch.

    Call it within `double_precision`.
    """
    batch, event = batch_shape(p, q), len(p.event_shape or q.event_shape or ())
    atoms, widen = np.asarray(atoms), _can_widen(p) and _can_widen(q)
    values = []
    for side in (p, q):
        assert side.log_prob is not None
        own = len(side.batch_shape)
        log_prob = _precise_log_prob(side) if widen else side.log_prob
        x = atoms.reshape(len(atoms), *(1,) * own, *atoms.shape[atoms.ndim - event :])
        compiled = widen and isinstance(log_prob, Partial) and not on_host(log_prob)
        value = _evaluated(log_prob, x) if compiled else log_prob(x)
        value = jnp.broadcast_to(spread(value, own, len(batch), 0), (len(atoms), *batch))
        values.append(jnp.moveaxis(value, 0, -1))
    return values[0], values[1]


# One program compiles in half the time of its operations one by one.
_evaluated = jax.jit(lambda log_prob, x: log_prob(x))


def _can_widen(side: Known) -> bool:
    return side.distribution is not None or on_host(side.log_prob)


def _precise_log_prob(side: Known) -> Any:
    return jax.tree.map(_widened, side.log_prob)


def _widened(leaf: object) -> Any:
    return np.asarray(leaf, np.float64) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf


@jax.jit
def shared_sum(log_p: Float[Array, "*batch k"], log_q: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Σ p (log p − log q) along the last axis, where both sum to 1: accurate also where they are near."""
    return log_probabilities_kl(log_p, log_q)


@jax.jit
def plain_sum(log_p: Float[Array, "*batch k"], log_q: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Σ p (log p − log q) along the last axis, where Q may have more mass elsewhere."""
    live, reached = log_p > -jnp.inf, log_q > -jnp.inf
    terms = weighted_terms(log_p, log_q)
    return jnp.where((live & ~reached).any(-1), jnp.inf, terms.sum(-1))


def weighted_terms(log_p: Float[Array, "*batch k"], log_q: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    """p (log p − log q), with 0 where either is 0."""
    both = (log_p > -jnp.inf) & (log_q > -jnp.inf)
    ratio = jnp.where(both, log_p, 0.0) - jnp.where(both, log_q, 0.0)
    return jnp.where(both, jnp.exp(log_p) * ratio, 0.0)


# Conditional sides: one set of inputs, and the mean over it.


def unequal_inputs(p: Known, q: Known) -> Missing | None:
    """Why two conditional sides cannot be compared: they are at different inputs. None where they can be."""
    if p.inputs is None or q.inputs is None or p.inputs is q.inputs or np.array_equal(p.inputs, q.inputs):
        return None
    return Missing("both sides are conditionals, at different inputs", "both sides at the same inputs")


def averaged(values: ArrayLike, p: Known, q: Known) -> Any:
    """The mean of values [..., n, *rest] over n inputs; the values themselves where no side is conditional."""
    weights = mean_over_inputs(p, q)
    if weights is None:
        return values
    axis = jnp.ndim(values) - max(len(side.batch_shape) for side in (p, q) if side.inputs is not None)
    host = np.moveaxis(np.asarray(values), axis, 0)
    kept = weights > 0
    return np.tensordot(weights[kept], host[kept], axes=1)


# Why a divergence is infinite.


def why_infinite(value: ArrayLike, p: Known, q: Known) -> str:
    """The reason where some element of an exact value is ∞; empty where none is."""
    if not np.isinf(np.asarray(value)).any():
        return ""
    if p.atoms is not None and q.log_prob is not None:
        with double_precision(p, q):
            log_p, log_q = (np.asarray(log) for log in log_probs(p, q, p.atoms))
        missing = np.argwhere((log_p > -np.inf) & (log_q == -np.inf))
        if len(missing):
            first = tuple(missing[0])
            outcome, share = p.atoms[first[-1]], np.exp(log_p[first])
            return f"Q gives probability 0 to {outcome}, which has probability {share:.3g} under P"
    escape = escape_of(p, q)
    if escape is not None:
        return escape.reason
    if p.support is None or q.support is None or (p.support.discrete and q.support.discrete):
        return "P has mass to which Q gives probability 0"
    return "Q falls off so much faster than P that E_P[log Q] diverges"


def both_discrete(p: Known, q: Known) -> bool:
    """Whether both sides are discrete or both continuous, so that their (log-)densities can be compared."""
    return q.support is None or p.support is None or q.support.discrete == p.support.discrete
