"""A normal law pushed onto a box: how a continuous action is drawn."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from kullback.arguments import numeric

LOG_2 = float(np.log(2.0))
# Below this scale the curved part of the log-determinant is integrated along the normal, above it along the line.
NARROW = 0.4
_HERMITE = np.polynomial.hermite_e.hermegauss(24)
_LEGENDRE = np.polynomial.legendre.leggauss(48)
_FARTHEST = 9.0  # beyond it log(1 + exp(−2|u|)) is below single and double rounding of what it is added to


_NAMES = "loc", "scale", "low", "high"


class TanhNormal(dist.Distribution):
    """low + (high − low) (1 + tanh u)/2 with u ∼ Normal(loc, scale): a law on the open interval from low to high.

    loc, scale  of u, which has no unit: a change of the action's units changes low and high alone [*batch]
    low, high   the ends [*batch], finite

    log p(y) = log N(u) − log((high − low)/2) − log(1 − tanh² u), where the last term, written as
    2 (log 2 − |u| − log(1 + e^−2|u|)), does not cancel however far u lies out. A draw and its log-probability come
    together from `sample_and_log_prob`, without the way back through atanh.
    Source: Haarnoja, Zhou, Abbeel and Levine (2018), arXiv:1801.01290, appendix C.
    """

    arg_constraints: dict[str, Any] = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.real,
        "high": constraints.real,
    }
    reparametrized_params: list[str] = ["loc", "scale"]  # noqa: RUF012
    pytree_data_fields = ("loc", "scale", "low", "high")

    def __init__(
        self,
        loc: Float[Array, "*b"],
        scale: Float[Array, "*b"],
        low: Float[Array, "*b"] | float = -1.0,
        high: Float[Array, "*b"] | float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        loc, scale, low, high = (
            numeric(name, value) for name, value in zip(_NAMES, (loc, scale, low, high), strict=True)
        )
        shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in (loc, scale, low, high)))
        same: Any = promote_shapes(loc, scale, shape=(1,) * len(shape))
        self.loc, self.scale = same
        self.low, self.high = (_ranked(end, len(shape), self.loc) for end in (low, high))
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[arg-type]
    def support(self) -> Any:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        assert key is not None
        return self.squash(self._unsquashed(key, sample_shape))

    def sample_and_log_prob(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        """A draw that is differentiable in the parameters, and its log-probability."""
        u = self._unsquashed(key, sample_shape)
        return self.squash(u), self.log_prob_unsquashed(u)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        return self.log_prob_unsquashed(self.unsquash(value))

    def log_prob_unsquashed(self, u: Array) -> Array:
        """The log-probability of the outcome at u."""
        z = (u - self.loc) / self.scale
        normal = -0.5 * jnp.square(z) - jnp.log(self.scale) - 0.5 * np.log(2.0 * np.pi)
        return normal - jnp.log((self.high - self.low) / 2.0) - log_slope(u)

    def squash(self, u: Array) -> Array:
        """The outcome at u."""
        return self.low + (self.high - self.low) * (0.5 + 0.5 * jnp.tanh(u))

    def unsquash(self, value: ArrayLike) -> Array:
        """u at an outcome; at the ends of the interval that of the outcome next to them."""
        share = (jnp.asarray(value) - self.low) / (self.high - self.low)
        most = 1.0 - float(jnp.finfo(jnp.result_type(share)).eps)
        return jnp.arctanh(jnp.clip(2.0 * share - 1.0, -most, most))

    @property
    def median(self) -> Array:
        """The outcome at u = loc: what a greedy policy does."""
        return self.squash(self.loc)

    def entropy(self) -> Array:
        """The entropy in nats: that of the normal, and E[log dy/du] by quadrature to about 1e-6 nats."""
        normal = jnp.log(self.scale) + 0.5 * (1.0 + np.log(2.0 * np.pi))
        return normal + jnp.log((self.high - self.low) / 2.0) + expected_log_slope(self.loc, self.scale)

    def _unsquashed(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
        return self.loc + self.scale * jax.random.normal(key, (*sample_shape, *self.batch_shape))


def _ranked(end: Array | np.ndarray | float, rank: int, like: ArrayLike) -> Any:
    """An end with axes of length 1 put before its own; one that is a known number stays one in a compiled program."""
    missing = rank - jnp.ndim(end)
    if not missing:
        return end
    if isinstance(end, Tracer):
        return end.reshape(*(1,) * missing, *jnp.shape(end))
    return np.asarray(end, jnp.result_type(like, end)).reshape(*(1,) * missing, *np.shape(end))


def log_slope(u: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """log(1 − tanh² u), without cancellation."""
    size = jnp.abs(u)
    return 2.0 * (LOG_2 - size - jnp.log1p(jnp.exp(-2.0 * size)))


def expected_log_slope(loc: Float[Array, "*b"], scale: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """E[log(1 − tanh² u)] for u ∼ Normal(loc, scale).

    A narrow normal is integrated along itself (Gauss and Hermite), since the integrand is analytic up to ±iπ/2. For a
    wide one the kink −2|u| has the mean of a folded normal, and log(1 + e^−2|u|) is integrated along the line.
    """
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    nodes, weights = (np.asarray(x) for x in _HERMITE)
    narrow = jnp.minimum(scale, NARROW)
    along = log_slope(loc[..., None] + narrow[..., None] * nodes) @ (weights / weights.sum())
    wide = jnp.maximum(scale, NARROW)
    ratio = loc / wide
    folded = wide * np.sqrt(2.0 / np.pi) * jnp.exp(-0.5 * jnp.square(ratio)) + loc * jax.lax.erf(ratio / np.sqrt(2.0))
    points, lengths = (0.5 * _FARTHEST * x for x in (_LEGENDRE[0] + 1.0, _LEGENDRE[1]))
    bump = jnp.log1p(np.exp(-2.0 * points)) * lengths
    density = sum(
        jnp.exp(-0.5 * jnp.square((sign * points - loc[..., None]) / wide[..., None])) for sign in (-1.0, 1.0)
    )
    rest = (density @ bump) / (wide * np.sqrt(2.0 * np.pi))
    return jnp.where(scale < NARROW, along, 2.0 * (LOG_2 - folded - rest))
