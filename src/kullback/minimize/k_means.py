"""Clusters to start a mixture from: k-means++ and Lloyd's steps, on the host."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_STEPS = 100


def k_means(
    rows: Float[np.ndarray, "n d"], w: Float[np.ndarray, " n"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """The cluster of each row: a local minimum of Σ w ‖y − centre‖² over at most `count` centres.

    The starts are those of k-means++ (Arthur and Vassilvitskii 2007), of which each is the best of a few that were
    drawn (their section 5, as scikit-learn does): a single draw leaves clusters without a centre too often. Then
    Lloyd's steps (1982) until no row changes its cluster. A centre that has lost its rows stays where it is.
    """
    centres = _plus_plus(rows, w, count, rng)
    labels = _nearest(rows, centres)
    for _ in range(_STEPS):
        mass = np.bincount(labels, w, len(centres))
        sums = np.stack([np.bincount(labels, w * column, len(centres)) for column in rows.T], 1)
        centres = np.where(mass[:, None] > 0, sums / np.where(mass > 0, mass, 1.0)[:, None], centres)
        before, labels = labels, _nearest(rows, centres)
        if (labels == before).all():
            break
    return labels


def _plus_plus(rows: np.ndarray, w: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    centres = [rows[rng.choice(len(rows), p=w)]]
    nearest = np.square(rows - centres[0]).sum(1)
    for _ in range(1, count):
        mass = w * nearest
        if not mass.sum() > 0:  # every value has its centre
            break
        drawn = rows[rng.choice(len(rows), 2 + int(np.log(count)), p=mass / mass.sum())]
        each = np.minimum(nearest[:, None], _squares(rows, drawn))
        best = int(np.argmin(w @ each))
        centres.append(drawn[best])
        nearest = each[:, best]
    return np.stack(centres)


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.argmin(0.5 * np.square(centres).sum(1) - rows @ centres.T, 1)


def _squares(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances [n, k]."""
    return np.stack([np.square(rows - centre).sum(1) for centre in centres], 1)
