"""A plan in words, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from kullback.known import Known

if TYPE_CHECKING:
    from kullback.plan.plan import Plan

WIDTH = 80
_LABEL = 12

TITLES = {"estimate": "KL(P ‖ Q)", "forward": "min KL(P ‖ Q) over Q", "reverse": "min KL(P ‖ Q) over P"}
DIRECTIONS = {
    "forward": "forward: Q is learnable, so Q covers all of P (mass-covering)",
    "reverse": "reverse: P is learnable, so it seeks a mode of Q (mode-seeking)",
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
        lines.append(
            textwrap.fill(
                f"{rule.name}: {reason}",
                WIDTH,
                initial_indent="  - ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        )
    if not plan.rejected:
        lines.append("  none: this is the only rule for the question")
    lines.append("")
    lines.append(_row("source", plan.rule.source))
    return "\n".join(lines)


def side_in_words(side: Known) -> str:
    return f"{side.name}: {side.facts_in_words()}"


def _row(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<{_LABEL - 2}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
