"""Generalised advantage estimates over soft rewards: how much better what happened was than what was expected."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def advantages(
    reward: Float[Array, "t n"],
    value: Float[Array, "t n"],
    following: Float[Array, "t n"],
    terminated: Bool[Array, "t n"],
    over: Bool[Array, "t n"],
    valid: Bool[Array, "t n"],
    discount: Any,
    lam: Any,
) -> Float[Array, "t n"]:
    """A_t = Σ_k (γλ)ᵏ δ_{t+k} with δ_t = r_t − α KL_t + γ V(s_{t+1}) − V(s_t), up to the end of episode or block.

    reward      soft rewards r_t − α KL(π(·∣s_t)‖π₀(·∣s_t))
    value       V(s_t), the soft value, in which the KL of the step itself is counted
    following   V of the observation after the step and before any reset; not used where the episode terminated
    terminated  nothing is to come; `over`: the episode ended there, by itself or by a time limit
    valid       False for transitions that are not to be learned from; their advantage is 0

    V(s) = E_a[r − α KL + γ V(s′)], so that E_a[δ_t] = 0 at the true value. With λ = 1 the advantage is the soft return
    that followed, less a number that does not depend on the action: the KL of later steps is in it, and that of the
    step itself is a part of the baseline. Where a block ends inside an episode it is bootstrapped by `following`.
    Source: Schulman, Moritz, Levine, Jordan and Abbeel (2016), arXiv:1506.02438, equation 16.
    """
    ahead = jnp.where(terminated, 0.0, following)
    surprise = jnp.where(valid, reward + discount * ahead - value, 0.0)
    carried = jnp.where(over | ~valid, 0.0, discount * lam)

    def back(later: Any, now: Any) -> Any:
        delta, factor = now
        here = delta + factor * later
        return here, here

    return jax.lax.scan(back, jnp.zeros_like(value[0]), (surprise, carried), reverse=True)[1]
