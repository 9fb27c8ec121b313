"""Transformed variables: a bijection that both sides share says nothing, and some others can be worked out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Independent, TransformedDistribution, transforms
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.distributions import TanhNormal
from kullback.exact.closed_forms.multivariate import mean_and_spread
from kullback.exact.composite.fold import folded
from kullback.exact.reduction import Parts
from kullback.exact.same import same
from kullback.exact.type_keys import UNKNOWN
from kullback.known.constraints import constraint_of, ends_of, rounding

# The classes that are what their base and their transforms say.
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
    """From the unit interval to a box of which the ends are parameters, so that the length is rounded."""


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

# Those that are injective unless a parameter is 0.
_UNLESS_ZERO: dict[type, Callable[[Any], Any]] = {
    _Box: lambda t: t.scale,
    transforms.AffineTransform: lambda t: t.scale,
    transforms.LowerCholeskyAffine: lambda t: jnp.diagonal(t.scale_tril, axis1=-2, axis2=-1),
    transforms.PowerTransform: lambda t: t.exponent,
}

# Those of which log |det J| is a linear function of x, so that its expectation is its value at the mean; and of them
# those that are linear themselves, so that the mean goes along.
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


def is_transformed(d: Any) -> bool:
    """Whether a distribution is, by its exact type, that of a transformed variable."""
    return type(d) in TRANSFORMED


def _is_pushed(d: Any) -> bool:
    """Whether it is a base and transforms, however it is written: coordinates each of which is one are as well."""
    inside = type(d) in (Independent, ExpandedDistribution) and _is_pushed(d.base_dist)
    return inside or is_transformed(d) or type(d) is TanhNormal


def transformed_pair(p: Any, q: Any) -> Parts | None:
    """Nothing is lost or gained by a bijection that both share: the last ones are taken off while they are the same.

    What is left over, a location and scale say, is worked into the base; where that cannot be done there is no form.
    Source: Kullback and Leibler (1951), theorem 4.1.
    """
    if not _is_pushed(p) and not _is_pushed(q):
        return None
    if type(p) is TanhNormal and type(q) is TanhNormal:
        return _boxes(p, q)
    return _taken_off(p, q, _base_and_chain) or _taken_off(p, q, _innermost)


def _taken_off(p: Any, q: Any, split: Callable[[Any], tuple[Any, list[Any]]]) -> Parts | None:
    (base_p, chain_p), (base_q, chain_q) = split(p), split(q)
    shared = 0
    while shared < min(len(chain_p), len(chain_q)) and _one_bijection(chain_p[-1 - shared], chain_q[-1 - shared]):
        shared += 1
    part_p, part_q = _worked_out(p, base_p, chain_p, shared), _worked_out(q, base_q, chain_q, shared)
    if part_p is None and part_q is not None:
        part_p, part_q = base_p, _taken_back(part_q, chain_p[: len(chain_p) - shared], base_p)
    elif part_q is None and part_p is not None:
        part_p, part_q = _taken_back(part_p, chain_q[: len(chain_q) - shared], base_q), base_q
    if part_p is None or part_q is None or (part_p is p and part_q is q):
        return None
    if type(part_p) is dist.Uniform and type(part_q) is dist.Uniform:
        part_p = _aligned(part_p, part_q)
    return Parts(((part_p, part_q),), lambda value: value, divergence_only=shared > 0)


def _boxes(p: TanhNormal, q: TanhNormal) -> Parts | None:
    """That of the normals where the boxes are one, and ∞ where P's reaches beyond Q's; None where it lies inside.

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
    """The law of u, of which a squashed variable is a function."""
    loc, scale = jnp.broadcast_arrays(jnp.asarray(d.loc), jnp.asarray(d.scale))
    return dist.Normal(*(jnp.broadcast_to(x, d.batch_shape) for x in (loc, scale)), validate_args=False)


def _aligned(p: Any, q: Any) -> Any:
    """P with the ends of Q where they differ by the rounding of what was worked into them: no mass lies between."""
    ends = jnp.broadcast_arrays(*map(jnp.asarray, (p.low, p.high, q.low, q.high)))
    dtype = jnp.result_type(float, *ends)
    pairs = zip(ends[:2], ends[2:], strict=True)
    low, high = (jnp.where(jnp.abs(a - b) <= rounding(a, dtype), b, a) for a, b in pairs)
    return dist.Uniform(low, high, validate_args=False)


def _worked_out(d: Any, base: Any, chain: list[Any], shared: int) -> Any | None:
    """The base with what is left of its transforms worked in; a named distribution that keeps all of them stays."""
    if not shared and type(d) is not TransformedDistribution:
        return d
    rest = chain[: len(chain) - shared]
    return folded(base, rest) if type(base) is dist.Delta or all(map(_is_bijection, rest)) else None


