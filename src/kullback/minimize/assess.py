"""What a reverse fit is worth, from fresh draws: the evidence lower bound and the tail of the weights."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kullback.families.learnable import Learnable
from kullback.families.mixture import MixtureStructure
from kullback.known import Known, numpyro_side
from kullback.known.static import Static
from kullback.minimize.layout import Layout
from kullback.minimize.objectives import model
from kullback.minimize.push import Push
from kullback.programs import program
from kullback.result import Estimate, Guarantee
from kullback.rule import Request

DRAWS = 8192


def assess(
    learnable: Learnable,
    layout: Layout,
    vector: np.ndarray,
    target: Known,
    request: Request,
    push: Push | None = None,
) -> tuple[Estimate, dict[str, Any]]:
    """E_Q[log q − log p] from fresh draws, with `elbo` and `khat` as diagnostics.

    push  how draws follow from noise made on the host, which spares compiling a sampler
    """
    structure, event_shape = learnable.structure, target.event_shape or ()
    if push is None or isinstance(structure, MixtureStructure):
        draw: Any = jax.random.key_data(jax.random.fold_in(request.key, 0x455355))
        static = Static((structure, layout, None))
    else:
        draw = push.fresh(request.host_rng(4), DRAWS, event_shape)
        static = Static((structure, layout, push))
    log_weights = -np.asarray(_log_ratios(static, learnable.fixed, target.log_density, vector, draw), np.float64)
    value, error = -float(log_weights.mean()), float(log_weights.std(ddof=1) / np.sqrt(len(log_weights)))
    dropped = () if target.normalized else ("log Z",)
    objective = Estimate(
        value,
        0.0 if np.isinf(value) else error,
        Guarantee.UNBIASED,
        quantity="KL(P‖Q)" if target.normalized else "KL(P‖Q) − log Z",
        dropped=dropped,
    )
    elbo = Estimate(-value, objective.standard_error, Guarantee.LOWER_BOUND, quantity="log Z")
    return objective, {"elbo": elbo, "khat": pareto_shape(log_weights)}


@program(static=())
def _log_ratios(static: Static, fixed: Any, target: Any, vector: Any, draw: Any) -> jax.Array:
    structure, layout, push = static.value
    d = model(Static((structure, layout)), fixed, vector)
    if push is None:
        x = d.sample(jax.random.wrap_key_data(draw), (DRAWS,))
        return numpyro_side.log_prob(d, x) - target(x)
    x = push.draw(d, draw)
    return push.log_q(d, draw, x) - target(x)


def pareto_shape(log_weights: np.ndarray) -> float:
    """k̂: the shape of the generalised Pareto law of the largest importance weights p/q.

    Below 0.7 the fit can be corrected by importance weighting; above it, Q misses mass of P. The estimator is that of
    Zhang and Stephens (2009), with the prior of Vehtari et al. (2024), appendix G.
    """
    finite = np.sort(log_weights[np.isfinite(log_weights)])
    n = len(finite)
    tail = int(min(0.2 * n, 3 * np.sqrt(n)))
    if tail < 5:
        return float("inf")
    weights = np.exp(finite[-tail - 1 :] - finite[-1])
    excess = weights[1:] - weights[0]
    if excess[-1] <= 1e-12:
        return float("-inf")
    excess = np.maximum(excess, 1e-300)
    m = 30 + int(np.sqrt(tail))
    grid = (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * excess[int(tail / 4 + 0.5) - 1]) + 1 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(1)
    profile = tail * (np.log(-grid / shapes) - shapes - 1)
    posterior = np.exp(profile - np.logaddexp.reduce(profile))
    b = float(np.sum(grid * posterior))
    k = float(np.log1p(-b * excess).mean())
    return (tail * k + 5.0) / (tail + 10)
