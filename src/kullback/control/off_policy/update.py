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

from kullback.control.envs.simulator import Compiled, Transition
from kullback.control.learning.critics import Critic, encode
from kullback.control.learning.policy import Acting, Choosing, Fixed, Here
from kullback.control.learning.running_moments import Running
from kullback.control.learning.temperature import log_temperature
from kullback.control.learning.training import Totals, line, with_ended
from kullback.control.off_policy.noise import Noise
from kullback.control.off_policy.replay import Batch, Columns, Replay
from kullback.training.optimiser import DEFAULT, Descent, descend
from kullback.training.ravel import Layout

STEADY = 1_000  # updates after which the step size falls, as one over the square root of their number
RECENT = 0.01  # weight of the newest batch in the mean KL
TWINS = 2
LEAST = 1e-12


class Numbers(NamedTuple):
    """What a compiled program is told at each call: the settings that are no sizes.

    tau     how far the targets move to the critics at each update
    warmup  transitions that are drawn from the prior before there are updates
    total   environment steps of the whole training; `capacity`: transitions kept; `budget`: rounds of this call
    until   the greedy return asked for; `hopeful`: the share of the way to it at which greedy episodes are played
    seed    two words
    """

    rate: Any
    tau: Any
    warmup: Any
    discount: Any
    temperature: Any
    total: Any
    capacity: Any
    until: Any
    hopeful: Any
    budget: Any
    seed: Any


class Moments(NamedTuple):
    """Means over the transitions seen so far, from which the critics' units are taken.

    count    how many; `reward`, `square`: of r and r²
    ended    of whether nothing is to come; `last` of r where nothing is
    kl       KL(π‖π₀) where something is to come, nats, over recent batches
    """

    count: Any
    reward: Any
    square: Any
    ended: Any
    last: Any
    kl: Any


class Units(NamedTuple):
    """Critics hold (Q − level)/scale; `discount` is γ, or a little less where no end was ever seen."""

    level: Any
    scale: Any
    discount: Any


class Learner(NamedTuple):
    """The policy, both critics [2, n] and their targets, log α, the critics' units, and what the improvement keeps."""

    policy: Descent
    critics: Descent
    targets: Any
    log_alpha: Any
    moments: Moments
    units: Units
    extra: Any


@dataclass(frozen=True)
class Improvement(abc.ABC):
    """How the policy is improved by critics: the one thing in which off-policy rules differ. Hashable."""

    @abc.abstractmethod
    def start(self, policy: Any) -> Any:
        """What it keeps beside the policy's parameters [n]: a pytree of arrays."""

    @abc.abstractmethod
    def __call__(self, problem: Problem, fixed: Fixed, learner: Learner, values: Callable[..., Any], alpha: Any,
                 batch: Batch, rate: Any, key: jax.Array) -> tuple[Descent, Any]:  # fmt: skip
        """The policy and what is kept, improved on a batch.

        values  (observation, action) -> the lesser of the critics [n], or without an action for each of them [n, A]
        alpha   the temperature in the critics' units
        """


@dataclass(frozen=True)
class Problem:
    """What is fixed of the compiled programs. Hashable.

    policy, values  layouts of the policy's parameters and of a critic's
    lanes, block    environments side by side, and the steps of each in a round; `updates` after each round
    wandering       how many of the lanes follow the prior in every other round
    every           rounds between lines of history
    centred         whether critics hold what is left of the best constant value
    cut_ends        whether a time limit ends an episode; `adapted`: whether the temperature is found
    """

    acting: Acting
    critic: Critic
    policy: Layout
    values: Layout
    columns: Columns
    noise: Noise
    improvement: Improvement
    lanes: int
    block: int
    updates: int
    batch: int
    wandering: int
    every: int
    centred: bool = True
    cut_ends: bool = False
    adapted: bool = False
    simulator: Compiled | None = None
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT

    def at(self, x: Any, fixed: Fixed, observation: Any, mask: Any = None) -> Here:
        """The policy with parameters x [n], beside the prior."""
        return self.acting.at(self.policy.tree(x), fixed, observation, mask)

    def critics_at(self, x: Any, fixed: Fixed, observation: Any, action: Any = None) -> Any:
        """Values by each of the critics x [2, n]: [2, b] of actions in a box, else [2, b, A] of every action."""
        seen = encode(self.acting.actions, action) if action is not None else None
        one = lambda x: self.critic(self.values.tree(x), fixed.policy, observation, seen)  # noqa: E731
        both = jax.vmap(one)(x)
        return both if action is None else both[..., 0]

    def lesser(self, x: Any, fixed: Fixed) -> Callable[..., Any]:
        """The lesser of the critics' values."""
        return lambda observation, action=None: jnp.min(self.critics_at(x, fixed, observation, action), 0)


def nothing_seen(dtype: Any) -> tuple[Moments, Units]:
    """Before the first transition, on the host."""
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    return Moments(zero, zero, zero, zero, zero, zero), Units(zero, one, one)


def counted(moments: Moments, reward: Any, ended: Any, weight: Any, most: Any) -> Moments:
    """The moments with more transitions [n]; the past counts as at most `most`, as many as are kept."""
    count = (jnp.minimum(moments.count, most) + jnp.sum(weight)).astype(moments.count.dtype)
    share = 1.0 / jnp.maximum(count, 1.0)
    mean = lambda old, x: old + share * jnp.sum(weight * (x - old))  # noqa: E731
    return Moments(
        count,
        mean(moments.reward, reward),
        mean(moments.square, jnp.square(reward)),
        mean(moments.ended, ended),
        mean(moments.last, reward * ended),
        moments.kl,
    )


