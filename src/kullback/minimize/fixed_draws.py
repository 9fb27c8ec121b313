"""Reverse KL on fixed draws: a deterministic objective, minimised to its end from several starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.known.numpyro_side import log_prob
from kullback.known.static import Static
from kullback.minimize.assess import assess
from kullback.minimize.fitting import Report, descend, fit_from, starts_of
from kullback.minimize.objectives import model
from kullback.minimize.optima import distinct_optima
from kullback.minimize.push import push_for, weighted_draws
from kullback.minimize.reverse import reverse_target
from kullback.programs import program
from kullback.result import Fit, Guarantee
from kullback.rule import Applies, Missing, Question, Request, Rule


@dataclass(frozen=True)
class FixedDraws(Rule):
    """Minimise E_Q[log q − log p] with the expectation over fixed noise, pushed through the parameters.

    Fixing the draws turns a stochastic problem into a deterministic one, which L-BFGS solves to a tolerance in nats
    with no learning rate; the reported objective comes from fresh draws, so it does not flatter the fit.

    draws   how many (a power of two, at least 8 for each dimension is used); antithetic and moment-matched
    starts  how many starting points
    """

    name: ClassVar[str] = "fixed draws"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(P‖Q) = E_P[log p − log q], with draws x = push(θ, ε) of fixed noise ε"
    needs_p: ClassVar[str] = "learnable and reparametrisable, at most 200 dimensions"
    needs_q: ClassVar[str] = "a differentiable log-density, up to a constant"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 5.0
    source: ClassVar[str] = "Giordano, Ingram and Broderick (2024), eq. 6"

    draws: int = 512
    starts: int = 8

    def check(self, p: Known, q: Known) -> Applies | Missing:
        target = reverse_target(p, q)
        if isinstance(target, Missing):
            return target
        assert p.learnable is not None
        if push_for(p.learnable.structure) is None:
            return Missing("draws of the learnable side are not smooth functions of fixed noise")
        dimension = int(np.prod(p.event_shape or ()))
        if dimension > 200:
            return Missing(f"{dimension} dimensions need more fixed draws than the data they would stand for")
        return target

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = p.learnable
        assert learnable is not None and p.event_shape is not None and q.log_density is not None
        push = push_for(learnable.structure)
        assert push is not None
        wanted = max(self.draws, 8 * int(np.prod(p.event_shape)), 4)
        noise = push.noise(request.host_rng(1), 2 ** int(np.ceil(np.log2(wanted))), p.event_shape)
        layout, starts = starts_of(learnable, request, self.starts)
        static = Static((learnable.structure, layout, push))
        objective = Partial(fixed_draw_divergence, static, learnable.fixed, q.log_density, noise)
        found = descend(self.name, objective, starts, request)
        distance = partial(_distance, static, learnable, noise, found.vectors)
        kept, optima = distinct_optima(learnable, layout, found, distance)
        vector = found.vectors[0]
        objective_value, diagnostics = assess(learnable, layout, vector, q, request, push)
        report = Report(objective_value, {**diagnostics, "optima": len(kept)}, optima)
        return fit_from(p, layout.tree(vector), found.outcome.status, report, found.outcome)


def fixed_draw_divergence(static: Static, fixed: Any, target: Any, noise: Any, vector: Any) -> jax.Array:
    """Σ w_i (log q(x_i) − log p(x_i)) over the pushed draws."""
    structure, layout, push = static.value
    d = model(Static((structure, layout)), fixed, vector)
    x, log_q, w = weighted_draws(push, d, noise)
    return jnp.sum(w * (log_q - target(x)))


def _distance(static: Static, learnable: Learnable, noise: np.ndarray, vectors: np.ndarray, i: int, j: int) -> float:
    return float(_divergence_between(static, learnable.fixed, noise, vectors[i], vectors[j]))


@program(static=())
def _divergence_between(static: Static, fixed: Any, noise: Any, a: Any, b: Any) -> jax.Array:
    structure, layout, push = static.value
    shape = Static((structure, layout))
    first, second = model(shape, fixed, a), model(shape, fixed, b)
    x, log_q, w = weighted_draws(push, first, noise)
    return jnp.sum(w * (log_q - log_prob(second, x)))
