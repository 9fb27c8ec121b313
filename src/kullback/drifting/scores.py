"""How typical each row is of either table: cross-fitted log ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from kullback.drifting.features import column_blocks, joint_blocks
from kullback.drifting.pairs import Pair
from kullback.drifting.streams import Stream
from kullback.rule import Request

FOLDS = 5
PENALTY = 0.1


def cross_fitted_log_ratios(
    pairs: Sequence[Pair], request: Request
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """log P/Q at each row of the reference and of the current table, from a classifier that was fitted to other rows.

    The log odds of a logistic regression, minus the log of the numbers of rows of either class among those that it was
    fitted to. With fewer rows on a side than folds, of as many folds as there are rows; a single row gives 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    n, m = len(pairs[0].p), len(pairs[0].q)
    label = np.repeat([1, 0], [n, m])
    rng = request.host_rng(Stream.SCORES)
    blocks = joint_blocks(pairs, rng) if len(pairs) > 1 else column_blocks(pairs[0], rng)
    ratio = np.zeros(n + m)
    folds = min(FOLDS, n, m)
    if folds < 2 or not blocks:
        return ratio[:n], ratio[n:]
    features = np.hstack([each.whitened(slice(None)) * each.size**0.25 for each in blocks])
    splits = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**32)))
    for fitted, left in splits.split(features, label):
        model = LogisticRegression(C=PENALTY, max_iter=1000).fit(features[fitted], label[fitted])
        odds = np.log(label[fitted].sum() / (1 - label[fitted]).sum())
        ratio[left] = model.decision_function(features[left]) - odds
    return ratio[:n], ratio[n:]
