"""One update of off-policy learning: two critics towards the soft Bellman equation, then the policy, by batches.

Values are with respect to the prior: Q(s, a) = E[r + γ (1 − end) V(s′)], V(s) = E_π[Q(s, a)] − α KL(π(·∣s)‖π₀(·∣s)).
Critics hold (Q − level)/scale, where `level` is the best constant value and `scale` the size of what it leaves, both of
the transitions seen so far: dividing rewards and the temperature by one scale changes nothing but the step sizes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped, UInt32

from kullback.control.envs.simulator import Compiled, Transition
from kullback.control.learning.critics import Critic, encode
from kullback.control.learning.policy import Acting, Choosing, Fixed, Here, RunningMoments
from kullback.control.learning.temperature import log_temperature
from kullback.control.learning.training import Counters, EpisodeStatistics, Recording, Stopping, with_ended
from kullback.control.off_policy.noise import Noise
from kullback.control.off_policy.replay import Batch, Columns, Replay
from kullback.training.optimiser import DEFAULT, Descent, descend
from kullback.training.ravel import Layout, on_host

STEADY = 1_000  # updates after which the step size falls, as one over the square root of their number
RECENT = 0.01  # weight of the newest batch in the mean KL
TWINS = 2
MEMORY = 0.9  # of the mean over finished episodes, for each that finishes
LEAST = 1e-12
Values = Callable[..., Float[Array, " b *a"]]


class OffPolicyHyperparameters(NamedTuple):
    """What a compiled program is told at each call: the settings that are no sizes.

    rate     the first step size; `tau`: how far the targets move to the critics at each update
    warmup   transitions that are drawn from the prior before there are updates; `capacity`: transitions kept
    temperature  log first, log last, nats, log lowest, log highest: see `Temperature.numbers`
    seed     two words
    """

    rate: Float[Array, ""]
    tau: Float[Array, ""]
    warmup: Int[Array, ""]
    discount: Float[Array, ""]
    temperature: Float[Array, " 5"]
    capacity: Int[Array, ""]
    stopping: Stopping
    seed: UInt32[Array, " 2"]


class Moments(NamedTuple):
    """Means over the transitions seen so far, from which the critics' units are taken.

    count    how many; `reward`, `square`: of r and r²
    ended    of whether nothing is to come; `last` of r where nothing is
    kl       KL(π‖π₀) where something is to come, nats, over recent batches
    """

    count: Any  # Float[Array, ""]: the type checker knows the method of tuples
    reward: Float[Array, ""]
    square: Float[Array, ""]
    ended: Float[Array, ""]
    last: Float[Array, ""]
    kl: Float[Array, ""]


class Units(NamedTuple):
    """Critics hold (Q − level)/scale; `discount` is γ, or a little less where no end was ever seen."""

    level: Float[Array, ""]
    scale: Float[Array, ""]
    discount: Float[Array, ""]


class Learner(NamedTuple):
    """The policy, both critics [2, n] and their targets, log α, the critics' units, and what the improvement keeps."""

    policy: Descent
    critics: Descent
    targets: Float[Array, "2 m"]
    log_alpha: Float[Array, ""]
    moments: Moments
    units: Units
    extra: Any


@dataclass(frozen=True)
class Improvement(abc.ABC):
    """How the policy is improved by critics: the one thing in which off-policy rules differ. Hashable."""

    @abc.abstractmethod
    def start(self, policy: Float[Array, " p"]) -> Any:
        """What it keeps beside the policy's parameters [n]: a pytree of arrays."""

    @abc.abstractmethod
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
        """The policy and what is kept, improved on a batch.

        values  (observation, action) -> the lesser of the critics [n], or without an action for each of them [n, A]
        alpha   the temperature in the critics' units
        """


class Sizes(NamedTuple):
    """How much is played and learned at a time.

    lanes      environments side by side; `block`: steps of each in a round
    updates    after each round; `batch`: transitions in each of them
    exploring  how many of the lanes follow the prior in every other round
    every      rounds between lines of history
    """

    lanes: int
    block: int
    updates: int
    batch: int
    exploring: int
    every: int


class Options(NamedTuple):
    """Choices that change what is compiled.

    centred   whether critics hold what is left of the best constant value
    cut_ends  whether a time limit ends an episode; `adapted`: whether the temperature is found
    """

    centred: bool = True
    cut_ends: bool = False
    adapted: bool = False


class Layouts(NamedTuple):
    """How parameters lie in a vector: the policy's, and a critic's."""

    policy: Layout
    critic: Layout


