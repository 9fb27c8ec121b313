"""`kullback rules`: the catalogue as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from kullback.catalogue import DEFAULT_RULES
from kullback.control.catalogue import GOAL_RULES, RULES

QUESTIONS = {
    "estimate": "Estimate KL(P‖Q), both sides fixed",
    "forward": "Minimise the forward KL, Q learnable",
    "reverse": "Minimise the reverse KL, P learnable",
}


def show_rules() -> None:
    """Every rule by the question that it answers, those of control last: its name, what it needs of P and Q, and what
    its answer is worth."""
    console = Console(highlight=False)
    for question, title in QUESTIONS.items():
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("rule", no_wrap=True)
        table.add_column("needs")
        table.add_column("guarantee", no_wrap=True)
        for rule in (*DEFAULT_RULES, *RULES, *GOAL_RULES):
            if rule.question == question:
                needs = f"P: {rule.needs_p}\nQ: {rule.needs_q}"
                table.add_row(rule.name, needs, rule.guarantee.value)
        console.print(f"\n[bold]{title}[/bold]")
        console.print(table)
