"""What is known to be non-negative, and is computed as a difference of larger terms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def non_negative(value: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The value, with 0 for what is below it, which is rounding alone; the derivative is as it was.

    A divergence is non-negative, so that this only ever takes it closer to the truth.
    """
    return value + jax.lax.stop_gradient(jnp.maximum(-value, 0.0))