@dataclass(frozen=True)
class OffPolicyConfig:
    """What is fixed of the compiled programs. Hashable.

    columns     how a transition lies in the replay buffer
    simulator   where the environment is compiled; `optimiser`: an Optax transformation, or None for the usual one
    """

    acting: Acting
    critic: Critic
    layouts: Layouts
    columns: Columns
    noise: Noise
    improvement: Improvement
    sizes: Sizes
    options: Options
    simulator: Compiled | None = None
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT

    def at(
        self,
        x: Float[Array, " p"],
        fixed: Fixed,
        observation: Shaped[Array, "b ..."],
        mask: Bool[Array, "b ..."] | None = None,
    ) -> Here:
        """The policy with parameters x [n], beside the prior."""
        return self.acting.at(self.layouts.policy.tree(x), fixed, observation, mask)

    def critics_at(
        self,
        x: Float[Array, "2 m"],
        fixed: Fixed,
        observation: Shaped[Array, "b ..."],
        action: Shaped[Array, "b ..."] | None = None,
    ) -> Float[Array, "2 b *a"]:
        """Values by each of the critics x [2, n]: [2, b] of actions in a box, else [2, b, A] of every action."""
        seen = encode(self.acting.actions, action) if action is not None else None
        one = lambda x: self.critic(self.layouts.critic.tree(x), fixed.policy, observation, seen)  # noqa: E731
        both = jax.vmap(one)(x)
        return both if action is None else both[..., 0]

    def lesser(self, x: Float[Array, "2 m"], fixed: Fixed) -> Values:
        """The lesser of the critics' values."""
        return lambda observation, action=None: jnp.min(self.critics_at(x, fixed, observation, action), 0)


class OffPolicyState(NamedTuple):
    """Everything that changes: the learner, what is kept, scales of inputs, noise, counters, episodes, lanes, history.

    kl   KL(π‖π₀) a step where the policy has been of late, nats
    """

    learner: Learner
    replay: Replay
    inputs: RunningMoments
    noise: Float[Array, "k n ..."]
    counters: Counters
    kl: Float[Array, ""]
    statistics: EpisodeStatistics
    lanes: Any
    recording: Recording


def nothing_seen(dtype: DTypeLike) -> tuple[Moments, Units]:
    """Before the first transition, on the host."""
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    moments = on_host(Moments, count=zero, reward=zero, square=zero, ended=zero, last=zero, kl=zero)
    return moments, on_host(Units, level=zero, scale=one, discount=one)


def counted(
    moments: Moments,
    reward: Float[Array, " b"],
    ended: Float[Array, " b"],
    weight: Float[Array, " b"],
    most: Int[Array, ""],
) -> Moments:
    """The moments with more transitions [n]; the past counts as at most `most`, as many as are kept."""
    count = (jnp.minimum(moments.count, most) + jnp.sum(weight)).astype(moments.count.dtype)
    share = 1.0 / jnp.maximum(count, 1.0)
    mean = lambda old, x: old + share * jnp.sum(weight * (x - old))  # noqa: E731
    return Moments(
        count=count,
        reward=mean(moments.reward, reward),
        square=mean(moments.square, jnp.square(reward)),
        ended=mean(moments.ended, ended),
        last=mean(moments.last, reward * ended),
        kl=moments.kl,
    )


def units_of(moments: Moments, alpha: Float[Array, ""], discount: Float[Array, ""], centred: bool) -> Units:
    """The constant b that solves the soft Bellman equation on average, E[r − α γ (1 − end) KL] = b E[1 − γ (1 − end)],
    and the root mean square of what r leaves of b (1 − γ (1 − end)).

    Critics need not learn b, which bootstrapping would bring them only after many updates of the targets. A table is
    not centred: what was never tried is there worth 0, and not as much as all else.
    Without a discount and without an end no constant does. As if one transition more had been an end, γ is then
    1 − 1/count: values are those of the mean reward a step, and tend to it.
    Source: Naik, Wan, Tomar and Sutton (2024), arXiv:2405.09999, for rewards that are centred; here with ends.
    """
    seen = jnp.maximum(moments.count, 2.0)
    discount = jnp.where(moments.ended > 0, discount, jnp.minimum(discount, 1.0 - 1.0 / seen))
    going, rest = 1.0 - moments.ended, 1.0 - discount
    spent = alpha * discount * going * moments.kl
    level = (moments.reward - spent) / jnp.maximum(rest * going + moments.ended, 1.0 / seen) if centred else 0.0
    product = rest * (moments.reward - moments.last) + moments.last
    square = moments.square - 2.0 * level * product + jnp.square(level) * (jnp.square(rest) * going + moments.ended)
    scale = jnp.sqrt(jnp.maximum(square, 0.0))
    return Units(level=jnp.asarray(level), scale=jnp.where(scale > LEAST, scale, 1.0), discount=discount)


