"""Descent on an exact divergence: where a pair has a closed form or a finite sum, that is the objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial

from kullback.errors import FitError
from kullback.exact import has_exact
from kullback.families.form import Form
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.fitting import Report, descend, fit_from, has_prior, is_deep, prior_in_words, starts_of
from kullback.minimize.minibatch import FEWEST
from kullback.minimize.objectives import divergence_and_prior, exact_divergence, model, reverse_sum
from kullback.minimize.optima import distinct_optima
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.export_cache import program


def _applies(learner: Known, fixed: Known, learnable_first: bool) -> Applies | Missing:
    learnable = learner.learnable
    assert learnable is not None
    if fixed.distribution is None:
        return Missing("the fixed side is not a distribution with a closed form")
    if fixed.batch_shape and fixed.inputs is None:
        return Missing("the fixed side is a batch of distributions; fit each by itself")
    inputs = None if fixed.inputs is None else fixed.inputs
    example = jax.eval_shape(
        learnable.structure.distribution, learnable.initial(np.random.default_rng(0), 0), learnable.fixed, inputs
    )
    # As a compiled program sees it: some forms need numbers that are known beforehand.
    other = jax.eval_shape(lambda d: d, fixed.distribution)
    pair = (example, other) if learnable_first else (other, example)
    if not has_exact(*pair):
        kinds = " and ".join(type(d).__name__ for d in pair)
        return Missing(f"the pair {kinds} has no closed form")
    note = prior_in_words(learnable).removeprefix("; ")
    if inputs is not None and len(inputs) >= FEWEST and inputs.ndim > 1 and is_deep(learnable):
        # Fitted to the optimum at some inputs, a network overfits; labels are all the inputs that there are.
        return Applies(cost=7.0, note=note)
    return Applies(note=note)


def _run(learner: Known, fixed: Known, learnable_first: bool, title: str, request: Request) -> Fit:
    learnable = learner.learnable
    assert learnable is not None
    layout, starts = starts_of(learnable, request, learnable.members if learnable.conditional else 4)
    static = Static((learnable.structure, layout, learnable_first))
    weights, total = np.ones(()), 1.0
    if fixed.inputs is not None:
        given = np.ones(len(fixed.inputs)) if fixed.input_weights is None else fixed.input_weights
        total, weights = float(given.sum()), given / given.sum()
    arguments = static, learnable.fixed, fixed.distribution, fixed.inputs, weights
    if has_prior(learnable):
        objective = Partial(divergence_and_prior, *arguments, total)
    else:
        objective = Partial(exact_divergence, *arguments)
    # As from a sample, single precision would leave a plateau about the optimum.
    with jax.enable_x64(True):
        found = descend(title, objective, starts, request)
        vectors, value = found.vectors[: learnable.members], float(found.values[0])
        if has_prior(learnable) or learnable.members > 1:
            value = float(np.mean([_divergence(*arguments, vector) for vector in vectors]))
    report = Report(Estimate(value))
    return fit_from(learner, layout.stacked(vectors), found.outcome.status, report, found.outcome)


_divergence = program(exact_divergence, static=())


@dataclass(frozen=True)
class ForwardExact(Rule):
    """Minimise KL(P‖Q_θ) by L-BFGS on its closed form."""

    name: ClassVar[str] = "forward descent on the closed form"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) is a known function of Q's parameters: descend on it"
    needs_p: ClassVar[str] = "a distribution (or a teacher at inputs) with an exact pair"
    needs_q: ClassVar[str] = "learnable, of a family with an exact pair"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.0
    source: ClassVar[str] = "Liu and Nocedal (1989) for L-BFGS; Hinton, Vinyals and Dean (2015) for a teacher"
    aliases: ClassVar[tuple[str, ...]] = ("closed-form M-projection",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        return _applies(q, p, learnable_first=False)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        return _run(q, p, False, self.name, request)


@dataclass(frozen=True)
class ReverseExact(Rule):
    """Minimise KL(Q_θ‖P) by L-BFGS on its closed form."""

    name: ClassVar[str] = "reverse descent on the closed form"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(P‖Q) is a known function of P's parameters: descend on it"
    needs_p: ClassVar[str] = "learnable, of a family with an exact pair"
    needs_q: ClassVar[str] = "a distribution (or a teacher at inputs) with an exact pair"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.0
    source: ClassVar[str] = "Liu and Nocedal (1989) for L-BFGS"
    aliases: ClassVar[tuple[str, ...]] = ("closed-form ELBO",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        return _applies(p, q, learnable_first=True)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        return _run(p, q, True, self.name, request)


@dataclass(frozen=True)
class ReverseSum(Rule):
    """Minimise KL(Q_θ‖P) summed over the atoms of P, from several starts."""

    name: ClassVar[str] = "reverse descent on the exact sum"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(P‖Q) = Σ p (log p − log q) over the atoms, up to log Z"
    needs_p: ClassVar[str] = "learnable"
    needs_q: ClassVar[str] = "a log-density and a finite support"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.5
    source: ClassVar[str] = "Liu and Nocedal (1989) for L-BFGS"
    aliases: ClassVar[tuple[str, ...]] = ("enumerated ELBO",)

    starts: int = 6

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if q.atoms is None:
            return Missing("the fixed side has no finite support to sum over", "a list of the outcomes")
        if q.log_density is None or q.batch_shape:
            return Missing("the fixed side has no log-density of a single outcome", "log P up to a constant")
        assert p.learnable is not None
        if p.learnable.conditional:
            return Missing("the learnable side is conditional, and the sum is over outcomes of one distribution")
        return Applies(dropped=() if q.log_prob is not None else ("log Z",), note=f"{len(q.atoms):,} atoms")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = p.learnable
        assert learnable is not None and q.log_density is not None and q.atoms is not None
        log_p = np.asarray(q.log_density(q.atoms), np.float64)
        quantity = "KL(P‖Q)" if q.log_prob is not None else "KL(P‖Q) − log Z"
        dropped = () if q.log_prob is not None else ("log Z",)
        if _holds_any(learnable, q.atoms):
            # Gibbs: a family that holds every law on the atoms holds the target, and KL(P‖Q) − log Z = −log Z there.
            free = {"logits": log_p - np.logaddexp.reduce(log_p)}
            log_z = 0.0 if q.log_prob is not None else float(np.logaddexp.reduce(log_p))
            report = Report(Estimate(0.0 - log_z, quantity=quantity, dropped=dropped), {"elbo": log_z, "optima": 1})
            return fit_from(p, free, Status.CLOSED_FORM, report)
        if np.isneginf(log_p).any():
            row = int(np.argmin(log_p))
            raise FitError(
                f"q: its log-density is −∞ at the atom {q.atoms[row]}, where every member of {p.name} has mass, so the "
                "divergence is infinite; use kl.Family(dist.Categorical)"
            )
        layout, starts = starts_of(learnable, request, self.starts)
        static = Static((learnable.structure, layout))
        objective = Partial(reverse_sum, static, learnable.fixed, q.atoms, log_p)
        found = descend(self.name, objective, starts, request)

        def distance(i: int, j: int) -> float:
            a, b = (model(static, learnable.fixed, found.vectors[k]).log_prob(q.atoms) for k in (i, j))
            return float(np.sum(np.exp(a) * (np.asarray(a) - np.asarray(b))))

        kept, optima = distinct_optima(learnable, layout, found, distance)
        objective_value = Estimate(float(found.values[0]), quantity=quantity, dropped=dropped)
        diagnostics = {"elbo": -float(found.values[0]), "optima": len(kept)}
        report = Report(objective_value, diagnostics, optima)
        return fit_from(p, layout.tree(found.vectors[0]), found.outcome.status, report, found.outcome)


def _holds_any(learnable: Learnable, atoms: np.ndarray) -> bool:
    """Whether the family holds every law on these atoms: a categorical with free logits, on 0 … K − 1."""
    form = learnable.structure
    if not isinstance(form, Form) or form.cls is not dist.CategoricalLogits or form.independent:
        return False
    return atoms.ndim == 1 and np.array_equal(atoms, np.arange(len(atoms)))
