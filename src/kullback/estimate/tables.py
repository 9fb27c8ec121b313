"""Two tables compared: jointly, and column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kullback.estimate.columns import matched_columns
from kullback.estimate.two_samples import TwoSamples, between_columns
from kullback.known import Samples
from kullback.known.columns import is_table
from kullback.known.record import Sample
from kullback.result import Estimate
from kullback.rule import Request


@dataclass(frozen=True)
class Comparison:
    """An estimate for one column, or for all together where `column` is None; `kind` says how they were read."""

    column: str | None
    kind: str
    estimate: Estimate


def compare(p: Any, q: Any, seed: int = 0, rule: TwoSamples | None = None) -> list[Comparison]:
    """KL(P‖Q) in nats between two data frames, or `Samples` of them, with the same columns: together, then each.

    seed  an integer, for the subsamples of the standard errors
    rule  `TwoSamples` with its settings

    Raises `InputError` for different columns, missing values, or text against numbers.
    """
    rule, request = rule or TwoSamples(), Request(seed=seed)
    samples = [_sample(side) for side in (p, q)]
    ps, qs = matched_columns(*samples)
    weights = samples[0].weights, samples[1].weights
    kinds = ["discrete" if is_table(a, b) else "continuous" for a, b in zip(ps, qs, strict=True)]
    joint = kinds[0] if len(set(kinds)) == 1 else "mixed"
    rows = [Comparison(None, joint, between_columns(ps, qs, request, rule, weights))]
    for a, b, kind in zip(ps, qs, kinds, strict=True):
        rows.append(Comparison(a.name, kind, between_columns((a,), (b,), request, rule, weights)))
    return rows


def _sample(side: Any) -> Sample:
    sample = (side if isinstance(side, Samples) else Samples(side)).known().sample
    assert sample is not None
    return sample
