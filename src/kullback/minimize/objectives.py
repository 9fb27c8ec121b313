"""What the rules minimise, as functions of a flat parameter vector: module-level, so that programs are shared."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kullback.exact import kl_divergence
from kullback.known.static import Static
from kullback.minimize.count_masses import log_prob


def model(static: Static, fixed: Any, vector: Any, inputs: Any = None) -> Any:
    """The distribution at a flat parameter vector; `static` holds (structure, layout)."""
    structure, layout = static.value
    return structure.distribution(layout.tree(vector), fixed, inputs)


def negative_log_likelihood(static: Static, fixed: Any, y: Any, w: Any, x: Any, vector: Any) -> jax.Array:
    """−Σ_i w_i log q(y_i∣x_i): the cross entropy H(P, Q) for weighted outcomes."""
    return -jnp.vdot(w, log_prob(model(static, fixed, vector, x), y))


def within_reach(static: Static, fixed: Any, y: Any, w: Any, low: Any, high: Any, vector: Any) -> jax.Array:
    """The cross entropy at the point of a box [low, high] that is nearest to a vector: constant beyond it.

    At a limit law a parameter runs on for ever, until log q is a difference of numbers so large that nothing is left.
    """
    return negative_log_likelihood(static, fixed, y, w, None, jnp.clip(vector, low, high))


def negative_log_posterior(static: Static, fixed: Any, y: Any, w: Any, x: Any, total: Any, vector: Any) -> jax.Array:
    """H(P, Q) − log π(θ)/W for outcomes of total weight W: the posterior of θ, up to sign, scale and a constant."""
    structure, layout = static.value
    prior = structure.negative_log_prior(layout.tree(vector), fixed)
    return negative_log_likelihood(static, fixed, y, w, x, vector) + prior / total


def exact_divergence(static: Static, fixed: Any, other: Any, x: Any, w: Any, vector: Any) -> jax.Array:
    """KL between the learnable side and a fixed distribution by its exact rule, averaged over inputs by w."""
    _, _, learnable_first = static.value
    q = model(Static(static.value[:2]), fixed, vector, x)
    divergence = kl_divergence(q, other) if learnable_first else kl_divergence(other, q)
    return jnp.sum(divergence * w)


def divergence_and_prior(static: Static, fixed: Any, other: Any, x: Any, w: Any, total: Any, vector: Any) -> jax.Array:
    """The exact divergence less log π(θ)/W, for inputs of total weight W."""
    structure, layout, _ = static.value
    prior = structure.negative_log_prior(layout.tree(vector), fixed)
    return exact_divergence(static, fixed, other, x, w, vector) + prior / total


def reverse_sum(static: Static, fixed: Any, atoms: Any, log_p: Any, vector: Any) -> jax.Array:
    """Σ_k q(x_k) (log q(x_k) − log p(x_k)) over the atoms: KL(Q‖P) up to log Z."""
    log_q = model(static, fixed, vector).log_prob(atoms)
    q = jnp.exp(log_q)
    difference = jnp.where(q > 0, jnp.where(q > 0, log_q, 0.0) - log_p, 0.0)
    return jnp.sum(q * difference)
