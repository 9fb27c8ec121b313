"""What an estimate from samples is worth: what its standard error leaves out, said in its guarantee and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kullback.estimate.reach import reach_of
from kullback.estimate.rows import Rows, atom_share, repeated_rows, shared_rows
from kullback.estimate.subsampling import FEWEST, Subsampled
from kullback.result import Estimate, Guarantee

MANY_DIMENSIONS = 5
FEW_EFFECTIVE = 30.0
LEAST_MISSING = 0.1  # nats, where there is no standard error to compare with


def judged(
    value: float,
    spread: Subsampled,
    p: Rows,
    q: Rows | None,
    notes: Sequence[str],
    diagnostics: dict[str, Any],
    bound: bool = False,
) -> Estimate:
    """The estimate, consistent, or a lower bound where Q's sample does not reach enough of P.

    p, q   the rows that the estimate was made of; Q is None where its law is known
    bound  whether the estimate is a lower bound whatever the reach, for a reason among the notes

    Beyond the reach of Q's sample log P/Q is known from below only: the answer is a bound where what that may hide
    exceeds half the standard error of the subsamples. Where the bias may exceed the standard error, and always in five
    dimensions and more, the reason says how large it may be.
    """
    notes, dimensions, error = list(notes), p.point.shape[1], spread.error
    if q is not None:
        reach = reach_of(p, q)
        beyond = reach.missing > (0.5 * spread.error if np.isfinite(spread.error) else LEAST_MISSING)
        diagnostics |= {"beyond_reach": reach.share, "missing": reach.missing} | unseen_categories(p, q)
        error = float(np.hypot(error, _error_of_unseen(p, q)))
        bound = bound or beyond
        notes = _on_reach(reach.share, beyond, diagnostics) + notes
        if atoms := atom_share(p, q):
            bound = True
            notes.insert(
                0,
                f"{percent(atoms)} of P's rows repeat a value that Q's sample hardly has, as an atom would, to which a "
                "density gives probability 0: a lower bound",
            )
    if np.isinf(spread.error):
        notes.append(f"fewer than {FEWEST} rows give no standard error")
    else:
        diagnostics["bias"] = spread.bias
        if dimensions >= MANY_DIMENSIONS or (spread.bias > spread.error and not bound):
            where = f"in {dimensions} dimensions " if dimensions >= MANY_DIMENSIONS else ""
            notes.append(
                f"{where}the standard error does not cover the bias, which may be as large as {spread.bias:.2g} nats "
                "by the change from part of the rows to all"
            )
    notes += [_on_weights(name, side) for name, side in (("P", p), ("Q", q)) if side is not None and _few(side)]
    guarantee = Guarantee.LOWER_BOUND if bound else Guarantee.CONSISTENT
    return Estimate(value, error, guarantee, reason="; ".join(notes), diagnostics=diagnostics)


def unseen_categories(p: Rows, q: Rows) -> dict[str, float]:
    """How many categories of P are not in Q's sample, and their share of P; nothing where there is one category."""
    if len(np.unique(np.concatenate([p.cell, q.cell]))) == 1:
        return {}
    unseen = ~np.isin(p.cell, q.cell)
    return {"unseen_categories": len(np.unique(p.cell[unseen])), "unseen_share": p.mean(unseen.astype(float))}


def _error_of_unseen(p: Rows, q: Rows) -> float:
    """The standard error from categories that Q's sample lacks, which no subsample shows.

    With m rows of which none is in a category, m times its probability is as an exponential variable, whose logarithm
    has the mean ψ(1), which the estimate has in its place, and the variance π²/6.
    """
    unseen = ~np.isin(p.cell, q.cell)
    _, category = np.unique(p.cell[unseen], return_inverse=True)
    weight = np.ones(len(p)) if p.weight is None else p.weight
    shares = np.bincount(category, weight[unseen]) / weight.sum()
    return float(np.pi * np.sqrt((shares**2).sum() / 6.0))


def _on_reach(share: float, bound: bool, diagnostics: dict[str, Any]) -> list[str]:
    """The remarks on categories that Q's sample lacks, and on what lies beyond its reach."""
    count, unseen = diagnostics.get("unseen_categories", 0), diagnostics.get("unseen_share", 0.0)
    notes, lower = [], ": a lower bound" if bound else ""
    if count:
        noun, verb = ("category", "is") if count == 1 else ("categories", "are")
        notes.append(
            f"{count:,} {noun} of P, {percent(unseen)} of its rows, {verb} not in Q's sample, so the value grows with "
            f"the size of that sample if Q gives them no probability{lower}"
        )
    if bound and share > unseen:
        notes.append(
            f"{percent(share)} of P lies beyond the reach of Q's sample, which does not tell how small Q is "
            f"there{lower}"
        )
    return notes


def _few(rows: Rows) -> bool:
    """Whether few rows carry the weight, so that nothing that is estimated from it can be relied on."""
    return rows.effective_size < max(FEW_EFFECTIVE, 0.1 * len(rows)) and rows.weight is not None


def _on_weights(name: str, rows: Rows) -> str:
    return f"the weights of {name} leave the equivalent of {rows.effective_size:.2g} of its {len(rows):,} rows"


def percent(share: float) -> str:
    """A share as a percentage; 100% is all, and no less."""
    text = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
    return "over 99%" if text == "100" and share < 1 else f"{text}%"


def remarks_on_rows(p: Rows, q: Rows, spread: bool) -> tuple[list[str], dict[str, Any]]:
    """What is odd in the rows of two samples: repeated rows, and rows in both.

    spread  whether ties are those of rounding, which have a remark of their own
    """
    notes: list[str] = []
    diagnostics: dict[str, Any] = {"rows_p": len(p), "rows_q": len(q)}
    for side, rows in (("p", p), ("q", q)):
        if rows.weight is not None:
            diagnostics[f"effective_rows_{side}"] = rows.effective_size
    if p.point.shape[1]:
        repeated, shared = repeated_rows(p) + repeated_rows(q), shared_rows(p, q)
        diagnostics |= {"repeated_rows": repeated, "shared_rows": shared}
        if repeated and not spread:
            notes.append(f"{repeated:,} rows repeat another of their sample, which measurements do not")
        if shared and not spread:
            notes.append(
                f"{shared:,} rows of P's sample are also in Q's: if they are the same rows, the value is too low"
            )
    return notes, diagnostics
