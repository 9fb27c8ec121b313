"""Draws of laws with mass at the ends of their support by their logarithms.

A gamma law of concentration a puts mass e^(−745 a) below the least double, so that draws of small concentrations round
to 0, where a log-ratio is no number; draws of shares round to 0 and to 1, where it is a wrong one. A divergence is the
same in every coordinate: both log-densities are written here in t = log x, which `jax.random.loggamma` draws. A share
of the unit interval becomes (log x, log(1 − x)), a law of the logarithm of such a law the logarithm itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln
from jax.tree_util import Partial
from numpyro.distributions import transforms

from kullback.distributions.log_density import log_prob

SMALL = 0.2  # the concentration from which on no draw of double precision is rounded to 0: (1e-308)^0.2 is nothing
FAR = -30.0  # of a logarithm, from where on log(1 − x) is −x
TINY, SAME = 1e-300, 1e-4  # nats by which a density that is finite at an end changes on the way there, at most


class LogLaw(NamedTuple):
    """A law in t = log x.

    draw         (law, key, shape) -> t, for the number of draws and the batch as the shape
    log_density  (law, t) -> its log-density of x
    space        where x lies: outcomes of two laws are compared in one space
    least        a concentration, below SMALL where draws round to an end
    """

    draw: Callable[..., Array]
    log_density: Callable[..., Array]
    space: str
    least: Callable[[Any], Any]


def _double(*values: Any) -> list[Array]:
    return [jnp.asarray(x, jnp.float64) for x in values]


# Positive numbers.


def _draw_gamma(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    a, rate = _double(d.concentration, d.rate)
    return jax.random.loggamma(key, a, shape, jnp.float64) - jnp.log(rate)


def _log_gamma(d: Any, t: Array) -> Array:
    a, rate = _double(d.concentration, d.rate)
    return a * jnp.log(rate) - gammaln(a) + (a - 1.0) * t - rate * jnp.exp(t)


def _draw_inverse_gamma(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    a, rate = _double(d.concentration, d.rate)
    return jnp.log(rate) - jax.random.loggamma(key, a, shape, jnp.float64)


def _log_inverse_gamma(d: Any, t: Array) -> Array:
    a, rate = _double(d.concentration, d.rate)
    return a * jnp.log(rate) - gammaln(a) - (a + 1.0) * t - rate * jnp.exp(-t)


def _draw_weibull(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    scale, k = _double(d.scale, d.concentration)
    return jnp.log(scale) - jax.random.gumbel(key, shape, jnp.float64) / k  # the logarithm of an exponential over k


def _log_weibull(d: Any, t: Array) -> Array:
    scale, k = _double(d.scale, d.concentration)
    z = k * (t - jnp.log(scale))
    return jnp.log(k) + z - t - jnp.exp(z)


def _draw_log_normal(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    loc, scale = _double(d.loc, d.scale)
    return loc + scale * jax.random.normal(key, shape, jnp.float64)


def _log_log_normal(d: Any, t: Array) -> Array:
    loc, scale = _double(d.loc, d.scale)
    return dist.Normal(loc, scale).log_prob(t) - t


def _log_half_cauchy(d: Any, t: Array) -> Array:
    (scale,) = _double(d.scale)
    return math.log(2.0 / math.pi) - jnp.log(scale) - jnp.logaddexp(0.0, 2.0 * (t - jnp.log(scale)))


def _draw_half_cauchy(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.log(jnp.abs(jax.random.cauchy(key, shape, jnp.float64))) + jnp.log(_double(d.scale)[0])


def _never(d: Any) -> float:
    """Of laws whose draws round where their divergences are beyond double precision as well."""
    return 1.0


# Shares.


def _shares(d: Any) -> Array:
    """Concentrations [*batch, k] of a Dirichlet law, and of a beta law as one of two shares."""
    if type(d) is dist.Dirichlet:
        return jnp.asarray(d.concentration, jnp.float64)
    return jnp.stack(jnp.broadcast_arrays(*_double(d.concentration1, d.concentration0)), -1)


def _draw_shares(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    a = _shares(d)
    t = jax.random.loggamma(key, a, (*shape, a.shape[-1]), jnp.float64)
    return t - jax.nn.logsumexp(t, -1, keepdims=True)


def _log_shares(d: Any, t: Array) -> Array:
    a = _shares(d)
    return gammaln(a.sum(-1)) - gammaln(a).sum(-1) + ((a - 1.0) * t).sum(-1)


def _draw_kumaraswamy(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    """1 − xᵃ = v for v = u^(1/b)."""
    a, b = _double(d.concentration1, d.concentration0)
    log_v = -jax.random.exponential(key, shape, jnp.float64) / b
    t = _log1mexp(log_v) / a
    return jnp.stack([t, jnp.where(log_v < FAR, log_v - jnp.log(a), _log1mexp(t))], -1)


def _log_kumaraswamy(d: Any, t: Array) -> Array:
    a, b = _double(d.concentration1, d.concentration0)
    x, rest = t[..., 0], t[..., 1]
    # 1 − xᵃ is a (1 − x) where x rounds to 1.
    power = jnp.where(rest < FAR, jnp.log(a) + rest, _log1mexp(a * jnp.where(rest < FAR, -1.0, x)))
    return jnp.log(a) + jnp.log(b) + (a - 1.0) * x + (b - 1.0) * power


def _log1mexp(x: Array) -> Array:
    """log(1 − eˣ) for x < 0."""
    return jax.nn.log1mexp(-x)


# Students: an outcome m + r y is t = (m, y, log r), since r overflows.


def _student(d: Any) -> tuple[Array, Array, Array]:
    """Degrees of freedom [*batch], locations [*batch, n] and factors [*batch, n, n]."""
    df, loc = _double(getattr(d, "df", 1.0), d.loc)
    if type(d) is dist.MultivariateStudentT:
        return df, loc, jnp.asarray(d.scale_tril, jnp.float64)
    return df, loc[..., None], jnp.asarray(d.scale, jnp.float64)[..., None, None]


def _draw_student(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    df, loc, factor = _student(d)
    key, own = jax.random.split(key)
    n = loc.shape[-1]
    y = jnp.einsum("...ij,...j->...i", factor, jax.random.normal(key, (*shape, n), jnp.float64))
    log_r = 0.5 * (jnp.log(0.5 * df) - jax.random.loggamma(own, 0.5 * df, shape, jnp.float64))
    return jnp.concatenate([jnp.broadcast_to(loc, y.shape), y, log_r[..., None]], -1)


def _log_student(d: Any, t: Array) -> Array:
    df, loc, factor = _student(d)
    n = loc.shape[-1]
    away = t[..., n : 2 * n] + (t[..., :n] - loc) * jnp.exp(-t[..., -1:])
    batch = jnp.broadcast_shapes(away.shape[:-1], factor.shape[:-2])
    factor, away = jnp.broadcast_to(factor, (*batch, n, n)), jnp.broadcast_to(away, (*batch, n))
    white = jax.scipy.linalg.solve_triangular(factor, away[..., None], lower=True)[..., 0]
    square = jnp.log(jnp.square(white).sum(-1)) + 2.0 * t[..., -1]
    log_det = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
    tail = 0.5 * (df + n) * jnp.logaddexp(0.0, square - jnp.log(df))
    return gammaln(0.5 * (df + n)) - gammaln(0.5 * df) - 0.5 * n * jnp.log(math.pi * df) - log_det - tail


def _degrees(d: Any) -> Any:
    return getattr(d, "df", 1.0)


def _concentration(d: Any) -> Any:
    return d.concentration


def _least_of_two(d: Any) -> Any:
    return np.minimum(np.asarray(d.concentration1), np.asarray(d.concentration0))


LOG_LAWS: dict[type, LogLaw] = {
    dist.Gamma: LogLaw(_draw_gamma, _log_gamma, "positive", _concentration),
    dist.Chi2: LogLaw(_draw_gamma, _log_gamma, "positive", _concentration),
    dist.InverseGamma: LogLaw(_draw_inverse_gamma, _log_inverse_gamma, "positive", _concentration),
    dist.Weibull: LogLaw(_draw_weibull, _log_weibull, "positive", _never),
    dist.LogNormal: LogLaw(_draw_log_normal, _log_log_normal, "positive", _never),
    dist.HalfCauchy: LogLaw(_draw_half_cauchy, _log_half_cauchy, "positive", _never),
    dist.Beta: LogLaw(_draw_shares, _log_shares, "unit", _least_of_two),
    dist.BetaProportion: LogLaw(_draw_shares, _log_shares, "unit", _least_of_two),
    dist.Kumaraswamy: LogLaw(_draw_kumaraswamy, _log_kumaraswamy, "unit", _least_of_two),
    dist.Dirichlet: LogLaw(_draw_shares, _log_shares, "simplex", _concentration),
    **dict.fromkeys(
        (dist.StudentT, dist.MultivariateStudentT, dist.Cauchy), LogLaw(_draw_student, _log_student, "rays", _degrees)
    ),
}


# Laws made up of others.

WRAPPED = (dist.Independent, dist.ExpandedDistribution, dist.MixtureSameFamily, dist.TransformedDistribution)


def _inside(d: Any) -> Any:
    return d.component_distribution if type(d) is dist.MixtureSameFamily else d.base_dist


def _is_scaling(d: Any) -> bool:
    """Whether a transformed law is a positive multiple of a number."""
    if len(d.transforms) != 1 or type(d.transforms[0]) is not transforms.AffineTransform or d.event_shape:
        return False
    return bool(np.all(np.asarray(d.transforms[0].loc) == 0) and np.all(np.asarray(d.transforms[0].scale) > 0))


def _has_form(d: Any) -> bool:
    """Whether a law, or one that it is made up of, is of a class that has a form here, whatever its numbers."""
    return type(d) in LOG_LAWS or (type(d) in WRAPPED and _has_form(_inside(d)))


def _is_logarithm(d: Any) -> bool:
    return len(d.transforms) == 1 and d.transforms[0] == transforms.ExpTransform().inv and not d.event_shape


def _space(d: Any) -> str:
    """Where the outcomes of a law lie that has a form here; "" elsewhere."""
    if type(d) in LOG_LAWS:
        return LOG_LAWS[type(d)].space
    if type(d) not in WRAPPED:
        return ""
    inner = _space(_inside(d))
    if type(d) is not dist.TransformedDistribution:
        return inner
    if inner != "positive" or d.base_dist.batch_shape != d.batch_shape:
        return ""
    return "positive" if _is_scaling(d) else "line" if _is_logarithm(d) else ""


def _is_regular(d: Any, space: str) -> bool:
    """Whether a law may be asked for its own log-density at eᵗ: its density is finite at the ends."""
    if not isinstance(d, dist.Distribution) or d.event_shape or d.support is None or d.support.is_discrete:
        return False
    if space == "line":
        return True
    ends = [(TINY, math.sqrt(TINY))] + ([(1.0 - 2.0**-53, 1.0 - 2.0**-27)] if space == "unit" else [])
    with jax.enable_x64(True):
        changes = [np.asarray(log_prob(d, a)) - np.asarray(log_prob(d, b)) for a, b in ends]
    return space in ("positive", "unit") and all(bool(np.all(np.abs(each) < SAME)) for each in changes)


def _matched(p: Any, q: Any) -> bool:
    """Whether Q has a log-density in the logarithms of outcomes of P."""
    if type(q) is dist.Independent and type(p) is dist.Independent:
        return p.reinterpreted_batch_ndims == q.reinterpreted_batch_ndims and _matched(p.base_dist, q.base_dist)
    return _space(q) == _space(p) or (not _has_form(q) and _is_regular(q, _space(p)))


def _least(d: Any) -> float:
    if type(d) in LOG_LAWS:
        return float(np.min(np.asarray(LOG_LAWS[type(d)].least(d))))
    return _least(_inside(d))


def _draw(d: Any, key: Array, shape: tuple[int, ...]) -> Array:
    if type(d) in LOG_LAWS:
        return LOG_LAWS[type(d)].draw(d, key, shape)
    base = _inside(d)
    if type(d) is dist.MixtureSameFamily:
        key, own = jax.random.split(key)
        label = jax.random.categorical(own, jnp.asarray(d.mixing_distribution.logits), shape=shape)
        every = _draw(base, key, (*shape, d.mixture_size))
        label = label.reshape(*shape, *(1,) * (every.ndim - len(shape)))
        return jnp.take_along_axis(every, label, len(shape)).squeeze(len(shape))
    if type(d) is dist.Independent:
        return _draw(base, key, (*shape, *base.batch_shape[len(base.batch_shape) - d.reinterpreted_batch_ndims :]))
    drawn = _draw(base, key, shape)
    return drawn + jnp.log(_scale(d)) if type(d) is dist.TransformedDistribution else drawn


def _scale(d: Any) -> Any:
    """The factor by which a transformed law is multiplied, 1 for the logarithm of one."""
    return jnp.asarray(getattr(d.transforms[0], "scale", 1.0), jnp.float64)


def _log_density(d: Any, t: Array, space: str) -> Array:
    if type(d) in LOG_LAWS:
        return LOG_LAWS[type(d)].log_density(d, t)
    if not _has_form(d) and type(d) is not dist.Independent:
        ends = (TINY, 1.0 - 2.0**-53 if space == "unit" else jnp.inf)
        x = t if space == "line" else jnp.clip(jnp.exp(t[..., 0] if space == "unit" else t), *ends)
        return log_prob(d, x)
    base = _inside(d)
    if type(d) is dist.MixtureSameFamily:
        axis = t.ndim - len(_event(d, space))
        each = _log_density(base, jnp.expand_dims(t, axis), space)
        return jax.nn.logsumexp(jax.nn.log_softmax(jnp.asarray(d.mixing_distribution.logits)) + each, -1)
    if type(d) is dist.Independent:
        found = _log_density(base, t, space)
        return found.sum(tuple(range(-d.reinterpreted_batch_ndims, 0)))
    if type(d) is not dist.TransformedDistribution:
        return _log_density(base, t, space)
    if space == "line":
        return _log_density(base, t, "positive") + t
    log_scale = jnp.log(_scale(d))
    return _log_density(base, t - log_scale, space) - log_scale


class InLogs(NamedTuple):
    """A sampler of t, log P and log Q at t, and the shape of one t."""

    sampler: Any
    log_p: Any
    log_q: Any
    event: tuple[int, ...]


def in_logs(p: Any, q: Any) -> InLogs | None:
    """Both laws in log x, where draws of P may round to an end of its support; None elsewhere."""
    space = _space(p)
    if not space or p.event_shape != getattr(q, "event_shape", None) or not _least(p) < SMALL or not _matched(p, q):
        return None
    return InLogs(Partial(_sample, p), Partial(_at[space], p), Partial(_at[space], q), _event(p, space))


def rounds(p: Any) -> bool:
    """Whether draws of shares round to an end of the unit interval, which a sampler does without a remark."""
    return _space(p) == "unit" and _least(p) < SMALL


def on_line(p: Any, q: Any) -> tuple[Any, Any] | None:
    """Log-densities of both laws of a number x along u = log x, or log x/(1 − x), as functions of u; None elsewhere."""
    if p is None or q is None or p.event_shape or _space(p) not in ("positive", "unit", "line"):
        return None
    logs = in_logs(p, q)
    if logs is None:
        return None
    along = _along_logits if _space(p) == "unit" else _along_logs if _space(p) == "positive" else _on_line
    return Partial(along, p), Partial(along, q)


def _along_logs(d: Any, u: Array) -> Array:
    return _on_positive(d, u) + u


def _along_logits(d: Any, u: Array) -> Array:
    t = jnp.stack([jax.nn.log_sigmoid(u), jax.nn.log_sigmoid(-u)], -1)
    return _on_unit(d, t) + t.sum(-1)


def _event(d: Any, space: str) -> tuple[int, ...]:
    """The shape of one t."""
    event, leaf = tuple(d.event_shape), d
    while type(leaf) in WRAPPED:
        leaf = _inside(leaf)
    if space == "unit":
        return (*event, 2)
    if space != "rays":
        return event
    return (*event, 3) if not leaf.event_shape else (*event[:-1], 2 * event[-1] + 1)


def _sample(d: Any, key: Array, n: int) -> Array:
    return _draw(d, key, (n, *d.batch_shape))


def _on_positive(d: Any, t: Array) -> Array:
    return _log_density(d, t, "positive")


def _on_unit(d: Any, t: Array) -> Array:
    return _log_density(d, t, "unit")


def _on_simplex(d: Any, t: Array) -> Array:
    return _log_density(d, t, "simplex")


def _on_line(d: Any, t: Array) -> Array:
    return _log_density(d, t, "line")


def _on_rays(d: Any, t: Array) -> Array:
    return _log_density(d, t, "rays")


_at = {"rays": _on_rays, "positive": _on_positive, "unit": _on_unit, "simplex": _on_simplex, "line": _on_line}
