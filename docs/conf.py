"""Sphinx settings, and the pages that are written at each build: the rules, the matrix of pairs, the formulas."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs import formulas, pairs
from kullback import __version__
from kullback.catalogue import DEFAULT_RULES
from kullback.control.catalogue import GOAL_RULES, RULES
from kullback.rule import Rule

project = "kullback"
author = "the kullback authors"
copyright = "the kullback authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build", "_generated"]
html_theme = "furo"
html_title = f"kullback {version}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pairs.css"]

QUESTIONS = {
    "estimate": "Both sides fixed: `estimate()`",
    "forward": "Q learnable: `minimize()` of the forward KL",
    "reverse": "P learnable: `minimize()` of the reverse KL",
}
COLUMNS = ("rule", "also known as", "identity", "needs of P", "needs of Q", "guarantee", "cost", "source")


def row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def cells(rule: Rule) -> tuple[str, ...]:
    return (
        f"`{rule.name}`",
        ", ".join(rule.aliases),
        rule.identity,
        rule.needs_p,
        rule.needs_q,
        rule.guarantee.value,
        f"{rule.cost:g}",
        rule.source,
    )


def rules_page(rules: tuple[Rule, ...]) -> str:
    parts = []
    for question, title in QUESTIONS.items():
        asked = [rule for rule in rules if rule.question == question]
        if asked:
            lines = (row(COLUMNS), row(("---",) * len(COLUMNS)), *(row(cells(rule)) for rule in asked))
            parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


generated = Path(__file__).parent / "_generated"
generated.mkdir(exist_ok=True)
for name, text in {
    "rules": rules_page((*DEFAULT_RULES, *RULES, *GOAL_RULES)),
    "pairs": pairs.page(),
    "formulas": formulas.page(),
}.items():
    (generated / f"{name}.md").write_text(text)
