"""The mean of log Γ(K + c) over counts K, which entropies and divergences of counts need, from a generating function.

Let K be Poisson, binomial or negative binomial, with mean m and generating function G. Malmstén's integral
log Γ(k + c)/Γ(c) = ∫₀^∞ [k e⁻ᵗ − e⁻ᶜᵗ (1 − e⁻ᵏᵗ)/(1 − e⁻ᵗ)] dt/t holds for each k, and with t in place of 1 − e⁻ᵗ below
the line it holds for the integral of log x over [c, c + k] in place of the sum. So the mean of log Γ(K + c)/Γ(c) is
that integral over [c, c + m] less the `shortfall`

    T(c) = ∫₀^∞ e⁻ᶜᵗ W(t) dt/t,    W(t) = (1 − G(e⁻ᵗ))/(1 − e⁻ᵗ) − (1 − e⁻ᵐᵗ)/t,

which stays near ½ log m while the mean itself grows like m log m: nothing large is left to cancel. W is written in
terms of second order in t, and the integral over log t is done by the trapezoidal rule, which converges
geometrically for integrands that are analytic in a strip. A sum over counts would need as many terms as m is large.
Source: Cheraghchi (2019), Expressions for the entropy of basic discrete distributions; Whittaker and Watson (1927),
section 12.3, for the integral; Trefethen and Weideman (2014), theorem 5.1, for the rule.

The divergence of a binomial from one of more trials and the same mean, or from the Poisson of that mean, is the same
integral with t negated: a binomial is a negative binomial of shape −n, and its shortfall at that shape is the
divergence.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kullback.numerics.log_gamma import HALF_LOG_2PI, binet
from kullback.numerics.ratios import phi, psi

NODES = 128  # enough for 1e-13 while the scales of t are within e²⁷ of each other
_LEFT, _RIGHT = 3.6, 3.7


class Counts(NamedTuple):
    """Counts of mean m with the generating function G(z) = (1 + r (1 − z))^(−m/r): negative binomial for r > 0,
    binomial for r = −p < 0, and Poisson in the limit r = 0.

    mean   m ≥ 0
    ratio  r
    rest   1 + r, which for a binomial is small where it matters
    """

    mean: Float[Array, "*s"]
    ratio: Float[Array, "*s"]
    rest: Float[Array, "*s"]


def shortfall(counts: Counts, c: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """T(c), for c > 0."""
    t, weight = nodes(jnp.maximum(_fastest(counts), c), c)
    return (weight * jnp.exp(-c[..., None] * t) * _kernel(counts, t)).sum(-1)


def shortfall_step(
    counts: Counts, a: Float[Array, "*s"], c: Float[Array, "*s"], step: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """T(c) − T(a) for `step` = c − a, where T′(a) = 0: of second order in the step, and computed so."""
    t, weight = nodes(jnp.maximum(_fastest(counts), jnp.maximum(a, c)), jnp.minimum(a, c))
    a, c, step = a[..., None], c[..., None], step[..., None]
    near = jnp.abs(step) < 0.5 * a
    decay = jnp.exp(-a * t)
    # The term of first order in the step has the integral 0, and is left out.
    change = jnp.where(near, decay * psi(-jnp.where(near, step, 0.0) * t), jnp.exp(-c * t) - decay)
    return (weight * change * _kernel(counts, t)).sum(-1)


def log_step(s: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(s + 1) log(s + 1) − s log s, for s ≥ 0; its slope at s = 0, ∞, is given as 0."""
    live = s > 0
    safe = jnp.where(live, s, 1.0)
    return jnp.where(live, safe * jnp.log1p(1.0 / safe) + jnp.log1p(safe), 0.0)


