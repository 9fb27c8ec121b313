"""Maximum likelihood in closed form: for weighted outcomes, the parameters that match the moments.

In an exponential family q(x) ∝ h(x) exp(η·T(x)), the minimiser of KL(P‖q) over η has E_q[T] = E_P[T]. Each function
takes outcomes x [n, *event], weights w [n] that sum to 1, the fixed parameters, and a floor added to variances (0
unless a mixture needs one), and returns constrained parameters.
They are written in JAX over one set of weights, so that expectation maximisation maps them over components.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import digamma, polygamma

Parameters = dict[str, Any]
ClosedForm = Callable[..., Parameters]


def _mean(x: Any, w: Any) -> Any:
    return jnp.tensordot(w, x, 1)


def _variance(x: Any, w: Any, centre: Any) -> Any:
    return jnp.tensordot(w, jnp.square(x - centre), 1)


def normal(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = (x, x²): the mean, and the root of the mean squared deviation from the location."""
    loc = fixed.get("loc", None)
    centre = _mean(x, w) if loc is None else loc
    return {"loc": centre, "scale": jnp.sqrt(_variance(x, w, centre) + floor)}


def lognormal(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = (log x, log² x): the normal's, of log x."""
    return normal(jnp.log(x), w, fixed, floor)


def multivariate_normal(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = (x, xxᵀ): mean and covariance."""
    centre = fixed["loc"] if "loc" in fixed else _mean(x, w)
    deviation = x - centre
    covariance = (deviation * w[:, None]).T @ deviation + floor * jnp.eye(x.shape[-1])
    return {"loc": centre, "scale_tril": jnp.linalg.cholesky(covariance)}


def mean_of(name: str) -> ClosedForm:
    """Families whose one parameter is the mean: Poisson's rate."""
    return lambda x, w, fixed, floor=0.0: {name: _mean(x * 1.0, w)}


def exponential(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    return {"rate": 1.0 / _mean(x, w)}


def half_normal(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    return {"scale": jnp.sqrt(_variance(x, w, 0.0))}


def bernoulli_logits(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    share = _mean(x * 1.0, w)
    return {"logits": jnp.log(share) - jnp.log1p(-share)}


def bernoulli_probs(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    return {"probs": _mean(x * 1.0, w)}


def binomial_logits(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    share = _mean(x * 1.0, w) / fixed["total_count"]
    return {"logits": jnp.log(share) - jnp.log1p(-share)}


def geometric_logits(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    return {"logits": -jnp.log(_mean(x * 1.0, w))}


def uniform(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """The least interval that holds the outcomes: it maximises the likelihood, since the density is 1/width."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    counts = (w > 0).reshape(shape)
    return {"low": jnp.min(jnp.where(counts, x, jnp.inf), 0), "high": jnp.max(jnp.where(counts, x, -jnp.inf), 0)}


def gamma(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = (x, log x): log a − ψ(a) = log E[x] − E[log x], by Newton's method on log a (Minka 2002, eq. 8)."""
    mean = _mean(x, w)
    # Σ w φ(x/m − 1) ≥ 0 is the same gap without cancellation where x is nearly constant.
    ratio = x / mean - 1.0
    gap = _mean(ratio - jnp.log1p(ratio), w)
    a = (3 - gap + jnp.sqrt(jnp.square(gap - 3) + 24 * gap)) / (12 * gap)

    def newton(_: Any, a: Any) -> Any:
        change = (jnp.log(a) - digamma(a) - gap) / (1 / a - polygamma(1, a))
        return a * jnp.exp(jnp.clip(-change / a, -2.0, 2.0))

    a = lax.fori_loop(0, 12, newton, a)
    return {"concentration": a, "rate": a / mean}


def beta(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = (log x, log(1 − x)): Dirichlet's, of (x, 1 − x)."""
    pair = jnp.stack([x, 1 - x], -1)
    mean_log = jnp.stack([_mean(jnp.log(x), w), _mean(jnp.log1p(-x), w)], -1)
    a = _dirichlet(_mean(pair, w), _variance(pair, w, _mean(pair, w)), mean_log)
    return {"concentration1": a[..., 0], "concentration0": a[..., 1]}


def dirichlet(x: Any, w: Any, fixed: Parameters, floor: Any = 0.0) -> Parameters:
    """T = log x: ψ(a_k) − ψ(Σ a) = E[log x_k], by Newton's method (Minka 2000, section 1)."""
    mean = _mean(x, w)
    return {"concentration": _dirichlet(mean, _variance(x, w, mean), _mean(jnp.log(x), w))}


def _dirichlet(mean: Any, variance: Any, mean_log: Any) -> Any:
    total = mean[..., :1] * (1 - mean[..., :1]) / variance[..., :1] - 1
    start = jnp.log(mean * jnp.maximum(total, 1e-2))

    def newton(_: Any, log_a: Any) -> Any:
        # The Hessian in a is diagonal plus a constant, so its inverse is elementary.
        a = jnp.exp(log_a)
        whole = a.sum(-1, keepdims=True)
        gradient = digamma(whole) - digamma(a) + mean_log
        q, z = -polygamma(1, a), polygamma(1, whole)
        b = (gradient / q).sum(-1, keepdims=True) / (1 / z + (1 / q).sum(-1, keepdims=True))
        return log_a + jnp.clip(-(gradient - b) / q / a, -1.5, 1.5)

    return jnp.exp(lax.fori_loop(0, 40, newton, start))


CLOSED_FORMS: dict[type, tuple[frozenset[str], ClosedForm]] = {
    dist.Normal: (frozenset({"loc", "scale"}), normal),
    dist.LogNormal: (frozenset({"loc", "scale"}), lognormal),
    dist.MultivariateNormal: (frozenset({"loc", "scale_tril"}), multivariate_normal),
    dist.HalfNormal: (frozenset({"scale"}), half_normal),
    dist.Exponential: (frozenset({"rate"}), exponential),
    dist.Poisson: (frozenset({"rate"}), mean_of("rate")),
    dist.BernoulliLogits: (frozenset({"logits"}), bernoulli_logits),
    dist.BernoulliProbs: (frozenset({"probs"}), bernoulli_probs),
    dist.BinomialLogits: (frozenset({"logits"}), binomial_logits),
    dist.GeometricLogits: (frozenset({"logits"}), geometric_logits),
    dist.Uniform: (frozenset({"low", "high"}), uniform),
    dist.Gamma: (frozenset({"concentration", "rate"}), gamma),
    dist.Beta: (frozenset({"concentration1", "concentration0"}), beta),
    dist.Dirichlet: (frozenset({"concentration"}), dirichlet),
}

# Families whose remaining parameters still match moments when the named ones are held fixed.
PARTLY_FIXED: dict[type, tuple[frozenset[str], ...]] = {
    dist.Normal: (frozenset({"loc"}), frozenset({"scale"})),
    dist.LogNormal: (frozenset({"loc"}), frozenset({"scale"})),
    dist.MultivariateNormal: (frozenset({"loc"}),),
}


def categorical(x: Any, w: Any, categories: int) -> Parameters:
    """T = the indicator of each category: the shares, as logits (−∞ for a category that never occurs)."""
    shares = jax.ops.segment_sum(w, x, categories)
    return {"logits": jnp.log(shares)}


def closed_form(form: Any, fixed: Parameters) -> ClosedForm | None:
    """The closed form for a family with these free and fixed parameters, or None."""
    free = frozenset(form.names)
    if form.cls is dist.CategoricalLogits and not form.independent:
        (_, (categories,)) = form.shapes[0]
        return lambda x, w, fixed, floor=0.0: categorical(x, w, categories)
    if form.cls not in CLOSED_FORMS:
        return None
    names, solve = CLOSED_FORMS[form.cls]
    given = names & frozenset(fixed)
    if free == names or (given in PARTLY_FIXED.get(form.cls, ()) and free == names - given):
        return solve
    return None
