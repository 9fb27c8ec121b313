"""The plan: every rule that answers the question is asked whether it applies, and the best one is taken.

The plan is also put in words here, at most 80 columns wide: `plan_in_words` is the `repr` of an expression, and
`explain_in_words` adds the rules that were not taken.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from kullback.errors import InputError, PlanError
from kullback.known import Known
from kullback.known.support import escape
from kullback.result import Guarantee
from kullback.rule import Applies, Missing, Question, Rule, rules_brought, rules_called


@dataclass(frozen=True)
class Candidate:
    """A rule that applies, with what it states of these two sides."""

    rule: Rule
    applies: Applies

    @property
    def guarantee(self) -> Guarantee:
        return self.applies.guarantee or self.rule.guarantee

    @property
    def cost(self) -> float:
        return self.rule.cost if self.applies.cost is None else self.applies.cost

    @property
    def rank(self) -> tuple[int, int, float]:
        """Fewest terms dropped, then the strongest guarantee, then the lowest cost."""
        return (len(self.applies.dropped), self.guarantee.rank, self.cost)


@dataclass(frozen=True)
class Plan:
    """What will be done, and why. `rejected` holds every other rule with its reason."""

    question: Question
    p: Known
    q: Known
    chosen: Candidate
    rejected: tuple[tuple[Rule, str], ...]

    @property
    def rule(self) -> Rule:
        return self.chosen.rule

    @property
    def guarantee(self) -> Guarantee:
        return self.chosen.guarantee

    @property
    def dropped(self) -> tuple[str, ...]:
        return self.chosen.applies.dropped

    def __str__(self) -> str:
        return plan_in_words(self)

    __repr__ = __str__


def question_of(p: Known, q: Known) -> Question:
    """Which question two sides pose: the learnable side says the direction."""
    if p.is_learnable and q.is_learnable:
        raise PlanError(
            "p and q: both sides are learnable, and the least divergence is then 0 at any common point; "
            "fix one of them (a distribution, data, or a fitted q)"
        )
    return "reverse" if p.is_learnable else "forward" if q.is_learnable else "estimate"


def make_plan(p: Known, q: Known, rules: Sequence[Rule], rule: str | Rule | None = None) -> Plan:
    """Choose among `rules` (or take the one forced by `rule`) for the question that p and q pose.

    Raises `PlanError` where nothing applies (it names the nearest rules and the fact that would unlock each),
    where the forced rule does not, or where two rules tie; `InputError` for an unknown name.
    """
    question = question_of(p, q)
    if question != "estimate":
        _require_finite(p, q)
    own = rules_brought(p, q)
    asked = [r for r in (*own, *rules) if r.question == question]
    if rule is not None:
        return _forced(question, p, q, _rule(rule, [*own, *rules], question), asked)
    verdicts = [(r, r.check(p, q)) for r in asked]
    candidates = sorted((Candidate(r, v) for r, v in verdicts if isinstance(v, Applies)), key=lambda c: c.rank)
    if not candidates:
        raise PlanError(_nothing_applies(question, p, q, verdicts))
    best, *others = candidates
    if others and others[0].rank == best.rank:
        raise PlanError(
            f"rules: {best.rule.name!r} and {others[0].rule.name!r} both apply with the same guarantee and cost; "
            "give one of them another cost, or force one with rule="
        )
    why = {id(c.rule): _why_not(best, c) for c in others}
    rejected = tuple((r, why[id(r)] if isinstance(v, Applies) else v.reason) for r, v in verdicts if r is not best.rule)
    return Plan(question=question, p=p, q=q, chosen=best, rejected=rejected)


def _require_finite(p: Known, q: Known) -> None:
    """Raise `PlanError` where no member of the learnable side's family gives a finite divergence."""
    if p.support is None or q.support is None or p.sample is not None:
        return
    out = escape(p.support, q.support, len(p.event_shape or ()))
    if out is not None and out.where.all():
        other = q if p.is_learnable else p
        suits = f"; {other.name} takes {other.takes}" if other.takes else ""
        raise PlanError(
            f"KL(P‖Q): it is infinite for every member of the learnable family, since {out.reason}; choose a family "
            f"whose support {'lies inside' if p.is_learnable else 'contains'} the other side's{suits}"
        )


def _forced(question: Question, p: Known, q: Known, forced: Rule, asked: Sequence[Rule]) -> Plan:
    if forced.question != question:
        raise PlanError(f"rule: {forced.name!r} answers the question {forced.question!r}, and this is {question!r}")
    verdict = forced.check(p, q)
    if isinstance(verdict, Missing):
        raise PlanError(f"rule: {forced.name!r} does not apply: {verdict.reason}")
    others = tuple((r, f"not asked: {forced.name!r} was forced") for r in asked if r.name != forced.name)
    return Plan(question=question, p=p, q=q, chosen=Candidate(forced, verdict), rejected=others)


def _rule(rule: object, rules: Sequence[Rule], question: Question) -> Rule:
    if isinstance(rule, str):
        return _named(rule, rules, question)
    if isinstance(rule, type) and issubclass(rule, Rule):
        raise InputError(f"rule: {rule.__name__} is a class; call it, as in kl.rules.{rule.__name__}()")
    if not isinstance(rule, Rule):
        raise InputError(f"rule: {rule!r} is neither the name of a rule nor one of kl.rules")
    return rule


