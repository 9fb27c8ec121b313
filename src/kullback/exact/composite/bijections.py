"""Transformed variables: a bijection that both sides share changes no divergence, and some others can be absorbed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Independent, TransformedDistribution, transforms
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.distributions import TanhNormal
from kullback.exact.closed_forms.multivariate import mean_and_covariance
from kullback.exact.composite import Parts
from kullback.exact.composite.pushforward import pushforward
from kullback.exact.type_keys import UNKNOWN, equal_parameters
from kullback.known.constraints import constraint_of, ends_of, rounding

Transform = transforms.Transform
Split = tuple[dist.Distribution, list[Transform]]  # a base, and the transforms of it one by one

# The classes that are defined by a base and transforms alone.
TRANSFORMED = (
    TransformedDistribution,
    dist.InverseGamma,
    dist.LKJ,
    dist.LogNormal,
    dist.LogUniform,
    dist.RelaxedBernoulliLogits,
    dist.Wishart,
    dist.InverseWishart,
    dist.ZeroSumNormal,
)


class _Box(transforms.AffineTransform):
    """From the unit interval to a box whose ends are parameters, so that its length is rounded."""


# Transforms that are injective whatever their parameters.
_INJECTIVE = (
    transforms.CholeskyTransform,
    transforms.ComplexTransform,
    transforms.CorrCholeskyTransform,
    transforms.CorrMatrixCholeskyTransform,
    transforms.DiscreteCosineTransform,
    transforms.ExpTransform,
    transforms.HaarTransform,
    transforms.IdentityTransform,
    transforms.L1BallTransform,
    transforms.LowerCholeskyTransform,
    transforms.OrderedTransform,
    transforms.PackRealFastFourierCoefficientsTransform,
    transforms.PermuteTransform,
    transforms.RealFastFourierTransform,
    transforms.RecursiveLinearTransform,
    transforms.ReshapeTransform,
    transforms.ScaledUnitLowerCholeskyTransform,
    transforms.SigmoidTransform,
    transforms.SimplexToOrderedTransform,
    transforms.SoftplusLowerCholeskyTransform,
    transforms.SoftplusTransform,
    transforms.StickBreakingTransform,
    transforms.ZeroSumTransform,
)

# Transforms that are injective unless a parameter is 0.
_UNLESS_ZERO: dict[type, Callable[[Any], Any]] = {
    _Box: lambda t: t.scale,
    transforms.AffineTransform: lambda t: t.scale,
    transforms.LowerCholeskyAffine: lambda t: jnp.diagonal(t.scale_tril, axis1=-2, axis2=-1),
    transforms.PowerTransform: lambda t: t.exponent,
}

# Linear transforms: log |det J| is constant, and the mean is transformed like any other point.
_LINEAR = (
    transforms.AffineTransform,
    transforms.DiscreteCosineTransform,
    transforms.HaarTransform,
    transforms.IdentityTransform,
    transforms.LowerCholeskyAffine,
    transforms.PermuteTransform,
    transforms.RecursiveLinearTransform,
    transforms.ReshapeTransform,
    transforms.ZeroSumTransform,
)

_WITH_MEAN = (
    dist.Beta,
    dist.Exponential,
    dist.Gamma,
    dist.Gumbel,
    dist.HalfNormal,
    dist.Laplace,
    dist.Logistic,
    dist.Normal,
    dist.Uniform,
)


def is_transformed(d: dist.Distribution) -> TypeGuard[TransformedDistribution]:
    """Whether a distribution is that of a transformed variable, by its exact type."""
    return type(d) in TRANSFORMED


def _is_pushforward(d: dist.Distribution) -> bool:
    """Whether it is a base with transforms, also inside independent coordinates or an expanded batch."""
    if type(d) is Independent or type(d) is ExpandedDistribution:
        return _is_pushforward(d.base_dist)
    return is_transformed(d) or type(d) is TanhNormal


def transformed_pair(p: dist.Distribution, q: dist.Distribution) -> Parts | None:
    """KL is unchanged by a bijection that both sides share: the last transforms are removed while they are equal.

    The remaining transforms, as a location and scale, are absorbed by the base; where they cannot be, there is no form.
    Source: Kullback and Leibler (1951), theorem 4.1.
    """
    if not _is_pushforward(p) and not _is_pushforward(q):
        return None
    if type(p) is TanhNormal and type(q) is TanhNormal:
        return _tanh_normals(p, q)
    return _without_shared_transforms(p, q, _base_and_chain) or _without_shared_transforms(p, q, _innermost)


def _without_shared_transforms(
    p: dist.Distribution, q: dist.Distribution, split: Callable[[dist.Distribution], Split]
) -> Parts | None:
    (base_p, chain_p), (base_q, chain_q) = split(p), split(q)
    shared = 0
    while shared < min(len(chain_p), len(chain_q)) and _same_bijection(chain_p[-1 - shared], chain_q[-1 - shared]):
        shared += 1
    part_p, part_q = (
        _with_remaining_transforms(p, base_p, chain_p, shared),
        _with_remaining_transforms(q, base_q, chain_q, shared),
    )
    if part_p is None and part_q is not None:
        part_p, part_q = base_p, _pullback(part_q, chain_p[: len(chain_p) - shared], base_p)
    elif part_q is None and part_p is not None:
        part_p, part_q = _pullback(part_p, chain_q[: len(chain_q) - shared], base_q), base_q
    if part_p is None or part_q is None or (part_p is p and part_q is q):
        return None
    if type(part_p) is dist.Uniform and type(part_q) is dist.Uniform:
        part_p = _with_ends_of(part_p, part_q)
    return Parts(((part_p, part_q),), lambda value: value, divergence_only=shared > 0)


def _tanh_normals(p: TanhNormal, q: TanhNormal) -> Parts | None:
    """KL of the normals where the boxes are equal, and ∞ where P's reaches beyond Q's; None where it lies inside.

    Source: Kullback and Leibler (1951), theorem 4.1 and section 2.
    """
    normals = ((_normal(p), _normal(q)),)
    if p.low is q.low and p.high is q.high:
        return Parts(normals, lambda value: value, divergence_only=True)
    if any(isinstance(end, UNKNOWN) for end in (p.low, p.high, q.low, q.high)):
        return None
    equal = (np.asarray(p.low) == q.low) & (np.asarray(p.high) == q.high)
    beyond = (np.asarray(p.low) < q.low) | (np.asarray(p.high) > q.high)
    if not (equal | beyond).all():
        return None
    finish = lambda value: value if equal.all() else jnp.where(equal, value, jnp.inf)  # noqa: E731
    return Parts(normals, finish, divergence_only=True)


def _normal(d: TanhNormal) -> dist.Normal:
    """The law of u, for the squashed variable a + b tanh u."""
    loc, scale = jnp.broadcast_arrays(jnp.asarray(d.loc), jnp.asarray(d.scale))
    return dist.Normal(*(jnp.broadcast_to(x, d.batch_shape) for x in (loc, scale)), validate_args=False)


def _with_ends_of(p: dist.Uniform, q: dist.Uniform) -> dist.Uniform:
    """P with the ends of Q where they differ only by rounding: there is no mass between."""
    ends = jnp.broadcast_arrays(*map(jnp.asarray, (p.low, p.high, q.low, q.high)))
    dtype = jnp.result_type(float, *ends)
    pairs = zip(ends[:2], ends[2:], strict=True)
    low, high = (jnp.where(jnp.abs(a - b) <= rounding(a, dtype), b, a) for a, b in pairs)
    return dist.Uniform(low, high, validate_args=False)


def _with_remaining_transforms(
    d: dist.Distribution, base: dist.Distribution, chain: list[Transform], shared: int
) -> dist.Distribution | None:
    """The base with its remaining transforms absorbed; a named distribution that keeps all of them is unchanged."""
    if not shared and type(d) is not TransformedDistribution:
        return d
    rest = chain[: len(chain) - shared]
    return pushforward(base, rest) if type(base) is dist.Delta or all(map(_is_bijection, rest)) else None


def _pullback(d: dist.Distribution, rest: list[Transform], other: dist.Distribution) -> dist.Distribution | None:
    """d under the inverse of the affine transforms `rest` of the other side, whose base is `other`.

    None where the result is not in its family, or where they are not affine.
    """
    affine = [t for t in rest if type(t) is transforms.AffineTransform and _is_bijection(t)]
    if len(affine) < len(rest):
        return None
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((d, affine, other))):
        return jax.eval_shape(_pulled_back, d, affine, other)  # shapes alone, without numbers
    return _pulled_back(d, affine, other)


def _pulled_back(
    d: dist.Distribution, rest: list[transforms.AffineTransform], other: dist.Distribution
) -> dist.Distribution | None:
    back = [transforms.AffineTransform(-t.loc / t.scale, 1.0 / t.scale) for t in reversed(rest)]
    found = pushforward(d, back)
    ends = ends_of(constraint_of(other))
    if type(found) is not dist.Uniform or ends is None:
        return found
    return _with_ends_of(found, dist.Uniform(*ends, validate_args=False))


def transformed_one(p: dist.Distribution) -> Parts | None:
    """H(T(x)) = H(x) + E log |det J|, where the expectation is known.

    Source: Cover and Thomas (2006), theorem 8.6.4 and its corollary.
    """
    base, chain = _base_and_chain(p)
    mean, total = _mean(base), jnp.zeros(())
    shape, event = base.batch_shape + base.event_shape, len(base.event_shape)
    for t in chain:
        at = jnp.zeros(shape) if mean is None else jnp.broadcast_to(mean, shape)
        if type(t) not in _LINEAR and (type(t) is not transforms.ExpTransform or mean is None):
            return None
        image = jnp.asarray(t(at))
        extra = event - t.domain.event_dim
        logs = jnp.asarray(t.log_abs_det_jacobian(at, image))
        total = total + logs.sum(tuple(range(logs.ndim - extra, logs.ndim)))
        mean = image if type(t) in _LINEAR and mean is not None else None
        shape, event = image.shape, t.codomain.event_dim + extra
    return Parts(((base, base),), lambda value: value + total)


def _base_and_chain(d: dist.Distribution) -> Split:
    return (d.base_dist, _flat(d.transforms)) if is_transformed(d) else (d, [])


def _innermost(d: dist.Distribution) -> Split:
    """The innermost base, which is not itself transformed however it is written, and its transforms one by one."""
    if type(d) is TanhNormal:
        # (1 + tanh u)/2 is the logistic function of 2u.
        return _normal(d), [transforms.AffineTransform(0.0, 2.0), transforms.SigmoidTransform(), _box(d)]
    if isinstance(d, Independent | ExpandedDistribution) and _is_pushforward(d.base_dist):
        base, chain = _innermost(d.base_dist)
        if (
            any(t.domain.event_dim or t.codomain.event_dim for t in chain)
            or base.event_shape != d.base_dist.event_shape
        ):
            return d, []
        if isinstance(d, ExpandedDistribution):
            return base.expand(d.batch_shape), chain
        return Independent(base, d.reinterpreted_batch_ndims, validate_args=False), chain
    if is_transformed(d):
        base, chain = _innermost(d.base_dist)
        return base, chain + _flat(d.transforms)
    return d, []


def _box(d: TanhNormal) -> _Box:
    """The ends are read as numbers where they are known, so that they are also known inside a compiled program."""
    ends: tuple[Any, Any] = (d.low, d.high)
    if any(isinstance(end, UNKNOWN) for end in ends):
        return _Box(*ends)  # traced ends are not compared
    low, high = map(np.asarray, ends)
    return _Box(low, high - low)


def _flat(chain: Iterable[Transform]) -> list[Transform]:
    """The transforms one by one."""
    found: list[Any] = []
    for t in chain:
        if type(t) is transforms.ComposeTransform:
            found += _flat(t.parts)
        elif type(t) is transforms.IndependentTransform:
            found += _flat([t.base_transform])
        elif type(t) is not transforms.IdentityTransform:
            found.append(t)
    return found


def _same_bijection(a: Transform, b: Transform) -> bool:
    if type(a) is _Box or type(b) is _Box:
        return (
            isinstance(a, transforms.AffineTransform) and isinstance(b, transforms.AffineTransform) and _same_box(a, b)
        )
    if type(a) is transforms.AffineTransform and type(b) is transforms.AffineTransform:
        # A stated domain does not change the map.
        a, b = (transforms.AffineTransform(t.loc, t.scale) for t in (a, b))
    return _is_bijection(a) and equal_parameters(a, b)


def _same_box(a: transforms.AffineTransform, b: transforms.AffineTransform) -> bool:
    """Whether two images of the unit interval have the same ends, up to rounding."""
    numbers = (a.loc, a.scale, b.loc, b.scale)
    if any(isinstance(x, UNKNOWN) for x in numbers) or not _is_bijection(a):
        return False
    dtype = jnp.result_type(float, *numbers)
    pairs = ((np.asarray(a.loc), np.asarray(b.loc)), (np.asarray(a.loc + a.scale), np.asarray(b.loc + b.scale)))
    return all(bool(np.all(np.abs(x - y) <= np.asarray(rounding(x, dtype)))) for x, y in pairs)


def _is_bijection(t: Transform) -> bool:
    if type(t) is transforms._InverseTransform:
        return _is_bijection(t.inv)
    if type(t) is transforms.CatTransform:
        return all(map(_is_bijection, t.transforms))
    if type(t) in _UNLESS_ZERO:
        parameter = _UNLESS_ZERO[type(t)](t)
        return isinstance(parameter, UNKNOWN) or bool(np.all(np.asarray(parameter) != 0))
    return type(t) in _INJECTIVE


def _mean(d: dist.Distribution) -> Array | None:
    """The mean of a distribution, where NumPyro's can be relied on."""
    if type(d) is Independent or type(d) is ExpandedDistribution:
        inner = _mean(d.base_dist)
        return None if inner is None else jnp.broadcast_to(inner, d.batch_shape + d.event_shape)
    if type(d) is dist.MultivariateNormal:
        return mean_and_covariance(d)[0]
    return jnp.asarray(d.mean) if type(d) in _WITH_MEAN else None
