"""Outcomes and scores by rows: checks of shapes and weights, and weighted means."""

from __future__ import annotations

from typing import Any

import numpy as np

from kullback.errors import InputError
from kullback.known.columns import is_frame, numeric_frame
from kullback.known.samples import as_sample_array, as_weights


def outcomes(y: Any, shape: tuple[int, ...]) -> np.ndarray:
    """y as numbers of the shape of the predictions. Raises `InputError` for another shape, NaN or infinite values."""
    array = as_sample_array(numeric_frame(y, "y") if is_frame(y) else y, "y")
    if array.shape == (*shape, 1):
        array = array[..., 0]
    if array.shape != shape:
        raise InputError(f"y: shape {array.shape} for predictions of shape {shape}; pass one outcome for each")
    return array


def mean_of(scores: np.ndarray, sample_weight: Any = None) -> float:
    """The mean over rows [n, ...], by their weights [n] if there are any, and over outputs."""
    each = scores.reshape(len(scores), -1).mean(-1)
    weights = as_weights(sample_weight, len(each))
    return float(np.average(each, weights=weights))
