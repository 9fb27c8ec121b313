"""Truncated normals, and the half normal and the normal as such."""

import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.family import Family


def truncated(p, q):
    """Of rows (loc, scale, low, high)."""
    (m, s, a, b), (n, t, c, d) = p, q
    if not (c <= a and b <= d):
        return mp.inf
    mean, square = moments(p)
    own = mp.log(mass(p)) + (square - 2 * m * mean + m**2) / (2 * s**2)
    return mp.log(mass(q)) + (square - 2 * n * mean + n**2) / (2 * t**2) - own


def mass(p):
    """∫ exp(−½((x − m)/s)²) over (a, b), from the tail on the side where both bounds are."""
    m, s, a, b = p
    low, high = ((x - m) / (s * mp.sqrt(2)) for x in (a, b))
    if high < 0:
        low, high = -high, -low
    return s * mp.sqrt(mp.pi / 2) * (mp.erfc(low) - mp.erfc(high) if low > 0 else mp.erf(high) - mp.erf(low))


def moments(p):
    """E x and E x²."""
    m, s, a, b = p
    at_low, at_high = (mp.exp(-(((x - m) / s) ** 2) / 2) * s**2 / mass(p) if mp.isfinite(x) else 0 for x in (a, b))
    mean = m + at_low - at_high
    edge = (a + m) * at_low if mp.isfinite(a) else 0
    return mean, m**2 + s**2 + edge - ((b + m) * at_high if mp.isfinite(b) else 0)


def entropy(p):
    m, s = p[:2]
    mean, square = moments(p)
    return mp.log(mass(p)) + (square - 2 * m * mean + m**2) / (2 * s**2)


def left(p, q):
    return truncated((*p, mp.inf), (*q, mp.inf))


FAMILIES = (
    Family(
        "normal truncated on both sides",
        lambda m, s, a, b: dist.TwoSidedTruncatedDistribution(dist.Normal(m, s), a, b),
        truncated,
        ((0.0, 1.0, -1.0, 2.0), (3.0, 0.5, -1.5, 4.0), (-20.0, 1.0, 1.0, 2.0), (0.5, 5.0, 0.25, 0.75)),
        entropy=entropy,
    ),
    Family(
        "normal truncated on the left",
        lambda m, s, a: dist.LeftTruncatedDistribution(dist.Normal(m, s), a),
        left,
        ((0.0, 1.0, -1.0), (3.0, 0.5, 1.0), (-30.0, 1.0, 2.0), (1.0, 20.0, -60.0)),
        entropy=lambda p: entropy((*p, mp.inf)),
    ),
)
