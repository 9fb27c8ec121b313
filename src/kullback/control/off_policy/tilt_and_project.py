"""The rule that goes both ways: the wanted policy as a tilted law, then the network projected onto it by forward KL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from kullback.arguments import positive, whole
from kullback.control.learning.policy import NEVER, Choosing, Fixed, InBox
from kullback.control.off_policy.replay import Batch
from kullback.control.off_policy.rule import OffPolicyRule
from kullback.control.off_policy.update import Improvement, Learner, OffPolicyConfig, Values
from kullback.errors import InputError
from kullback.result import Guarantee
from kullback.rule import Question
from kullback.training.optimiser import Descent, descend

STEPS = 12  # of Newton's iteration for the dual: half of them reach the last digits of single precision
LEAST = 1e-12


@dataclass(frozen=True)
class ForwardProjection(Improvement):
    """A step of Adam on E_s[KL(p(·∣s)‖π(·∣s)) + anchor KL(π_old(·∣s)‖π(·∣s))], p the tilted policy.

    p maximises E_p[Q] − α KL(p‖π₀) subject to E_s[KL(p‖π_old)] ≤ epsilon, hence p ∝ (π₀^α π_old^η exp Q)^(1/(α + η)),
    with the multiplier η ≥ 0 of the dual. Over actions to choose from p is exact; in a box it is draws of π_old with
    weights. π_old, of which the parameters are kept, follows π slowly.
    """

    epsilon: float
    draws: int
    anchor: float
    follow: float

    def start(self, policy: Float[Array, " p"]) -> Any:
        return policy

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
        old = learner.extra
        gain, log_base, score = self._actions(config, fixed, old, values, alpha, batch, key)
        price = price_of_moving(gain, log_base, alpha, self.epsilon, batch.weight)
        wanted = (jnp.exp(tilted(gain, log_base, price)) + self.anchor * jnp.exp(log_base)) / (1.0 + self.anchor)

        def loss(x: Float[Array, " p"]) -> Float[Array, ""]:
            here = config.at(x, fixed, batch.observation, batch.mask)
            return -jnp.mean(batch.weight * jnp.sum(wanted * score(here), -1))

        policy = descend(learner.policy, jax.grad(loss)(learner.policy.x), rate, config.descent)
        return policy, old + self.follow * (policy.x - old)

    def _actions(
        self,
        config: OffPolicyConfig,
        fixed: Fixed,
        x: Float[Array, " p"],
        values: Values,
        alpha: Float[Array, ""],
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "n m"], Float[Array, "n m"], Callable[[Any], Float[Array, "n m"]]]:
        """Of actions in each state [n, m]: Q − α log(π_old/π₀); log π_old, or −log m of draws; log π of a policy."""
        here = config.at(x, fixed, batch.observation, batch.mask)
        if isinstance(here, Choosing):
            gain = values(batch.observation) - alpha * (here.log_policy - here.log_prior)
            return gain, here.log_policy, lambda new: new.log_policy
        assert isinstance(here, InBox)
        action = here.policy.sample(key, (self.draws,))
        seen = jnp.broadcast_to(batch.observation, (self.draws, *batch.observation.shape))
        flat = lambda a: a.reshape(-1, *a.shape[2:])  # noqa: E731
        value = values(flat(seen), flat(action)).reshape(self.draws, -1)
        gain = (value - alpha * here.log_ratio(action)).T
        return gain, jnp.full_like(gain, -np.log(self.draws)), lambda new: new.policy.log_prob(action).T


def tilted(gain: Float[Array, "n m"], log_base: Float[Array, "n m"], price: Float[Array, ""]) -> Float[Array, "n m"]:
    """log p of p ∝ base · exp(gain/price), row by row."""
    return jax.nn.log_softmax(log_base + gain / price)


def distance(
    gain: Float[Array, "n m"], log_base: Float[Array, "n m"], price: Float[Array, ""], weight: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean of KL(p‖base) of the tilted p, nats, and its derivative by log price, −E[Var_p(gain)]/price²."""
    log_p = tilted(gain, log_base, price)
    p = jnp.exp(log_p)
    centred = gain - jnp.sum(p * gain, -1, keepdims=True)
    spread = jnp.sum(p * jnp.square(centred / price), -1)
    total = jnp.sum(weight)
    return jnp.sum(weight * jnp.sum(p * (log_p - log_base), -1)) / total, -jnp.sum(weight * spread) / total


