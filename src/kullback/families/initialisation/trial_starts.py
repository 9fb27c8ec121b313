"""Where to start with counts of labels: the average shares of the labels, whatever the totals are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kullback.families.initialisation.location_scale import Hints

LEAST_SHARE = 1e-6  # of a label that never came


def trials(hints: Hints, fixed: Mapping[str, Any]) -> dict[str, Any]:
    total = hints.mean.sum(-1, keepdims=True)
    share = np.maximum(hints.mean / np.where(total > 0, total, 1.0), LEAST_SHARE)
    share = share / share.sum(-1, keepdims=True)
    return {"logits": np.log(share), "probs": share}


def binomial_given_total(hints: Hints, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The logit of a success, the first of two labels."""
    return {"logits": np.subtract(*trials(hints, fixed)["logits"])}
