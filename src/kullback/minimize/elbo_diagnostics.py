"""What a reverse fit is worth, from fresh draws: the evidence lower bound and the tail of the weights."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from kullback.estimate.tail import pareto_fit, tail_size
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.static import Static
from kullback.minimize.objectives import model
from kullback.result import Estimate, Guarantee
from kullback.rule import Request
from kullback.runtime.export_cache import program
from kullback.training.ravel import Layout

DRAWS = 8192


def assess(
    learnable: Learnable,
    layout: Layout,
    vector: np.ndarray,
    target: Known,
    request: Request,
) -> tuple[Estimate, dict[str, Any]]:
    """E_Q[log q − log p] from fresh draws, with `elbo` and `khat` as diagnostics."""
    draw = jax.random.key_data(jax.random.fold_in(request.key, 0x455355))
    static = Static((learnable.structure, layout))
    log_q, log_p = _logs(static, learnable.fixed, target.log_density, vector, draw)
    return evidence(np.asarray(log_q), np.asarray(log_p), target)


@program(static=())
def _logs(static: Static, fixed: Any, target: Any, vector: Any, draw: Any) -> tuple[jax.Array, jax.Array]:
    d = model(static, fixed, vector)
    x = d.sample(jax.random.wrap_key_data(draw), (DRAWS,))
    return numpyro_distributions.log_prob(d, x), target(x)


def evidence(
    log_q: Float[np.ndarray, " n"], log_p: Float[np.ndarray, " n"], target: Known
) -> tuple[Estimate, dict[str, Any]]:
    """The objective from log q and log p at draws of q, with `elbo` and `khat` as diagnostics.

    A weight that is not a number counts as none, which leaves the bounds what they are.
    """
    with np.errstate(invalid="ignore"):
        log_weights = log_p.astype(np.float64) - log_q
    log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
    value, error = np.inf, 0.0
    if not np.isneginf(log_weights).any():
        value = -float(log_weights.mean())
    if np.isfinite(value):
        error = float(log_weights.std(ddof=1) / np.sqrt(len(log_weights)))
    dropped = () if target.normalized else ("log Z",)
    objective = Estimate(
        value,
        error,
        Guarantee.UNBIASED,
        quantity="KL(P‖Q)" if target.normalized else "KL(P‖Q) − log Z",
        dropped=dropped,
    )
    elbo = Estimate(-value, error, Guarantee.LOWER_BOUND, quantity="log Z")
    size = max(1.0, *(float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0)) for x in (log_q, log_p)))
    rounding = 4 * size * max(float(np.finfo(x.dtype).eps) for x in (log_q, log_p))
    return objective, {"elbo": elbo, "khat": pareto_shape(log_weights, rounding)}


def pareto_shape(log_weights: np.ndarray, rounding: float = 0.0) -> float:
    """k̂: the shape of the generalised Pareto law of the largest importance weights p/q.

    Below 0.7 the fit can be corrected by importance weighting; above it, Q misses mass of P. The estimator is that of
    Zhang and Stephens (2009), with the prior of Vehtari et al. (2024), appendix G. Where the largest weights differ by
    no more than the rounding of their logarithms there is no tail, and −∞ is stated.
    """
    finite = np.sort(log_weights[np.isfinite(log_weights)])
    n = len(finite)
    tail = tail_size(n)
    if tail < 5:
        return float("inf")
    if finite[-1] - finite[-tail - 1] <= rounding:
        return float("-inf")
    weights = np.exp(finite[-tail - 1 :] - finite[-1])
    excess = weights[1:] - weights[0]
    if excess[-1] <= 1e-12:
        return float("-inf")
    return pareto_fit(np.maximum(excess, 1e-300))[0]
