"""Powers of x on an interval."""

import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.family import Family


def power_law(p, q):
    """Of rows (exponent of x, low, high)."""
    (a, low, high), (b, bottom, top) = p, q
    if not (bottom <= low and high <= top):
        return mp.inf
    return mp.log(mass(q) / mass(p)) + (a - b) * mean_log(p)


def mass(p):
    """∫ xᵃ dx over (low, high)."""
    a, low, high = p
    if a == -1:
        return mp.log(high / low)
    return ((high ** (a + 1) if mp.isfinite(high) else 0) - (low ** (a + 1) if low else 0)) / (a + 1)


def mean_log(p):
    a, low, high = p
    if a == -1:
        return mp.log(high * low) / 2
    above = high ** (a + 1) * mp.log(high) if mp.isfinite(high) else 0
    below = low ** (a + 1) * mp.log(low) if low else 0
    return (above - below) / ((a + 1) * mass(p)) - 1 / (a + 1)


def entropy(p):
    return mp.log(mass(p)) - p[0] * mean_log(p)


def lower_truncated(p, q):
    return power_law((*p, mp.inf), (*q, mp.inf))


def log_uniform(p, q):
    return power_law((mp.mpf(-1), *p), (mp.mpf(-1), *q))


FAMILIES = (
    Family(
        "power law truncated on both sides",
        dist.DoublyTruncatedPowerLaw,
        power_law,
        ((1.5, 0.5, 2.0), (-1.25, 1e-3, 40.0), (-4.0, 1.0, 1.5), (40.0, 20.0, 30.0), (-0.5, 1.0, 2.0)),
        entropy=entropy,
    ),
    Family(
        "power law truncated below",
        dist.LowerTruncatedPowerLaw,
        lower_truncated,
        ((-1.5, 0.5), (-1.125, 1e-3), (-40.0, 1.0)),
        entropy=lambda p: entropy((*p, mp.inf)),
        valid=lambda row: row[0] < -1.0,
    ),
    Family(
        "log uniform",
        dist.LogUniform,
        log_uniform,
        ((0.5, 2.0), (1e-3, 40.0), (1.0, 1.5)),
        entropy=lambda p: entropy((mp.mpf(-1), *p)),
    ),
)
