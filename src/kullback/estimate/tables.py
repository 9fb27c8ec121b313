"""Two tables compared: jointly, and column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kullback.estimate.columns import matched_columns
from kullback.estimate.two_samples import TwoSamples, between_columns
from kullback.known import Samples
from kullback.result import Estimate
from kullback.rule import Request


@dataclass(frozen=True)
class Comparison:
    """An estimate for one column, or for all together where `column` is None; `kind` says how they were read."""

    column: str | None
    kind: str
    estimate: Estimate


def compare(p: Any, q: Any, seed: int = 0, rule: TwoSamples | None = None) -> list[Comparison]:
    """KL(P‖Q) in nats between two data frames with the same columns: all together first, then each by itself.

    seed  an integer, for the subsamples of the standard errors
    rule  `TwoSamples` with its settings

    Raises `InputError` for different columns, missing values, or text against numbers.
    """
    rule, request = rule or TwoSamples(), Request(seed=seed)
    ps, qs = matched_columns(*(_sample(frame) for frame in (p, q)))
    kinds = ["discrete" if a.discrete and b.discrete else "continuous" for a, b in zip(ps, qs, strict=True)]
    joint = kinds[0] if len(set(kinds)) == 1 else "mixed"
    rows = [Comparison(None, joint, between_columns(ps, qs, request, rule))]
    for a, b, kind in zip(ps, qs, kinds, strict=True):
        rows.append(Comparison(a.name, kind, between_columns((a,), (b,), request, rule)))
    return rows


def _sample(frame: Any):
    sample = Samples(frame).known().sample
    assert sample is not None
    return sample
