"""Many trials over labels: multinomial, beta-binomial and Dirichlet-multinomial.

A multinomial is a number of categorical trials. In the other two the probabilities are drawn first, which is Pólya's
urn: after i draws with counts x the next is label k with probability (αₖ + xₖ)/(A + i). Their forms are sums over the
trials, so the number of trials must be readable. The terms are non-negative: no digits are lost where P is near Q.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import discrete

from kullback.exact.closed_forms.categorical import CategoricalLaw, categorical_kl, weights_or_logits
from kullback.exact.closed_forms.counts import trials_entropy
from kullback.exact.log_pmf import log_ratio_kl, running_sum, urn_log_pmf
from kullback.exact.type_keys import UNKNOWN, Form, by_probs, known_equal
from kullback.numerics.double_precision import floats, in_double
from kullback.numerics.ratios import gap, log_ratio

MultinomialLaw = discrete.MultinomialProbs | discrete.MultinomialLogits

MULTINOMIAL = (discrete.MultinomialProbs, discrete.MultinomialLogits)


def multinomial_kl(p: MultinomialLaw, q: MultinomialLaw) -> Form:
    """KL = n KL(Categorical(π) ‖ Categorical(ρ)) for equal numbers n of trials, and ∞ for unequal.

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, over trials that are independent.
    """
    return partial(_multinomial_kl, _trial(p), _trial(q), p.total_count, q.total_count)


@jax.jit
def _multinomial_kl(p: CategoricalLaw, q: CategoricalLaw, n: ArrayLike, m: ArrayLike) -> Array:
    trial = categorical_kl(p, q)
    n, m, trial = floats(n, m, trial)
    value = jnp.where(n == 0, 0.0, n * jnp.where(n == 0, 0.0, trial))
    return jnp.where(n == m, value, jnp.inf)


def multinomial_entropy(p: MultinomialLaw) -> Form:
    """H = Σ E log kᵢ! − log n! − n Σ πᵢ log πᵢ, with each kᵢ binomial.

    Source: the logarithm of the mass, whose kᵢ! are averaged as in Cheraghchi (2019).
    """
    return partial(_multinomial_entropy, _trial(p), p.total_count)


@jax.jit
@in_double
def _multinomial_entropy(p: CategoricalLaw, n: ArrayLike) -> Array:
    x, is_probs = weights_or_logits(p)
    (chances,) = floats(x / x.sum(-1, keepdims=True) if is_probs else jax.nn.softmax(x))
    (n,) = floats(n)
    return trials_entropy(n.astype(chances.dtype), chances, 1.0 - chances)


def _trial(d: MultinomialLaw) -> Any:
    """The law of one trial, so that the compiled program does not depend on the number of trials."""
    if by_probs(d):
        return discrete.CategoricalProbs(d.probs, validate_args=False)
    return discrete.CategoricalLogits(d.logits, validate_args=False)


def beta_binomial_kl(p: dist.BetaBinomial, q: dist.BetaBinomial) -> Form | None:
    """KL = log(1 + Σ p ψ(D)), for D = log(q/p) less its mean under p, summed from its steps between counts.

    Source: Kullback and Leibler (1951), eq. 2.4; the constant of log(q/p) follows from Σ q = 1.
    """
    size = _known_trials(p, q)
    return None if size is None else partial(_beta_binomial_kl, *_shapes(p), *_shapes(q), p.total_count, size)


@partial(jax.jit, static_argnums=5)
@in_double
def _beta_binomial_kl(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, n: ArrayLike, size: int) -> Array:
    a, b, c, d = jnp.broadcast_arrays(*floats(a, b, c, d))
    log_p, above, below = urn_log_pmf(a, b, n, size)
    above_q, below_q = urn_log_pmf(c, d, n, size)[1:]
    # (c + k)(b + j) against (a + k)(d + j), with k successes and j failures before the next.
    step = (c - a)[..., None] * below - (d - b)[..., None] * above
    return log_ratio_kl(log_p, running_sum(log_ratio(above * below_q, above_q * below, step)))


def beta_binomial_entropy(p: dist.BetaBinomial) -> Form | None:
    """H = −Σ p log p. Source: Shannon (1948), section 6."""
    size = _known_trials(p, p)
    return None if size is None else partial(_beta_binomial_entropy, *_shapes(p), p.total_count, size)


@partial(jax.jit, static_argnums=3)
@in_double
def _beta_binomial_entropy(a: ArrayLike, b: ArrayLike, n: ArrayLike, size: int) -> Array:
    a, b = floats(a, b)
    log_p = urn_log_pmf(a, b, n, size)[0]
    live = log_p > -jnp.inf
    return -jnp.where(live, jnp.exp(log_p) * jnp.where(live, log_p, 0.0), 0.0).sum(-1)


def dirichlet_multinomial_kl(p: dist.DirichletMultinomial, q: dist.DirichletMultinomial) -> Form | None:
    """KL = Σᵢ E KL(Categorical((α + x)/(A + i)) ‖ Categorical((β + x)/(B + i))), x being drawn in i draws from P's urn.

    Source: Cover and Thomas (2006), theorem 2.5.3, the chain rule, over the draws: given the counts, their order is
    uniform under both. Only the law of each xₖ is needed, which the draws carry along.
    """
    if isinstance(p.total_count, UNKNOWN) or isinstance(q.total_count, UNKNOWN):
        return None
    n, m = np.asarray(p.total_count), np.asarray(q.total_count)
    return partial(_urn_kl, p.concentration, q.concentration, n, m, int(n.max(initial=0)))


@partial(jax.jit, static_argnums=4)
@in_double
def _urn_kl(alpha: ArrayLike, beta: ArrayLike, n: ArrayLike, m: ArrayLike, size: int) -> Array:
    alpha, beta = jnp.broadcast_arrays(*floats(alpha, beta))
    step = beta - alpha
    total, change = alpha.sum(-1, keepdims=True), step.sum(-1, keepdims=True)
    tilt, others = step * total - alpha * change, _of_others(alpha)
    x = jnp.arange(size + 1, dtype=alpha.dtype)
    weight, weight_q = alpha[..., None] + x, beta[..., None] + x

    @jax.checkpoint
    def draw(state: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        """One draw: the masses of each count [..., K, size + 1], and the sum of the divergences so far [...]."""
        mass, found = state
        now, then, reached = (total + i)[..., None], (total + change + i)[..., None], x <= i
        moved = ((tilt + step * i)[..., None] - x * change[..., None]) / then
        terms = jnp.where(reached, mass * gap(weight, weight_q * now / then, moved), 0.0)
        found = found + jnp.where(i < n, terms.sum((-2, -1)) / now[..., 0, 0], 0.0)
        stay = mass * jnp.where(reached, (others[..., None] + i - x) / now, 0.0)
        gone = mass * jnp.where(reached, weight / now, 0.0)
        gained = jnp.concatenate([jnp.zeros_like(gone[..., :1]), gone[..., :-1]], -1)
        return (stay + gained, found), None

    start = jnp.broadcast_to((x == 0).astype(alpha.dtype), weight.shape)
    none = jnp.zeros(jnp.broadcast_shapes(alpha.shape[:-1], jnp.shape(n)), alpha.dtype)
    (_, found), _ = jax.lax.scan(draw, (start, none), jnp.arange(size, dtype=alpha.dtype))
    return jnp.where(jnp.asarray(n) == jnp.asarray(m), found, jnp.inf)


def dirichlet_multinomial_entropy(p: dist.DirichletMultinomial) -> Form | None:
    """H = Σₖ Σⱼ P(xₖ > j) log((j + 1)/(αₖ + j)) + Σⱼ log((A + j)/(j + 1)), over j < n, with xₖ beta-binomial.

    Source: the mass of Mosimann (1962), its factorials as products.
    """
    if isinstance(p.total_count, UNKNOWN):
        return None
    n = np.asarray(p.total_count)
    return partial(_urn_entropy, p.concentration, n, int(n.max(initial=0)))


@partial(jax.jit, static_argnums=2)
@in_double
def _urn_entropy(alpha: ArrayLike, n: ArrayLike, size: int) -> Array:
    (alpha,) = floats(alpha)
    n = jnp.asarray(n)[..., None]
    log_p, above, _ = urn_log_pmf(alpha, _of_others(alpha), n, size)
    j = jnp.arange(size, dtype=alpha.dtype)
    log = running_sum(jnp.log((j + 1.0) / above))
    parts = jnp.where(log_p > -jnp.inf, jnp.exp(log_p) * log, 0.0).sum((-2, -1))
    whole = jnp.where(j < n, jnp.log((alpha.sum(-1)[..., None] + j) / (j + 1.0)), 0.0)
    return parts + whole.sum(-1)


def _of_others(alpha: Array) -> Array:
    """For each label the sum of the other concentrations."""
    return (alpha[..., None, :] * (1.0 - jnp.eye(alpha.shape[-1], dtype=alpha.dtype))).sum(-1)


def _shapes(d: dist.BetaBinomial) -> tuple[Any, Any]:
    return d.concentration1, d.concentration0


def _known_trials(p: dist.BetaBinomial, q: dist.BetaBinomial) -> int | None:
    """The most trials, where both numbers can be read and are equal throughout."""
    if isinstance(p.total_count, UNKNOWN) or not known_equal(p.total_count, q.total_count):
        return None
    return int(np.max(np.asarray(p.total_count), initial=0))


BUILD_KL = {
    **dict.fromkeys(product(MULTINOMIAL, MULTINOMIAL), multinomial_kl),
    (dist.BetaBinomial, dist.BetaBinomial): beta_binomial_kl,
    (dist.DirichletMultinomial, dist.DirichletMultinomial): dirichlet_multinomial_kl,
}

BUILD_ENTROPY = {
    **dict.fromkeys(MULTINOMIAL, multinomial_entropy),
    dist.BetaBinomial: beta_binomial_entropy,
    dist.DirichletMultinomial: dirichlet_multinomial_entropy,
}
