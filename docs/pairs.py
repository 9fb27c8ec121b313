"""The matrix of pairs: for each ordered pair of kinds, what the planner would do about their divergence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Any

import numpy as np
import numpyro.distributions as dist
from docs.formulas import anchor_of, name_of, raw
from docs.kinds import TABLES, Kind

from kullback.catalogue import CountableSum, FiniteSum, MonteCarlo, Quadrature, Rule
from kullback.estimate.support import escape_of
from kullback.exact import table
from kullback.exact.bounds import VariationalUpperBound
from kullback.exact.composite.mixtures import is_mixture
from kullback.exact.cross_family import cross
from kullback.exact.type_keys import type_key
from kullback.known import Known, describe
from kullback.rule import Applies


@dataclass(frozen=True)
class Answer:
    """What a cell can say: its symbol, the class that colours it, and what it means."""

    symbol: str
    style: str
    meaning: str


EXACT = Answer("●", "exact", "exact, by a formula")
SOMETIMES = Answer("◐", "sometimes", "exact under a condition on the parameters, which the formula names")
INFINITE = Answer("∞", "infinite", "infinite for every choice of parameters")
SUM = Answer("Σ", "sum", "a sum over the outcomes, exact to a stated error")
INTEGRAL = Answer("∫", "integral", "quadrature, exact to a stated error")
BOUNDED = Answer("≶", "bounded", "a sum, quadrature or draws; and bounds by rules of their own")
DRAWS = Answer("≈", "draws", "unbiased, by draws")
NOTHING = Answer("·", "nothing", "no rule: a density or a sampler is missing")
LEGEND = (EXACT, SOMETIMES, INFINITE, SUM, INTEGRAL, BOUNDED, DRAWS, NOTHING)

RULES: tuple[tuple[Rule, Answer], ...] = (
    (FiniteSum(), SUM), (CountableSum(), SUM), (Quadrature(), INTEGRAL), (MonteCarlo(), DRAWS)
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The answer for KL(P‖Q), and where its formula stands."""

    p: Kind
    q: Kind
    answer: Answer
    anchor: str = ""


def cell(p: Kind, q: Kind) -> Cell:
    """What can be said of KL(P‖Q) for two kinds, from all pairs of their examples."""
    pairs = [(a, b) for a, b in product(p.examples, q.examples) if a is not b and a.event_shape == b.event_shape]
    pairs = pairs or [(p.examples[0], q.examples[0])]
    if _infinite(p, q, pairs):
        return Cell(p, q, INFINITE)
    anchors = [formula(*pair) for pair in pairs]
    if (first := next((anchor for anchor in anchors if anchor), "")) != "":
        return Cell(p, q, EXACT if all(anchors) else SOMETIMES, first)
    return Cell(p, q, _planned(*map(describe, _generic(p, q))))


def _generic(p: Kind, q: Kind) -> tuple[Any, Any]:
    return (p.examples[0], p.examples[-1]) if p is q else (p.examples[0], q.examples[0])


def _planned(p: Known, q: Known) -> Answer:
    """By the first rule, from the strongest guarantee on, that applies when supports are left aside."""
    if isinstance(VariationalUpperBound().check(p, q), Applies):
        return BOUNDED
    for rule, answer in RULES:
        verdict = rule.check(p, q)
        if isinstance(verdict, Applies) and not verdict.dropped:
            return answer
    return NOTHING


def formula(p: Any, q: Any) -> str | None:
    """The anchor of the formula of KL(p‖q), None where there is none but that it is ∞ at these very numbers."""
    if table.kl_form(p, q) is None:
        return None
    pair = (type_key(p), type_key(q))
    if pair in table.KL:
        return anchor_of(table.KL[pair])
    if pair in table.BUILD_KL and table.BUILD_KL[pair](p, q) is not None:
        return anchor_of(table.BUILD_KL[pair])
    if is_mixture(p) or is_mixture(q):
        return "structure"
    if cross.has_cross_entropy(p, q):
        return f"cross-{name_of(pair[1])}"
    return None if cross.always_escapes(p, q) else "structure"


def _infinite(p: Kind, q: Kind, pairs: list[tuple[Any, Any]]) -> bool:
    """Whether the divergence is ∞ for all examples, by what no parameter can move."""
    if p is not q and any(isinstance(d, dist.Delta) for d in (p.examples[0], q.examples[0])):
        values = [form() for pair in pairs if (form := table.kl_form(*pair)) is not None]
        return len(values) == len(pairs) and all(np.isinf(value).all() for value in values)
    known = [(describe(a), describe(b)) for a, b in pairs]
    escapes = [escape_of(*pair) for pair in known]
    if any(found is None or not found.where.all() for found in escapes):
        return False
    a, b = known[0]
    if a.support is None or b.support is None or not (a.support.bounded and b.support.bounded):
        return True
    if a.support.discrete != b.support.discrete:
        return True
    return any(_beyond(_ends(p, side), _ends(q, side), side) for side in ("lower", "upper"))


def _ends(k: Kind, side: str) -> np.ndarray:
    return np.asarray([np.ravel(getattr(describe(d).support, side))[0] for d in k.examples], float)


def _beyond(own: np.ndarray, other: np.ndarray, side: str) -> bool:
    """Whether P's end always lies outside Q's: it is infinite and Q's never, or no parameter moves either."""
    if np.isinf(own).all():
        return not np.isinf(other).any()
    outside = own[0] < other[0] if side == "lower" else own[0] > other[0]
    return bool(outside) and len(set(own)) == len(set(other)) == 1


def cells(kinds: Iterable[Kind]) -> list[list[Cell]]:
    kinds = list(kinds)
    return [[cell(p, q) for q in kinds] for p in kinds]


def _html(found: Cell) -> str:
    answer = found.answer
    said = escape(f"KL({found.p.name} ‖ {found.q.name}): {answer.meaning}")
    shown = answer.symbol
    if found.anchor:
        shown = f'<a href="formulas.html#{found.anchor}">{shown}</a>'
    same = " same" if found.p is found.q else ""
    return f'<td class="{answer.style}{same}" title="{said}">{shown}</td>'


def _table(rows: list[list[Cell]]) -> str:
    heads = "".join(f"<th scope='col'><span>{escape(found.q.name)}</span></th>" for found in rows[0])
    body = "\n".join(f"<tr><th scope='row'>{escape(row[0].p.name)}</th>{''.join(map(_html, row))}</tr>" for row in rows)
    corner = "<td class='corner'>P ↓ &nbsp; Q →</td>"
    return (
        f'<div class="pairs"><table>\n<thead><tr>{corner}{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _legend() -> str:
    items = (f'<li><span class="{a.style}">{a.symbol}</span> {escape(a.meaning)}</li>' for a in LEGEND)
    return f'<ul class="pairs-legend">{"".join(items)}</ul>'


def page(matrices: dict[str, list[list[Cell]]] | None = None) -> str:
    matrices = matrices or {title: cells(kinds) for title, kinds in TABLES.items()}
    parts = [raw(_legend())]
    for title, rows in matrices.items():
        parts += [f"## {title}", raw(_table(rows))]
    return "\n\n".join(parts) + "\n"
