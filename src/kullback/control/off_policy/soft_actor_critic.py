"""The rule that learns from what is kept: critics of soft values, and the policy projected onto them by reverse KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from kullback.control.learning.policy import Choosing, Fixed
from kullback.control.off_policy.replay import Batch
from kullback.control.off_policy.rule import OffPolicyRule
from kullback.control.off_policy.update import Improvement, Learner, OffPolicyConfig, Values
from kullback.result import Guarantee
from kullback.rule import Question
from kullback.training.optimiser import Descent, descend


@dataclass(frozen=True)
class ReverseProjection(Improvement):
    """A step of Adam on E_s[KL(π(·∣s)‖π₀ exp(Q/α)/Z)] · α = E_s E_π[α log(π/π₀) − Q] + constant, Q the lesser critic.

    Over actions to choose from the expectation is a sum; in a box it is one draw, through which the gradient goes.
    Source: Haarnoja, Zhou, Abbeel and Levine (2018), arXiv:1801.01290, equations 10 to 13, with a prior; Christodoulou
    (2019), arXiv:1910.07207, equation 12.
    """

    def start(self, policy: Float[Array, " p"]) -> Any:
        return ()

    def __call__(
        self,
        config: OffPolicyConfig,
        fixed: Fixed,
        learner: Learner,
        values: Values,
        alpha: Float[Array, ""],
        batch: Batch,
        rate: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Descent, Any]:
        def loss(x: Float[Array, " p"]) -> Float[Array, ""]:
            here = config.at(x, fixed, batch.observation, batch.mask)
            if isinstance(here, Choosing):
                kl = here.kl()
                value = jnp.sum(jnp.exp(here.log_policy) * values(batch.observation), -1)
            else:
                action, kl = here.draw(key)
                value = values(batch.observation, action)
            return jnp.mean(batch.weight * (alpha * kl - value))

        return descend(learner.policy, jax.grad(loss)(learner.policy.x), rate, config.descent), learner.extra


@dataclass(frozen=True)
class SoftActorCritic(OffPolicyRule):
    """Off-policy learning of KL(π‖P_opt): transitions are kept, and learned from by critics of soft values."""

    name: ClassVar[str] = "soft actor–critic"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = (
        "Q = r + γ E[V(s′)], V = E_π[Q] − α KL(π‖π₀), and π by min KL(π‖π₀ exp(Q/α)/Z): J = −α (KL(π‖P_opt) − log Z)"
    )
    needs_p: ClassVar[str] = "a Conditional that chooses one action, or acts in a box"
    needs_q: ClassVar[str] = "an environment that can be played"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = (
        "Haarnoja et al. (2018), arXiv:1801.01290 and 1812.05905; Christodoulou (2019), arXiv:1910.07207; Fujimoto et "
        "al. (2018), arXiv:1802.09477; Eberhard et al. (2023)"
    )
    aliases: ClassVar[tuple[str, ...]] = ("SAC",)

    @property
    def costs(self) -> tuple[float, float]:
        return 6.0, 6.5

    def improvement(self) -> Improvement:
        return ReverseProjection()
