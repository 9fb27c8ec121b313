"""What a conditional side asks of a rule whose values are batched: one set of inputs, and the mean over it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from kullback.estimate.batch import mean_over_inputs
from kullback.known import Known
from kullback.rule import Missing


def unequal_inputs(p: Known, q: Known) -> Missing | None:
    """Why two conditional sides cannot be compared: they stand at different inputs. None where they can."""
    if p.inputs is None or q.inputs is None or p.inputs is q.inputs or np.array_equal(p.inputs, q.inputs):
        return None
    return Missing("both sides are conditionals, at different inputs", "both sides at the same inputs")


def averaged(values: Any, p: Known, q: Known) -> Any:
    """The values [..., n, *rest] of a batch over n inputs as their mean; as they are where no side is conditional."""
    weights = mean_over_inputs(p, q)
    if weights is None:
        return values
    axis = jnp.ndim(values) - max(len(side.batch_shape) for side in (p, q) if side.inputs is not None)
    host = np.moveaxis(np.asarray(values), axis, 0)
    kept = weights > 0
    return np.tensordot(weights[kept], host[kept], axes=1)
