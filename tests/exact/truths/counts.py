"""Distributions over counts, by sums to the last of 50 digits.

The mass of a negative binomial falls by a factor near the chance of one more count, so that chances of at most a half
keep the sums short.
"""

import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.family import Family


def masses(p):
    """The probabilities of a negative binomial of shape a and chance t of one more count, until they are negligible."""
    a, t = p
    mass, k, found = (1 - t) ** a, 0, []
    while mass > mp.mpf(10) ** -46:
        found.append(mass)
        mass *= (a + k) / (k + 1) * t
        k += 1
    return found


def negative_binomial(p, q):
    (a, t), (c, u) = p, q
    log = a * mp.log(1 - t) - c * mp.log(1 - u)
    value, slope, step = mp.mpf(0), mp.log(t / u), mp.mpf(0)
    for k, mass in enumerate(masses(p)):
        value += mass * (log + k * slope + step)
        if a != c:
            step += mp.log((a + k) / (c + k))
    return value


def equal_shape(p, q):
    return negative_binomial((mp.mpf(2.5), p[0]), (mp.mpf(2.5), q[0]))


def by_logits(p, q):
    return negative_binomial(*((a, 1 / (1 + mp.exp(-x))) for a, x in (p, q)))


def by_rate(p, q):
    return negative_binomial(*((a, 1 / (1 + b)) for a, b in (p, q)))


def negative_binomial_entropy(p):
    return -mp.fsum(mass * mp.log(mass) for mass in masses(p))


FAMILIES = (
    Family(
        "negative binomial",
        dist.NegativeBinomialProbs,
        negative_binomial,
        ((0.5, 0.3), (3.0, 0.5), (40.0, 0.05)),
        entropy=negative_binomial_entropy,
    ),
    Family(
        "negative binomial of one shape",
        lambda p: dist.NegativeBinomialProbs(2.5, p),
        equal_shape,
        ((1e-4,), (0.2,), (0.5,)),
    ),
    Family("negative binomial logits", dist.NegativeBinomialLogits, by_logits, ((0.5, -1.0), (9.0, -3.0))),
    Family("gamma poisson", dist.GammaPoisson, by_rate, ((0.25, 1.5), (20.0, 60.0))),
)
