"""Regressions whose likelihood has no maximum, as the predicted scale goes to 0 at rows that the location goes through.

A model with as many coefficients as rows goes through all of them, and one with a scale of its own for each input needs
only some. Source: Day (1969), Estimating the components of a mixture of normal distributions, section 4, for mixtures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.initialisation.output_scaling import scales
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.result import Status

_NONE, _LITTLE, _FAR = 1e-7, 1e-3, 10.0  # of the outcomes' scale; the last in nats


def vanishing_scale(q: Any, data: Any, status: Status, value: float) -> str:
    """What to say of a fitted conditional q whose scale has gone to 0 at some rows of `data`; else nothing.

    status, value  how the descent ended, and the objective there: scales are looked at only where these are suspicious
    """
    structure = q.structure
    if not isinstance(structure, ConditionalStructure) or structure.components or q.members > 1:
        return ""
    if not scales(structure).any():
        return ""
    usual = mean_and_scale(np.asarray(data.y), data.weights)[1]
    if status is not Status.STEP_LIMIT and value > np.log(usual).sum() - _FAR:
        return ""
    found = (_scales(q.in_double(data.x)) / usual)[data.weights > 0]
    # Little noise is about the same everywhere, and where it is not 0 a descent ends.
    through_all = len(found) <= np.prod(np.shape(data.x)[1:]) + 1
    least = found.min() / (1.0 if through_all else np.median(found))
    if not (found.min() < _NONE or (status is Status.STEP_LIMIT and least < _LITTLE)):
        return ""
    return (
        f"the likelihood of these {len(data.y):,} rows grows without bound as the scale goes to 0 at some of them; "
        "pass more rows, or hold scale fixed"
    )


def _scales(d: Any) -> Float[np.ndarray, "n ..."]:
    base: Any = d.base_dist if isinstance(d, dist.Independent) else d
    if hasattr(base, "scale_tril"):
        return np.diagonal(np.asarray(base.scale_tril), axis1=-2, axis2=-1)
    return np.asarray(base.scale)