def fallen(rate: Float[Array, ""], count: Int[Array, ""], fraction: Float[Array, ""]) -> Float[Array, ""]:
    """The step size after so many updates, a fraction of the training: it falls as 1/√count, and linearly to 0.

    Source: Robbins and Monro (1951) for a sum that diverges while the noise dies out.
    """
    return (rate * jnp.sqrt(STEADY / jnp.maximum(count, STEADY)) * (1.0 - fraction)).astype(jnp.result_type(rate))


def updated(
    config: OffPolicyConfig,
    fixed: Fixed,
    hyper: OffPolicyHyperparameters,
    fraction: Float[Array, ""],
    learner: Learner,
    rows: Float[Array, "b w"],
    keys: Key[Array, " 2"],
) -> Learner:
    """The learner after one batch of rows; two keys."""
    batch = config.columns.read(rows)
    batch = batch._replace(weight=batch.weight / jnp.maximum(jnp.mean(batch.weight), 1e-6))
    units = learner.units
    log_alpha = log_temperature(hyper.temperature, learner.log_alpha, fraction, config.options.adapted)
    alpha = (jnp.exp(log_alpha) / units.scale).astype(learner.policy.x.dtype)
    rate = fallen(hyper.rate, learner.critics.steps, fraction)

    value, kl = soft_value(config, fixed, learner, alpha, batch, keys[0])
    ahead = units.discount * (1.0 - batch.ended)
    target = (batch.reward - units.level * (1.0 - ahead)) / units.scale
    target = target + jnp.where(batch.ended > 0, 0.0, ahead * value)

    def miss(x: Float[Array, "2 m"]) -> Float[Array, ""]:
        value = of_action(config, fixed, x, batch)
        return jnp.sum(jnp.mean(batch.weight * jnp.square(value - target), 1))

    critics = descend(learner.critics, jax.grad(miss)(learner.critics.x), rate, config.descent)
    targets = learner.targets + hyper.tau * (critics.x - learner.targets)
    values = config.lesser(critics.x, fixed)
    policy, extra = config.improvement(config, fixed, learner, values, alpha, batch, rate, keys[1])
    going = batch.weight * (1.0 - batch.ended)
    spent = jnp.sum(going * kl) / jnp.maximum(jnp.sum(going), 1.0)
    recent = jnp.where(critics.steps == 1, 1.0, RECENT).astype(spent.dtype)
    moments = learner.moments._replace(kl=learner.moments.kl + recent * (spent - learner.moments.kl))
    return learner._replace(policy=policy, critics=critics, targets=targets, moments=moments, extra=extra)


def soft_value(
    config: OffPolicyConfig,
    fixed: Fixed,
    learner: Learner,
    alpha: Float[Array, ""],
    batch: Batch,
    key: Key[Array, ""],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """E_π[Q] − α KL(π‖π₀) where a transition led, by the targets and in the critics' units, and the KL [n].

    Over actions to choose from the expectation is a sum; in a box it is one draw.
    """
    here = config.at(learner.policy.x, fixed, batch.following, batch.following_mask)
    values = config.lesser(learner.targets, fixed)
    if isinstance(here, Choosing):
        kl = here.kl()
        return jnp.sum(jnp.exp(here.log_policy) * values(batch.following), -1) - alpha * kl, kl
    action, ratio = here.draw(key)
    return values(batch.following, action) - alpha * ratio, ratio


def of_action(config: OffPolicyConfig, fixed: Fixed, x: Float[Array, "2 m"], batch: Batch) -> Float[Array, "2 b"]:
    """What each of the critics x [2, n] says of the actions of a batch [2, b]."""
    if not config.acting.actions.is_discrete:
        return config.critics_at(x, fixed, batch.observation, batch.action)
    values = config.critics_at(x, fixed, batch.observation)
    return jnp.take_along_axis(values, batch.action[None, :, None], -1)[..., 0]


def statistics_after(
    statistics: EpisodeStatistics,
    block: Transition,
    spent: Float[Array, "t n"],
    discount: Float[Array, ""],
    skipped: int,
) -> EpisodeStatistics:
    """The sums over episodes after a round of transitions [t, n, ...] and what they spent, α KL [t, n].

    The first `skipped` lanes do not count, since the prior has a part in what they do.
    """
    over = block.valid & (block.terminated | block.truncated)
    dtype = statistics.playing.dtype

    def step(playing: Float[Array, "3 n"], now: PyTree) -> Any:
        reward, spent, valid, ended = now
        soft = discount ** playing[2] * (reward - spent)
        playing = playing + jnp.where(valid, jnp.stack([reward, soft, jnp.ones_like(soft)]), 0.0).astype(dtype)
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, statistics.playing, (block.reward.astype(dtype), spent, block.valid, over))
    return with_ended(statistics, playing, over[:, skipped:], so_far[:, :, skipped:], MEMORY)
