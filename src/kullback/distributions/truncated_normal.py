"""A normal law truncated on one side or both."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import log_ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(80)
_NEGLIGIBLE = 40.0  # e^−40 of the greatest density, beyond which nothing is integrated; also so many scales
_NEWTON = 12
_TAIL, _TERMS = 5.0, 24  # standard deviations beyond which an interval lies in a tail; 1e-15 of Mills' ratio there
_FARTHEST = 8.0
_LOG_ROOT_2_PI = 0.5 * float(np.log(2.0 * np.pi))


class TruncatedNormal(dist.Distribution):
    """Normal(loc, scale) given that it lies between low and high.

    loc, scale  of the normal before it is truncated; loc may lie outside the interval [*batch]
    low, high   the ends [*batch]; None for an end that is not there

    log p(x) = −½((x − loc)² − (m − loc)²)/scale² − log ∫ exp(−½((t − loc)² − (m − loc)²)/scale²) dt, with m the point
    of the interval nearest to loc. Both terms keep their digits where the interval lies far out in a tail, in which
    log φ and the logarithm of the normal's mass would cancel. NumPyro's `TruncatedNormal` is a function that composes
    laws, and this is the class.
    Source: Johnson, Kotz and Balakrishnan (1994), section 13.10.1.
    """

    arg_constraints: dict[str, Any] = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.real,
        "high": constraints.real,
    }
    reparametrized_params: list[str] = ["loc", "scale"]  # noqa: RUF012
    pytree_data_fields = ("loc", "scale", "low", "high")
    loc: Any
    scale: Any
    low: Any
    high: Any

    def __init__(
        self,
        loc: Float[Array, "*b"],
        scale: Float[Array, "*b"],
        low: Float[Array, "*b"] | float | None = None,
        high: Float[Array, "*b"] | float | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        given = {
            name: value
            for name, value in zip(self.pytree_data_fields, (loc, scale, low, high), strict=True)
            if value is not None
        }
        shape = jnp.broadcast_shapes(*map(jnp.shape, given.values()))
        self.low = self.high = None
        same: Any = promote_shapes(*given.values(), shape=shape)
        for name, value in zip(given, same, strict=True):
            setattr(self, name, value)
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[arg-type]
    def support(self) -> Any:  # type: ignore[override]
        match self.low, self.high:
            case None, None:
                return constraints.real
            case low, None:
                return constraints.greater_than_eq(low)
            case None, high:
                return constraints.less_than_eq(high)
            case low, high:
                return constraints.interval(low, high)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        loc, scale, low, high = self._parameters()
        mode, offsets, weights = _rule(loc, scale, low, high)
        mass = (weights * jnp.exp(-_exponent(mode[..., None], offsets, loc[..., None], scale[..., None]))).sum(-1)
        return -_exponent(mode, jnp.asarray(value) - mode, loc, scale) - jnp.log(mass)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, differentiable in the parameters, by the inverse of the distribution function."""
        assert key is not None
        loc, scale, low, high = self._parameters()
        u = jax.random.uniform(key, (*sample_shape, *self.batch_shape), loc.dtype, minval=jnp.finfo(loc.dtype).tiny)
        a, b = (_standardized(end, loc, scale) for end in (low, high))
        # Reflected, so that the interval is from `near` upward, and its end in the tail is `far`.
        above = a + b >= 0
        near, far = jnp.where(above, a, -b), jnp.where(above, b, -a)
        side, end = jnp.where(above, 1.0, -1.0), jnp.where(above, low, high)
        tail = near > _TAIL
        first, last = jnp.maximum(jnp.where(tail, _TAIL, near), -_NEGLIGIBLE), jnp.minimum(far, _NEGLIGIBLE)
        inside = loc - side * scale * _between(-first, -last, u)
        outside = jnp.where(tail, end, loc) + side * scale * _beyond(jnp.where(tail, near, _TAIL), far - near, u)
        return jnp.clip(jnp.where(tail, outside, inside), low, high)

    @property
    def mean(self) -> Array:
        return self._moments()[0]

    @property
    def variance(self) -> Array:
        return self._moments()[1]

    def _moments(self) -> tuple[Array, Array]:
        loc, scale, low, high = self._parameters()
        mode, offsets, weights = _rule(loc, scale, low, high)
        weights = weights * jnp.exp(-_exponent(mode[..., None], offsets, loc[..., None], scale[..., None]))
        weights = weights / weights.sum(-1, keepdims=True)
        mean = (weights * offsets).sum(-1, keepdims=True)
        return mode + mean[..., 0], (weights * jnp.square(offsets - mean)).sum(-1)

    def _parameters(self) -> list[Array]:
        """loc, scale, low, high [*batch], an end that is not there at ±∞."""
        ends = -jnp.inf if self.low is None else self.low, jnp.inf if self.high is None else self.high
        dtype = jnp.result_type(float, self.loc, self.scale)
        parameters = (jnp.asarray(x, dtype) for x in (self.loc, self.scale, *ends))
        return [jnp.broadcast_to(x, self.batch_shape) for x in parameters]


