"""The adaptor for NumPyro distributions, and what the rules ask of a NumPyro distribution.

That is its log-probability with −∞ outside the support, its support, its atoms, its moments, how a plan names it, and
some of the distributions of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Int
from numpyro.distributions import Distribution, constraints, transforms
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import Transform

from kullback.distributions import log_density
from kullback.errors import InputError
from kullback.known.constraints import constraint_of, drawn_in, has_supports_of_their_own
from kullback.known.record import Functions, Known, Moments
from kullback.known.support import POINT, Support, from_constraint

MAX_ATOMS = 1_000_000
CENSORED = tuple(
    getattr(dist, name)
    for name in ("LeftCensoredDistribution", "RightCensoredDistribution", "IntervalCensoredDistribution")
    if hasattr(dist, name)  # the lowest release declared has none
)


def known(d: Distribution) -> Known:
    """What is known of a NumPyro distribution. Raises `InputError` where its parameters are being traced."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(d)):
        raise InputError(
            f"p and q: the parameters of {type(d).__name__} are being traced by JAX, and a plan looks at their values; "
            "within a compiled or differentiated function call kl.kl_divergence"
        )
    _no_likelihood(d)
    support, law = support_of(d), d if _is_whole_tree(d) else Opaque(d)
    density = Partial(_log_prob_of, law)
    improper = isinstance(d, dist.ImproperUniform)
    return Known(
        name=name_of(d),
        event_shape=tuple(d.event_shape),
        batch_shape=tuple(d.batch_shape),
        support=support,
        atoms=atoms_of(d, support),
        functions=Functions(
            sampler=None if improper else Partial(_sample, law),
            log_prob=None if _is_mixed(d) or improper else density,
            log_density=density if improper else None,
            moments=lambda: moments_of(d),
            entropy=lambda: d.entropy(),
            distribution=d,
            reparametrized=bool(d.has_rsample),
        ),
    )


@jax.tree_util.register_pytree_node_class
class Opaque:
    """A distribution that JAX sees as one object without arrays, since its class does not list its parameters."""

    def __init__(self, law: Distribution) -> None:
        self.law = law

    def tree_flatten(self) -> tuple[tuple[()], Opaque]:
        return (), self

    @classmethod
    def tree_unflatten(cls, opaque: Opaque, _: tuple[()]) -> Opaque:
        return opaque


def _is_whole_tree(d: Distribution) -> bool:
    """Whether a distribution survives being flattened and unflattened by JAX.

    NumPyro asks a class to list its parameters for that; one that does not list them loses them.
    """
    if type(d).__module__.startswith(("numpyro.", "kullback.")):
        return True
    again = jax.tree.unflatten(jax.tree.structure(d), jax.tree.leaves(d))
    return set(vars(d)) <= set(vars(again))


def _no_likelihood(d: Distribution) -> None:
    """Raises `InputError` for NumPyro's censored laws: what they give is the likelihood of an observation."""
    inside = d
    while inside is not None:
        if isinstance(inside, CENSORED):
            raise InputError(
                f"p and q: {type(inside).__name__} gives likelihoods of observations, densities of some and "
                "probabilities of others, which are no law of outcomes; pass its base_dist, the law before censoring"
            )
        inside = getattr(inside, "base_dist", None) if isinstance(inside, dist.Distribution) else None


def _log_prob_of(law: Distribution | Opaque, x: ArrayLike) -> jax.Array:
    return log_prob(law.law if isinstance(law, Opaque) else law, x)


def log_prob(d: Distribution, x: ArrayLike) -> jax.Array:
    """log d(x), with −∞ outside the support, where NumPyro would extrapolate the formula."""
    x = jnp.asarray(x)
    if isinstance(d, dist.MixtureGeneral):
        parts = jnp.stack([log_prob(part, x) for part in d.component_distributions], -1)
        return jax.nn.logsumexp(jax.nn.log_softmax(jnp.asarray(d.mixing_distribution.logits)) + parts, -1)
    if isinstance(d, dist.MixtureSameFamily) and has_supports_of_their_own(d):
        parts = log_prob(d.component_distribution, jnp.expand_dims(x, d.mixture_dim))
        return jax.nn.logsumexp(jax.nn.log_softmax(jnp.asarray(d.mixing_distribution.logits)) + parts, -1)
    if type(d) is dist.FoldedDistribution:
        return jnp.where(x >= 0, jnp.logaddexp(log_prob(d.base_dist, x), log_prob(d.base_dist, -x)), -jnp.inf)
    constraint = constraint_of(d)
    if (folded := _folded_first(d)) is not None:
        return _log_prob_after(*folded, x, constraint)
    if constraint is None or constraint in (constraints.real, constraints.real_vector):
        return log_density.log_prob(d, x)
    x = jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, (*d.batch_shape, *d.event_shape)))
    inside = cast("jax.Array", constraint(x))
    kept = jnp.where(_widen(inside, len(d.event_shape)), drawn_in(constraint, x), _feasible(constraint, x))
    value = log_density.log_prob(d, kept)
    return jnp.where(inside, value, -jnp.inf)


