"""Networks that hold values: as wide as the policy's, with one number or one for each action at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.spaces import Actions, Observations
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

    def __call__(self, free: Any, scaling: Any, observation: Any, action: Any = None) -> jax.Array:
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


def encode(actions: Actions, action: Any) -> jax.Array:
    """Actions in a box [n, *shape] as coordinates from −1 to 1 [n, width], whatever the environment's units."""
    low, high = actions.bounds
    return (2.0 * (action - low) / (high - low) - 1.0).reshape(action.shape[0], -1)


def _dense(policy: SizedNetwork, width: int, outputs: int, labels: int | None) -> Dense:
    hidden = policy.widths[1:-1] if isinstance(policy, Dense) and len(policy.widths) > 2 else DEFAULT_WIDTHS
    activation = policy.activation if isinstance(policy, Dense) else "silu"
    normalization = policy.normalization if isinstance(policy, Dense) else None
    return Dense((width, *hidden, outputs), activation, labels, normalization=normalization)