def _rule(loc: Array, scale: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    """The mode [...], and points [..., n] less the mode with the weights of Gauss's and Legendre's rule."""
    mode = jax.lax.stop_gradient(jnp.clip(loc, low, high))
    z = jnp.abs(mode - loc) / scale
    # ½((z + r)² − z²) = _NEGLIGIBLE.
    reach = scale * 2.0 * _NEGLIGIBLE / (jnp.sqrt(jnp.square(z) + 2.0 * _NEGLIGIBLE) + z)
    reach = jax.lax.stop_gradient(reach)
    left, right = (jnp.minimum(side, reach)[..., None] for side in (mode - low, high - mode))
    nodes, weights = (np.asarray(x, mode.dtype) / 2 for x in (_NODES, _WEIGHTS))
    return mode, (left + right) * (0.5 + nodes) - left, (left + right) * weights


def _exponent(mode: Array, offset: Array, loc: Array, scale: Array) -> Array:
    """½((x − loc)² − (mode − loc)²)/scale² at x = mode + offset."""
    return 0.5 * offset / scale * ((offset + 2.0 * (mode - loc)) / scale)


def _standardized(end: Array, loc: Array, scale: Array) -> Array:
    """(end − loc)/scale, of which an infinite end has no derivative."""
    return jnp.where(jnp.isfinite(end), (jnp.where(jnp.isfinite(end), end, loc) - loc) / scale, end)


def _between(a: Array, b: Array, u: Array) -> Array:
    """z with Φ(z) = (1 − u) Φ(a) + u Φ(b), in logarithms.

    Newton's method on log Φ, which is concave and increasing, is monotone. The last step is taken from a point without
    a gradient, so that its derivative is that of the root.
    """
    log_p = jnp.logaddexp(log_ndtr(a) + jnp.log1p(-u), log_ndtr(b) + jnp.log(u))
    fixed: Array = jax.lax.stop_gradient(log_p)
    low = fixed < -1.0
    z = jnp.where(low, -jnp.sqrt(-2.0 * jnp.minimum(fixed, -1.0)), jnp.minimum(ndtri(jnp.exp(fixed)), _FARTHEST))

    def step(_: int | Array, z: Array) -> Array:
        return jnp.where(low, z - (log_ndtr(z) - fixed) * jnp.exp(_log_mills(-z)), z)

    z = jax.lax.stop_gradient(jax.lax.fori_loop(0, _NEWTON, step, z))
    return z - (log_ndtr(z) - log_p) * jax.lax.stop_gradient(jnp.exp(_log_mills(-z)))


def _beyond(c: Array, width: Array, u: Array) -> Array:
    """t with P(Z > c + t) = (1 − u) P(Z > c) + u P(Z > c + width), for c > 0.

    −log of P(Z > c + t)/P(Z > c) is t (c + t/2) − log m(c + t)/m(c) for Mills' ratio m, of which nothing cancels.
    """
    width = jnp.minimum(width, 2.0 * _NEGLIGIBLE / (jnp.sqrt(jnp.square(c) + 2.0 * _NEGLIGIBLE) + c))
    level = -jnp.log1p(u * jnp.expm1(-_fall(c, width)))
    start = 2.0 * level / (c + jnp.sqrt(c * c + 2.0 * level))

    def step(_: int | Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        t, c, level = state
        return t - (_fall(c, t) - level) * jnp.exp(_log_mills(c + t)), c, level

    state = jax.lax.stop_gradient((start, jnp.broadcast_to(c, start.shape), level))
    t = jax.lax.stop_gradient(jax.lax.fori_loop(0, _NEWTON // 2, step, state)[0])
    return t - (_fall(c, t) - level) * jax.lax.stop_gradient(jnp.exp(_log_mills(c + t)))


def _fall(c: Array, t: Array) -> Array:
    return t * (c + 0.5 * t) - (_log_mills(c + t) - _log_mills(c))


def _log_mills(z: Array) -> Array:
    """log of P(Z > z)/φ(z): by Laplace's continued fraction from `_TAIL` on, where the difference would cancel."""
    far = jnp.maximum(z, _TAIL)
    fraction = jax.lax.fori_loop(0, _TERMS, lambda i, x: far + (_TERMS - i) / x, far)
    near = jnp.minimum(z, _TAIL)
    return jnp.where(z > _TAIL, -jnp.log(fraction), log_ndtr(-near) + 0.5 * jnp.square(near) + _LOG_ROOT_2_PI)
