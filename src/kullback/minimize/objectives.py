"""What the rules minimise, as functions of a flat parameter vector: module-level, so that programs are shared.

Log-probabilities are those of `distributions/log_density.py`. NumPyro evaluates gammas, betas and overdispersed counts
as differences of log Γ of the size of c log c, so that far out what it returns is rounding, which a descent takes for a
likelihood.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from kullback.distributions.log_density import log_prob
from kullback.exact import kl_divergence
from kullback.families.learnable import Params
from kullback.known.host import pointwise
from kullback.known.static import Static
from kullback.runtime.identity import Unspelled, is_spelled
from kullback.runtime.trace import traced


def model(static: Static, fixed: Params, vector: Float[Array, " n"], inputs: Any = None) -> Any:
    """The distribution at a flat parameter vector; `static` holds (structure, layout)."""
    structure, layout = static.value
    return structure.distribution(layout.tree(vector), fixed, inputs)


def negative_log_likelihood(
    static: Static, fixed: Params, y: Any, w: Float[Array, " n"], x: Any, vector: Float[Array, " n"]
) -> jax.Array:
    """−Σ_i w_i log q(y_i∣x_i): the cross entropy H(P, Q) for weighted outcomes."""
    return -jnp.vdot(w, log_prob(model(static, fixed, vector, x), y))


def within_reach(
    static: Static, fixed: Params, y: Any, w: Float[Array, " n"], low: Any, high: Any, vector: Float[Array, " n"]
) -> jax.Array:
    """The cross entropy at the point of a box [low, high] that is nearest to a vector: constant beyond it.

    At a limit law a parameter runs on for ever, until log q is a difference of numbers so large that nothing is left.
    """
    return negative_log_likelihood(static, fixed, y, w, None, jnp.clip(vector, low, high))


def negative_log_posterior(
    static: Static, fixed: Params, y: Any, w: Float[Array, " n"], x: Any, total: Any, vector: Float[Array, " n"]
) -> jax.Array:
    """H(P, Q) − log π(θ)/W for outcomes of total weight W: the posterior of θ, up to sign, scale and a constant."""
    structure, layout = static.value
    prior = structure.negative_log_prior(layout.tree(vector), fixed)
    return negative_log_likelihood(static, fixed, y, w, x, vector) + prior / total


def exact_divergence(
    static: Static, fixed: Params, other: Any, x: Any, w: Float[Array, " n"], vector: Float[Array, " n"]
) -> jax.Array:
    """KL between the learnable side and a fixed distribution by its exact rule, averaged over inputs by w."""
    _, _, learnable_first = static.value
    q = model(Static(static.value[:2]), fixed, vector, x)
    divergence = kl_divergence(q, other) if learnable_first else kl_divergence(other, q)
    return jnp.sum(divergence * w)


def divergence_and_prior(
    static: Static, fixed: Params, other: Any, x: Any, w: Float[Array, " n"], total: Any, vector: Float[Array, " n"]
) -> jax.Array:
    """The exact divergence less log π(θ)/W, for inputs of total weight W."""
    structure, layout, _ = static.value
    prior = structure.negative_log_prior(layout.tree(vector), fixed)
    return exact_divergence(static, fixed, other, x, w, vector) + prior / total


def reverse_sum(static: Static, fixed: Params, atoms: Any, log_p: Any, vector: Float[Array, " n"]) -> jax.Array:
    """Σ_k q(x_k) (log q(x_k) − log p(x_k)) over the atoms: KL(Q‖P) up to log Z."""
    log_q = log_prob(model(static, fixed, vector), atoms)
    q = jnp.exp(log_q)
    difference = jnp.where(q > 0, jnp.where(q > 0, log_q, 0.0) - log_p, 0.0)
    return jnp.sum(q * difference)


# Functions of the user's own


def by_trace(log_density: Any, event_shape: tuple[int, ...]) -> Any:
    """The same log-density with the user's functions in it given by their traces, in the precision of this moment.

    Programs are then found by what a function computes, whatever object it is and whatever data it holds. A function
    of which a trace does not tell all stays as it is.
    """
    recorders: list[_Recorder] = []

    def recording(part: Any) -> Any:
        if not _is_users(part):
            return part
        (static,) = part.args
        recorders.append(_Recorder(static.value[0]))
        return Partial(pointwise, Static((recorders[-1], static.value[1])))

    def replaced(part: Any) -> Any:
        return recorders.pop(0).instead_of(part) if _is_users(part) else part

    recorded = jax.tree.map(recording, log_density, is_leaf=_is_users)
    example = jax.ShapeDtypeStruct((1, *event_shape), jnp.result_type(float))
    jax.eval_shape(lambda x: recorded(x), example)
    return jax.tree.map(replaced, log_density, is_leaf=_is_users)


def _is_users(part: Any) -> bool:
    return isinstance(part, Partial) and part.func is pointwise and not is_spelled(part)


class _Recorder:
    """A function that takes its trace when it is called."""

    def __init__(self, function: Any) -> None:
        self.function, self.found = function, None

    def __call__(self, one: Any) -> Any:
        try:
            trace, arrays = self.found = traced(self.function, one)
        except Unspelled:
            return self.function(one)
        return trace(arrays, one)

    def instead_of(self, part: Partial) -> Partial:
        if self.found is None:
            return part
        trace, arrays = self.found
        return Partial(_traced, Static((trace, part.args[0].value[1])), jax.device_put(arrays))


def _traced(static: Static, arrays: tuple[Any, ...], x: Array) -> Array:
    """The values of a trace, which closes over `arrays`, at every outcome of x [..., *event]."""
    trace, event_ndim = static.value
    return pointwise(Static((partial(trace, arrays), event_ndim)), x)