def stirling_rest(n: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log n! − n log n + n, for n ≥ 0."""
    safe = jnp.where(n > 0, n, 1.0)
    rest = HALF_LOG_2PI - 1.0 + safe * jnp.log1p(1.0 / safe) + 0.5 * jnp.log1p(safe) + binet(safe + 1.0)
    return jnp.where(n > 0, rest, 0.0)


def _fastest(counts: Counts) -> Array:
    return jnp.maximum(jnp.maximum(counts.mean, counts.ratio), 1.0)


def nodes(
    fast: Float[Array, "*s"], slow: Float[Array, "*s"], count: int = NODES
) -> tuple[Float[Array, "*s n"], Float[Array, "*s n"]]:
    """Nodes t and weights of ∫ f(t) dt/t, for f of order t below 1/fast and decaying like exp(−slow t).

    log t = s − exp(s₀ − s) at equally spaced s: above s₀ = −log fast nearly log t itself, and below it a double
    exponential, which ends the slow decay on that side (Takahasi and Mori, 1974).
    """
    fast, slow = jax.lax.stop_gradient((fast, slow))
    fast, slow = jnp.broadcast_arrays(fast, slow)
    low, high = -jnp.log(fast) - _LEFT, -jnp.log(slow) + _RIGHT
    h = (high - low) / (count - 1)
    above = h[..., None] * jnp.arange(count, dtype=fast.dtype) - _LEFT  # s − s₀
    knee = jnp.exp(-above)
    return jnp.exp(above - knee) / fast[..., None], h[..., None] * (1.0 + knee)


def _kernel(counts: Counts, t: Array) -> Array:
    """W(t) = (κ/t) (ω(L)/L + e⁻ᴸ ψ(−κ)/κ) − m (φ(u)/u) (1 − e⁻ᴸ)/L, with u = r (1 − e⁻ᵗ), L = −log G(e⁻ᵗ),
    κ = mt − L ≥ 0, and ω(L) = 1 − (1 + L) e⁻ᴸ.
    """
    m, r, rest = (x[..., None] for x in counts)
    x = -jnp.expm1(-t)
    slope, part = log_parts(r * x, jnp.where(r > 0, 1.0 + r * x, rest - r * jnp.exp(-t)))
    exponent = m * x * slope
    excess = m * (psi(-t) + x * part)
    squared, mean = second(exponent), unit(exponent)
    return (excess * squared + jnp.exp(-exponent) * psi(-excess)) / t - m * part * mean


def log_parts(u: Float[Array, "*s"], one_plus: Float[Array, "*s"]) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """log(1 + u)/u and φ(u)/u, for u > −1 and `one_plus` = 1 + u; 1 and 0 at u = 0."""
    near, live = jnp.abs(u) < 0.5, u != 0
    small, safe = jnp.where(near, u, 0.0), jnp.where(live, u, 1.0)
    log = jnp.where(near, jnp.log1p(small), jnp.log(jnp.where(near, 1.0, one_plus)))
    gap = jnp.where(near, phi(small), u - log)
    return jnp.where(live, log / safe, 1.0), jnp.where(live, gap / safe, 0.0)


def unit(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(1 − e⁻ˣ)/x, for x ≥ 0."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, -jnp.expm1(-safe) / safe, 1.0)


def second(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(1 − (1 + x) e⁻ˣ)/x, for x ≥ 0."""
    near = x < 0.5
    small, large = jnp.where(near, x, 0.5), jnp.where(near, 0.5, x)
    series = jnp.exp(-small) * psi(small) / jnp.where(small > 0, small, 1.0)
    return jnp.where(near, series, -jnp.expm1(-large) / large - jnp.exp(-large))


_NODES, _SLOWEST = 192, 1e-13  # beyond which the value is that of no failures, to the last digit


# From a binomial to one of more trials.


def binomial_excess(
    n: Float[Array, "*s"], p: Float[Array, "*s"], rest: Float[Array, "*s"], more: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """KL(Binomial(n, p) ‖ Binomial(n + d, np/(n + d))) for d = `more` trials, and from the Poisson where d = ∞: the
    integral ∫₀^∞ (1 − e⁻ᵈᵗ) V(t) dt/t with V(t) = (e⁻ⁿ⁽¹⁻ᵖ⁾ᵗ − e⁻ⁿᵗ)/t − (G(e⁻ᵗ) − e⁻ⁿᵗ)/(eᵗ − 1), for G the
    generating function of the failures n − K. `rest` is 1 − p.
    """
    n, p, rest, more = jnp.broadcast_arrays(n, p, rest, more)
    finite, trials = jnp.isfinite(more), jnp.where(n > 0, n, 1.0)
    d = jnp.where(finite, more, 1.0)
    t, weight = nodes(jnp.maximum(trials, d), jnp.clip(trials * rest, _SLOWEST, 1.0), _NODES)
    kept = jnp.where(finite[..., None], -jnp.expm1(-d[..., None] * t), 1.0)
    value = (weight * kept * _backward_kernel(trials[..., None], p[..., None], rest[..., None], t)).sum(-1)
    return jnp.where(n > 0, value, 0.0)


def _backward_kernel(n: Array, p: Array, rest: Array, t: Array) -> Array:
    """V(t): as `_kernel` at −t while p (eᵗ − 1) < 1, and after that as it stands."""
    y = jnp.expm1(t)
    near = p * y < 1.0
    u, m, s = p * jnp.where(near, y, 1.0), n * p, jnp.where(near, t, 1.0)
    slope, part = log_parts(u, 1.0 + u)
    exponent, excess = n * u * slope, n * (p * psi(s) - u * part)
    first = m * s
    above = excess * (second(excess) + jnp.exp(-excess) * psi(-first) / jnp.where(first > 0, first, 1.0))
    above = above / jnp.where(first > 0, exponent, 1.0)
    close = m * jnp.exp(exponent - n * t) * (part * unit(exponent) - above)
    none = jnp.exp(-n * t)
    back = jnp.exp(n * jnp.log(p + rest * jnp.exp(-t)))
    return jnp.where(near, close, (jnp.exp(-n * rest * t) - none) / t - (back - none) / y)
