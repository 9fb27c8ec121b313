"""What moved, by how much and where, in a sentence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from kullback.drifting.measures import row_counts
from kullback.drifting.pairs import FINITE, STATES, Pair, Part, quantiles
from kullback.drifting.profile import Profile, Region, shown_value

LEAST_SHIFT = 0.1  # of the reference's interquartile range
LEAST_RATIO = 1.1  # of interquartile ranges
LEAST_PART = 0.1  # of the divergence
LEAST_STATE = 0.001


def in_words(pair: Pair, profile: Profile) -> str:
    """The largest changes of a column, for one of which a test has shown that it changed."""
    said = _labels(pair, profile) if pair.table else _measured(pair)
    said += _states(pair)
    if not said and (largest := profile.largest(1)):
        said = [_change(largest[0].label, largest[0])]
    return "; ".join(said)


def percent(share: float, digits: int = 2) -> str:
    """A share of 0 to 1 to two digits or more, never rounded to 0% or 100% unless it is."""
    value = 100 * share
    if 99 < value < 100:
        return f"{min(value, 100 - 10.0**-digits):.{digits}f}%"
    return f"{value:.{digits - 2}f}%" if value >= 10 or value == 0 else f"{value:.{digits}g}%"


def _change(name: str, region: Region) -> str:
    return f"{name} {_verb(region.reference, region.current)} {_from_to(region.reference, region.current)}"


def _verb(before: float, after: float) -> str:
    return "rose" if after > before else "fell" if after < before else "stayed"


def _from_to(before: float, after: float) -> str:
    if before == after:
        return f"at {percent(before)}"
    told_apart = (digits for digits in range(2, 12) if percent(before, digits) != percent(after, digits))
    digits = next(told_apart, 12)
    return f"from {percent(before, digits)} to {percent(after, digits)}"


def _measured(pair: Pair) -> list[str]:
    if not (len(pair.p.finite) and len(pair.q.finite)):
        return []
    (low_p, median_p, high_p), (low_q, median_q, high_q) = (
        quantiles(part.finite, part.finite_count, [0.25, 0.5, 0.75]) for part in (pair.p, pair.q)
    )
    said = []
    width_p, width_q = high_p - low_p, high_q - low_q
    if abs(median_q - median_p) > LEAST_SHIFT * max(width_p, width_q):
        before, after = (shown_value(x, pair.unit) for x in (median_p, median_q))
        said.append(f"the median {_verb(median_p, median_q)} from {before} to {after}")
    if min(width_p, width_q) > 0 and not 1 / LEAST_RATIO < width_q / width_p < LEAST_RATIO:
        word = "widened" if width_q > width_p else "narrowed"
        unit = "duration" if pair.unit else ""
        before, after = (shown_value(x, unit) for x in (width_p, width_q))
        said.append(f"the interquartile range {word} from {before} to {after}")
    return [*said, _tail(pair)]


def _tail(pair: Pair) -> str:
    """The share beyond the threshold whose two sides have the largest divergence between the samples."""
    pooled, count = pair.pooled.astype(np.float64), pair.pooled_count
    shares = np.arange(1, 200) / 200
    cuts = np.unique(np.quantile(pooled, shares, weights=count, method="inverted_cdf"))
    cuts = cuts[cuts < pooled.max()]
    if len(cuts) == 0:
        return f"all values are {shown_value(float(pooled[0]), pair.unit)}"
    (below_p, p), (below_q, q) = (_rows_below(part, cuts) for part in (pair.p, pair.q))
    share_p, share_q = (below_p + 0.5) / (p + 1), (below_q + 0.5) / (q + 1)
    middle = (share_p + share_q) / 2
    gain = sum(x * np.log(x / y) for s in (share_p, share_q) for x, y in ((s, middle), (1 - s, 1 - middle)))
    at = int(np.argmax(gain))
    under_p, under_q, cut = below_p[at] / p, below_q[at] / q, shown_value(float(cuts[at]), pair.unit)
    if under_p + under_q <= 1:
        return f"up to {cut} the share {_verb(under_p, under_q)} {_from_to(under_p, under_q)}"
    return f"above {cut} the share {_verb(1 - under_p, 1 - under_q)} {_from_to(1 - under_p, 1 - under_q)}"


def _rows_below(part: Part, cuts: Float[np.ndarray, " k"]) -> tuple[Int[np.ndarray, " k"], int]:
    """The rows with values up to each cut, and all with finite values."""
    place = np.searchsorted(cuts, part.finite.astype(np.float64), side="left")
    rows = row_counts(place, part.finite_count, len(cuts) + 1)
    return np.cumsum(rows)[:-1], int(rows.sum())


def _labels(pair: Pair, profile: Profile) -> list[str]:
    least = LEAST_PART * sum(region.part for region in profile.regions)
    if pair.read_as == "frequencies" and len(profile.regions) > 3 and len(pair.p.finite):
        return _counts(pair)
    said = []
    for region in profile.largest(3):
        if region.label in STATES or region.part <= least:
            continue
        if region.reference == 0:
            said.append(f"{region.label} {_is(region)} new, {percent(region.current)}")
        elif region.current == 0:
            said.append(f"{region.label} {_is(region)} gone, {percent(region.reference)} before")
        else:
            said.append(_change(f"{'value ' if pair.numeric else ''}{region.label}", region))
    return said


def _is(region: Region) -> str:
    return "are" if region.label.endswith("other values") else "is"


def _counts(pair: Pair) -> list[str]:
    if not len(pair.q.finite):
        return []
    before, after = (_mean(part, 1) for part in (pair.p, pair.q))
    deviation = max(_mean(pair.p, 2) - before**2, 0.0) ** 0.5
    mean = f"the mean {_verb(before, after)} from {before:.4g} to {after:.4g}"
    return ([mean] if abs(after - before) > LEAST_SHIFT * deviation else []) + [_tail(pair)]


def _mean(part: Part, power: int) -> float:
    return float(np.average(part.finite.astype(np.float64) ** power, weights=part.finite_count))


def _states(pair: Pair) -> list[str]:
    said = []
    for state in np.unique(pair.states):
        before, after = pair.p.share(state), pair.q.share(state)
        if state != FINITE and abs(after - before) > LEAST_STATE:
            said.append(f"{STATES[state]} {_verb(before, after)} {_from_to(before, after)}")
    return said
