"""What the rules minimise, as functions of a flat parameter vector: module-level, so that programs are shared."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kullback.exact import kl_divergence
from kullback.known.static import Static


def model(static: Static, fixed: Any, vector: Any, inputs: Any = None) -> Any:
    """The distribution at a flat parameter vector; `static` holds (structure, layout)."""
    structure, layout = static.value
    return structure.distribution(layout.tree(vector), fixed, inputs)


def negative_log_likelihood(static: Static, fixed: Any, y: Any, w: Any, x: Any, vector: Any) -> jax.Array:
    """−Σ_i w_i log q(y_i∣x_i): the cross entropy H(P, Q) for weighted outcomes."""
    return -jnp.vdot(w, model(static, fixed, vector, x).log_prob(y))


def exact_divergence(static: Static, fixed: Any, other: Any, x: Any, w: Any, vector: Any) -> jax.Array:
    """KL between the learnable side and a fixed distribution by its exact rule, averaged over inputs by w."""
    _, _, learnable_first = static.value
    q = model(Static(static.value[:2]), fixed, vector, x)
    divergence = kl_divergence(q, other) if learnable_first else kl_divergence(other, q)
    return jnp.sum(divergence * w)


def reverse_sum(static: Static, fixed: Any, atoms: Any, log_p: Any, vector: Any) -> jax.Array:
    """Σ_k q(x_k) (log q(x_k) − log p(x_k)) over the atoms: KL(Q‖P) up to log Z."""
    log_q = model(static, fixed, vector).log_prob(atoms)
    q = jnp.exp(log_q)
    difference = jnp.where(q > 0, jnp.where(q > 0, log_q, 0.0) - log_p, 0.0)
    return jnp.sum(q * difference)
