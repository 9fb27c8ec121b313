"""The law of a transformed variable without the transform, where the family has the result: the pushforward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Independent, transforms
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.exact.closed_forms.multivariate import factor_of, mean_and_covariance
from kullback.exact.type_keys import UNKNOWN
from kullback.numerics.double_precision import floats

LocationScale = dist.Normal | dist.Laplace | dist.Cauchy | dist.Logistic | dist.StudentT | dist.Gumbel

Pushforward = Callable[[Any, Any], Any]


def pushforward(base: dist.Distribution, chain: Sequence[transforms.Transform]) -> dist.Distribution | None:
    """The distribution of the transformed variable without transforms; None where no family here has it.

    Its parameters are rounded as if the user had computed them.
    """
    law: dist.Distribution | None = base
    for t in chain:
        law = None if law is None else _pushforward_step(law, t)
    return law


def _pushforward_step(base: dist.Distribution, t: transforms.Transform) -> dist.Distribution | None:
    if type(base) is dist.Delta:
        event = t.codomain.event_dim + len(base.event_shape) - t.domain.event_dim
        return dist.Delta(t(base.v), event_dim=event, validate_args=False)
    if type(base) is ExpandedDistribution:
        inner = _pushforward_step(base.base_dist, t)
        return None if inner is None else inner.expand(base.batch_shape)
    if type(base) is Independent and t.domain.event_dim == 0:
        inner = _pushforward_step(base.base_dist, t)
        return None if inner is None else Independent(inner, base.reinterpreted_batch_ndims, validate_args=False)
    pushforward = _PUSHFORWARDS.get((type(base), type(t)))
    return None if pushforward is None else pushforward(base, t)


def _location_scale(d: LocationScale, t: transforms.AffineTransform) -> dist.Distribution:
    """a + b x of a family that is symmetric about its location."""
    loc, scale, a, b = floats(d.loc, d.scale, t.loc, t.scale)
    named = {"df": d.df} if type(d) is dist.StudentT else {}
    return type(d)(**named, loc=a + b * loc, scale=jnp.abs(b) * scale, validate_args=False)


def _gumbel(d: dist.Gumbel, t: transforms.AffineTransform) -> dist.Distribution | None:
    return _location_scale(d, t) if _positive(t.scale) else None


def _uniform(d: dist.Uniform, t: transforms.AffineTransform) -> dist.Uniform:
    low, high, a, b = floats(d.low, d.high, t.loc, t.scale)
    ends = a + b * low, a + b * high
    return dist.Uniform(jnp.minimum(*ends), jnp.maximum(*ends), validate_args=False)


def _scaled(parameter: str, power: int) -> Pushforward:
    """b x of a family of one scale, or for power −1 of one rate."""

    def pushforward(d: dist.Distribution, t: Any) -> dist.Distribution | None:
        if not _positive(t.scale) or not _zero(t.loc):
            return None
        b, value = floats(t.scale, getattr(d, parameter))
        kept = {name: getattr(d, name) for name in d.arg_constraints if name != parameter}
        return type(d)(**kept, **{parameter: value * b if power > 0 else value / b}, validate_args=False)

    return pushforward


def _log_normal_scaled(d: dist.LogNormal, t: transforms.AffineTransform) -> dist.LogNormal | None:
    if not _positive(t.scale) or not _zero(t.loc):
        return None
    loc, scale, b = floats(d.loc, d.scale, t.scale)
    return dist.LogNormal(loc + jnp.log(b), scale, validate_args=False)


def _log_normal_power(d: dist.LogNormal, t: transforms.PowerTransform) -> dist.LogNormal:
    loc, scale, k = floats(d.loc, d.scale, t.exponent)
    return dist.LogNormal(k * loc, jnp.abs(k) * scale, validate_args=False)


def _multivariate_affine(d: dist.MultivariateNormal, t: transforms.AffineTransform) -> dist.MultivariateNormal:
    mean, factor, a, b = floats(*_mean_and_factor(d), t.loc, t.scale)
    size = jnp.broadcast_shapes(jnp.shape(b), mean.shape[-1:])
    return dist.MultivariateNormal(
        a + b * mean, scale_tril=jnp.broadcast_to(b, size)[..., None] * factor, validate_args=False
    )


def _multivariate_linear(d: dist.Distribution, t: transforms.LowerCholeskyAffine) -> dist.MultivariateNormal:
    mean, factor, a, b = floats(*_mean_and_factor(d), t.loc, t.scale_tril)
    return dist.MultivariateNormal(a + (b @ mean[..., None])[..., 0], scale_tril=b @ factor, validate_args=False)


def _mean_and_factor(d: dist.Distribution) -> tuple[Array, Array]:
    mean, spread = mean_and_covariance(d)
    return mean, factor_of(spread)


def _independent_linear(d: Independent, t: transforms.LowerCholeskyAffine) -> dist.MultivariateNormal | None:
    base = d.base_dist.base_dist if type(d.base_dist) is ExpandedDistribution else d.base_dist
    flat = d.reinterpreted_batch_ndims == 1 and type(base) is dist.Normal
    return _multivariate_linear(d, t) if flat else None


def _log_normal(d: dist.Normal, t: transforms.ExpTransform) -> dist.LogNormal:
    return dist.LogNormal(d.loc, d.scale, validate_args=False)


def _positive(x: object) -> bool:
    return not isinstance(x, UNKNOWN) and bool(np.all(np.asarray(x) > 0))


def _zero(x: object) -> bool:
    return not isinstance(x, UNKNOWN) and not np.any(np.asarray(x))


_AFFINE, _LOWER = transforms.AffineTransform, transforms.LowerCholeskyAffine
_SYMMETRIC = (dist.Normal, dist.Laplace, dist.Cauchy, dist.Logistic, dist.StudentT)
_SCALES = {
    dist.HalfNormal: "scale",
    dist.HalfCauchy: "scale",
    dist.Weibull: "scale",
    dist.Pareto: "scale",
    dist.InverseGamma: "rate",
}

_PUSHFORWARDS: dict[tuple[type, type], Pushforward] = {
    **{(family, _AFFINE): _location_scale for family in _SYMMETRIC},
    **{(family, _AFFINE): _scaled(name, 1) for family, name in _SCALES.items()},
    **{(family, _AFFINE): _scaled("rate", -1) for family in (dist.Gamma, dist.Exponential)},
    (dist.Gumbel, _AFFINE): _gumbel,
    (dist.Uniform, _AFFINE): _uniform,
    (dist.Normal, transforms.ExpTransform): _log_normal,
    (dist.LogNormal, _AFFINE): _log_normal_scaled,
    (dist.LogNormal, transforms.PowerTransform): _log_normal_power,
    (dist.MultivariateNormal, _AFFINE): _multivariate_affine,
    (dist.MultivariateNormal, _LOWER): _multivariate_linear,
    (Independent, _LOWER): _independent_linear,
}
