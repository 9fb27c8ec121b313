"""Beta and Dirichlet."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.exact.type_keys import every_pair
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.log_gamma import gamma_entropy, gamma_gap
from kullback.numerics.ratios import gap

DirichletLaw = dist.Dirichlet | dist.Beta  # BetaProportion is a Beta


def concentrations(d: DirichletLaw) -> Float[Array, "*batch k"]:
    """The concentrations [..., K]; a beta is a Dirichlet of two."""
    if isinstance(d, dist.Beta):
        one, zero = floats(d.concentration1, d.concentration0)
        return jnp.stack(jnp.broadcast_arrays(one, zero), axis=-1)
    return floats(d.concentration)[0]


def dirichlet_kl(p: DirichletLaw, q: DirichletLaw) -> Float[Array, "*batch"]:
    """KL = A KL(β/A ‖ α/A') + Σₖ g(αₖ, βₖ) − g(A', A), for α of P with sum A' and β of Q with sum A.

    g is the Bregman difference of log Γ(t) − t log t + t, and the first term that of t log t, whose parts telescope.
    Source: Penny (2001), on Dirichlet densities, of which this is a rearrangement.
    """
    alpha, beta = jnp.broadcast_arrays(*floats(concentrations(p), concentrations(q)))
    if alpha.dtype == jnp.float64:
        return _kl(alpha, beta)
    # The last two terms nearly cancel where one concentration has nearly all of the sum.
    return in_double(partial(_kl, single=True))(alpha, beta)


def _kl(alpha: Array, beta: Array, single: bool = False) -> Array:
    if alpha.shape[-1] == 1:  # a point
        return jnp.zeros_like(alpha[..., 0])
    step = beta - alpha
    sum_p, sum_q, sum_step = alpha.sum(-1), beta.sum(-1), step.sum(-1)
    growth, larger = (sum_step / sum_p)[..., None], (sum_q / sum_p)[..., None]
    parts = gap(beta, alpha * larger, alpha * growth - step) + gamma_gap(alpha, beta, step, single)
    return parts.sum(-1) - gamma_gap(sum_p, sum_q, sum_step, single)


def _with_total(x: Array) -> Array:
    """The parts and then their sum, [..., K + 1], for one call of a costly function instead of two."""
    return jnp.concatenate([x, x.sum(-1, keepdims=True)], axis=-1)


def entropy(p: DirichletLaw) -> Float[Array, "*batch"]:
    """H = log B(α) + (A − K) digamma(A) − Σ (αₖ − 1) digamma(αₖ).

    Source: Cover and Thomas (2006), table 17.1, for two parts; Ebrahimi, Soofi and Zhao (2011) for more.
    """
    alpha = concentrations(p)
    total, parts = alpha.sum(-1), gamma_entropy(_with_total(alpha))
    return parts[..., :-1].sum(-1) - parts[..., -1] - (alpha.shape[-1] - 1) * jax.lax.digamma(total)


KL = {
    **every_pair(dirichlet_kl, dist.Beta, dist.BetaProportion),
    (dist.Dirichlet, dist.Dirichlet): dirichlet_kl,
}

ENTROPY = {dist.Beta: entropy, dist.BetaProportion: entropy, dist.Dirichlet: entropy}
