"""What the rules minimise, as functions of a flat parameter vector: module-level, so that programs are shared.

Log-probabilities of overdispersed counts are written so that nothing cancels. A negative binomial of concentration c
and mean m tends to the Poisson law as c → ∞, and a beta-binomial to the binomial. NumPyro evaluates both as differences
of log Γ of the size of c log c, so that far out what it returns is rounding, which a descent takes for a likelihood.
Here log Γ(c + x) − log Γ(c) − x log c is taken as one function of the size of x²/c, and the rest is the log-probability
of the limit law.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln, xlog1py
from jaxtyping import Array, Float
from numpyro.distributions.discrete import ZeroInflatedProbs

from kullback.distributions import DirichletMultinomialGivenTotal
from kullback.exact import kl_divergence
from kullback.exact.numerics.log_gamma import binet
from kullback.families.learnable import Params
from kullback.known.static import Static

_LARGE = 16.0  # from where on Stirling's series has no more error than log Γ itself


def log_prob(d: Any, x: Any) -> Array:
    """log d(x) for outcomes in the support of d, in the precision of its parameters."""
    if type(d) is dist.Independent:
        found = log_prob(d.base_dist, x)
        return found.sum(tuple(range(-d.reinterpreted_batch_ndims, 0)))
    if type(d) is dist.MixtureSameFamily:
        parts = log_prob(d.component_distribution, jnp.expand_dims(x, d.mixture_dim))
        return jax.nn.logsumexp(jax.nn.log_softmax(jnp.asarray(d.mixing_distribution.logits)) + parts, -1)
    if type(d) is dist.ExpandedDistribution:
        found = log_prob(d.base_dist, x)
        return jnp.broadcast_to(found, jnp.broadcast_shapes(found.shape, d.batch_shape))
    if isinstance(d, ZeroInflatedProbs):
        gate = jnp.asarray(d.gate)
        counted = jnp.log1p(-gate) + log_prob(d.base_dist, x)
        return jnp.where(jnp.asarray(x) == 0, jnp.log(gate + jnp.exp(counted)), counted)
    mass = _MASSES.get(type(d))
    return d.log_prob(x) if mass is None else mass(d, x)


def rising(x: Array, c: Array) -> Array:
    """log Γ(c + x) − log Γ(c) − x log c, for x ≥ 0 and c > 0: about x²/2c where c is large.

    By Binet's formula it is c ((1 + u) log(1 + u) − u) − ½ log(1 + u) + μ(c + x) − μ(c), with u = x/c.
    """
    large = c > _LARGE
    far, near = jnp.where(large, c, _LARGE), jnp.where(large, _LARGE, c)
    u = x / far
    log = jnp.log1p(u)
    stirling = (far + x) * log - x - 0.5 * log + binet(far + x) - binet(far)
    return jnp.where(large, stirling, gammaln(near + x) - gammaln(near) - x * jnp.log(near))


def _gamma_poisson(d: Any, x: Any) -> Array:
    """x log m − log x! − (x + c) log(1 + m/c) + `rising`, with m = c/rate."""
    c, rate = jnp.asarray(d.concentration), jnp.asarray(d.rate)
    x = jnp.asarray(x, c.dtype)
    poisson = x * (jnp.log(c) - jnp.log(rate)) - gammaln(x + 1.0)
    return poisson - xlog1py(x + c, 1.0 / rate) + rising(x, c)


def _beta_binomial(d: Any, x: Any) -> Array:
    """log C(n, x) + x log π + (n − x) log(1 − π) + `rising` of each part less that of the whole."""
    a, b = jnp.asarray(d.concentration1), jnp.asarray(d.concentration0)
    x, n = jnp.asarray(x, a.dtype), jnp.asarray(d.total_count, a.dtype)
    ways = gammaln(n + 1.0) - gammaln(x + 1.0) - gammaln(n - x + 1.0)
    binomial = ways - xlog1py(x, b / a) - xlog1py(n - x, a / b)
    return binomial + rising(x, a) + rising(n - x, b) - rising(n, a + b)


def _dirichlet_multinomial(d: Any, x: Any) -> Array:
    """log n!/Π xᵢ! + Σ xᵢ log πᵢ + `rising` of each part less that of the whole."""
    a = jnp.asarray(d.concentration)
    x, total = jnp.asarray(x, a.dtype), a.sum(-1)
    n = x.sum(-1)
    multinomial = gammaln(n + 1.0) + (x * (jnp.log(a) - jnp.log(total)[..., None]) - gammaln(x + 1.0)).sum(-1)
    return multinomial + rising(x, a).sum(-1) - rising(n, total)


_MASSES = {
    **dict.fromkeys(
        (dist.GammaPoisson, dist.NegativeBinomial2, dist.NegativeBinomialProbs, dist.NegativeBinomialLogits),
        _gamma_poisson,
    ),
    dist.BetaBinomial: _beta_binomial,
    dist.DirichletMultinomial: _dirichlet_multinomial,
    DirichletMultinomialGivenTotal: _dirichlet_multinomial,
}


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
    log_q = model(static, fixed, vector).log_prob(atoms)
    q = jnp.exp(log_q)
    difference = jnp.where(q > 0, jnp.where(q > 0, log_q, 0.0) - log_p, 0.0)
    return jnp.sum(q * difference)
