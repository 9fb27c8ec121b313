"""Reverse KL on fixed draws: a deterministic objective, minimised to its end from several starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kullback.errors import FitError
from kullback.known import Known
from kullback.minimize.elbo_diagnostics import Verdict, judge
from kullback.minimize.fitting import Found, Report, descend, fit_from, reverse_target, starts_of
from kullback.minimize.fixed_draw_objective import Reparameterised
from kullback.minimize.improper import is_improper, no_start, values_at
from kullback.minimize.laplace import starts_elsewhere, whitened
from kullback.minimize.objectives import by_trace
from kullback.minimize.optima import distinct_optima, symmetric_divergence
from kullback.minimize.reparameterise import push_for
from kullback.result import Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

MORE, ROUNDS = 4, 2  # where the draws were too few, so many times as many are taken, so often
ASKANCE = 200  # evaluations where log p seems to have no normaliser, which a descent would follow for ever


@dataclass(frozen=True)
class FixedDraws(Rule):
    """Minimise E_Q[log q − log p] with the expectation over fixed noise, pushed through the parameters.

    Fixing the draws turns a stochastic problem into a deterministic one, which L-BFGS solves to a tolerance in nats
    with no learning rate, in double precision. A location-scale family is fitted in the coordinates of Laplace's
    approximation at a mode of log p, so that neither the units of the outcomes nor their correlations matter. The
    reported objective comes from fresh draws, so it does not flatter the fit; where the gradient on fresh draws does
    not agree with 0, more draws are fixed.

    draws   how many (a power of two, at least 8 for each dimension is used); antithetic and moment-matched
    starts  how many starting points; the last is Laplace's approximation where there is one
    """

    name: ClassVar[str] = "fixed draws"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(P‖Q) = E_P[log p − log q], with draws x = push(θ, ε) of fixed noise ε"
    needs_p: ClassVar[str] = "learnable and reparametrisable, at most 200 dimensions"
    needs_q: ClassVar[str] = "a differentiable log-density, up to a constant"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 5.0
    source: ClassVar[str] = "Giordano, Ingram and Broderick (2024), eq. 6"
    aliases: ClassVar[tuple[str, ...]] = ("sample average approximation", "SAA", "DADVI", "deterministic ADVI")

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
        assert p.learnable is not None and p.event_shape is not None and q.log_density is not None
        push = push_for(p.learnable.structure)
        assert push is not None
        layout, starts = starts_of(p.learnable, request, self.starts)
        wanted = max(self.draws, 8 * int(np.prod(p.event_shape)), 4)
        draws = 2 ** int(np.ceil(np.log2(wanted)))
        log_density, double = _by_trace(q.log_density, p.event_shape)
        problem = Reparameterised(
            learnable=p.learnable, layout=layout, push=push, target=q.holding(log_density=log_density)
        )
        with jax.enable_x64(double):
            found, verdict = _from_laplace(problem, starts, draws, request)
        ends = Found(verdict.vectors, verdict.values, found.outcome)
        between = symmetric_divergence(p.learnable, layout, push, problem.noise(draws, request), ends.vectors)
        kept, optima = distinct_optima(p.learnable, layout, ends, between)
        report = Report(verdict.objective, {**verdict.diagnostics, "optima": len(kept)}, optima)
        fit = fit_from(p, layout.tree(verdict.vectors[0]), verdict.status, report, found.outcome)
        return replace(fit, message=verdict.message or fit.message)


def _from_laplace(plain: Reparameterised, starts: np.ndarray, draws: int, request: Request) -> tuple[Found, Verdict]:
    """The best fit in the coordinates of Laplace's approximation, or where it leads nowhere, in the law's own."""
    try:
        problem, starts_there = whitened(plain, starts)
        return _and_elsewhere(problem, *_solved(problem, starts_there, draws, request), draws, request)
    except FitError:
        try:
            return _solved(plain, starts, draws, replace(request, checkpoint=None))
        except FitError:
            raise FitError(f"{FixedDraws.name}: {no_start(plain, starts, plain.noise(draws, request))}") from None


def _and_elsewhere(
    problem: Reparameterised, found: Found, verdict: Verdict, draws: int, request: Request
) -> tuple[Found, Verdict]:
    """The fit, or a better one from modes that it has not met; the optima of both."""
    if verdict.status is Status.DIVERGED or found.outcome.status is Status.INTERRUPTED or not len(verdict.elsewhere):
        return found, verdict
    there = starts_elsewhere(problem, verdict.vectors[0], verdict.elsewhere, len(verdict.vectors))
    if there is None:
        return found, verdict
    other = _solved(*there, draws, replace(request, checkpoint=None))
    if other[1].status is Status.DIVERGED:
        return found, verdict
    (found, best), (_, second) = sorted([(found, verdict), other], key=lambda one: one[1].values[0])
    vectors = np.concatenate([best.vectors, second.vectors])
    return found, replace(best, vectors=vectors, values=np.concatenate([best.values, second.values]))


def _solved(problem: Reparameterised, starts: np.ndarray, draws: int, request: Request) -> tuple[Found, Verdict]:
    """The best fit on as many fixed draws as fresh ones find enough."""
    objective = problem.objective(problem.noise(draws, request))
    most = ASKANCE if problem.improper else 2000
    found = descend(FixedDraws.name, objective, starts, request, most)
    if not problem.improper and found.outcome.status is not Status.INTERRUPTED:
        values = partial(values_at, objective, len(starts))
        improper = is_improper(problem.learnable.structure, problem.layout, found.vectors[0], values)
        problem = replace(problem, improper=improper)
    verdict = judge(problem, found, request)
    # A checkpoint is of the first descent; those that follow from it are made again.
    request = replace(request, checkpoint=None)
    for _ in range(ROUNDS):
        doubtful = verdict.status is Status.NOT_CONVERGED or (verdict.status is Status.CONVERGED and verdict.unsure)
        if not doubtful or found.outcome.status is not Status.CONVERGED:
            break
        draws *= MORE
        problem, starts = (problem.reaching() if verdict.rare else problem).reframed(verdict.vectors)
        found = descend(FixedDraws.name, problem.objective(problem.noise(draws, request)), starts, request)
        verdict = judge(problem, found, request)
    return found, verdict


def _by_trace(log_density: Any, event_shape: tuple[int, ...]) -> tuple[Any, bool]:
    """A log-density by its trace, and whether that is in double precision: one that fixes its types may hold only in
    single."""
    here = bool(jnp.result_type(float) == np.float64)
    for double in (True, here):
        try:
            with jax.enable_x64(double):
                return by_trace(log_density, event_shape), double
        except TypeError:
            pass
    return log_density, here