def _named(name: str, rules: Sequence[Rule], question: Question) -> Rule:
    """The rule of this name, whatever its question; or else the one with this alias, of this question if there is one.

    Raises `InputError` where no rule is called so, or where two rules of the question have the alias.
    """
    exact = [rule for rule in rules if rule.name == name]
    found = exact or rules_called(name, rules)
    if not found:
        names = ", ".join(repr(r.name) for r in rules)
        raise InputError(f"rule: there is no rule named {name!r}; the names are {names}")
    asked = [rule for rule in found if rule.question == question]
    if not exact and len({rule.name for rule in asked}) > 1:
        first, second, *_ = (repr(rule.name) for rule in asked)
        raise InputError(f"rule: {name!r} is an alias of {first} and of {second}; pass one of these names")
    return (asked or found)[0]


def _why_not(best: Candidate, other: Candidate) -> str:
    if len(best.applies.dropped) != len(other.applies.dropped):
        return f"applies, but drops {', '.join(other.applies.dropped)}"
    if best.guarantee.rank != other.guarantee.rank:
        return f"applies, but is {_is(other.guarantee)} where the chosen rule is {_is(best.guarantee)}"
    return f"applies with the same guarantee at more cost (10^{other.cost:.3g} against 10^{best.cost:.3g} evaluations)"


def _is(guarantee: Guarantee) -> str:
    article = {Guarantee.LOWER_BOUND: "a ", Guarantee.UPPER_BOUND: "an "}
    return article.get(guarantee, "") + guarantee.value


def _nothing_applies(question: Question, p: Known, q: Known, verdicts: Sequence[tuple[Rule, Applies | Missing]]) -> str:
    missing = [(r, v) for r, v in verdicts if isinstance(v, Missing)]
    near = [f"{r.name} would, given {v.unlock}" for r, v in missing if v.unlock]
    hint = "; ".join(near[:3] or [f"{r.name}: {v.reason}" for r, v in missing[:3]])
    if question == "forward" and p.takes and not any(r.question == question for r in rules_brought(p, p)):
        hint = (
            f"nothing draws from P; put the learnable side first, as in kl.KL({p.takes}, P), or imitate episodes, "
            "as in kl.KL(kl.control.rollout(env, policy, 100).pairs(), Q)"
        )
    return f"KL(P‖Q): no rule answers {question!r} for P = {p.name} and Q = {q.name}; {hint}"


# The plan in words

WIDTH = 80
_LABEL = 12

TITLES = {"estimate": "KL(P ‖ Q)", "forward": "min KL(P ‖ Q) over Q", "reverse": "min KL(P ‖ Q) over P"}
DIRECTIONS = {
    "forward": "forward: Q is learnable, so Q covers all of P (mass-covering)",
    "reverse": "reverse: P is learnable, so it seeks a mode of Q (mode-seeking)",
}
_DIRECTION_ALIASES = {
    "forward": [("forward KL", ("inclusive KL", "mass-covering KL", "mean-seeking KL", "moment projection"))],
    "reverse": [("reverse KL", ("exclusive KL", "mode-seeking KL", "zero-forcing KL", "information projection"))],
}


def plan_in_words(plan: Plan) -> str:
    """What is known of each side, the direction, the identity, what is dropped, the rule and the guarantee."""
    rows = [("P", side_in_words(plan.p)), ("Q", side_in_words(plan.q))]
    if plan.question in DIRECTIONS:
        rows.append(("direction", DIRECTIONS[plan.question]))
    rows.append(("identity", plan.rule.identity))
    if plan.dropped:
        rows.append(("drops", ", ".join(plan.dropped)))
    note = plan.chosen.applies.note
    rows.append(("rule", plan.rule.name + (f": {note}" if note else "")))
    rows.append(("guarantee", plan.guarantee.value))
    return "\n".join([TITLES[plan.question], *(_row(label, text) for label, text in rows)])


def explain_in_words(plan: Plan) -> str:
    """The plan, then every other rule for the same question with the reason that it was not taken."""
    lines = [plan_in_words(plan), "", "Rules not taken"]
    for rule, reason in plan.rejected:
        lines.append(_filled(f"{rule.name}: {reason}", "  - "))
    if not plan.rejected:
        lines.append("  none: this is the only rule for the question")
    lines.append("")
    lines.append(_row("source", plan.rule.source))
    lines += [_filled(f"{name}: also known as {', '.join(aliases)}") for name, aliases in _aliases(plan) if aliases]
    return "\n".join(lines)


def _aliases(plan: Plan) -> list[tuple[str, tuple[str, ...]]]:
    """What else the rule and the direction are called."""
    return [(plan.rule.name, plan.rule.aliases), *_DIRECTION_ALIASES.get(plan.question, ())]


def side_in_words(side: Known) -> str:
    return f"{side.name}: {side.facts_in_words()}"


def _filled(text: str, start: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent="    ", break_on_hyphens=False)


def _row(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<{_LABEL - 2}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
