"""What a reverse fit is worth, from fresh draws: its evidence lower bound, and whether it is an optimum.

On fresh draws the gradient g of the divergence is unbiased, and ½ gᵀH⁻¹g is the decrease still to be had, with the
inverse curvature H⁻¹ that the descent has learned. Its square is estimated without bias by products of different
batches, gₐᵀH⁻¹g_b with a ≠ b, and its standard error by the jackknife over them. The weights p/q of the draws say by
their tail how far the bound can be trusted.

Independent draws miss what is rarer than their number, such as a wall of log p in the tail of q. Some more are
therefore of noise that reaches there, weighted; where they say otherwise, they are believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from kullback.estimate.pareto_tail import pareto_fit, tail_size
from kullback.families.learnable import Learnable, Params
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.static import Static
from kullback.minimize import lbfgs
from kullback.minimize.fitting import Found
from kullback.minimize.fixed_draw_objective import Frame, Reparameterised, far, terms
from kullback.minimize.improper import IMPROPER, log_density_at
from kullback.minimize.laplace import ABOVE, can_look, far_noise, highest, outcomes
from kullback.minimize.objectives import model
from kullback.result import Estimate, Guarantee, Status
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
def _logs(
    static: Static, fixed: Params, target: Any, vector: Float[Array, " n"], draw: Any
) -> tuple[jax.Array, jax.Array]:
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


BATCHES = 16
ROWS = DRAWS // BATCHES
REACHING, FAR = 8, 8  # batches more, of draws that reach into the tails, and of draws beyond
LEAST = 1e-8  # of probability: what lies in so little of it may be underflow
SMALL = 0.01  # nats: a decrease that is neither seen in the answer nor asked for
RUNAWAY = 30.0  # of a logarithm: a factor of 1e13, at which a slope of 0 says nothing
UNSURE = 0.1  # nats: a standard error of the decrease at which nothing is confirmed


@dataclass(frozen=True)
class Verdict:
    """What fresh draws say of the ends of a descent.

    vectors      parameters, best first [s, n]
    values       objectives of those that are optima, ∞ for the others [s]
    unsure       whether the fresh draws leave room for a decrease that is not small
    rare         whether it is events in the tails of q that do
    elsewhere    where log p is far above what the fit says of it, highest first
    """

    vectors: np.ndarray
    values: np.ndarray
    objective: Estimate
    status: Status
    message: str
    diagnostics: dict[str, Any]
    unsure: bool = False
    rare: bool = False
    elsewhere: np.ndarray = field(default_factory=lambda: np.zeros(0))


def judge(problem: Reparameterised, found: Found, request: Request) -> Verdict:
    """The verdict on the ends of a descent."""
    log_q, log_p, gradients, weights, far = _fresh(problem, found.vectors[0], request)
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[found.order], found.outcome.state)
    objective, diagnostics = evidence(log_q[:DRAWS], log_p[:DRAWS], problem.target)
    reach = slice(DRAWS, DRAWS + REACHING * ROWS)
    tails = _weighted_mean(log_q[reach], log_p[reach], weights[reach], found.values[0])
    if tails.standard_error < 0.5 * objective.standard_error and np.isfinite(tails.value):
        objective = replace(objective, value=tails.value, standard_error=tails.standard_error)
        diagnostics["elbo"] = replace(diagnostics["elbo"], value=-tails.value, standard_error=tails.standard_error)
    decrease = _decrease(problem, state, gradients[:BATCHES])
    in_tails = _decrease(problem, state, gradients[BATCHES : BATCHES + REACHING])
    # The descent has met as much of the tails as its own draws.
    unseen = abs(tails.value - found.values[0]) > 2 * SMALL + 3 * tails.standard_error
    rare = unseen or in_tails.value - 3 * in_tails.standard_error > max(decrease.value, SMALL)
    if rare:
        decrease = max(decrease, in_tails, key=lambda one: one.value)
    diagnostics["expected_decrease"] = decrease
    with np.errstate(invalid="ignore"):
        odd = np.isnan(log_p - log_q) | (log_p == np.inf)
    undefined = bool(odd[:DRAWS].any()) or np.isnan(tails.value)
    infinite = objective.value == np.inf or tails.value == np.inf
    status, message = _status(problem, found, state, decrease, undefined, infinite)
    # An end that is no optimum: its descent was cut short, or no step was found though the slope is not 0.
    with np.errstate(over="ignore"):
        slopes = [np.square(problem.natural(x, g)).sum() for x, g in zip(state.x, state.gradient, strict=True)]
        level = np.maximum.reduce([np.abs(state.search.slope), np.square(state.gradient).sum(1), slopes]) <= 2 * SMALL
    is_optimum = (state.status == lbfgs.CONVERGED) & level
    is_optimum[0] = True
    values = np.where(is_optimum, found.values, np.inf)
    # The fit flatters its own draws by as much as they are too few.
    flattered = abs(objective.value - found.values[0]) > 2 * SMALL + 2 * objective.standard_error
    unsure = bool(flattered or unseen or decrease.value + 2 * decrease.standard_error > 2 * SMALL)
    vectors, elsewhere = problem.unframed(found.vectors), np.zeros(0)
    if status is not Status.DIVERGED and can_look(problem):
        logs = log_q[DRAWS + REACHING * ROWS :], log_p[DRAWS + REACHING * ROWS :]
        elsewhere = _elsewhere(problem, vectors[0], far, logs, objective.value, request)
    return Verdict(
        vectors=vectors,
        values=values,
        objective=objective,
        status=status,
        message=message,
        diagnostics=diagnostics,
        unsure=unsure,
        rare=rare,
        elsewhere=elsewhere,
    )


def _fresh(problem: Reparameterised, vector: np.ndarray, request: Request) -> tuple[np.ndarray, ...]:
    """log q and log p at fresh draws, gradients on batches of them, their weights, and noise far out: of the draws,
    those that reach come second, and last those of the noise far out."""
    rng, noise = request.host_rng(4), replace(problem.push.noise, reach=False)
    plain, choice = noise.fresh(rng, DRAWS, problem.event_shape), rng.uniform(size=DRAWS)
    reach = noise.reaching().fresh(rng, REACHING * ROWS, problem.event_shape)
    far = far_noise(rng, FAR * ROWS if noise.normal and can_look(problem) else 0, problem.event_shape)
    weights = np.concatenate([np.ones(DRAWS), noise.reaching().weights(reach), np.ones(len(far))])
    choice = np.concatenate([choice, rng.uniform(size=len(weights) - DRAWS)])
    every = np.concatenate([plain, reach, far]) if len(far) else np.concatenate([plain, reach])
    static = Static((problem.learnable.structure, problem.layout, replace(problem.push, noise=noise)))
    target, fixed = problem.target.log_density, problem.learnable.fixed
    answer = _judged(static, fixed, target, problem.frame, vector, every, choice, weights)
    log_q, log_p, gradients = map(np.asarray, answer)
    return log_q, log_p, gradients.astype(np.float64), weights, far


def _elsewhere(
    problem: Reparameterised, vector: np.ndarray, far: np.ndarray, logs: tuple[Any, Any], value: float, request: Request
) -> np.ndarray:
    """Where log p is far above what a fit says of it; of noise that is not normal, where it is highest far out."""
    if len(far):
        log_q, log_p = logs
        return highest(problem, outcomes(problem, vector, far), log_p, log_p - log_q + value > ABOVE)
    points = outcomes(problem, vector, far_noise(request.host_rng(5), FAR * ROWS, problem.event_shape))
    log_p = np.asarray(log_density_at(problem.target.log_density, points))
    return highest(problem, points, log_p, np.full(len(points), True))


def _weighted_mean(log_q: np.ndarray, log_p: np.ndarray, weights: np.ndarray, near: float) -> Estimate:
    """The mean of log q − log p, whose mean is `near` some number, by which it varies less; what is no number in next
    to no probability is left out."""
    with np.errstate(invalid="ignore"):
        ratio = log_q.astype(np.float64) - log_p
    odd = ~np.isfinite(ratio)
    if (weights * odd).sum() > LEAST * weights.sum():
        return Estimate(np.nan if np.isnan(ratio).any() else np.inf, 0.0, Guarantee.UNBIASED)
    away = weights * np.where(odd, 0.0, ratio - near)
    return Estimate(near + float(away.mean()), float(away.std(ddof=1) / np.sqrt(len(away))), Guarantee.UNBIASED)


@program(static=())
def _judged(
    static: Static,
    fixed: Params,
    target: Any,
    frame: Frame | None,
    vector: Float[Array, " n"],
    noise: Float[Array, "m ..."],
    choice: Float[Array, " m"],
    weights: Float[Array, " m"],
) -> tuple[Any, ...]:
    """log q and log p at fresh draws [m], and gradients of the divergence on batches of them."""

    def batch(given: tuple[Any, Any, Any]) -> tuple[Any, ...]:
        some, chosen, weight = given

        def value(at: Any) -> tuple[Any, Any]:
            log_q, log_p, w = terms(static, fixed, target, some, frame, at)
            each = jnp.repeat(weight / jnp.mean(weight), len(w) // len(weight))
            return jnp.sum(each * w * (log_q - log_p)), (log_q, log_p, w)

        gradient, (log_q, log_p, w) = jax.grad(value, has_aux=True)(vector)
        # Of a mixture's draws one of each row: that of the component chosen by its probability.
        rows = len(chosen)
        shares = jnp.cumsum(w.reshape(rows, -1)[0]) * rows
        which = jnp.sum(chosen[:, None] >= shares[:-1], 1)
        one = lambda x: x.reshape(rows, -1)[jnp.arange(rows), which]  # noqa: E731
        return one(log_q), one(log_p), gradient

    given = noise.reshape(-1, ROWS, *noise.shape[1:]), choice.reshape(-1, ROWS), weights.reshape(-1, ROWS)
    log_q, log_p, gradients = lax.map(batch, given)
    return log_q.reshape(-1), log_p.reshape(-1), gradients


def _decrease(problem: Reparameterised, state: lbfgs.State, gradients: Float[np.ndarray, "b n"]) -> Estimate:
    """½ gᵀH⁻¹g at the best end, with its standard error: by what the descent has learned of H, and where it is more, by
    the law's own units, since a frame of a poor mode and what is learned in it may hide a slope."""
    if not np.isfinite(gradients).all():
        return Estimate(np.inf, 0.0, Guarantee.UNBIASED, quantity="expected decrease")
    learned = half_square(gradients @ lbfgs.remembered_inverse_hessian(state, 0, gradients).T)
    own = np.stack([problem.natural(np.asarray(state.x[0]), gradient) for gradient in gradients])
    if not own.shape[1]:
        return learned
    by_law = half_square(own @ own.T)
    return by_law if by_law.value - 3 * by_law.standard_error > learned.value else learned


