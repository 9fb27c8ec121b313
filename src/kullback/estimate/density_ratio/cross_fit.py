"""Cross-fitting: each row is scored by a model that was fitted without it, and the scores are stacked likewise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from kullback.estimate.density_ratio.features import Features
from kullback.estimate.rows import FEWEST_COPIES, Rows, keys_of

FOLDS = 5
MOST_FITTED = 10_000  # rows of each sample that the models are fitted to; all rows are scored
_CHUNK = 65_536


@dataclass(frozen=True)
class Labelled:
    """The rows of two samples, those of P first, with what cross-fitting needs.

    of_p    whether a row is of P's sample
    weight  how much a row counts, of mean 1 in each sample and equal sums in each cell; None for equally
    fold    the fold that a row is scored in, by a model of the others
    fitted  whether models may be fitted to a row
    """

    features: Features
    of_p: Bool[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None
    fold: Int[np.ndarray, " n"]
    fitted: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, p: Rows, q: Rows, rng: np.random.Generator) -> Labelled:
        """Folds and fitted rows are drawn within each sample; the rows of Q in a cell count as P's rows do there."""
        parts = [_shuffled(side, rng) for side in (p, q)]
        fold, fitted = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
        # A model that saw a copy of a row, of either sample, saw the row; an atom has more copies than that.
        keys = np.concatenate([keys_of(p), keys_of(q)])
        _, first, label, copies = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        fold = np.where(copies[label] < FEWEST_COPIES, fold[first][label], fold)
        cell = np.concatenate([p.cell, q.cell])
        return cls(
            features=Features.of(np.concatenate([p.point, q.point]), cell),
            of_p=np.arange(len(fold)) < len(p),
            weight=balanced_weights(p, q),
            fold=fold,
            fitted=fitted,
        )

    def __len__(self) -> int:
        return len(self.fold)

    @property
    def prior(self) -> float:
        """log n/m: the log-odds of a row whose features say nothing."""
        n = int(self.of_p.sum())
        return float(np.log(n) - np.log(len(self) - n))

    @property
    def sign(self) -> Float[np.ndarray, " n"]:
        return np.where(self.of_p, 1.0, -1.0)

    def flipped(self, order: Int[np.ndarray, " n"]) -> Labelled:
        """The rows in another order, those of Q's sample labelled as P's."""
        weight = None if self.weight is None else self.weight[order]
        return Labelled(self.features.take(order), ~self.of_p[order], weight, self.fold[order], self.fitted[order])

    def splits(self) -> Iterator[tuple[Training, Int[np.ndarray, " m"]]]:
        """For each fold the rows that models are fitted to, and the rows that they score."""
        for fold in range(FOLDS):
            inside = self.fold == fold
            yield self.training(~inside & self.fitted), np.flatnonzero(inside)

    def training(self, rows: Bool[np.ndarray, " n"]) -> Training:
        return Training(self.features.take(rows), self.of_p[rows], None if self.weight is None else self.weight[rows])


def balanced_weights(p: Rows, q: Rows) -> Float[np.ndarray, " n"] | None:
    """The weights of the rows of P, and of those of Q times P(c)/Q(c), c being the row's cell.

    Rows of a cell that the other sample lacks have weight 0. None where all are equal.
    """
    of_p, of_q = (np.ones(len(side)) if side.weight is None else side.weight for side in (p, q))
    cells, place = np.unique(np.concatenate([p.cell, q.cell]), return_inverse=True)
    in_p, in_q = place[: len(p)], place[len(p) :]
    total_p, total_q = np.bincount(in_p, of_p, len(cells)), np.bincount(in_q, of_q, len(cells))
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(total_q > 0, total_p / total_q, 0.0)
    of_p, of_q = of_p * (total_q > 0)[in_p], of_q * wanted[in_q]
    if len(cells) == 1 and np.ptp(of_p) == 0 and np.ptp(of_q) == 0:
        return None
    return np.concatenate([side / side.mean() if side.any() else side for side in (of_p, of_q)])