def _folded_first(d: Distribution) -> tuple[Distribution, Sequence[Transform]] | None:
    """The law of |x| with which a transformed law begins, and the transforms of single numbers that follow."""
    if not isinstance(d, dist.TransformedDistribution) or type(d) is dist.FoldedDistribution or d.event_shape:
        return None
    if len(d.transforms) < 2 or not isinstance(d.transforms[0], transforms.AbsTransform):
        return None
    return dist.FoldedDistribution(d.base_dist), d.transforms[1:]


def _log_prob_after(
    folded: Distribution, after: Sequence[Transform], y: jax.Array, constraint: Constraint | None
) -> jax.Array:
    """log f(x) − log |dy/dx| of what transforms make of |x|, which is not undone by the sign of x."""
    inside = jnp.asarray(True) if constraint is None else constraint(y)
    value = jnp.zeros(())
    for transform in reversed(after):
        x = cast("jax.Array", transform.inv(y))
        value = value - transform.log_abs_det_jacobian(x, y)
        y = x
    return jnp.where(inside, value + log_prob(folded, y), -jnp.inf)


def _widen(mask: jax.Array, event_ndim: int) -> jax.Array:
    return jnp.reshape(mask, mask.shape + (1,) * event_ndim)


def _feasible(constraint: Constraint, x: jax.Array) -> jax.Array:
    if not hasattr(constraint, "feasible_like"):
        return x
    return jnp.broadcast_to(constraint.feasible_like(x), x.shape).astype(x.dtype)


def _sample(law: Distribution | Opaque, key: jax.Array, n: int) -> jax.Array:
    return cast("jax.Array", (law.law if isinstance(law, Opaque) else law).sample(key, (n,)))


def support_of(d: Distribution) -> Support | None:
    """The support of a NumPyro distribution; of a mixture whose components have supports of their own, their hull."""
    if isinstance(d, dist.MixtureGeneral):
        return None if _is_mixed(d) else _hull(d)
    if (point := point_of(d)) is not None:
        return Support(POINT, discrete=True, lower=point, upper=point, constraint=d.support)
    constraint = constraint_of(d)
    return None if constraint is None else from_constraint(constraint)


def point_of(d: Distribution) -> np.ndarray | None:
    """The one outcome [*batch, *event] of a distribution that is a point; None for any other."""
    if type(d) is dist.Delta:
        return np.asarray(d.v)
    if type(d) is dist.Independent or type(d) is dist.ExpandedDistribution:
        inner = point_of(d.base_dist)
        return None if inner is None else np.broadcast_to(inner, d.batch_shape + d.event_shape)
    return None


def _is_mixed(d: Distribution) -> bool:
    """Whether a mixture has both discrete and continuous components, so that it has no density."""
    parts = d.component_distributions if isinstance(d, dist.MixtureGeneral) else ()
    return len({isinstance(part, dist.Delta) or part.is_discrete for part in parts}) > 1


def _hull(d: dist.MixtureGeneral) -> Support | None:
    """From the least to the greatest outcome of the components that have weight, where these are known."""
    probs = np.asarray(d.mixing_distribution.probs)
    parts = [part for k, part in enumerate(d.component_distributions) if (probs[..., k] > 0).any()]
    supports = [support_of(part) for part in parts]
    found = [support for support in supports if support is not None and support.bounded]
    if len(found) < len(parts):
        return supports[0] if len({support.name for support in supports if support is not None}) == 1 else None
    lower, upper = (
        reduce(f, [getattr(s, end) for s in found]) for f, end in ((np.minimum, "lower"), (np.maximum, "upper"))
    )
    interval = constraints.integer_interval if found[0].discrete else constraints.interval
    return from_constraint(interval(lower, upper))


