"""The exact test: is ‖mean φ(x) − mean φ(y)‖² larger than under other assignments of the same labels to the rows?

Where both samples come from one distribution, every assignment of the n + m rows to the two samples is equally likely
given the rows, so p = (1 + #{permuted ≥ observed}) / (1 + permutations) has P(p ≤ α) ≤ α at every size of sample,
whatever the distribution and the features, as long as these do not depend on the labels. With features centred in both
samples together the statistic is proportional to ‖Σ φ(x)‖², and the sums of all permutations are a matrix product.

Many rows are first summed in groups of equal size, drawn within each sample, and the groups are permuted: a subgroup of
the permutations, and so exact as well, whose cost does not grow with the rows; all rows enter the statistic. Sums of
groups are also all that is needed of data that are not in memory.

Several tests share the permutations. Those for which fewer than 10 of the first ones reach the observed value go on to
more, so that an adjusted p-value of many tests can become small. Either stage is a permutation test, and the first
decides p only where it is above 10 / (1 + permutations), so that P(p ≤ α) ≤ α holds for the two together.

Source: Phipson and Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9(1), for the p-value;
Hemerik and Goeman (2018), TEST 27, theorem 2, for subgroups; Besag and Clifford (1991), Biometrika 78, for stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kullback.drifting.features import Block

GROUPS = 2048
LEAST_GROUPS = 50  # of the smaller sample
GO_ON = 10
TIES = 1e-9  # relative; two sums of the same numbers in another order are equal to rounding
_DENSE_GROUPS = 16_384
_BLOCK_NUMBERS = 2**22


@dataclass(frozen=True)
class Groups:
    """Rows in groups of `size`, those of the smaller sample first, and the rows of that sample that are in none."""

    rows: Int[np.ndarray, "groups size"]
    smaller: int
    rest: Int[np.ndarray, " r"]
    total: int

    @property
    def factor(self) -> float:
        """N/(n m), by which ‖Σ φ‖² over one sample becomes n m/N ‖mean φ(x) − mean φ(y)‖²."""
        n = self.smaller * self.rows.shape[1] + len(self.rest)
        return self.total / (n * (self.total - n))


def grouped(n: int, m: int, rng: np.random.Generator) -> Groups:
    """Groups of the n + m rows, which are numbered with those of the first sample first."""
    sides = sorted((np.arange(n), np.arange(n, n + m)), key=len)
    size = max(1, min(-(-(n + m) // GROUPS), len(sides[0]) // LEAST_GROUPS))
    shuffled = [rng.permutation(side) if size > 1 else side for side in sides]
    whole = [side[: len(side) // size * size].reshape(-1, size) for side in shuffled]
    return Groups(np.concatenate(whole), len(whole[0]), shuffled[0][whole[0].size :], n + m)


@dataclass(frozen=True)
class Sums:
    """Sums of centred features over each group, and over the rows of the smaller sample that are in no group."""

    groups: Float[np.ndarray, "groups k"]
    rest: Float[np.ndarray, " k"]


def group_sums(blocks: Sequence[Block], groups: Groups) -> Sums:
    """The features of one test, summed by groups; rows are expanded a part at a time."""
    parts = [_block_sums(each, groups) for each in blocks]
    if not parts:
        return Sums(np.zeros((len(groups.rows), 0)), np.zeros(0))
    return Sums(np.hstack([part.groups for part in parts]), np.concatenate([part.rest for part in parts]))


def _block_sums(block: Block, groups: Groups) -> Sums:
    size = groups.rows.shape[1]
    step = max(1, _BLOCK_NUMBERS // (size * max(1, len(block.mean))))
    sums = np.empty((len(groups.rows), block.size))
    for start in range(0, len(sums), step):
        rows = groups.rows[start : start + step]
        sums[start : start + step] = block.whitened(rows.ravel()).reshape(len(rows), size, -1).sum(1)
    inside = np.zeros(groups.total, bool)
    inside[groups.rows] = True
    others = block.whitened(np.setdiff1d(np.flatnonzero(~inside), groups.rest)).sum(0)
    rest = block.whitened(groups.rest).sum(0)
    mean = (sums.sum(0) + rest + others) / groups.total
    return Sums(sums - size * mean, rest - len(groups.rest) * mean)


@dataclass(frozen=True)
class Tested:
    """An exact p-value, the statistic n m/N ‖mean φ(x) − mean φ(y)‖², and the number of permutations that p is of."""

    p_value: float
    statistic: float
    permutations: int


def permutation_tests(
    tests: Sequence[Sums], groups: Groups, rng: np.random.Generator, permutations: int, most: Sequence[int]
) -> list[Tested]:
    """An exact p-value for each test.

    permutations  of the first stage
    most          of both stages together, for each test
    """
    observed = _observed(tests, groups)
    reached, done = np.zeros(len(tests), int), np.zeros(len(tests), int)
    for stage in sorted({permutations, *most}):
        going = [i for i in range(len(tests)) if done[i] < min(stage, most[i]) and (not done[i] or reached[i] < GO_ON)]
        if not going:
            continue
        more = stage - int(done[going[0]])
        reached[going] += _reaching([tests[i] for i in going], observed[going], groups, rng, more)
        done[going] = stage
    return [
        Tested((1 + int(r)) / (1 + int(d)), float(groups.factor * o), int(d))
        for r, d, o in zip(reached, done, observed, strict=True)
    ]


def control_limits(
    tests: Sequence[Sums], groups: Groups, rng: np.random.Generator, permutations: int, rate: float
) -> tuple[list[Tested], Float[np.ndarray, " t"]]:
    """Each test, and what its statistic exceeds with a probability of at most `rate` where nothing changed."""
    observed, permuted = _observed(tests, groups), _permuted(tests, groups, rng, permutations)
    reached = (permuted >= observed * (1 - TIES)).sum(0)
    allowed = int(rate * (1 + permutations)) - 1  # permuted values that may reach an observed one in an alarm
    limits = np.sort(permuted, axis=0)[permutations - 1 - allowed]
    tested = [
        Tested((1 + int(r)) / (1 + permutations), float(groups.factor * o), permutations)
        for r, o in zip(reached, observed, strict=True)
    ]
    return tested, groups.factor * limits


def _observed(tests: Sequence[Sums], groups: Groups) -> Float[np.ndarray, " t"]:
    return np.array([_squared(each.groups[: groups.smaller].sum(0) + each.rest) for each in tests])


def _squared(x: Float[np.ndarray, "... k"]) -> np.ndarray:
    return np.sum(x * x, axis=-1)


def _reaching(
    tests: Sequence[Sums], observed: Float[np.ndarray, " t"], groups: Groups, rng: np.random.Generator, count: int
) -> Int[np.ndarray, " t"]:
    """How many of `count` random permutations give each test at least the value observed, ties included."""
    return (_permuted(tests, groups, rng, count) >= observed * (1 - TIES)).sum(0)


def _permuted(
    tests: Sequence[Sums], groups: Groups, rng: np.random.Generator, count: int
) -> Float[np.ndarray, "count t"]:
    """‖Σ φ‖² of each test under random permutations, which the tests share."""
    features = np.hstack([each.groups for each in tests])
    rest = np.concatenate([each.rest for each in tests])
    ends = np.cumsum([len(each.rest) for each in tests])[:-1]
    found = np.empty((count, len(tests)))
    step = max(1, _BLOCK_NUMBERS // max(len(groups.rows), features.shape[1]))
    for start in range(0, count, step):
        size = min(step, count - start)
        sums = _permuted_sums(features, groups.smaller, rng, size) + rest
        for i, part in enumerate(np.split(sums, ends, axis=1)):
            found[start : start + size, i] = _squared(part)
    return found


def _permuted_sums(
    features: Float[np.ndarray, "groups k"], size: int, rng: np.random.Generator, count: int
) -> Float[np.ndarray, "count k"]:
    """The sums over `count` random sets of `size` groups."""
    total = len(features)
    if total > _DENSE_GROUPS:
        return np.stack([features[rng.choice(total, size, replace=False, shuffle=False)].sum(0) for _ in range(count)])
    chosen = np.zeros((count, total))
    chosen[:, :size] = 1.0
    return rng.permuted(chosen, axis=1) @ features
