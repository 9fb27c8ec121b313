"""Distributions over counts: Poisson, geometric, binomial."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer
from numpyro.distributions import discrete

from kullback.exact.forms.categorical import bernoulli_entropy, bernoulli_kl, by_probs
from kullback.exact.kinds import Form, every_pair
from kullback.exact.special import floats, gap


def poisson_kl(p: Any, q: Any) -> Array:
    """KL = λp φ((λq − λp)/λp)."""
    rate_p, rate_q = floats(p.rate, q.rate)
    return gap(rate_p, rate_q, rate_q - rate_p)


def geometric_kl(p: Any, q: Any) -> Array:
    """KL = KL(Bernoulli(πp) ‖ Bernoulli(πq))/πp: one for each trial, of which there are 1/πp on average."""
    probs = _success(p)
    trial = bernoulli_kl(p, q)
    # 1/π is infinite where π = 0, and then the two agree or are told apart for certain.
    return jnp.where(trial == 0, 0.0, trial / jnp.where(trial == 0, 1.0, probs))


def geometric_entropy(p: Any) -> Array:
    """H = H(Bernoulli(π))/π."""
    return bernoulli_entropy(p) / _success(p)


def binomial_kl(p: Any, q: Any) -> Form | None:
    """The form of equal numbers of trials, where they are known to be equal."""
    return partial(_equal_binomial_kl, p, q) if _equal_trials(p, q) else None


@jax.jit
def _equal_binomial_kl(p: Any, q: Any) -> Array:
    """KL = n KL(Bernoulli(πp) ‖ Bernoulli(πq)) for an equal number n of trials."""
    trial = bernoulli_kl(p, q)
    (trials,) = floats(p.total_count)
    return jnp.where(trials == 0, 0.0, trials * jnp.where(trials == 0, 0.0, trial))


def _success(d: Any) -> Array:
    if by_probs(d):
        return floats(d.probs)[0]
    (logit,) = floats(d.logits)
    return 1.0 / (1.0 + jnp.exp(-logit))


def _equal_trials(p: Any, q: Any) -> bool:
    """Whether two binomials are known to have one number of trials."""
    a, b = p.total_count, q.total_count
    if a is b:
        return True
    return not isinstance(a, Tracer) and not isinstance(b, Tracer) and bool(np.all(np.asarray(a) == np.asarray(b)))


KL = {
    (dist.Poisson, dist.Poisson): poisson_kl,
    **every_pair(geometric_kl, discrete.GeometricProbs, discrete.GeometricLogits),
}

BUILD_KL = every_pair(binomial_kl, discrete.BinomialProbs, discrete.BinomialLogits)

ENTROPY = {discrete.GeometricProbs: geometric_entropy, discrete.GeometricLogits: geometric_entropy}
