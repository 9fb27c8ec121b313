"""Rules whose objective is an expectation under fresh draws at every step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from kullback.distributions.log_density import log_prob
from kullback.families.learnable import Learnable, Params
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.static import Static
from kullback.minimize.elbo_diagnostics import DRAWS, SMALL, assess, half_square, without_end
from kullback.minimize.fitting import Found, Report, fit_from, reverse_target, starts_of
from kullback.minimize.fixed_draw_objective import FARTHEST, far
from kullback.minimize.improper import IMPROPER, is_improper
from kullback.minimize.objectives import model
from kullback.minimize.optima import distinct_optima
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.export_cache import program
from kullback.training.driver import drive
from kullback.training.optimiser import checked
from kullback.training.ravel import Layout
from kullback.training.stochastic import Pace, StochasticDescent

TOLERANCE = 1e-3  # nats; below the noise of the draws there is nothing to decide
MAX_STEPS = 50_000
BATCHES = 128  # by which a fit is judged
MORE, ROUNDS = 4, 2  # where the draws were too few, so many times as many are taken, so often


def _descend(
    learnable: Learnable,
    objective: Partial,
    request: Request,
    title: str,
    starts: int,
    optimiser: optax.GradientTransformation | None,
    vectors: np.ndarray | None = None,
) -> tuple[Layout, Found]:
    """Stochastic descent from each start, or from vectors given; the ends by increasing objective, as far as the draws
    tell them apart."""
    layout, drawn = starts_of(learnable, request, starts)
    vectors = drawn if vectors is None else vectors
    key, pace = request.key, Pace.of(optimiser)

    def feeds(chunk: int) -> jax.Array:
        return jax.random.key_data(jax.random.split(jax.random.fold_in(key, chunk), pace.steps))

    tolerance = request.tolerance or TOLERANCE
    bound = Partial(objective.func, Static((learnable.structure, layout)), learnable.fixed, *objective.args)
    algorithm = StochasticDescent(title, bound, feeds, vectors, tolerance, pace, seed=jax.random.key_data(key))
    outcome = drive(algorithm, request, MAX_STEPS)
    values = np.asarray(outcome.state.best.value, np.float64)
    order = np.argsort(values, kind="stable")
    return layout, Found(np.asarray(outcome.state.best.x)[order], values[order], outcome)


def _reverse(p: Known, q: Known, scheme: Any, rule: PathwiseGradients | ScoreFunction, request: Request) -> Fit:
    """A reverse fit by an unbiased gradient, on draws as many as fresh ones find enough."""
    batch, title, starts, optimiser = rule.batch, rule.name, rule.starts, rule.optimiser
    learnable = p.learnable
    assert learnable is not None
    objective = Partial(scheme, q.log_density, Static(batch))
    layout, found = _descend(learnable, objective, request, title, starts, optimiser)
    static, words = Static((learnable.structure, layout)), jax.random.key_data(request.key)
    decrease = _remaining(static, learnable, objective, found.vectors[0], request)
    optima_found, again = found, replace(request, checkpoint=None)
    for _ in range(ROUNDS):
        if found.outcome.status is not Status.CONVERGED or _is_small(decrease):
            break
        batch *= MORE
        objective = Partial(scheme, q.log_density, Static(batch))
        layout, found = _descend(learnable, objective, again, title, starts, optimiser, found.vectors[:1])
        decrease = _remaining(static, learnable, objective, found.vectors[0], request)
    vectors = np.concatenate([found.vectors[:1], optima_found.vectors[1:]])
    ends = Found(vectors, np.concatenate([found.values[:1], optima_found.values[1:]]), found.outcome)

    def distance(i: int, j: int) -> float:
        return float(_divergence_between(static, learnable.fixed, vectors[i], vectors[j], words))

    kept, optima = distinct_optima(learnable, layout, ends, distance)
    value, diagnostics = assess(learnable, layout, vectors[0], q, request)
    report = Report(value, {**diagnostics, "expected_decrease": decrease, "optima": len(kept)}, optima)
    away = layout.tree(vectors[0] - starts_of(learnable, request, 1)[1][0])
    runaway = far(learnable.structure, away, FARTHEST / 2)
    status, message = _confirmed(found.outcome.status, value, decrease, runaway)

    def values(some: np.ndarray) -> np.ndarray:
        return np.asarray([assess(learnable, layout, at, q, request)[0].value for at in some])

    if status is not Status.INTERRUPTED and is_improper(learnable.structure, layout, vectors[0], values):
        status, message = Status.DIVERGED, IMPROPER
    fit = fit_from(p, layout.tree(vectors[0]), status, report, found.outcome)
    return replace(fit, message=message or fit.message)


def _is_small(decrease: Estimate) -> bool:
    return bool(decrease.value <= max(SMALL, 3 * decrease.standard_error))


def _confirmed(status: Status, objective: Estimate, decrease: Estimate, runaway: str) -> tuple[Status, str]:
    """How the descent ended, as far as fresh draws confirm it."""
    if runaway:
        return Status.DIVERGED, without_end(runaway)
    if status is not Status.CONVERGED or (_is_small(decrease) and np.isfinite(objective.value)):
        return status, ""
    if not np.isfinite(objective.value):
        return Status.DIVERGED, (
            "diverged: log P is −∞ or NaN at draws of q, so the divergence is infinite or unknown; use a family whose "
            "support lies inside that of P"
        )
    return Status.NOT_CONVERGED, (
        f"not converged: on fresh draws a decrease of {decrease.value:.2g} ± {decrease.standard_error:.1g} nats is "
        "still expected; pass a larger batch, as rule=kl.rules.PathwiseGradients(batch=1024), or a family nearer to P"
    )


def _remaining(
    static: Static, learnable: Learnable, objective: Partial, vector: np.ndarray, request: Request
) -> Estimate:
    """½ Σ gᵢ²/Fᵢᵢ from fresh draws: the decrease still to be had where the curvature is Fisher's information."""
    words = jax.random.key_data(jax.random.split(jax.random.fold_in(request.key, 0x6772), BATCHES))
    answer = _batches(static, learnable.fixed, objective, words, vector)
    gradients, scores = (np.asarray(x, np.float64) for x in answer)
    information = np.maximum(np.square(scores).mean(0), 1e-300)  # of the mean over a batch, hence / batch
    scaled = gradients / np.sqrt(information)
    return half_square(scaled @ scaled.T / objective.args[1].value)


