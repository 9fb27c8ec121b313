"""`KL(p, q)`: the expression. Nothing is computed until it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from os import PathLike

import jax
import numpy as np

from kullback.catalogue import DEFAULT_RULES
from kullback.errors import EstimateError, InputError, PlanError
from kullback.known import Known, describe
from kullback.known.samples import refuse_probabilities
from kullback.plan import Plan, explain_in_words, make_plan
from kullback.result import Estimate, Fit, Guarantee
from kullback.rule import Request, Rule
from kullback.runtime.export_cache import check_process
from kullback.runtime.loggers import Logger

# A divergence is not negative. Below 0 by more standard errors than chance gives once in a billion times, or by more
# nats than the rounding of forms in single precision, what was stated of a side is not true.
FARTHEST, ROUNDING, ROUNDING_IN_DOUBLE = 6.0, 1e-3, 1e-6


class KL:
    """The divergence KL(P‖Q) = E_P[log P − log Q], in nats, as an expression.

    p, q   what is known of each side: NumPyro distributions, frozen `scipy.stats` variables, arrays, data frames,
           `Samples`, `Pairs`, `Density`, `Tilted`, `Optimal`, or a learnable side (`Family`, `Mixture`,
           `Conditional`). The learnable side says the direction: second is forward (mass-covering, maximum
           likelihood), first is reverse (mode-seeking, variational inference and control).
    rules  the rules to plan with; `kl.DEFAULT_RULES + (mine,)` adds one

    `repr` is the plan. Raises `UnknownSideError` for sides that cannot be read, and `InputError` where the event shapes
    differ and for two arrays that read as probabilities. Source: Kullback and Leibler (1951), eq. 2.4.
    """

    def __init__(self, p: object, q: object, rules: Sequence[Rule] = DEFAULT_RULES) -> None:
        check_process()
        refuse_probabilities(p, q)
        self._p, self._q = _matched(describe(p, "p"), describe(q, "q"))
        self._rules = _as_rules(rules)

    def plan(self, rule: str | Rule | None = None) -> Plan:
        """Which rule would be taken and why, without computing anything. Raises `PlanError` where none applies."""
        check_process()
        return make_plan(self._p, self._q, self._rules, rule)

    def explain(self, rule: str | Rule | None = None) -> str:
        """The plan, and every rule not taken with the reason."""
        return explain_in_words(self.plan(rule))

    def estimate(
        self, *, seed: int | jax.Array = 0, tolerance: float | None = None, rule: str | Rule | None = None
    ) -> Estimate:
        """KL(P‖Q) in nats, with what it is worth.

        seed       an integer or a JAX key, for the rules that draw
        tolerance  nats: the standard or numerical error aimed at
        rule       a rule's name, or a rule with its settings, instead of the planner's choice

        Raises `PlanError` where no rule applies, or where a side is learnable, and `EstimateError` where the answer
        cannot be had to a useful error, or is negative by more than its error.
        """
        plan = self.plan(rule)
        if plan.question != "estimate":
            raise PlanError("estimate: a side is learnable; call minimize(), then estimate with the fitted q")
        answer = plan.rule.run(self._p, self._q, Request(seed=seed, tolerance=tolerance))
        assert isinstance(answer, Estimate)
        return dataclasses.replace(_possible(answer), plan=plan)

    def minimize(
        self,
        *,
        seed: int | jax.Array = 0,
        tolerance: float | None = None,
        rule: str | Rule | None = None,
        steps: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
        quiet: bool = False,
        logger: Logger | None = None,
    ) -> Fit:
        """Fit the learnable side by minimising KL(P‖Q).

        seed        an integer or a JAX key
        tolerance   nats: stop when no larger decrease is expected
        rule        a rule's name, or a rule with its settings, instead of the planner's choice
        steps       the most steps of an iterative rule
        checkpoint  a file: saved between chunks of steps, and resumed from if it exists
        quiet       no progress bar
        logger      told of each epoch where there are epochs: `kl.loggers.CSVLogger(path)`, or any object with
                    `log(row)`

        Raises `PlanError` where no rule applies, or where neither side is learnable.
        """
        plan = self.plan(rule)
        if plan.question == "estimate":
            raise PlanError("minimize: neither side is learnable; wrap one in kl.Family, or call estimate()")
        request = Request(
            seed=seed, tolerance=tolerance, steps=steps, checkpoint=checkpoint, quiet=quiet, logger=logger
        )
        fit = plan.rule.run(self._p, self._q, request)
        assert isinstance(fit, Fit)
        objective = dataclasses.replace(fit.objective, plan=plan)
        return dataclasses.replace(fit, objective=objective, plan=plan)

    def __repr__(self) -> str:
        try:
            return str(self.plan())
        except PlanError as error:
            return f"KL(P ‖ Q) without a plan: {error}"


def _as_rules(rules: object) -> tuple[Rule, ...]:
    found = tuple(rules) if isinstance(rules, list | tuple) else ()
    if not found or not all(isinstance(rule, Rule) for rule in found):
        raise InputError(f"rules: {rules!r:.60} is not a sequence of rules, such as kl.DEFAULT_RULES + (mine,)")
    return found


def _possible(answer: Estimate) -> Estimate:
    """The answer, checked. Raises `EstimateError` for a divergence below 0 by more than its errors allow.

    A value that is below 0 by rounding gets a larger numerical error. Closed forms may be computed in single precision;
    sums and integrals are computed in double and state their error. Estimates from samples are not checked, since their
    bias is not stated.
    """
    stated = answer.quantity == "KL(P‖Q)" and not answer.dropped
    if not stated or answer.guarantee in (Guarantee.CONSISTENT, Guarantee.LOWER_BOUND):
        return answer
    most = np.min(answer.value + FARTHEST * np.asarray(answer.standard_error) + answer.numerical_error)
    if most >= 0:
        return answer
    is_form = answer.guarantee is Guarantee.EXACT and "numerical_error" not in answer.diagnostics
    if most < -(ROUNDING if is_form else ROUNDING_IN_DOUBLE):
        raise EstimateError(
            f"p and q: the divergence comes out at {np.min(answer.value):.6g} nats, and none is negative; a "
            "log-density is not normalised as stated (kl.Density(..., normalized=False) would do), or not a "
            "log-density of the law that is drawn from, or a narrow part or gap of P or Q was not found"
        )
    diagnostics = {**answer.diagnostics, "numerical_error": answer.numerical_error - float(most)}
    return dataclasses.replace(answer, diagnostics=diagnostics)


def _matched(p: Known, q: Known) -> tuple[Known, Known]:
    """Both sides with sizes settled: a learnable side takes its sizes from the other."""
    _require_numbers("p", p, q)
    _require_numbers("q", q, p)
    if p.matched is not None and not q.is_learnable:
        p = _sized(p, q)
    elif q.matched is not None and not p.is_learnable:
        q = _sized(q, p)
    p, q = _evaluated(p, q), _evaluated(q, p)
    columns = p.sample is not None and q.sample is not None and {p.event_shape, q.event_shape} == {(), (1,)}
    if p.event_shape is not None and q.event_shape is not None and p.event_shape != q.event_shape and not columns:
        raise InputError(
            f"p and q: event shapes {p.event_shape} and {q.event_shape} differ; both must describe the same outcome"
        )
    return p, q


def _require_numbers(argument: str, side: Known, other: Known) -> None:
    """Raise `InputError` for a sample with columns that are no numbers beside a law, which is one of numbers."""
    if side.sample is None or side.sample.values is not None or other.sample is not None:
        return
    columns = [(c.name, c.unit or "text") for c in side.sample.columns if c.unit or c.values.dtype.kind not in "iubf"]
    name, kind = columns[0]
    what = f"column {name!r} holds {kind}" + (f", as do {len(columns) - 1} more" if len(columns) > 1 else "")
    remedy = (
        "the codes of numpy.unique(x, return_inverse=True) suit dist.Categorical"
        if kind == "text"
        else "numbers of a unit of your choice, as by (x - x.min()) / numpy.timedelta64(1, 's'), suit it"
    )
    raise InputError(
        f"{argument}: {what}, and {other.name} is a law of numbers; leave such columns out, or pass numbers: {remedy}"
    )


def _sized(side: Known, other: Known) -> Known:
    """A learnable side with its sizes taken from the other."""
    assert side.matched is not None
    try:
        # A rule that draws from the other side matches once more, with the draws.
        return side.matched(other).holding(matched=side.matched)
    except InputError as error:
        if not other.takes:
            raise
        raise InputError(f"p and q: {other.name} takes {other.takes}, and not {side.name} ({error})") from error


def _evaluated(side: Known, other: Known) -> Known:
    """A fitted conditional at the other side's inputs."""
    if side.conditional is None:
        return side
    inputs = other.sample.inputs if other.sample is not None else other.inputs
    if inputs is None:
        raise InputError(f"p and q: {side.name} needs inputs, and {other.name} has none; use q.on(x)")
    return side.conditional(inputs)
