"""What the rules minimise, as functions of a flat parameter vector: module-level, so that programs are shared.

Log-probabilities are those of `distributions/log_density.py`. NumPyro evaluates gammas, betas and overdispersed counts
as differences of log Γ of the size of c log c, so that far out what it returns is rounding, which a descent takes for a
likelihood.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kullback.distributions.log_density import log_prob
from kullback.exact import kl_divergence
from kullback.families.learnable import Params
from kullback.known.static import Static


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
