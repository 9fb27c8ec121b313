"""Sets of outcomes as NumPyro constraints: the supports of composed distributions, and surfaces that NumPyro lacks.

The support of a composed distribution is computed from its parts, since a library's statement that a support is ℝ is no
proof of it. The support of a transformed variable is that of its base mapped through the transforms: the ends of an
interval through a monotone one, a whole domain to the codomain. A support that cannot be mapped is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer
from jax.scipy.special import logit
from jax.typing import DTypeLike
from jaxtyping import Float
from numpyro.distributions import Distribution, constraints, transforms
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.distribution import ExpandedDistribution, MaskedDistribution
from numpyro.distributions.transforms import Transform

Outcomes = Array | np.ndarray  # [..., *event]
End = Array | np.ndarray | float  # [*batch, *event], or broadcast to that
Ends = tuple[End, End]


class Between(constraints.Constraint):
    """The numbers from `lower` to `upper`, which may be infinite, and may be traced by JAX."""

    def __init__(self, lower: End, upper: End) -> None:
        self.lower, self.upper = lower, upper

    def __call__(self, x: Outcomes) -> Outcomes:
        # To the rounding of single numbers, which ends that are evaluated again in double were stated in.
        low, high = (rounding(end, np.float32) for end in (self.lower, self.upper))
        return (x >= self.lower - low) & (x <= self.upper + high)

    def drawn_in(self, x: Outcomes) -> Array:
        """The outcomes x; one that rounding has put on or beyond an end becomes a point just inside it."""
        low, high = (rounding(end, jnp.result_type(float, x)) for end in (self.lower, self.upper))
        return jnp.clip(x, self.lower + low, self.upper - high)

    def feasible_like(self, prototype: Outcomes) -> Array:
        """A point well inside: the middle, a unit from the only end, or 0."""
        low, high = jnp.isfinite(self.lower), jnp.isfinite(self.upper)
        lower, upper = (jnp.where(finite, end, 0.0) for finite, end in ((low, self.lower), (high, self.upper)))
        beside = jnp.where(low, lower + 1.0, jnp.where(high, upper - 1.0, 0.0))
        return jnp.broadcast_to(jnp.where(low & high, 0.5 * (lower + upper), beside), jnp.shape(prototype))

    def tree_flatten(self) -> Any:
        return (self.lower, self.upper), (("lower", "upper"), {})


def constraint_of(d: Distribution) -> Constraint | None:
    """The support of a NumPyro distribution as a constraint; None where it is not known."""
    if type(d) is dist.Independent:
        base = constraint_of(d.base_dist)
        return None if base is None else constraints.independent(base, d.reinterpreted_batch_ndims)
    if type(d) is ExpandedDistribution or type(d) is MaskedDistribution:
        return constraint_of(d.base_dist)
    if type(d) is dist.MixtureSameFamily:
        return _hull(constraint_of(d.component_distribution), d.mixture_dim)
    if type(d) is dist.FoldedDistribution:
        return _pushed(constraint_of(d.base_dist), transforms.AbsTransform())
    if isinstance(d, dist.TransformedDistribution) and type(d).support is dist.TransformedDistribution.support:
        found = constraint_of(d.base_dist)
        for transform in d.transforms:
            found = _pushed(found, transform)
        if found is None or found.event_dim >= d.event_dim:
            return found
        return constraints.independent(found, d.event_dim - found.event_dim)
    return d.support


def drawn_in(constraint: Constraint, x: Outcomes) -> Outcomes:
    """The outcomes, clipped to the interior of the set where its ends were computed: see `Between.drawn_in`."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint.drawn_in(x) if isinstance(constraint, Between) else x


def rounding(end: End, dtype: DTypeLike) -> Array:
    """How far an end that was pushed through transforms may be off, in a floating type."""
    return 8.0 * float(jnp.finfo(dtype).eps) * jnp.where(jnp.isfinite(end), jnp.abs(end), 0.0)


def slack_of(constraint: Constraint | None) -> Ends:
    """How far the ends of a support may be off: 0 where they are parameters, rounding where they were computed."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if not isinstance(constraint, Between):
        return 0.0, 0.0
    dtype = jnp.result_type(float, constraint.lower, constraint.upper)
    return rounding(constraint.lower, dtype), rounding(constraint.upper, dtype)


def has_supports_of_their_own(d: dist.MixtureSameFamily) -> bool:
    """Whether the ends of a mixture's components, which come in a batch, may differ."""
    ends = ends_of(constraint_of(d.component_distribution))
    return ends is not None and any(np.ndim(end) > 0 for end in ends)