def _taken_back(d: Any, rest: list[Any], other: Any) -> Any | None:
    """d under the inverse of the affine transforms `rest` of the other side, whose base is `other`; None where that is
    not in its family, or where they are not affine."""
    if any(type(t) is not transforms.AffineTransform or not _is_bijection(t) for t in rest):
        return None
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((d, rest, other))):
        return jax.eval_shape(_folded_back, d, rest, other)  # the shape of a law, which has no numbers
    return _folded_back(d, rest, other)


def _folded_back(d: Any, rest: list[Any], other: Any) -> Any | None:
    back = [transforms.AffineTransform(-t.loc / t.scale, 1.0 / t.scale) for t in reversed(rest)]
    found = folded(d, back)
    ends = ends_of(constraint_of(other))
    if type(found) is not dist.Uniform or ends is None:
        return found
    return _aligned(found, dist.Uniform(*ends, validate_args=False))


def transformed_one(p: Any) -> Parts | None:
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


def _base_and_chain(d: Any) -> tuple[Any, list[Any]]:
    return (d.base_dist, _flat(d.transforms)) if is_transformed(d) else (d, [])


def _innermost(d: Any) -> tuple[Any, list[Any]]:
    """The law that is not itself a transformed one in any writing, and the transforms of it one by one."""
    if type(d) is TanhNormal:
        # (1 + tanh u)/2 is the logistic function of 2u.
        return _normal(d), [transforms.AffineTransform(0.0, 2.0), transforms.SigmoidTransform(), _box(d)]
    if type(d) in (Independent, ExpandedDistribution) and _is_pushed(d.base_dist):
        base, chain = _innermost(d.base_dist)
        if (
            any(t.domain.event_dim or t.codomain.event_dim for t in chain)
            or base.event_shape != d.base_dist.event_shape
        ):
            return d, []
        if type(d) is ExpandedDistribution:
            return base.expand(d.batch_shape), chain
        return Independent(base, d.reinterpreted_batch_ndims, validate_args=False), chain
    if not is_transformed(d):
        return d, []
    base, chain = _innermost(d.base_dist)
    return base, chain + _flat(d.transforms)


def _box(d: TanhNormal) -> _Box:
    """The ends are worked with as numbers where they are known, so that a compiled program knows them as well."""
    ends: tuple[Any, Any] = (d.low, d.high)
    if any(isinstance(end, UNKNOWN) for end in ends):
        return _Box(*ends)  # which is not compared
    low, high = map(np.asarray, ends)
    return _Box(low, high - low)


def _flat(chain: Any) -> list[Any]:
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


def _one_bijection(a: Any, b: Any) -> bool:
    if type(a) is _Box or type(b) is _Box:
        return (
            isinstance(a, transforms.AffineTransform) and isinstance(b, transforms.AffineTransform) and _one_box(a, b)
        )
    if type(a) is type(b) is transforms.AffineTransform:
        # The domain, which may be stated or not, says nothing of the map.
        a, b = (transforms.AffineTransform(t.loc, t.scale) for t in (a, b))
    return _is_bijection(a) and same(a, b)


def _one_box(a: transforms.AffineTransform, b: transforms.AffineTransform) -> bool:
    """Whether two images of the unit interval have the same ends, but for rounding."""
    numbers = (a.loc, a.scale, b.loc, b.scale)
    if any(isinstance(x, UNKNOWN) for x in numbers) or not _is_bijection(a):
        return False
    dtype = jnp.result_type(float, *numbers)
    pairs = ((np.asarray(a.loc), np.asarray(b.loc)), (np.asarray(a.loc + a.scale), np.asarray(b.loc + b.scale)))
    return all(bool(np.all(np.abs(x - y) <= np.asarray(rounding(x, dtype)))) for x, y in pairs)


def _is_bijection(t: Any) -> bool:
    if type(t) is transforms._InverseTransform:
        return _is_bijection(t.inv)
    if type(t) is transforms.CatTransform:
        return all(map(_is_bijection, t.transforms))
    if type(t) in _UNLESS_ZERO:
        parameter = _UNLESS_ZERO[type(t)](t)
        return isinstance(parameter, UNKNOWN) or bool(np.all(np.asarray(parameter) != 0))
    return type(t) in _INJECTIVE


def _mean(d: Any) -> Array | None:
    """The mean of a distribution of which NumPyro's can be relied on."""
    if type(d) in (Independent, ExpandedDistribution):
        inner = _mean(d.base_dist)
        return None if inner is None else jnp.broadcast_to(inner, d.batch_shape + d.event_shape)
    if type(d) is dist.MultivariateNormal:
        return mean_and_spread(d)[0]
    return jnp.asarray(d.mean) if type(d) in _WITH_MEAN else None
