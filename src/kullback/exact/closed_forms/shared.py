"""Families with a closed form only where both sides share a parameter that can be read, a scale or a location."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from kullback.exact.type_keys import UNKNOWN, Form, known_equal
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import EULER_GAMMA
from kullback.numerics.ratios import scale_gap


def logistic_kl(p: dist.Logistic, q: dist.Logistic) -> Form | None:
    """KL = d coth(d/2) − 2, with d = (μp − μq)/s, for an equal scale s.

    Source: its derivative in d is 2 P(x − y < d) − 1 for standard logistic x and y, as that of E 2 log cosh ½(x + d).
    """
    return partial(_logistic, p.loc, q.loc, p.scale) if known_equal(p.scale, q.scale) else None


def relaxed_bernoulli_kl(p: dist.RelaxedBernoulliLogits, q: dist.RelaxedBernoulliLogits) -> Form | None:
    """As for the logistic variable under the sigmoid, of location logits/t and scale 1/t for an equal temperature t.

    Source: Maddison, Mnih and Teh (2017), The concrete distribution, appendix B.
    """
    return partial(_logistic, p.logits, q.logits, 1.0) if known_equal(p.temperature, q.temperature) else None


@jax.jit
def _logistic(loc_p: ArrayLike, loc_q: ArrayLike, scale: ArrayLike) -> Array:
    loc_p, loc_q, scale = floats(loc_p, loc_q, scale)
    d = (loc_p - loc_q) / scale
    # (d (eᵈ + 1) − 2 (eᵈ − 1))/(eᵈ − 1), whose numerator is Σ (k − 2) dᵏ/k! from k = 3; the form is even in d.
    near = jnp.abs(d) < 2.0
    small, large = jnp.where(near, jnp.abs(d), 1.0), jnp.where(near, 2.0, jnp.abs(d))
    series = jnp.zeros_like(small)
    for k in range(24, 2, -1):
        series = series * small / (k + 1) + (k - 2)
    # d²/6 · (series/series at 0)/((eᵈ − 1)/d), so that d = 0 is no exception.
    value = jnp.square(d) * series / (6.0 * _relative_expm1(small))
    return jnp.where(near, value, large - 2.0 + 2.0 * large / jnp.expm1(large))


def _relative_expm1(x: Array) -> Array:
    """(eˣ − 1)/x for x ≥ 0."""
    tiny = x < 1e-4
    safe = jnp.where(tiny, 1.0, x)
    return jnp.where(tiny, 1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0)), jnp.expm1(safe) / safe)


def soft_laplace_kl(p: dist.SoftLaplace, q: dist.SoftLaplace) -> Form | None:
    """KL = log(1 + sinh²(d/2)), with d = (μp − μq)/s, for an equal scale s.

    Source: exp(x/s) is half-Cauchy of scale exp(μ/s), so that theorem 1 of Chyzak and Nielsen (2019) applies.
    """
    return partial(_soft_laplace, p, q) if known_equal(p.scale, q.scale) else None


@jax.jit
def _soft_laplace(p: dist.SoftLaplace, q: dist.SoftLaplace) -> Array:
    loc_p, scale, loc_q = floats(p.loc, p.scale, q.loc)
    d = jnp.abs(loc_p - loc_q) / scale
    near = d < 4.0
    small, large = jnp.where(near, (loc_p - loc_q) / scale, 0.0), jnp.where(near, 4.0, d)
    far = large + 2.0 * jnp.log1p(jnp.exp(-large)) - jnp.log(4.0)
    return jnp.where(near, jnp.log1p(jnp.square(jnp.sinh(0.5 * small))), far)


def levy_kl(p: dist.Levy, q: dist.Levy) -> Form | None:
    """KL = ½ φ((cq − cp)/cp) for an equal location, and ∞ where P's location is below Q's.

    Source: 1/(x − μ) is gamma with shape ½ and rate c/2. A location above Q's has no closed form.
    """
    if known_equal(p.loc, q.loc):
        return partial(_levy, p, q, False)
    if isinstance(p.loc, UNKNOWN) or isinstance(q.loc, UNKNOWN) or not np.all(np.asarray(p.loc) <= np.asarray(q.loc)):
        return None
    return partial(_levy, p, q, np.asarray(p.loc) < np.asarray(q.loc))


@jax.jit
def _levy(p: dist.Levy, q: dist.Levy, escapes: bool | np.ndarray) -> Array:
    loc_p, scale_p, loc_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    value = 0.5 * scale_gap(scale_q, scale_p) + jnp.zeros_like(loc_p) + jnp.zeros_like(loc_q)
    return jnp.where(escapes, jnp.inf, value)


def dagum_kl(p: dist.Dagum, q: dist.Dagum) -> Form | None:
    """KL = φ((κq − κp)/κp), with κ the concentration, for an equal scale and sharpness.

    Source: Kleiber and Kotz (2003), section 6.3: (x/b)ᵃ/(1 + (x/b)ᵃ) is Beta(κ, 1), whose −log is exponential.
    """
    same = known_equal(p.scale, q.scale) and known_equal(p.sharpness, q.sharpness)
    return partial(_dagum, p, q) if same else None


@jax.jit
def _dagum(p: dist.Dagum, q: dist.Dagum) -> Array:
    power_p, power_q = floats(p.concentration, q.concentration)
    return scale_gap(power_q, power_p)


def logistic_entropy(p: dist.Logistic) -> Float[Array, "*batch"]:
    """H = 2 + log s. Source: Cover and Thomas (2006), table 17.1."""
    loc, scale = floats(p.loc, p.scale)
    return 2.0 + jnp.log(scale) + jnp.zeros_like(loc)


def soft_laplace_entropy(p: dist.SoftLaplace) -> Float[Array, "*batch"]:
    """H = log 2πs. Source: H of the half-Cauchy exp(z), whose E log is 0."""
    loc, scale = floats(p.loc, p.scale)
    return jnp.log(2.0 * jnp.pi * scale) + jnp.zeros_like(loc)


def levy_entropy(p: dist.Levy) -> Float[Array, "*batch"]:
    """H = ½ (1 + 3γ + log 16πc²), with γ Euler's constant. Source: as for the inverse gamma of shape ½ and rate c/2."""
    loc, scale = floats(p.loc, p.scale)
    return 0.5 * (1.0 + 3.0 * EULER_GAMMA + jnp.log(16.0 * jnp.pi)) + jnp.log(scale) + jnp.zeros_like(loc)