_BOUNDED = (
    constraints.interval,
    constraints.integer_interval,
    constraints.greater_than,
    constraints.integer_greater_than,
    constraints.less_than,
)


def ends_of(constraint: Constraint | None) -> Ends | None:
    """The ends of an interval, half a line or a line of numbers, or of a box of them; None for other sets."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if constraint is constraints.real or constraint is constraints.real_vector:
        return -np.inf, np.inf
    if isinstance(constraint, Between):
        return constraint.lower, constraint.upper
    if isinstance(constraint, _BOUNDED):
        return getattr(constraint, "lower_bound", -np.inf), getattr(constraint, "upper_bound", np.inf)
    return None


def _pushed(constraint: Constraint | None, transform: Transform) -> Constraint | None:
    """The image of a set under a transform; None where it is not known."""
    if constraint is None or isinstance(transform, transforms.IdentityTransform):
        return constraint
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((constraint, transform))):
        return None  # the shape of a distribution, whose parameters have no values
    if isinstance(transform, transforms.ComposeTransform):
        for part in transform.parts:
            constraint = _pushed(constraint, part)
        return constraint
    push, of = _ENDS.get((type(transform), False)), transform
    if push is None:
        push, of = _ENDS.get((type(transform.inv), True)), transform.inv
    ends = ends_of(constraint)
    if push is not None and ends is not None and not constraint.is_discrete:
        found = push(of, *ends)
        return None if found is None else _between(*found, constraint.event_dim)
    return transform.codomain if _is_whole(constraint, transform.domain) else None


def _between(lower: End, upper: End, dims: int) -> Constraint | None:
    """From the lesser to the greater of two ends; where these are known, as the constraint that NumPyro has for it."""
    lower, upper = jnp.minimum(lower, upper), jnp.maximum(lower, upper)
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        found: Constraint = Between(lower, upper)
    elif np.isnan(lower).any() or np.isnan(upper).any():
        return None
    elif np.isneginf(lower).all() and np.isposinf(upper).all():
        found = constraints.real
    else:
        found = Between(np.asarray(lower), np.asarray(upper))
    return constraints.independent(found, dims) if dims else found


def _is_whole(constraint: Constraint | None, domain: Constraint) -> bool:
    """Whether a set is all of a transform's domain, as far as that can be told."""
    try:
        if bool(constraint == domain):
            return True
    except (jax.errors.TracerBoolConversionError, ValueError):
        return False
    one, other = ends_of(constraint), ends_of(domain)
    if constraint is None or one is None or other is None or any(isinstance(end, Tracer) for end in (*one, *other)):
        return False
    same = all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(one, other, strict=True))
    return bool(same and constraint.is_discrete == domain.is_discrete)


def _hull(constraint: Constraint | None, axis: int) -> Constraint | None:
    """From the least to the greatest outcome of the components of a mixture, which lie along an axis of the batch."""
    ends = ends_of(constraint)
    if constraint is None or ends is None or all(np.ndim(end) == 0 for end in ends):
        return constraint
    dims = constraint.event_dim
    lower, upper = jnp.broadcast_arrays(*ends)
    place = axis - dims
    if lower.ndim < -place:
        return constraint
    lower, upper = lower.min(place), upper.max(place)
    if constraint.is_discrete:
        return constraints.integer_interval(lower, upper)
    return _between(lower, upper, dims)


def _affine(t: transforms.AffineTransform, low: End, high: End) -> Ends:
    return t.loc + t.scale * jnp.asarray(low, float), t.loc + t.scale * jnp.asarray(high, float)


def _affine_back(t: transforms.AffineTransform, low: End, high: End) -> Ends:
    return (jnp.asarray(low, float) - t.loc) / t.scale, (jnp.asarray(high, float) - t.loc) / t.scale


def _power(exponent: End, low: End, high: End) -> Ends | None:
    if isinstance(low, Tracer) or (np.asarray(low) < 0).any():
        return None
    return jnp.asarray(low, float) ** exponent, jnp.asarray(high, float) ** exponent