def half_square(products: Float[np.ndarray, "b b"]) -> Estimate:
    """Half the square of a mean, from the products of estimates of it by batches, with its standard error."""
    b = len(products)
    if not np.isfinite(products).all():
        return Estimate(np.inf, 0.0, Guarantee.UNBIASED, quantity="expected decrease")

    def mean(kept: np.ndarray) -> float:
        part = products[np.ix_(kept, kept)]
        return 0.5 * float(part.sum() - np.trace(part)) / (len(kept) * (len(kept) - 1))

    without = np.array([mean(np.delete(np.arange(b), i)) for i in range(b)])
    error = float(np.sqrt((b - 1) / b * np.square(without - without.mean()).sum()))
    return Estimate(mean(np.arange(b)), error, Guarantee.UNBIASED, quantity="expected decrease")


def without_end(runaway: str) -> str:
    """What a fit says whose parameters run away."""
    return (
        f"diverged: the divergence falls without end as {runaway}, so it has no minimum: log P is improper, or its "
        "mass lies at an edge or a point; add a prior, or fix the parameter"
    )


def _status(
    problem: Reparameterised,
    found: Found,
    state: lbfgs.State,
    decrease: Estimate,
    undefined: bool,
    infinite: bool,
) -> tuple[Status, str]:
    """How the descent ended, as far as fresh draws confirm it, and why it did not where they do not."""
    if found.outcome.status is Status.INTERRUPTED:
        return Status.INTERRUPTED, ""
    free = problem.layout.tree(found.vectors[0])
    small = abs(decrease.value) <= max(SMALL, 3 * decrease.standard_error) and decrease.standard_error <= UNSURE
    runaway = far(problem.learnable.structure, free)
    if problem.improper:
        return Status.DIVERGED, IMPROPER
    if (runaway and not small) or far(problem.learnable.structure, free, RUNAWAY):
        return Status.DIVERGED, without_end(runaway)
    if undefined:
        return Status.DIVERGED, (
            "diverged: log P is NaN or ∞ at draws of q, so it is improper, or q has run to an edge where both are "
            "infinite; check log P where the family puts its mass"
        )
    if infinite:
        return Status.DIVERGED, (
            "diverged: draws of q fall where P has no mass, so the divergence is infinite; use a family whose support "
            "lies inside that of P, and check that P is proper"
        )
    if int(state.status[0]) == lbfgs.RUNNING:
        return Status.STEP_LIMIT, ""
    if not small:
        return Status.NOT_CONVERGED, (
            f"not converged: on fresh draws a decrease of {decrease.value:.2g} ± {decrease.standard_error:.1g} nats is "
            "still expected; pass more draws, as rule=kl.rules.FixedDraws(draws=16384), or a family nearer to P"
        )
    return Status.CONVERGED, ""