@program(static=())
def _batches(
    static: Static, fixed: Params, objective: Partial, words: Any, vector: Float[Array, " n"]
) -> tuple[jax.Array, jax.Array]:
    """Gradients of the objective, and mean scores of q, on batches of draws [b, n]."""
    batch = objective.args[1].value

    def one(some: Any) -> tuple[Any, Any]:
        slope = jax.grad(lambda at: objective.func(static, fixed, *objective.args, some, at))(vector)
        x = lax.stop_gradient(model(static, fixed, vector).sample(jax.random.wrap_key_data(some), (batch,)))
        return slope, jax.grad(lambda at: jnp.mean(numpyro_distributions.log_prob(model(static, fixed, at), x)))(vector)

    return lax.map(one, words)


@program(static=())
def _divergence_between(static: Static, fixed: Params, a: Any, b: Any, words: Any) -> jax.Array:
    first, second = model(static, fixed, a), model(static, fixed, b)
    x = first.sample(jax.random.wrap_key_data(words), (1024,))
    return jnp.mean(numpyro_distributions.log_prob(first, x) - numpyro_distributions.log_prob(second, x))


@dataclass(frozen=True)
class StreamingDraws(Rule):
    """Maximum likelihood where P can only be sampled: fresh draws at every step.

    batch      draws a step
    optimiser  an Optax transformation in the place of Adam with adaptive clipping
    """

    name: ClassVar[str] = "streaming draws"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = H(P, Q) − H(P), with E_P[∇ log q] from fresh draws of P"
    needs_p: ClassVar[str] = "a sampler"
    needs_q: ClassVar[str] = "learnable"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Robbins and Monro (1951); Kingma and Ba (2015), algorithm 1"
    aliases: ClassVar[tuple[str, ...]] = ("stochastic approximation", "Robbins–Monro")

    batch: int = 256
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked(self.optimiser)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.sampler is None:
            return Missing("P cannot be sampled", "a sampler of P")
        if p.batch_shape or p.inputs is not None:
            return Missing("P is a batch of distributions or a teacher at inputs; one distribution is fitted at a time")
        return Applies(dropped=("H(P)",))

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable, sampler = q.learnable, p.sampler
        assert learnable is not None and sampler is not None
        draw = sampler if isinstance(sampler, Partial) else Static(sampler)
        objective = Partial(_streamed_likelihood, draw, Static(self.batch))
        layout, found = _descend(learnable, objective, request, self.name, 1, self.optimiser)
        vector = found.vectors[0]
        fresh = jax.random.fold_in(request.key, 0x455355)
        static = Static((learnable.structure, layout))
        losses = np.asarray(_losses(static, learnable.fixed, draw, fresh, vector), np.float64)
        error = float(losses.std(ddof=1) / np.sqrt(len(losses)))
        objective_value = Estimate(
            value=float(losses.mean()),
            standard_error=error,
            guarantee=Guarantee.UNBIASED,
            quantity="H(P, Q)",
            dropped=("H(P)",),
        )
        return fit_from(q, layout.tree(vector), found.outcome.status, Report(objective_value), found.outcome)


