"""What moved, by how much and where, in a sentence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from kullback.drifting.pairs import FINITE, STATES, Pair
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
    p, q = pair.p.finite.astype(np.float64), pair.q.finite.astype(np.float64)
    if not (len(p) and len(q)):
        return []
    (low_p, median_p, high_p), (low_q, median_q, high_q) = (np.quantile(x, [0.25, 0.5, 0.75]) for x in (p, q))
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
    return [*said, _tail(p, q, pair.unit)]


def _tail(p: Float[np.ndarray, " n"], q: Float[np.ndarray, " m"], unit: str) -> str:
    """The share beyond the threshold whose two sides have the largest divergence between the samples."""
    pooled = np.sort(np.concatenate([p, q]))
    cuts = np.unique(np.quantile(pooled, np.arange(1, 200) / 200, method="inverted_cdf"))
    cuts = cuts[cuts < pooled[-1]]
    if len(cuts) == 0:
        return f"all values are {shown_value(float(pooled[0]), unit)}"
    below_p, below_q = (np.searchsorted(np.sort(x), cuts, side="right") for x in (p, q))
    share_p, share_q = (below_p + 0.5) / (len(p) + 1), (below_q + 0.5) / (len(q) + 1)
    middle = (share_p + share_q) / 2
    gain = sum(x * np.log(x / y) for s in (share_p, share_q) for x, y in ((s, middle), (1 - s, 1 - middle)))
    at = int(np.argmax(gain))
    under_p, under_q, cut = below_p[at] / len(p), below_q[at] / len(q), shown_value(float(cuts[at]), unit)
    if under_p + under_q <= 1:
        return f"up to {cut} the share {_verb(under_p, under_q)} {_from_to(under_p, under_q)}"
    return f"above {cut} the share {_verb(1 - under_p, 1 - under_q)} {_from_to(1 - under_p, 1 - under_q)}"


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
    p, q = pair.p.finite.astype(np.float64), pair.q.finite.astype(np.float64)
    if not len(q):
        return []
    before, after = float(p.mean()), float(q.mean())
    mean = f"the mean {_verb(before, after)} from {before:.4g} to {after:.4g}"
    return ([mean] if abs(after - before) > LEAST_SHIFT * p.std() else []) + [_tail(p, q, pair.unit)]


def _states(pair: Pair) -> list[str]:
    said = []
    for state in np.unique(pair.states):
        before, after = float((pair.p.state == state).mean()), float((pair.q.state == state).mean())
        if state != FINITE and abs(after - before) > LEAST_STATE:
            said.append(f"{STATES[state]} {_verb(before, after)} {_from_to(before, after)}")
    return said
