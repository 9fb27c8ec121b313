"""Multinomial, beta-binomial and Dirichlet-multinomial distributions, by enumeration in 50 digits."""

from functools import cache

import jax.numpy as jnp
import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.basic import categorical
from tests.exact.truths.family import Family

TRIALS = 6


@cache
def outcomes(labels, trials=TRIALS):
    """All counts of the labels that sum to the number of trials."""
    if labels == 1:
        return [(trials,)]
    return [(k, *rest) for k in range(trials + 1) for rest in outcomes(labels - 1, trials - k)]


def ways(counts):
    return mp.factorial(sum(counts)) / mp.fprod(mp.factorial(k) for k in counts)


def urn(alpha):
    """The probabilities of all counts of a Dirichlet-multinomial."""
    scale = mp.rf(mp.fsum(alpha), TRIALS)
    rising = [[mp.rf(a, k) for k in range(TRIALS + 1)] for a in alpha]
    return [ways(x) * mp.fprod(rising[i][k] for i, k in enumerate(x)) / scale for x in outcomes(len(alpha))]


def dirichlet_multinomial(p, q):
    return mp.fsum(x * mp.log(x / y) for x, y in zip(urn(p[0]), urn(q[0]), strict=True))


def dirichlet_multinomial_entropy(p):
    return -mp.fsum(x * mp.log(x) for x in urn(p[0]))


def beta_binomial(p, q):
    return dirichlet_multinomial((p,), (q,))


def beta_binomial_entropy(p):
    return dirichlet_multinomial_entropy((p,))


def multinomial(p, q):
    return TRIALS * categorical(p, q)


def multinomial_entropy(p):
    (weights,) = p
    chances = [w / mp.fsum(weights) for w in weights]
    masses = [ways(x) * mp.fprod(c**k for c, k in zip(chances, x, strict=True)) for x in outcomes(len(weights))]
    return -mp.fsum(x * mp.log(x) for x in masses)


FAMILIES = (
    Family(
        "multinomial",
        lambda p: dist.MultinomialProbs(p, TRIALS, validate_args=False),
        multinomial,
        (((0.2, 0.3, 0.5),), ((0.98, 0.01, 0.01),), ((1e-6, 0.4, 0.6),)),
        entropy=multinomial_entropy,
    ),
    Family(
        "beta-binomial",
        lambda a, b: dist.BetaBinomial(a, b, TRIALS),
        beta_binomial,
        ((0.01, 3.0), (0.5, 0.5), (40.0, 20.0), (1e4, 2e4)),
        entropy=beta_binomial_entropy,
    ),
    Family(
        "dirichlet-multinomial",
        lambda a: dist.DirichletMultinomial(jnp.asarray(a), TRIALS),
        dirichlet_multinomial,
        (((0.01, 3.0, 1.0),), ((20.0, 70.0, 40.0),), ((1e3, 2e3, 5.0),)),
        entropy=dirichlet_multinomial_entropy,
    ),
)