def price_of_moving(
    gain: Float[Array, "n m"],
    log_base: Float[Array, "n m"],
    alpha: Float[Array, ""],
    epsilon: float,
    weight: Float[Array, " n"],
) -> Float[Array, ""]:
    """α + η with the least η ≥ 0 at which p ∝ base · exp(gain/(α + η)) has a mean KL(p‖base) ≤ epsilon nats.

    gain      Q − α log(base/π₀) of m actions in n states; base: their probabilities, of which forbidden ones are 0
    alpha     the temperature, in the units of gain

    η minimises the convex dual g(η) = η ε + (α + η) E_s log E_base exp(gain/(α + η)), whose derivative is ε − KL. The
    logarithm of the KL is nearly linear in log(α + η), with the slope −2 where p is near the base: Newton's iteration
    on it takes a few steps, and halves the interval that holds the solution where it would leave it.
    Source: Peters, Mülling and Altün (2010), equation 8, for the dual; here with a prior.
    """
    allowed = log_base > NEVER / 2
    base = jnp.exp(log_base)
    centred = gain - jnp.sum(base * gain, -1, keepdims=True)
    variance = jnp.sum(weight * jnp.sum(base * jnp.square(centred), -1)) / jnp.sum(weight)
    width = jnp.max(jnp.where(allowed, gain, -jnp.inf), -1) - jnp.min(jnp.where(allowed, gain, jnp.inf), -1)
    # Of gains that span a width w, KL(p‖base) ≤ w²/(8 price²): Hoeffding's lemma.
    low, high = jnp.log(alpha), jnp.log(jnp.max(width) / np.sqrt(8.0 * epsilon) + alpha)
    first = jnp.clip(0.5 * jnp.log(variance / (2.0 * epsilon) + LEAST), low, high)

    def step(_: object, carry: PyTree) -> Any:
        at, low, high = carry
        kl, slope = distance(gain, log_base, jnp.exp(at), weight)
        low, high = jnp.where(kl > epsilon, at, low), jnp.where(kl > epsilon, high, at)
        newton = at - kl * jnp.log(jnp.maximum(kl, LEAST) / epsilon) / jnp.minimum(slope, -LEAST)
        return jnp.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high)), low, high

    at, _, _ = lax.fori_loop(0, STEPS, step, (first, low, high))
    free, _ = distance(gain, log_base, alpha, weight)
    return jnp.where(free <= epsilon, alpha, jnp.exp(at)).astype(gain.dtype)


@dataclass(frozen=True)
class TiltAndProject(OffPolicyRule):
    """The library's two directions in one loop: the policy that is wanted, as a tilted law, and a projection onto it.

    epsilon  how far the tilted policy may be from the policy that slowly follows, nats a state on average
    draws    actions in each state by which a tilted policy in a box is known
    anchor   weight of KL(π_old‖π) beside KL(p‖π): the projection is onto (p + anchor π_old)/(1 + anchor)
    follow   how far the old policy moves to the new one at each update
    """

    epsilon: float = 0.1
    draws: int = 8
    anchor: float = 0.0
    follow: float = 0.05

    name: ClassVar[str] = "tilt and project"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = (
        "p ∝ (π₀^α π_old^η exp Q)^(1/(α + η)) with KL(p‖π_old) ≤ ε, then π by min KL(p‖π): both directions in one loop"
    )
    needs_p: ClassVar[str] = "a Conditional that chooses one action, or acts in a box"
    needs_q: ClassVar[str] = "an environment that can be played"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 7.0
    source: ClassVar[str] = (
        "Peters, Mülling and Altün (2010); Abdolmaleki et al. (2018), arXiv:1806.06920, sections 3.1 and 3.2"
    )
    aliases: ClassVar[tuple[str, ...]] = ("MPO", "REPS", "maximum a posteriori policy optimisation")

    def __post_init__(self, wandering: float | None) -> None:
        super().__post_init__(wandering)
        positive("epsilon", self.epsilon)
        whole("draws", self.draws, least=2)
        if not 0 < self.follow <= 1:
            raise InputError(f"follow: {self.follow!r} is not in (0, 1]; 0.05 is usual")

    @property
    def costs(self) -> tuple[float, float]:
        return 7.0, 7.0

    def improvement(self) -> Improvement:
        return ForwardProjection(self.epsilon, self.draws, self.anchor, self.follow)
