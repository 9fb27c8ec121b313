"""Features that do not depend on the labels of the rows: what the permutation test compares the means of.

A measured column gives its normal scores, Φ⁻¹((rank − ½)/N) with ranks in both samples together, which no outlier can
dominate, and its values in units of the pooled interquartile range, clipped at ±12, which see outliers. A column of
frequencies gives an indicator for each value that is not rare, and a numeric one its scores as well; each state that is
not finite (missing, ±∞) has an indicator. Products of two features see scales and relations.

Features are whitened by their pooled covariance in two blocks, the features and their products. A block of k whitened
features enters with weight k^(−½) in the statistic, so that its variance where nothing changed is that of the other
block however many features it has: many products do not hide a shift of one column.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

from kullback.drifting.pairs import FINITE, Pair

CLIP = 12.0
RARE = 5  # rows of both samples; rarer values of a column are one value
MOST_VALUES, MOST_VALUES_TOGETHER = 64, 8
MOST_MULTIPLIED = 32  # features of which all products are taken
SMALLEST_EIGENVALUE = 1e-3
ROWS_A_FEATURE = 4
COVARIANCE_ROWS = 20_000
NORMAL_IQR = 1.3489795  # the interquartile range of a standard normal


class Stream(enum.IntEnum):
    """The streams of `Request.host_rng`, one for each use, so that none depends on what else was computed."""

    FEATURES = 40
    PERMUTATIONS = 41
    SCORES = 42
    RELATIONS = 43
    ORDERS = 44
    SERIES = 45
    ROWS = 46
    ENGINE = 47


Features = Float[np.ndarray, "rows k"]
Expand = Callable[[Features], Features]


@dataclass(frozen=True)
class Block:
    """Features as a function of stored ones: `expand(stored)` is [rows, k], whitened by `mean` and `matrix`."""

    stored: Features
    expand: Expand
    mean: Float[np.ndarray, " k"]
    matrix: Float[np.ndarray, "k r"]

    @property
    def size(self) -> int:
        return self.matrix.shape[1]

    def whitened(self, rows: Int[np.ndarray, " n"] | slice) -> Features:
        """The features of some rows, centred where the covariance was estimated, times k^(−¼)."""
        return (self.expand(self.stored[rows]) - self.mean) @ self.matrix


def column_blocks(pair: Pair, rng: np.random.Generator) -> tuple[Block, ...]:
    """The features of one column, and their products."""
    scores, indicators = score_features(pair), indicator_features(pair, MOST_VALUES)
    blocks = [block(np.hstack([scores, indicators]), rng)]
    if scores.shape[1]:
        blocks.append(block(scores, rng, products))
    return tuple(each for each in blocks if each.size)


def joint_blocks(pairs: Sequence[Pair], rng: np.random.Generator) -> tuple[Block, ...]:
    """The features of all columns, and the products of all of them, or of fewer where they are many.

    Above 32 features the products are those of one feature a column, its normal scores or the indicator of its most
    frequent value; above 32 columns, those of 32 orthonormal combinations of the whitened features, drawn at random.
    """
    parts = [
        np.hstack([score_features(pair), indicator_features(pair, MOST_VALUES_TOGETHER)]).astype(np.float32)
        for pair in pairs
    ]
    linear = block(np.hstack(parts), rng)
    if not linear.size:
        return ()
    return linear, block(_multiplied(parts, linear, rng), rng, products)


def _multiplied(parts: list[np.ndarray], linear: Block, rng: np.random.Generator) -> Features:
    every = linear.stored
    if every.shape[1] <= MOST_MULTIPLIED:
        return every
    if len(parts) <= MOST_MULTIPLIED:
        return np.hstack([part[:, :1] for part in parts])
    rotation, _ = np.linalg.qr(rng.normal(size=(linear.size, min(linear.size, MOST_MULTIPLIED))))
    return linear.whitened(slice(None)) @ rotation * linear.size**0.25


def products(x: Features) -> Features:
    """All products xᵢ xⱼ, i ≤ j."""
    first, second = np.triu_indices(x.shape[1])
    return x[:, first] * x[:, second]


def score_features(pair: Pair) -> Features:
    """Normal scores and scaled values [rows, 2] of the finite rows, 0 elsewhere; [rows, 0] for labels."""
    finite, values = pair.states == FINITE, pair.pooled
    if pair.read_as == "labels" or len(values) == 0:
        return np.zeros((len(finite), 0))
    features = np.zeros((len(finite), 2))
    features[finite, 0] = ndtri((rankdata(values) - 0.5) / len(values))
    features[finite, 1] = np.clip(in_units_of_spread(values), -CLIP, CLIP)
    return features


def in_units_of_spread(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """(x − median) in units of the interquartile range, 1.349 of them for a normal's standard deviation."""
    scaled = values.astype(np.float64)
    scaled = scaled / (np.abs(scaled).max() or 1.0)  # differences of the largest numbers would overflow
    scaled -= np.median(scaled)
    low, high = np.quantile(scaled, [0.25, 0.75])
    return scaled / ((high - low) / NORMAL_IQR or scaled.std() or 1.0)


def indicator_features(pair: Pair, most: int) -> Features:
    """Indicators of the most frequent values of a column of frequencies, and of every state that is not finite."""
    states = pair.states
    found = [states == state for state in np.unique(states) if state != FINITE]
    if pair.table and len(pair.pooled):
        codes = pair.levels[1]
        counts = np.bincount(codes)
        frequent = [code for code in np.argsort(-counts, kind="stable")[:most] if counts[code] >= RARE]
        row_codes = np.full(len(states), -1)
        row_codes[states == FINITE] = codes
        found = [row_codes == code for code in frequent] + found
    return np.stack(found, 1).astype(np.float64) if found else np.zeros((len(states), 0))


def _same(x: Features) -> Features:
    return x


def block(stored: Features, rng: np.random.Generator, expand: Expand = _same) -> Block:
    """Features whitened by their covariance in rows of both samples, of which at most 20,000 are drawn for it.

    Each is first divided by its standard deviation, so that units do not decide which directions are dropped; those are
    the eigenvectors whose eigenvalue is below 10⁻³ of the largest. At most a quarter as many as rows are kept: with as
    many as rows all rows are equally far apart, and no permutation differs from another.
    """
    rows = slice(None) if len(stored) <= COVARIANCE_ROWS else rng.choice(len(stored), COVARIANCE_ROWS, replace=False)
    features = expand(np.asarray(stored[rows], np.float64))
    mean, deviation = features.mean(0), features.std(0)
    varies = deviation > 1e-9 * np.abs(features).max(0, initial=0.0)
    if not varies.any():
        return Block(stored, expand, mean, np.zeros((len(mean), 0)))
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    standardised = ((features - mean) * scale)[:, varies]
    eigenvalues, vectors = np.linalg.eigh(standardised.T @ standardised / len(standardised))
    kept = eigenvalues > SMALLEST_EIGENVALUE * eigenvalues[-1]
    kept[: -max(1, len(stored) // ROWS_A_FEATURE)] = False
    matrix = np.zeros((len(mean), int(kept.sum())))
    matrix[varies] = vectors[:, kept] / np.sqrt(eigenvalues[kept]) * int(kept.sum()) ** -0.25
    return Block(stored, expand, mean, scale[:, None] * matrix)
