"""Starts near the limit laws of a family, where its likelihood has optima that no start in the middle leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kullback.families.initialisation.location_scale import Hints

_FAR, _NARROW = 50.0, 0.05
_EULER = 0.5772156649015329


def _power_law(hints: Hints) -> dict[str, Any]:
    """Dagum's law with sharpness → ∞ and concentration times sharpness = c: that ∝ x^(c − 1) up to the scale."""
    mean, _ = hints.logs
    assert hints.rows is not None
    most = hints.rows.max(0)
    c = 1.0 / np.maximum(np.log(most) - mean, _NARROW)
    return {"concentration": 1.0 / _FAR, "sharpness": _FAR * c, "scale": most}


def _frechet(hints: Hints) -> dict[str, Any]:
    """Dagum's law with concentration → ∞: Fréchet's, by which −log x is a Gumbel law."""
    mean, spread = hints.logs
    width = np.sqrt(6.0) * np.maximum(spread, _NARROW) / np.pi
    return {
        "concentration": _FAR,
        "sharpness": 1.0 / width,
        "scale": np.exp(mean - _EULER * width - width * np.log(_FAR)),
    }


LIMIT_STARTS: dict[str, tuple[Callable[[Hints], dict[str, Any]], ...]] = {"Dagum": (_power_law, _frechet)}
