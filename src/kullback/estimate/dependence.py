"""Whether the rows of a sample depend on those before them, as in a time series or a Markov chain, and on how many.

A mean over n dependent rows varies as that over n/τ independent ones, τ = 1 + 2 Σ ρ(k) being the autocorrelation time.
It is the largest of those of the columns' normal scores, which no monotone change of a column alters, of their sizes,
whose dependence is that of a changing spread, and of indicators of labels.

Dependence is looked for within windows of a few rows, about whose means ρ(k) is taken: rows that are grouped, or whose
mean drifts, show none there, but for the windows in which a group begins: the fifth with the largest is left out. An
order that sorts a column is not one in time. The null law of ρ(k) is that of a
permuted order, about normal with variance 1/n; the false alarms for independent rows are at most one in 10⁴, by
Bonferroni over lags, columns and samples.
Source: Geyer (1992), Statistical Science 7(4), for the initial monotone sequence, as NumPyro's diagnostics sum it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from numpyro.diagnostics import effective_sample_size
from scipy.special import ndtri
from scipy.stats import norm, rankdata

from kullback.estimate.rows import Rows

FALSE_ALARMS = 1e-4
_WINDOW, _FEWEST_WINDOWS, _MOST_WINDOWS = 50, 3, 400
_STEPS = 0.2  # the share of the windows that may have a step
_OF_TRIMMED = 1.35  # the variance of a trimmed mean over that of the mean: 1.35 for three normal terms, 1.1 for many
_LAGS = (1, 2, 4, 8)
_MOST_COLUMNS, _MOST_LABELS = 100, 10
_EVEN, _MOST_EXCESS, _FEWEST_REPEATS = 1e-6, 0.1, 30
_MOST_ROWS = _WINDOW * _MOST_WINDOWS
# The mean that is taken off a sample lowers ρ(k) at the 3 τ/2 lags that count by τ/n each.
_LOWERED, _MOST_LOWERED = 3.0, 0.75


def dependence(rows: Rows) -> int:
    """How many rows one after another make a block that is about independent of the others; 1 for independent rows."""
    return in_order(rows, None).block


def in_order(rows: Rows, block: int | None, among: Rows | None = None) -> Rows:
    """Rows with the length of their blocks and their autocorrelation time.

    block  what the caller says of the length: 1 for rows whose order means nothing; None to look for it
    among  the same rows without columns that say when a row was measured; None for these
    """
    if block == 1:
        return rows
    among = among or rows
    if block is not None:
        columns = np.concatenate([_columns(among, len(rows)), _indicators(among.cell)], 1)
        time = max([1.0, *(_time_of_blocks(column, block) for column in columns.T)])
        return replace(rows, block=block, time=time)
    columns, labels = _columns(among, _MOST_ROWS), _indicators(among.cell[:_MOST_ROWS])
    if not (_is_dependent(columns) or _repeats(among.cell[:_MOST_ROWS])):
        return rows
    time = max([1.0, *(_time(column) for column in np.concatenate([columns, labels], 1).T)])
    # Five folds of blocks are the fewest, whatever the time.
    return replace(rows, block=max(2, min(round(2.0 * time), len(rows) // 5)), time=time) if time > 1.0 else rows


def apart(rows: Rows) -> Rows:
    """Every τ-th row, about independent of each other, as long as twenty are left."""
    step = int(min(np.ceil(rows.time), len(rows) // 20))
    if step <= 1:
        return rows
    return replace(rows.take(np.arange(0, len(rows), step)), block=1, time=max(1.0, rows.time / step))


def bias_of_cells(*samples: Rows) -> float:
    """(K − 1)/2 Σ (τ − 1)/n: by how much more than independent rows dependent ones raise a divergence of K cells."""
    cells = len(np.unique(np.concatenate([rows.cell for rows in samples])))
    return 0.5 * (cells - 1) * sum((rows.time - 1.0) / len(rows) for rows in samples)


def on_dependence(name: str, rows: Rows) -> list[str]:
    """The remark on rows that depend on each other."""
    if rows.block == 1:
        return []
    return [
        f"the {len(rows):,} rows of {name} depend on those before them and count as about "
        f"{len(rows) / rows.time:.2g} independent ones: folds of blocks of {rows.block:,} rows, and the standard error "
        "by as many (block=1 says that their order means nothing)"
    ]


def _columns(rows: Rows, most: int) -> Float[np.ndarray, "n c"]:
    """Normal scores of the first rows, and their sizes; none of rows that a column sorts."""
    point = rows.point[:most, :_MOST_COLUMNS]
    steps = np.diff(point, axis=0)
    sorting = ((steps >= 0).all(0) | (steps <= 0).all(0)) & (steps != 0).any(0)
    even = np.ptp(steps, axis=0) <= _EVEN * np.abs(steps).mean(0) if len(steps) else sorting
    if (sorting & ~even).any():
        return np.zeros((len(point), 0))
    point = point[:, ~(sorting & even)]  # the time itself, or a running number
    normal = ndtri((rankdata(point, axis=0) - 0.5) / max(len(point), 1))
    found = np.concatenate([normal, np.abs(normal)], 1)
    varied = found[:, np.ptp(found, axis=0) > _EVEN / max(len(found), 1)]  # the sizes of two values are one to rounding
    # Products of rare values are no normal sum: their excess is the square of the kurtosis over n.
    z = (varied - varied.mean(0)) / varied.std(0)
    return varied[:, (z**4).mean(0) ** 2 <= _MOST_EXCESS * len(z)]


def _indicators(cell: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n l"]:
    """A column for each of the most frequent labels; none of rows that are sorted or grouped by label."""
    labels, counts = np.unique(cell, return_counts=True)
    if _is_grouped(cell, len(labels)):
        return np.zeros((len(cell), 0))
    return (cell[:, None] == labels[np.argsort(-counts, kind="stable")[:_MOST_LABELS]]).astype(np.float64)


def _is_grouped(cell: Int[np.ndarray, " n"], labels: int) -> bool:
    return labels == 1 or int(np.count_nonzero(np.diff(cell))) < labels


def _repeats(cell: Int[np.ndarray, " n"]) -> bool:
    """Whether labels follow themselves more often than independent ones would.

    With s_k = Σ pᵏ over their shares p, the rows that do so have the mean n s₂ and at most the variance
    n (s₂ − s₂² + 2 (s₃ − s₂²)).
    """
    labels, counts = np.unique(cell, return_counts=True)
    n, share = len(cell), counts / max(len(cell), 1)
    twice, thrice = (share**2).sum(), (share**3).sum()
    if n < _FEWEST_WINDOWS * _WINDOW or n * twice < _FEWEST_REPEATS or _is_grouped(cell, len(labels)):
        return False
    variance = n * (twice - twice**2 + 2.0 * (thrice - twice**2))
    return bool(np.count_nonzero(np.diff(cell) == 0) - n * twice > norm.isf(FALSE_ALARMS / 2.0) * np.sqrt(variance))


def _is_dependent(columns: Float[np.ndarray, "n c"]) -> bool:
    windows = min(len(columns) // _WINDOW, _MOST_WINDOWS)
    if windows < _FEWEST_WINDOWS or columns.shape[1] == 0:
        return False
    x = columns[: windows * _WINDOW].reshape(windows, _WINDOW, -1)
    x = x - x.mean(1)[:, None]
    together = np.array([(x[:, lag:] * x[:, :-lag]).sum(1) for lag in range(1, max(_LAGS) + 1)])
    with np.errstate(invalid="ignore", divide="ignore"):
        summed = np.stack([together[:lags].sum(0) / np.sqrt(lags) for lags in _LAGS]) / (x**2).sum(1)
    # A window in which a group begins has a step, whatever the rows are: the fifth with the largest is left out.
    cut = int(np.ceil(_STEPS * windows))
    middle = np.sort(np.nan_to_num(summed), axis=1)[:, cut : windows - cut].mean(1)
    beyond = float(norm.isf(FALSE_ALARMS / (2.0 * len(_LAGS) * x.shape[2])))
    return bool((middle * np.sqrt(windows * _WINDOW / _OF_TRIMMED) > beyond).any())


def _time(column: Float[np.ndarray, " n"]) -> float:
    """τ of a column, at least 1."""
    n = len(column)
    time = n / float(effective_sample_size(column[None]))
    return max(1.0, time / (1.0 - min(_LOWERED * time / n, _MOST_LOWERED)))


def _time_of_blocks(column: Float[np.ndarray, " n"], block: int) -> float:
    """By how much the mean of a block varies more than that of as many independent rows would."""
    count = len(column) // block
    if count < 2:
        return float(len(column))
    means = column[: count * block].reshape(count, block).mean(1)
    return float(block * means.var(ddof=1) / column.var())
