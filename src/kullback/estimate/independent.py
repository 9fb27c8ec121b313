"""Independent coordinates: a divergence of laws of vectors as the sum of those of their coordinates.

Source: Kullback and Leibler (1951), theorem 3.1.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import numpyro.distributions as dist

from kullback.distributions import Product
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.result import Estimate, Guarantee


def coordinates_of(p: Known, q: Known) -> list[tuple[Known, Known]] | None:
    """Pairs of sides whose divergences add up, where both sides have independent coordinates; else None.

    Those of `Independent` are one pair, with the coordinates as the last axes of its batch.
    """
    if p.inputs is not None or q.inputs is not None:
        return None
    one, other = p.distribution, q.distribution
    if _is_independent(one) and _is_independent(other) and one.event_shape == other.event_shape:
        return [(numpyro_distributions.known(one.base_dist), numpyro_distributions.known(other.base_dist))]
    if type(one) is not Product or type(other) is not Product:
        return None
    if [part.event_shape for part in one.parts] != [part.event_shape for part in other.parts]:
        return None
    return [
        (numpyro_distributions.known(a), numpyro_distributions.known(b))
        for a, b in zip(one.parts, other.parts, strict=True)
    ]


def _is_independent(d: Any) -> TypeGuard[dist.Independent]:
    return type(d) is dist.Independent and not d.base_dist.event_shape


def summed(parts: list[Estimate], batch: tuple[int, ...]) -> Estimate:
    """The sum of estimates by quadrature, over their axes beyond the batch as well."""
    total, error, panels = np.zeros(batch), 0.0, 0
    for part in parts:
        values = np.asarray(part.value, np.float64)
        own = values.ndim - len(batch)
        total = total + (values.sum(tuple(range(len(batch), values.ndim))) if own > 0 else values)
        error += part.diagnostics["numerical_error"] * max(1, values.size // max(1, total.size))
        panels += part.diagnostics["panels"]
    bound = any(part.guarantee is Guarantee.LOWER_BOUND for part in parts)
    reason = next((part.reason for part in parts if part.reason), "")
    return Estimate(
        total,
        guarantee=Guarantee.LOWER_BOUND if bound else Guarantee.EXACT,
        reason=reason,
        diagnostics={"numerical_error": error, "panels": panels},
    )
