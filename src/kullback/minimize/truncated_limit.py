"""Regressions of truncated normal outcomes whose likelihood runs to a limit law.

Let loc = a + c² (l − a) and scale = c s, for an anchor a: an end of the support, or its middle. As c grows the law
tends to the exponential law on the support with the rate (a − l)/s², and both parameters stay affine functions of the
network's outputs. Where outcomes cost no more at such parameters than at those that were found, and so at every input,
the best member is that limit, which no parameters attain.
Source: del Castillo (1994), The singly truncated normal distribution: a non-steep exponential family.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from kullback.distributions import TruncatedNormal

_FURTHER = 30.0  # times the scale


def exponential_limit(q: Any, x: Any, y: np.ndarray, weights: Float[np.ndarray, " n"]) -> str:
    """What to say of a fitted conditional q of truncated normals where its limit law is as good; else nothing."""
    if q.structure.form.cls is not TruncatedNormal or q.structure.components or q.members > 1:
        return ""
    if set(q.structure.form.names) != {"loc", "scale"}:
        return ""
    here, further = (weights / weights.sum()) @ np.asarray(q.evaluate(_here_and_further, x, y), np.float64)
    if not further <= here:
        return ""
    return (
        "the best member is nearly the limit law, exponential on the support at every input, as loc goes away from it "
        f"and scale to ∞, which no parameters attain: it costs {here - further:.2g} nats a row less than the "
        "parameters returned; take a family with that law, such as dist.Exponential"
    )


def _here_and_further(d: Any, y: Array) -> Float[Array, "n 2"]:
    """−log q of the outcomes at the parameters, and at those further towards the limit."""
    base: Any = d.base_dist if isinstance(d, dist.Independent) else d
    loc, low, high = jnp.asarray(base.loc), base.low, base.high
    ends = [jnp.asarray(end) for end in (low, high) if end is not None]
    anchor = jnp.mean(jnp.stack(ends), 0) if ends else loc
    away = TruncatedNormal(anchor + _FURTHER**2 * (loc - anchor), _FURTHER * base.scale, low, high, validate_args=False)
    losses = [-law.log_prob(y) for law in (base, away)]
    return jnp.stack([each.reshape(each.shape[0], -1).sum(-1) for each in losses], -1)
