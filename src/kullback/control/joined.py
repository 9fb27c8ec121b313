"""Several things as one input of a network: side by side, or as one label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kullback.families.dense import InputSizes


def side_by_side(sizes: Sequence[InputSizes], parts: Sequence[Any], xp: Any = np) -> Any:
    """Parts [n, ...] one beside another [n, width], in float32: labels as one among their number, arrays flattened.

    xp  `jax.numpy` inside a compiled program
    """
    rows = [
        part.reshape(len(part), -1) if size.labels is None else part[:, None] == np.arange(size.labels)
        for size, part in zip(sizes, parts, strict=True)
    ]
    return xp.concatenate([row.astype(np.float32) for row in rows], axis=-1)


def as_one_label(sizes: Sequence[InputSizes], parts: Sequence[Any]) -> Any:
    """Parts that are labels [n] as one: of s among S and g among G it is s · G + g."""
    label = parts[0].astype(np.int32)
    for size, part in zip(sizes[1:], parts[1:], strict=True):
        assert size.labels is not None
        label = label * size.labels + part.astype(np.int32)
    return label


def labels_among(sizes: Sequence[InputSizes]) -> int | None:
    """How many labels `as_one_label` tells apart; None where a part is no label."""
    counts = [size.labels for size in sizes if size.labels is not None]
    return math.prod(counts) if len(counts) == len(sizes) else None