def _streamed_likelihood(
    static: Static, fixed: Params, draw: Any, batch: Static, words: Any, vector: Float[Array, " n"]
) -> jax.Array:
    sampler = draw.value if isinstance(draw, Static) else draw
    y = lax.stop_gradient(sampler(jax.random.wrap_key_data(words), batch.value))
    return -jnp.mean(log_prob(model(static, fixed, vector), y))


@program(static=())
def _losses(static: Static, fixed: Params, draw: Any, key: Any, vector: Float[Array, " n"]) -> jax.Array:
    sampler = draw.value if isinstance(draw, Static) else draw
    return -log_prob(model(static, fixed, vector), sampler(key, DRAWS))


@dataclass(frozen=True)
class PathwiseGradients(Rule):
    """Minimise E_Q[log q − log p] by stochastic gradients through reparametrised draws.

    batch      draws a step
    starts     how many starting points
    optimiser  an Optax transformation in the place of Adam with adaptive clipping
    """

    name: ClassVar[str] = "pathwise gradients"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "∇ KL(P‖Q) = E_ε[∇ (log p − log q)(push(θ, ε))], fresh noise at every step"
    needs_p: ClassVar[str] = "learnable and reparametrisable"
    needs_q: ClassVar[str] = "a differentiable log-density, up to a constant"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Kingma and Welling (2014), eq. 4; Roeder, Wu and Duvenaud (2017), eq. 8"
    aliases: ClassVar[tuple[str, ...]] = ("reparameterisation gradient", "reparameterization trick", "ADVI", "SVI")

    batch: int = 32
    starts: int = 3
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked(self.optimiser)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        target = reverse_target(p, q)
        if isinstance(target, Missing):
            return target
        if not p.reparametrized:
            return Missing("draws of the learnable side are not differentiable functions of its parameters")
        return target

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        return _reverse(p, q, _pathwise, self, request)


def _pathwise(
    static: Static, fixed: Params, target: Any, batch: Static, words: Any, vector: Float[Array, " n"]
) -> jax.Array:
    d = model(static, fixed, vector)
    x = d.rsample(jax.random.wrap_key_data(words), (batch.value,))
    # The score of q at its own draws has expectation 0; leaving it out makes the gradient vanish where q = p.
    return jnp.mean(model(static, fixed, lax.stop_gradient(vector)).log_prob(x) - target(x))


@dataclass(frozen=True)
class ScoreFunction(Rule):
    """Minimise E_Q[log q − log p] by the score-function gradient with a leave-one-out baseline.

    batch      draws a step
    starts     how many starting points
    optimiser  an Optax transformation in the place of Adam with adaptive clipping
    """

    name: ClassVar[str] = "score function"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "∇ KL(P‖Q) = E_P[(log p − log q − baseline) ∇ log p]"
    needs_p: ClassVar[str] = "learnable, with a sampler"
    needs_q: ClassVar[str] = "a log-density, up to a constant"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 7.0
    source: ClassVar[str] = "Williams (1992), theorem 1; Kool, van Hoof and Welling (2019), eq. 8"
    aliases: ClassVar[tuple[str, ...]] = ("REINFORCE", "likelihood-ratio gradient", "BBVI")

    batch: int = 64
    starts: int = 3
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked(self.optimiser)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        return reverse_target(p, q, gradient=False)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        return _reverse(p, q, _scored, self, request)


def _scored(
    static: Static, fixed: Params, target: Any, batch: Static, words: Any, vector: Float[Array, " n"]
) -> jax.Array:
    d, n = model(static, fixed, vector), batch.value
    x = lax.stop_gradient(d.sample(jax.random.wrap_key_data(words), (n,)))
    log_q = log_prob(d, x)
    gap = lax.stop_gradient(log_q - target(x))
    advantage = (gap - jnp.mean(gap)) * n / (n - 1)
    surrogate = jnp.mean(advantage * log_q)
    return jnp.mean(gap) + surrogate - lax.stop_gradient(surrogate)
