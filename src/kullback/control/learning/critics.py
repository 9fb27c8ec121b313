"""Networks that hold values, as wide as the policy's; their units; and advantages over what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from kullback.control.envs.spaces import Actions, Observations
from kullback.control.learning.policy import RunningMoments
from kullback.families.conditional_structure import FARTHEST
from kullback.families.dense import Dense, InputSizes, Rows, SizedNetwork

DEFAULT_WIDTHS = (64, 64)


@dataclass(frozen=True)
class Critic:
    """A network of observations (labels or standardised), and of encoded actions if `action_width` is not 0. Hashable.

    Its outputs are values in units that the rule chooses.
    """

    network: SizedNetwork
    action_width: int = 0

    def init(self, rng: np.random.Generator) -> Any:
        """Parameters on the host."""
        return self.network.init(rng)

    def __call__(
        self,
        free: PyTree,
        scaling: Mapping[str, Any],
        observation: Shaped[Array | np.ndarray, "n ..."],
        action: jax.Array | None = None,
    ) -> jax.Array:
        """Values [n, outputs] at observations [n, ...], and encoded actions [n, action_width].

        scaling  a mapping with x_mean and x_scale, as a policy's fixed parameters have
        """
        if self.network.labels is not None and not self.action_width:
            return self.network.apply(free, observation)
        if self.network.labels is not None:
            seen = jax.nn.one_hot(observation, self.network.labels)
        else:
            seen = jnp.clip((observation - scaling["x_mean"]) / scaling["x_scale"], -FARTHEST, FARTHEST)
            seen = seen.reshape(seen.shape[0], -1)
        return self.network.apply(free, seen if action is None else jnp.concatenate([seen, action], -1))


def state_critic(policy: SizedNetwork, observations: Observations, outputs: int = 1) -> Critic:
    """A critic of observations: rows where the policy is a table, else layers as wide as the policy's."""
    if isinstance(policy, Rows):
        return Critic(Rows(policy.labels, outputs))
    return Critic(
        _dense(policy, InputSizes(observations.shape, observations.labels).width, outputs, observations.labels)
    )


def action_critic(policy: SizedNetwork, observations: Observations, actions: Actions) -> Critic:
    """A critic of observations and actions in a box."""
    action_width = int(np.prod(actions.shape))
    width = InputSizes(observations.shape, observations.labels).width
    return Critic(_dense(policy, width + action_width, 1, None), action_width)


def encode(actions: Actions, action: Shaped[Array, "n ..."]) -> jax.Array:
    """Actions in a box [n, *shape] as coordinates from −1 to 1 [n, width], whatever the environment's units."""
    low, high = actions.bounds
    return (2.0 * (action - low) / (high - low) - 1.0).reshape(action.shape[0], -1)


def _dense(policy: SizedNetwork, width: int, outputs: int, labels: int | None) -> Dense:
    hidden = policy.widths[1:-1] if isinstance(policy, Dense) and len(policy.widths) > 2 else DEFAULT_WIDTHS
    activation = policy.activation if isinstance(policy, Dense) else "silu"
    normalization = policy.normalization if isinstance(policy, Dense) else None
    return Dense((width, *hidden, outputs), activation, labels, normalization=normalization)


def in_units(critic: Any, old: RunningMoments, new: RunningMoments) -> Any:
    """The critic's last layer, such that old.mean + old.scale · output stays what it is in the new units.

    A critic that has seen nothing yet says the mean of the first block.
    Source: van Hasselt, Guez, Hessel, Mnih and Silver (2016), arXiv:1602.07714, proposition 1.
    """
    known = old.count > 0
    ratio = jnp.where(known, old.scale / new.scale, 1.0)
    shift = jnp.where(known, (old.mean - new.mean) / new.scale, 0.0)
    if not isinstance(critic, list):
        return ratio * critic + shift
    last = {**critic[-1], "weight": ratio * critic[-1]["weight"], "bias": ratio * critic[-1]["bias"] + shift}
    return [*critic[:-1], last]


def advantages(
    reward: Float[Array, "t n"],
    value: Float[Array, "t n"],
    following: Float[Array, "t n"],
    terminated: Bool[Array, "t n"],
    over: Bool[Array, "t n"],
    valid: Bool[Array, "t n"],
    discount: Float[Array, ""] | float,
    lam: Float[Array, ""] | float,
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

    def back(
        later: Float[Array, " n"], now: tuple[Float[Array, " n"], Float[Array, " n"]]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        delta, factor = now
        here = delta + factor * later
        return here, here

    return jax.lax.scan(back, jnp.zeros_like(value[0]), (surprise, carried), reverse=True)[1]


def less_others(advantage: Float[Array, "t n"], valid: Bool[Array, "t n"]) -> Float[Array, "t n"]:
    """Advantages less their mean in the other lanes, which knows nothing of a lane's own actions: a baseline."""
    each, count = jnp.sum(advantage, 0), jnp.sum(valid, 0)
    others = jnp.sum(count) - count
    mean = (jnp.sum(each) - each) / jnp.maximum(others, 1)
    return jnp.where(valid, advantage - mean, 0.0).astype(advantage.dtype)