def dagum_entropy(p: dist.Dagum) -> Float[Array, "*batch"]:
    """H = log(b/aκ) + (1 + 1/a)(digamma(κ) + γ) + 1 + 1/κ, with γ Euler's constant.

    Source: log(x/b) = (1/a) logit y for y ~ Beta(κ, 1). Kleiber and Kotz (2003), section 6.3.
    """
    power, sharpness, scale = floats(p.concentration, p.sharpness, p.scale)
    level = jax.lax.digamma(power) + EULER_GAMMA
    return jnp.log(scale / (sharpness * power)) + (1.0 + 1.0 / sharpness) * level + 1.0 + 1.0 / power


BUILD_KL = {
    (dist.Logistic, dist.Logistic): logistic_kl,
    (dist.RelaxedBernoulliLogits, dist.RelaxedBernoulliLogits): relaxed_bernoulli_kl,
    (dist.SoftLaplace, dist.SoftLaplace): soft_laplace_kl,
    (dist.Levy, dist.Levy): levy_kl,
    (dist.Dagum, dist.Dagum): dagum_kl,
}

ENTROPY = {
    dist.Logistic: logistic_entropy,
    dist.SoftLaplace: soft_laplace_entropy,
    dist.Levy: levy_entropy,
    dist.Dagum: dagum_entropy,
}