def _shuffled(rows: Rows, rng: np.random.Generator) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The fold of each row, that of its block where rows depend on each other, and whether models are fitted to it."""
    order = rng.permutation(len(rows))
    if rows.block == 1:
        return order % FOLDS, order < MOST_FITTED
    return folds_of(rows, rng), order < MOST_FITTED


def folds_of(rows: Rows, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A fold for each row, the same for those of a block."""
    blocks = max(FOLDS, len(rows) // rows.block)
    fold = rng.permutation(blocks) % FOLDS
    return fold[np.arange(len(rows)) * blocks // len(rows)]


@dataclass(frozen=True)
class Training:
    """The rows that a model is fitted to; `of_p` are its labels."""

    features: Features
    of_p: Bool[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None


# A fitted model: features of rows -> log-odds of P against Q [n], or one column for each of several settings [n, s].
Model = Callable[[Features], np.ndarray]


def held_out(rows: Labelled, fit: Callable[[Training], Model]) -> np.ndarray:
    """The log-odds of each row by the model of the other folds [n], or [n, s]."""
    found: np.ndarray | None = None
    for training, inside in rows.splits():
        model = fit(training)
        for start in range(0, len(inside), _CHUNK):
            chunk = inside[start : start + _CHUNK]
            odds = model(rows.features.take(chunk))
            if found is None:
                found = np.empty((len(rows), *odds.shape[1:]))
            found[chunk] = odds
    assert found is not None
    return found


def best_of(rows: Labelled, odds: Float[np.ndarray, "n s"]) -> Float[np.ndarray, " n"]:
    """For each fold, the column with the least log loss on the others."""
    loss = np.logaddexp(0.0, -odds * rows.sign[:, None])
    if rows.weight is not None:
        loss = loss * rows.weight[:, None]
    total = np.stack([loss[rows.fold == fold].sum(0) for fold in range(FOLDS)])
    best = np.argmin(total.sum(0) - total, axis=1)
    return odds[np.arange(len(rows)), best[rows.fold]]


def stacked(rows: Labelled, scores: Sequence[Float[np.ndarray, " n"]]) -> Float[np.ndarray, " n"]:
    """g = a + Σ wᵢ sᵢ with w ≥ 0 for each fold, by the least Σ log loss + ½‖w − 1/J‖² on the others.

    The scores are log-odds; prior odds are taken off, and what is left is held within ±(log max(n, m) + 2), which is
    about what samples of n and m rows can tell.
    Source: Wolpert (1992), Neural Networks 5(2); Breiman (1996), Machine Learning 24(1), for weights that are not
    negative.
    """
    n = int(rows.of_p.sum())
    bound = np.log(max(n, len(rows) - n)) + 2.0
    s = np.clip(np.stack(scores, 1) - rows.prior, -bound, bound)
    g = np.empty(len(rows))
    for fold in range(FOLDS):
        inside = rows.fold == fold
        others = ~inside & rows.fitted
        w = _stacking_weights(s[others], rows.training(others), rows.prior)
        g[inside] = w[0] + s[inside] @ w[1:]
    return g


def _stacking_weights(s: Float[np.ndarray, "n j"], rows: Training, prior: float) -> Float[np.ndarray, " j+1"]:
    count = s.shape[1]
    sign, weight = np.where(rows.of_p, 1.0, -1.0), 1.0 if rows.weight is None else rows.weight

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (w[0] + s @ w[1:] + prior)
        slope = -sign * expit(-margin) * weight
        away = w[1:] - 1.0 / count
        value = (np.logaddexp(0.0, -margin) * weight).sum() + 0.5 * away @ away
        return value, np.append(slope.sum(), s.T @ slope + away)

    start = np.append(0.0, np.full(count, 1.0 / count))
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None)] + [(0.0, None)] * count).x
