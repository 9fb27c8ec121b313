"""Where a joint change lies: pairs of columns whose relation changed, and the chain rule over columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control

from kullback.arguments import whole
from kullback.drifting.features import Stream, block, indicator_features, score_features
from kullback.drifting.measures import joint_divergence, point_estimate
from kullback.drifting.pairs import Pair
from kullback.drifting.permutation import group_sums, grouped, permutation_tests
from kullback.errors import InputError
from kullback.rule import Request

MOST_INDICATORS = 4
MOST_PERMUTATIONS = 19_999


@dataclass(frozen=True)
class Relation:
    """Two columns, and an exact p-value for a change of their relation, adjusted by Benjamini and Hochberg over pairs.

    reference, current  the correlation of their normal scores on either side; None where one of them is labels
    """

    first: str
    second: str
    p_value: float
    adjusted_p: float
    reference: float | None
    current: float | None

    def __str__(self) -> str:
        if self.reference is None or self.current is None:
            return f"the relation of {self.first} and {self.second} changed"
        change = (
            f"{'rose' if self.current > self.reference else 'fell'} from {self.reference:.2f} to {self.current:.2f}"
        )
        return f"the correlation of {self.first} and {self.second} {change}"


def changed_relations(pairs: Sequence[Pair], request: Request, permutations: int) -> tuple[Relation, ...]:
    """Every pair of columns, smallest p-value first: a permutation test of the products of their features."""
    if len(pairs) < 2:
        return ()
    rng, n = request.host_rng(Stream.RELATIONS), len(pairs[0].p)
    groups = grouped(n, len(pairs[0].q), rng)
    features = [_features(pair) for pair in pairs]
    couples = list(combinations(range(len(pairs)), 2))
    tests = [
        group_sums([each] if (each := block(_crossed(features[i], features[j]), rng)).size else [], groups)
        for i, j in couples
    ]
    most = min(MOST_PERMUTATIONS, (permutations + 1) * -(-len(couples) // 5) - 1)
    tested = permutation_tests(tests, groups, rng, permutations, [max(most, permutations)] * len(tests))
    adjusted = false_discovery_control([each.p_value for each in tested])
    order = sorted(range(len(couples)), key=lambda at: (tested[at].p_value, -tested[at].statistic))
    return tuple(
        Relation(
            first=pairs[couples[at][0]].name,
            second=pairs[couples[at][1]].name,
            p_value=tested[at].p_value,
            adjusted_p=float(adjusted[at]),
            reference=_correlation(pairs, features, couples[at], slice(None, n)),
            current=_correlation(pairs, features, couples[at], slice(n, None)),
        )
        for at in order
    )


def _features(pair: Pair) -> Float[np.ndarray, "rows k"]:
    """Normal scores of a column with an order, indicators of labels, and indicators of the states."""
    scores = score_features(pair)[:, :1]
    return np.hstack([scores, indicator_features(pair, 0 if scores.shape[1] else MOST_INDICATORS)])


def _crossed(x: Float[np.ndarray, "rows k"], y: Float[np.ndarray, "rows l"]) -> Float[np.ndarray, "rows kl"]:
    return (x[:, :, None] * y[:, None, :]).reshape(len(x), -1)


def _correlation(
    pairs: Sequence[Pair], features: Sequence[np.ndarray], couple: tuple[int, int], rows: slice
) -> float | None:
    if any(pairs[at].read_as == "labels" for at in couple):
        return None
    x, y = (features[at][rows, 0] for at in couple)
    if min(len(x), np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def chain_rule(
    pairs: Sequence[Pair], joint: float, order: Sequence[str] | None, orders: int, request: Request
) -> dict[str, float]:
    """Parts of the joint divergence by column, in one order or averaged over several.

    KL(P‖Q) = Σₖ KL(xₖ | x₁ … xₖ₋₁), each term the difference of two joint divergences.
    """
    names = [pair.name for pair in pairs]
    known: dict[frozenset[int], float] = {frozenset(): 0.0, frozenset(range(len(pairs))): joint}

    def divergence(columns: frozenset[int]) -> float:
        if columns not in known:
            known[columns] = point_estimate(joint_divergence([pairs[at] for at in sorted(columns)], request))
        return known[columns]

    every = _orders(len(pairs), orders, request) if order is None else [_order(order, names)]
    parts = np.zeros(len(pairs))
    for each in every:
        for at, column in enumerate(each):
            parts[column] += divergence(frozenset(each[: at + 1])) - divergence(frozenset(each[:at]))
    return {name: float(part) / len(every) for name, part in zip(names, parts, strict=True)}


def _order(order: Sequence[str], names: list[str]) -> list[int]:
    asked = [str(name) for name in order]
    if sorted(asked) != sorted(names):
        raise InputError(f"order: it must name each column once: {', '.join(names)}")
    return [names.index(name) for name in asked]


def _orders(columns: int, orders: int, request: Request) -> list[list[int]]:
    """Random orders and their reverses, which cancel much of the variance of a Shapley value."""
    rng = request.host_rng(Stream.ORDERS)
    drawn = [rng.permutation(columns).tolist() for _ in range(whole("orders", orders))]
    return [each for one in drawn for each in (one, one[::-1])]