def atoms_of(d: Distribution, support: Support | None) -> np.ndarray | None:
    """Every outcome of a finite support, [K, *event], where they can be listed."""
    if isinstance(d, dist.MixtureSameFamily):
        return atoms_of(d.component_distribution, support_of(d.component_distribution))
    if isinstance(d, dist.MixtureGeneral):
        listed = [atoms_of(part, support_of(part)) for part in d.component_distributions]
        found = [atoms for atoms in listed if atoms is not None]
        return np.unique(np.concatenate(found), axis=0) if len(found) == len(listed) else None
    if isinstance(d, dist.Independent):
        inner = atoms_of(d.base_dist, support_of(d.base_dist))
        shape = tuple(d.event_shape)
        size = int(np.prod(shape))
        if inner is None or inner.ndim != 1 or d.batch_shape or len(inner) ** size > MAX_ATOMS:
            return None
        grid = np.stack(np.meshgrid(*[inner] * size, indexing="ij"), axis=-1)
        return grid.reshape(-1, *shape)
    if not getattr(d, "has_enumerate_support", False) or support is None:
        return None
    if support.bounded and not np.isfinite(np.max(support.upper)):
        return None
    try:
        listed = np.asarray(d.enumerate_support(expand=False))
    except (NotImplementedError, ValueError):
        return None
    return listed.reshape(len(listed), *d.event_shape)


def moments_of(d: Distribution) -> Moments:
    """Mean and covariance of the flattened event; what NumPyro states may be NaN or infinite."""
    mean = np.asarray(d.mean)
    event_ndim = len(d.event_shape)
    if (covariance := getattr(d, "covariance_matrix", None)) is not None and event_ndim == 1:
        return Moments(mean, np.asarray(covariance))
    variance = np.asarray(d.variance)
    if event_ndim == 0:
        return Moments(mean, variance[..., None, None])
    if not isinstance(d, dist.Independent) or len(d.base_dist.event_shape):
        raise NotImplementedError(f"{type(d).__name__} states no covariance")
    flat = variance.reshape(*variance.shape[: variance.ndim - event_ndim], -1)
    return Moments(mean, flat[..., :, None] * np.eye(flat.shape[-1]))


def name_of(d: Distribution) -> str:
    """How a plan speaks of a distribution: its class, and its parameters where they are single numbers."""
    if isinstance(d, dist.Independent):
        return f"{name_of(d.base_dist)}, independent over {d.event_shape}"
    kind = type(d).__name__
    if isinstance(d, dist.MixtureSameFamily):
        inner = type(d.component_distribution).__name__
        return f"a mixture of {d.mixture_size} × {inner}"
    shown = []
    for parameter in getattr(d, "arg_constraints", {}):
        value = d.__dict__.get(parameter)
        if value is None or not isinstance(value, int | float | np.ndarray | np.number | jax.Array):
            continue
        if np.size(value) == 1:
            shown.append(f"{parameter}={float(np.asarray(value).reshape(())):.4g}")
    shapes = [str(tuple(s)) for s in (d.batch_shape, d.event_shape) if s]
    tail = f" {'·'.join(shapes)}" if shapes else ""
    return f"{kind}({', '.join(shown)}){tail}" if shown else f"{kind}{tail}"


# Some of the distributions of a batch.

# A multivariate normal keeps its covariance in three forms; the Cholesky factor is enough.
_SUFFICIENT: dict[Any, tuple[str, ...]] = {dist.MultivariateNormal: ("loc", "scale_tril")}


def rows_of(d: Distribution, rows: Int[ArrayLike, " m"]) -> Any:
    """The distributions at `rows` [m] of a batch [n]: one of batch shape [m], also inside compiled programs.

    d  a NumPyro distribution of batch shape [n]: of a class whose parameters are its attributes, independent
       coordinates of one, or a mixture of components of one class

    Returns None for other distributions.
    """
    if len(d.batch_shape) != 1:
        return None
    try:
        taken = _rows_of(d, rows)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None
    fits = taken is not None and taken.batch_shape == jnp.shape(rows) and taken.event_shape == d.event_shape
    return taken if fits else None


def _rows_of(d: Distribution, rows: Int[ArrayLike, " m"]) -> Any:
    if type(d) is dist.Independent:
        base = _rows_of(d.base_dist, rows)
        return None if base is None else base.to_event(d.reinterpreted_batch_ndims)
    if type(d) is dist.MixtureSameFamily:
        parts = _rows_of(d.mixing_distribution, rows), _rows_of(d.component_distribution, rows)
        return None if None in parts else dist.MixtureSameFamily(*parts, validate_args=False)
    plain = d.base_dist if type(d) is dist.ExpandedDistribution else d
    cls = type(plain)
    names = _SUFFICIENT.get(cls, tuple(cls.arg_constraints))
    if not names:
        return None
    taken = {n: _taken_rows(getattr(plain, n), d.batch_shape, cls.arg_constraints[n].event_dim, rows) for n in names}
    return cls(**taken, validate_args=False)


def _taken_rows(parameter: ArrayLike, batch: tuple[int, ...], event_ndim: int, rows: Int[ArrayLike, " m"]) -> jax.Array:
    parameter = jnp.asarray(parameter)
    own = parameter.shape[parameter.ndim - event_ndim :]
    return jnp.broadcast_to(parameter, (*batch, *own))[rows]
