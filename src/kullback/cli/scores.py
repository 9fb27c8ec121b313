"""What is known of a policy, as a table of at most 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from kullback.result import Estimate

# name of a diagnostic, what it is called, its unit
ROWS = (
    ("greedy_return", "greedy return", "reward an episode"),
    ("sampled_return", "sampled return", "reward an episode"),
    ("soft_value", "soft value", "reward an episode"),
    ("prior_kl", "KL to the prior", "nats an episode"),
    ("steps", "length", "steps an episode"),
    ("kl", "KL(π‖P_opt)", "nats, exact"),
    ("kl_excess", "of which avoidable", "nats, exact"),
    ("kl_lower_bound", "KL(π‖P_opt), at least", "nats, on average"),
    ("temperature", "temperature", "reward a nat"),
)


def score_table(numbers: Mapping[str, Any], objective: Estimate, discount: float) -> Table:
    """Returns, soft value, nats and lengths with standard errors, and what the objective is worth."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("value", "± s.e."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit")
    for name, shown, unit in ROWS:
        if name in numbers:
            discounted = name in ("soft_value", "prior_kl") and discount < 1.0
            unit += f", discount {discount:g}" if discounted else ""
            bold = "bold" if name == "greedy_return" else None
            table.add_row(shown, *map(Text, figures(numbers[name])), unit, style=bold)
    if "kl" not in numbers:
        worth = f"nats, {objective.guarantee.value}"
        worth += f"; {', '.join(objective.dropped)} dropped" if objective.dropped else ""
        table.add_row(Text(objective.quantity), *map(Text, figures(objective)), worth)
    return table


def remarks(numbers: Mapping[str, Any]) -> str:
    """What is to be said of the estimates in the table, each remark once, beside what it is said of."""
    said: dict[str, list[str]] = {}
    for name, shown, _ in ROWS:
        reason = numbers[name].reason if isinstance(numbers.get(name), Estimate) else ""
        for remark in filter(None, reason.split("; ")):
            said.setdefault(remark, []).append(shown)
    return " ".join(f"{_capital(', '.join(names))}: {remark}." for remark, names in said.items())


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def figures(x: Any) -> tuple[str, str]:
    """A number and its standard error, to two digits of the latter; "–" where there is none."""
    value = float(x.value if isinstance(x, Estimate) else x)
    error = float(x.standard_error) if isinstance(x, Estimate) else math.nan
    if not math.isfinite(error) or not math.isfinite(value):
        return f"{value:,.6g}", "–"
    if error == 0.0:
        return f"{value:,.6g}", "0"
    digits = min(6, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:,.{digits}f}", f"{error:,.{digits}f}"
