"""Draws as functions of fixed noise: x = push(θ, ε), differentiable in the parameters.

The gamma law and what is made of it follow from quantiles: by rejection, draws at a fixed key would jump as the
parameters move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import ndtri

from kullback.distributions import TanhNormal
from kullback.exact.numerics.incomplete_gamma import log_gamma_quantile
from kullback.families.form import Form
from kullback.families.learnable import Structure
from kullback.families.mixture import MixtureStructure
from kullback.minimize.noise import Noise

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

BY_QUANTILE = (
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.Exponential,
    dist.HalfNormal,
    dist.HalfCauchy,
    dist.Uniform,
    dist.AsymmetricLaplace,
    dist.SoftLaplace,
    dist.Gompertz,
    dist.Pareto,
    dist.LogUniform,
)


@dataclass(frozen=True)
class Push:
    """How a structure's draws follow from noise.

    draw   (d, noise) -> x, of one component
    log_q  (d, noise, x) -> log q(x), from the noise where that spares inverting the push
    noise  the law of the noise
    """

    draw: Callable[[Any, Any], Any]
    log_q: Callable[[Any, Any, Any], Any]
    noise: Noise

    def reaching(self) -> Push:
        """The same draws from noise that reaches into the tails."""
        return replace(self, noise=self.noise.reaching())


def push_for(structure: Structure) -> Push | None:
    """The push of a structure, or None where its draws are not smooth functions of the parameters."""
    form = structure.form if isinstance(structure, MixtureStructure) else structure
    return PUSHES.get(form.cls) if isinstance(form, Form) else None


def weighted_draws(push: Push, d: Any, noise: Any) -> tuple[Any, Any, Any]:
    """Draws x [m, *event], log q(x) [m], and weights [m] that sum to 1; a mixture contributes every component."""
    each = push.noise.weights(noise)
    each = each / jnp.sum(each)
    if isinstance(d, dist.MixtureSameFamily):
        x = push.draw(d.component_distribution, noise[:, None])
        weights = each[:, None] * jnp.asarray(d.mixing_distribution.probs)
        x = x.reshape(-1, *d.event_shape)
        return x, d.log_prob(x), weights.reshape(-1)
    x = push.draw(d, noise)
    return x, push.log_q(d, noise, x), each


def _base(d: Any) -> Any:
    while isinstance(d, dist.Independent):
        d = d.base_dist
    return d


def _shift_and_scale(d: Any, noise: Any) -> Any:
    base = _base(d)
    x = base.loc + base.scale * noise
    return jnp.exp(x) if isinstance(base, dist.LogNormal) else x


def _log_shifted(d: Any, noise: Any, x: Any) -> Any:
    base = _base(d)
    log_q = -0.5 * jnp.square(noise) - jnp.log(base.scale) - _HALF_LOG_2PI
    log_q = log_q - jnp.log(x) if isinstance(base, dist.LogNormal) else log_q
    return log_q.sum(tuple(range(1, noise.ndim)))


def _squashed(d: Any, noise: Any) -> Any:
    base = _base(d)
    return base.squash(base.loc + base.scale * noise)


def _log_squashed(d: Any, noise: Any, x: Any) -> Any:
    base = _base(d)
    return base.log_prob_unsquashed(base.loc + base.scale * noise).sum(tuple(range(1, noise.ndim)))


def _affine(d: Any, noise: Any) -> Any:
    base = _base(d)
    return base.loc + jnp.matmul(base.scale_tril, noise[..., None])[..., 0]


def _log_affine(d: Any, noise: Any, x: Any) -> Any:
    log_det = jnp.log(jnp.diagonal(_base(d).scale_tril, axis1=-2, axis2=-1))
    return (-0.5 * jnp.square(noise) - log_det - _HALF_LOG_2PI).sum(tuple(range(1, noise.ndim)))


def _gamma(d: Any, noise: Any) -> Any:
    base = _base(d)
    return jnp.exp(_log_gamma(base.concentration, noise)) / base.rate


def _inverse_gamma(d: Any, noise: Any) -> Any:
    # Largest where the gamma is least.
    base = _base(d)
    return base.rate * jnp.exp(-_log_gamma(base.concentration, 1.0 - noise))


def _beta(d: Any, noise: Any) -> Any:
    base = _base(d)
    one, other = (_log_gamma(c, noise[..., i]) for i, c in enumerate((base.concentration1, base.concentration0)))
    return jax.nn.sigmoid(one - other)


def _dirichlet(d: Any, noise: Any) -> Any:
    return jax.nn.softmax(_log_gamma(_base(d).concentration, noise))


def _student(d: Any, noise: Any) -> Any:
    base = _base(d)
    half = 0.5 * base.df
    return base.loc + base.scale * ndtri(noise[..., 0]) * jnp.exp(
        0.5 * (jnp.log(half) - _log_gamma(half, noise[..., 1]))
    )


def _log_gamma(concentration: Any, shares: Any) -> Any:
    concentration, shares = jnp.broadcast_arrays(concentration, jnp.asarray(shares, jnp.result_type(concentration)))
    return log_gamma_quantile(concentration, shares)


def _weibull(d: Any, noise: Any) -> Any:
    base = _base(d)
    return base.scale * (-jnp.log1p(-noise)) ** (1.0 / base.concentration)


def _kumaraswamy(d: Any, noise: Any) -> Any:
    base = _base(d)
    return (-jnp.expm1(jnp.log1p(-noise) / base.concentration0)) ** (1.0 / base.concentration1)


def _quantile(d: Any, noise: Any) -> Any:
    return _base(d).icdf(noise)


def _log_quantile(d: Any, noise: Any, x: Any) -> Any:
    return d.log_prob(x)


_NORMAL, _UNIFORM, _PAIRS = Noise(normal=True), Noise(normal=False), Noise(normal=False, count=2)

PUSHES: dict[type, Push] = {
    dist.Normal: Push(_shift_and_scale, _log_shifted, _NORMAL),
    dist.LogNormal: Push(_shift_and_scale, _log_shifted, _NORMAL),
    dist.MultivariateNormal: Push(_affine, _log_affine, _NORMAL),
    TanhNormal: Push(_squashed, _log_squashed, _NORMAL),
    **{cls: Push(_quantile, _log_quantile, _UNIFORM) for cls in BY_QUANTILE},
    dist.Weibull: Push(_weibull, _log_quantile, _UNIFORM),
    dist.Kumaraswamy: Push(_kumaraswamy, _log_quantile, _UNIFORM),
    dist.Gamma: Push(_gamma, _log_quantile, _UNIFORM),
    dist.InverseGamma: Push(_inverse_gamma, _log_quantile, _UNIFORM),
    dist.Beta: Push(_beta, _log_quantile, _PAIRS),
    dist.Dirichlet: Push(_dirichlet, _log_quantile, _UNIFORM),
    dist.StudentT: Push(_student, _log_quantile, _PAIRS),
}