def units_of(moments: Moments, alpha: Any, discount: Any, centred: bool) -> Units:
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
    return Units(jnp.asarray(level), jnp.where(scale > LEAST, scale, 1.0), discount)


def fallen(rate: Any, count: Any, fraction: Any) -> Any:
    """The step size after so many updates, a fraction of the training: it falls as 1/√count, and linearly to 0.

    Source: Robbins and Monro (1951) for a sum that diverges while the noise dies out.
    """
    return (rate * jnp.sqrt(STEADY / jnp.maximum(count, STEADY)) * (1.0 - fraction)).astype(jnp.result_type(rate))


def updated(problem: Problem, fixed: Fixed, numbers: Numbers, fraction: Any, learner: Learner, rows: Any,
            keys: Any) -> Learner:  # fmt: skip
    """The learner after one batch of rows; two keys."""
    batch = problem.columns.read(rows)
    batch = batch._replace(weight=batch.weight / jnp.maximum(jnp.mean(batch.weight), 1e-6))
    units = learner.units
    log_alpha = log_temperature(numbers.temperature, learner.log_alpha, fraction, problem.adapted)
    alpha = (jnp.exp(log_alpha) / units.scale).astype(learner.policy.x.dtype)
    rate = fallen(numbers.rate, learner.critics.steps, fraction)

    value, kl = soft_value(problem, fixed, learner, alpha, batch, keys[0])
    ahead = units.discount * (1.0 - batch.ended)
    target = (batch.reward - units.level * (1.0 - ahead)) / units.scale
    target = target + jnp.where(batch.ended > 0, 0.0, ahead * value)

    def miss(x: Any) -> Any:
        value = of_action(problem, fixed, x, batch)
        return jnp.sum(jnp.mean(batch.weight * jnp.square(value - target), 1))

    critics = descend(learner.critics, jax.grad(miss)(learner.critics.x), rate, problem.descent)
    targets = learner.targets + numbers.tau * (critics.x - learner.targets)
    values = problem.lesser(critics.x, fixed)
    policy, extra = problem.improvement(problem, fixed, learner, values, alpha, batch, rate, keys[1])
    going = batch.weight * (1.0 - batch.ended)
    spent = jnp.sum(going * kl) / jnp.maximum(jnp.sum(going), 1.0)
    recent = jnp.where(critics.steps == 1, 1.0, RECENT).astype(spent.dtype)
    moments = learner.moments._replace(kl=learner.moments.kl + recent * (spent - learner.moments.kl))
    return learner._replace(policy=policy, critics=critics, targets=targets, moments=moments, extra=extra)


def soft_value(problem: Problem, fixed: Fixed, learner: Learner, alpha: Any, batch: Batch, key: jax.Array) -> Any:
    """E_π[Q] − α KL(π‖π₀) where a transition led, by the targets and in the critics' units, and the KL [n].

    Over actions to choose from the expectation is a sum; in a box it is one draw.
    """
    here = problem.at(learner.policy.x, fixed, batch.following, batch.following_mask)
    values = problem.lesser(learner.targets, fixed)
    if isinstance(here, Choosing):
        kl = here.kl()
        return jnp.sum(jnp.exp(here.log_policy) * values(batch.following), -1) - alpha * kl, kl
    action, ratio = here.draw(key)
    return values(batch.following, action) - alpha * ratio, ratio


def of_action(problem: Problem, fixed: Fixed, x: Any, batch: Batch) -> Any:
    """What each of the critics x [2, n] says of the actions of a batch [2, b]."""
    if not problem.acting.actions.is_discrete:
        return problem.critics_at(x, fixed, batch.observation, batch.action)
    values = problem.critics_at(x, fixed, batch.observation)
    return jnp.take_along_axis(values, batch.action[None, :, None], -1)[..., 0]


MEMORY = 0.9  # of the mean over finished episodes, for each that finishes


class State(NamedTuple):
    """Everything that changes: the learner, what is kept, scales of inputs, noise, counts, episodes, lanes, history.

    steps   environment steps so far; `rounds` likewise
    kl      KL(π‖π₀) a step where the policy has been of late, nats
    check   the steps from which on greedy episodes may be played (again), and `look`: whether they should be now
    greedy  the mean return of those that were played last
    failed  the round whose updates were not finite, and were not made, negative if already rewards or observations were
            not; or 0
    """

    learner: Learner
    replay: Replay
    inputs: Running
    noise: Any
    steps: Any
    rounds: Any
    kl: Any
    check: Any
    look: Any
    greedy: Any
    failed: Any
    totals: Totals
    lanes: Any
    curve: Any
    recorded: Any


def totals_after(totals: Totals, block: Transition, spent: Any, discount: Any, skipped: int) -> Totals:
    """The sums over episodes after a round of transitions [t, n, ...] and what they spent, α KL [t, n].

    The first `skipped` lanes do not count, since the prior has a part in what they do.
    """
    over = block.valid & (block.terminated | block.truncated)
    dtype = totals.playing.dtype

    def step(playing: Any, now: Any) -> Any:
        reward, spent, valid, ended = now
        soft = discount ** playing[2] * (reward - spent)
        playing = playing + jnp.where(valid, jnp.stack([reward, soft, jnp.ones_like(soft)]), 0.0).astype(dtype)
        return jnp.where(ended, 0.0, playing), playing

    playing, so_far = lax.scan(step, totals.playing, (block.reward.astype(dtype), spent, block.valid, over))
    return with_ended(totals, playing, over[:, skipped:], so_far[:, :, skipped:], MEMORY)


def line_of(state: State, alpha: Any, skipped: int) -> Any:
    """A line of history; before an episode has finished, of those that are being played."""
    playing = jnp.mean(state.totals.playing[:, skipped:], 1)
    return line(state.totals, state.steps, playing, state.kl, alpha)