def _folded(low: End, high: End) -> Ends:
    far = jnp.maximum(jnp.abs(low), jnp.abs(high))
    return jnp.where((low <= 0) & (high >= 0), 0.0, jnp.minimum(jnp.abs(low), jnp.abs(high))), far


# The ends of the image of an interval, under a monotone transform (False) and under the inverse of one (True).
_ENDS: dict[tuple[type, bool], Callable[..., Ends | None]] = {
    (transforms.AffineTransform, False): _affine,
    (transforms.AffineTransform, True): _affine_back,
    (transforms.ExpTransform, False): lambda t, low, high: (jnp.exp(low), jnp.exp(high)),
    (transforms.ExpTransform, True): lambda t, low, high: (jnp.log(low), jnp.log(high)),
    (transforms.SigmoidTransform, False): lambda t, low, high: (jax.nn.sigmoid(low), jax.nn.sigmoid(high)),
    (transforms.SigmoidTransform, True): lambda t, low, high: (logit(low), logit(high)),
    (transforms.SoftplusTransform, False): lambda t, low, high: (jax.nn.softplus(low), jax.nn.softplus(high)),
    (transforms.PowerTransform, False): lambda t, low, high: _power(t.exponent, low, high),
    (transforms.PowerTransform, True): lambda t, low, high: _power(1.0 / t.exponent, low, high),
    (transforms.AbsTransform, False): lambda t, low, high: _folded(low, high),
}


# Surfaces: sets of volume 0 that distributions live on, beside those that NumPyro has constraints for.


class Surface(constraints.Constraint):
    """A set of outcomes of volume 0. Two are the same set if their names and their `place`s are equal.

    name      how it reads, as in "P lives on ..."
    contains  whether outcomes [..., *event] lie on it, but for rounding: booleans [...]
    place     numbers that tell it from others of its name
    rank      the rank of an outcome
    """

    def __init__(
        self, name: str, contains: Callable[[Outcomes], Array], place: Sequence[float] | np.ndarray = (), rank: int = 1
    ) -> None:
        self.name, self.contains, self.place, self.event_dim = name, contains, np.asarray(place, float), rank

    def __call__(self, x: Outcomes) -> Array:
        return self.contains(x)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Surface) and self.name == other.name and self.place.shape == other.place.shape
        return bool(same and np.allclose(self.place, other.place, rtol=1e-8, atol=1e-8))  # pyright: ignore

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


def orthogonal_matrices(size: int) -> Surface:
    return Surface(f"the orthogonal matrices of size {size}", _is_unitary, rank=2)


def unitary_matrices(size: int) -> Surface:
    return Surface(f"the unitary matrices of size {size}", _is_unitary, rank=2)


def isospectral_correlations(eigenvalues: Float[np.ndarray, " d"]) -> Surface:
    """The correlation matrices of given eigenvalues."""
    place = np.sort(eigenvalues)

    def contains(x: Outcomes) -> Array:
        near = jnp.abs(jnp.linalg.eigvalsh(x) - place).max(-1) < 1e-4
        return near & (jnp.abs(jnp.diagonal(x, axis1=-2, axis2=-1) - 1.0).max(-1) < 1e-4)

    return Surface(f"the correlation matrices with the eigenvalues {_shown(place)}", contains, place, rank=2)


def plane(origin: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"]) -> Surface:
    """The points origin + covariance · z."""
    values, vectors = np.linalg.eigh(covariance)
    within = vectors[:, values > 1e-10 * max(values.max(), 0.0)]
    away = np.eye(len(values)) - within @ within.T
    offset = away @ np.asarray(origin, float)

    def contains(x: Outcomes) -> Array:
        return jnp.abs(x @ away - offset).max(-1) < 1e-4 * (1.0 + jnp.abs(x).max(-1))

    kind = ("a point", "a line", "a plane")[within.shape[1]] if within.shape[1] < 3 else f"{within.shape[1]} dimensions"
    return Surface(f"{kind} in {len(values)} dimensions", contains, np.append(away.ravel(), offset))


def _is_unitary(x: Outcomes) -> Array:
    product = jnp.conj(jnp.swapaxes(x, -1, -2)) @ x
    return jnp.abs(product - jnp.eye(x.shape[-1])).max((-1, -2)) < 1e-4


def _shown(numbers: np.ndarray) -> str:
    return ", ".join(f"{x:.4g}" for x in numbers)
