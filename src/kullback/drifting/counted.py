"""The exact test of a column whose rows are counted and not held: permutations of the labels of all rows.

Given how many of all N rows lie in each of several cells, a random assignment of the labels is a draw of the first
table's rows per cell from a multivariate hypergeometric law, and the statistic is that of the test of rows, with
features that are averaged over cells: ‖Σ_c N_c φ_c‖². Cells and features are functions of the rows of both tables
together, so that p is exact as it is for rows. Measurements have cells as wide as a twentieth in normal scores.

Source: Phipson and Smyth (2010) for p, as in `permutation`; the law of a table with given margins is Fisher's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri

from kullback.drifting.features import CLIP, COVARIANCE_ROWS, MOST_VALUES, NORMAL_IQR, RARE, Features, block, products
from kullback.drifting.measures import codes, row_counts
from kullback.drifting.pairs import STATES, Pair, quantiles
from kullback.drifting.permutation import GO_ON, TIES, Tested

WIDTH = 0.05  # of a cell, in normal scores
MOST_TOTAL = 900_000_000  # rows that NumPy draws among
_BATCH = 1000


def counted_test(pair: Pair, rng: np.random.Generator, first: int, most: int) -> Tested:
    """The exact test of one column. `first` permutations, and `most` where p may be small, as `permutation_tests`."""
    p, q, features = _cells(pair, rng)
    p, q = _thinned(p, q, rng)
    n, total = int(p.sum()), int((p + q).sum())
    if min(n, total - n) == 0 or not features.shape[1]:
        return Tested(1.0, 0.0, first)
    features = features - (p + q) @ features / total
    observed, reached, done = _squared(p @ features), 0, 0
    for stage in sorted({first, most}):
        if done and reached >= GO_ON:
            break
        while done < stage:
            size = min(_BATCH, stage - done)
            drawn = rng.multivariate_hypergeometric(p + q, n, size=size, method="marginals")
            reached += int((_squared(drawn @ features) >= observed * (1 - TIES)).sum())
            done += size
    return Tested((1 + reached) / (1 + done), float(observed * total / (n * (total - n))), done)


def _squared(x: Float[np.ndarray, "... k"]) -> np.ndarray:
    return np.sum(x * x, axis=-1)


def _thinned(
    p: Int[np.ndarray, " c"], q: Int[np.ndarray, " c"], rng: np.random.Generator
) -> tuple[Int[np.ndarray, " c"], Int[np.ndarray, " c"]]:
    """Each row kept with one probability, whatever its label, where NumPy cannot draw among all."""
    total = int(p.sum()) + int(q.sum())
    if total <= MOST_TOTAL:
        return p, q
    return rng.binomial(p, MOST_TOTAL / total), rng.binomial(q, MOST_TOTAL / total)


def _cells(pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Features]:
    """The rows of either table in each cell, and the whitened features of the cells."""
    levels, states = pair.levels[0], len(STATES) - 1
    size = len(levels) + states
    p, q = (row_counts(code, part.count, size) for code, part in zip(codes(pair), (pair.p, pair.q), strict=True))
    if pair.read_as == "labels" and len(levels) > MOST_VALUES:  # the others have no feature of their own
        order = np.argsort(-(p + q)[: len(levels)], kind="stable")
        p, q = (np.array([*x[order[:MOST_VALUES]], x[order[MOST_VALUES:]].sum(), *x[-states:]]) for x in (p, q))
        levels = levels[: MOST_VALUES + 1]
    total = p + q
    scores = _scores(pair, levels, total[: len(levels)])
    features = _whitened(scores, _indicators(pair, len(levels), total), total, rng)
    cell = _cell_of(scores, features, pair.table)
    used = np.unique(cell[total > 0])
    cell = np.searchsorted(used, cell)
    cell[total == 0] = 0
    of_p, of_q, all_rows = (row_counts(cell, each, len(used)) for each in (p, q, total))
    sums = np.zeros((len(used), features.shape[1]))
    np.add.at(sums, cell, features * total[:, None])
    return of_p, of_q, sums / all_rows[:, None]


def _cell_of(scores: Features, features: Features, table: bool) -> Int[np.ndarray, " entries"]:
    """Measurements by normal score; entries with the same features are one cell; each state is its own."""
    states = len(STATES) - 1
    if table or not scores.shape[1]:
        _, cell = np.unique(features, axis=0, return_inverse=True)
        return cell.reshape(-1)
    place = np.floor(scores[:-states, 0] / WIDTH).astype(np.int64)
    return np.append(place, place.max(initial=0) + 1 + np.arange(states))


def _scores(pair: Pair, levels: np.ndarray, count: Int[np.ndarray, " levels"]) -> Features:
    """Normal scores and scaled values of the levels, 0 for the states; without columns for labels."""
    states = len(STATES) - 1
    if pair.read_as == "labels" or not count.any():
        return np.zeros((len(levels) + states, 0))
    values = levels.astype(np.float64)
    unit = np.abs(values).max() or 1.0  # differences of the largest numbers would overflow
    low, middle, high = quantiles(values / unit, count, [0.25, 0.5, 0.75])
    away = values / unit - middle
    spread = (high - low) / NORMAL_IQR or np.sqrt(np.average(away**2, weights=count)) or 1.0
    rank = ndtri((np.cumsum(count) - count / 2) / count.sum())
    found = np.stack([rank, np.clip(away / spread, -CLIP, CLIP)], 1)
    return np.concatenate([found, np.zeros((states, 2))])


def _indicators(pair: Pair, levels: int, total: Int[np.ndarray, " entries"]) -> Features:
    """Indicators of the frequent levels of a table, and of the states that occur."""
    chosen = [at for at in range(levels, len(total)) if total[at]]
    if pair.table:
        order = np.argsort(-total[:levels], kind="stable")[:MOST_VALUES]
        chosen = [at for at in order if total[at] >= RARE] + chosen
    return (np.arange(len(total))[:, None] == np.array(chosen, np.int64)).astype(np.float64)


def _whitened(
    scores: Features, indicators: Features, total: Int[np.ndarray, " entries"], rng: np.random.Generator
) -> Features:
    """The features as those of rows are whitened, by their covariance in rows drawn by the counts."""
    drawn = rng.choice(len(total), COVARIANCE_ROWS, p=total / total.sum())
    made = []
    for stored, expand in ((np.hstack([scores, indicators]), None), (scores, products)):
        if stored.shape[1]:
            fitted = block(stored[drawn], rng) if expand is None else block(stored[drawn], rng, expand)
            made.append(replace(fitted, stored=stored).whitened(slice(None)))
    return np.hstack(made) if made else np.zeros((len(total), 0))
