"""A policy of any kind at work in the environment itself: to confirm exact values, and to make data to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpyro.distributions import CategoricalLogits

from kullback.control.data import returns_to_go
from kullback.control.envs.adaptors import on_the_host
from kullback.control.envs.simulator import Facts, Stepper
from kullback.control.envs.spec import make
from kullback.control.learning.policy import Fixed, acting_of, answer, within_bounds
from kullback.control.tabular.evaluation import log_policy_of
from kullback.control.tabular.mdp import FiniteMDP
from kullback.control.task import CHOOSERS
from kullback.control.task import greedy as greedy_policy
from kullback.errors import InputError
from kullback.families.conditional import FittedConditional
from kullback.known import Pairs, Tilted

LANES = 16


class Player:
    """A fitted policy that acts in lanes: `act(observation, mask)` is an action for each row."""

    def __init__(self, policy: FittedConditional, facts: Facts, greedy: bool, seed: int) -> None:
        self._acting = acting_of(policy, facts.actions)
        self._free, self._fixed = jax.tree.map(jnp.asarray, (policy.free, Fixed(policy.fixed)))
        self._greedy, self._actions = greedy, facts.actions
        self._key, self._count = jax.random.key(seed), 0

    def act(self, observation: object, mask: object) -> np.ndarray:
        """Actions [n, *shape] at observations [n, ...]; real ones are clipped to the bounds of their box."""
        self._count += 1
        action = answer(
            self._acting, self._greedy, self._free, self._fixed, observation, mask, self._key, np.uint32(self._count)
        )
        return within_bounds(self._actions, action)


class _Column:
    """What the lanes saw of their episodes in progress, and of those that are over."""

    def __init__(self, lanes: int) -> None:
        self.going: list[list[tuple[Any, Any, float]]] = [[] for _ in range(lanes)]
        self.over: list[tuple[list[tuple[Any, Any, float]], bool, Any]] = []


def played(
    env: object, policy: FittedConditional, episodes: int, seed: int, greedy: bool, horizon: int | None, steps: int
) -> tuple[Any, ...]:
    """The fields of a `Rollout`. Each lane plays a number of episodes that is settled before, so that short ones do not
    count more."""
    source = on_the_host(env, horizon)
    facts = source.facts
    require_actor(policy, facts)
    assert source.stepper is not None
    stepper = source.stepper(min(LANES, episodes))
    try:
        over = _episodes(stepper, Player(policy, facts, greedy, seed), episodes, seed, steps)
    finally:
        stepper.close()
    rows = [step for episode, _, _ in over for step in episode]
    observations, actions, rewards = (np.array(column) for column in zip(*rows, strict=True))
    number = np.repeat(np.arange(episodes), [len(episode) for episode, _, _ in over])
    terminated = np.array([ended for _, ended, _ in over])
    last = np.array([seen for _, _, seen in over])
    choices = facts.actions.categories if facts.actions.is_discrete else None
    return observations, actions, rewards, number, terminated, last, facts.observations.labels, choices


def _episodes(stepper: Stepper, player: Player, episodes: int, seed: int, steps: int) -> list[Any]:
    lanes = stepper.lanes
    quota = episodes // lanes + (np.arange(lanes) < episodes % lanes)
    column, count = _Column(lanes), np.zeros(lanes, int)
    stepper.reset(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    while (count < quota).any():
        seen = stepper.step(player.act(stepper.observation, stepper.mask))
        for lane in np.flatnonzero(np.asarray(seen.valid) & (count < quota)):
            going = column.going[lane]
            going.append((seen.observation[lane], seen.action[lane], float(seen.reward[lane])))
            if seen.terminated[lane] or seen.truncated[lane]:
                column.over.append((going, bool(seen.terminated[lane]), seen.following[lane]))
                column.going[lane] = []
                count[lane] += 1
            elif len(going) >= steps:
                number = len(column.over)
                raise InputError(f"steps: episode {number} had not ended after {steps:,} steps; pass a horizon")
    return column.over


def require_actor(policy: FittedConditional, facts: Facts) -> None:
    """Raise `InputError` where a policy's inputs or outcomes are not the environment's observations and actions."""
    labels = policy.structure.network.labels
    seen = facts.observations
    if labels != seen.labels or (labels is None and np.shape(policy.fixed["x_mean"]) != seen.shape):
        takes = f"{labels} labels" if labels is not None else f"arrays of shape {np.shape(policy.fixed['x_mean'])}"
        gives = f"{seen.labels} labels" if seen.labels is not None else f"arrays of shape {seen.shape}"
        raise InputError(f"policy: it takes {takes} and {facts.name} gives {gives}")
    example = seen.example[:1]
    d = jax.eval_shape(acting_of(policy, facts.actions).structure.distribution, policy.free, policy.fixed, example)
    base = d.base_dist if hasattr(d, "reinterpreted_batch_ndims") else d
    wanted = CHOOSERS.get(facts.actions.kind)
    fits = isinstance(base, wanted) if wanted is not None else not base.is_discrete
    if fits and wanted is CategoricalLogits:
        fits = base.logits.shape[-1] == facts.actions.categories
    if not fits or tuple(d.event_shape) != facts.actions.shape:
        raise InputError(
            f"policy: outcomes of {type(base).__name__} of shape {tuple(d.event_shape)} are no actions of "
            f"{facts.name}, which has {facts.actions}"
        )


@dataclass(frozen=True, eq=False)
class Rollout:
    """Steps of several episodes, one after another.

    observations  [n, ...] the policy's inputs: arrays or labels (t · S + s for a policy that depends on time)
    actions       [n, ...]
    rewards       [n]
    episode       [n] the number of the episode, from 0
    terminated    [episodes] whether an episode came to an end of its own, and was not cut off by a limit
    last          [episodes, ...] what was observed after its last step
    inputs        how many labels there are, occurring or not; None for arrays
    choices       how many actions there are to choose from (in each place), played or not; None for real numbers
    """

    observations: Shaped[np.ndarray, "n ..."]
    actions: Shaped[np.ndarray, "n ..."]
    rewards: Float[np.ndarray, " n"]
    episode: Int[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " episodes"]
    last: Shaped[np.ndarray, "episodes ..."]
    inputs: int | None
    choices: int | None

    @property
    def returns(self) -> Float[np.ndarray, " episodes"]:
        """The undiscounted return of each episode."""
        return np.bincount(self.episode, self.rewards)

    def returns_to_go(
        self, discount: float = 1.0, value: Callable[[np.ndarray], Any] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Σ_k γᵏ r_{t+k} from each step on, to the end of its episode.

        value  observations [m, ...] -> what is still to come there [m]: of episodes that were cut off it is added, as
               the cut is not an end; None adds nothing
        """
        beyond = None
        if value is not None:
            beyond = np.where(self.terminated, 0.0, np.asarray(value(self.last), np.float64))
        return returns_to_go(self.rewards, self.episode, discount, beyond)

    def pairs(self) -> Pairs:
        """What was done where, as pairs for imitation: `kl.KL(r.pairs(), q).minimize()`.

        Labels and choices that did not occur are listed with weight 0, after the n steps, so that q has room for them.
        """
        return Pairs(*self._padded(np.ones(len(self.actions))))

    def tilted(self, reward: Float[np.ndarray, " n"], temperature: float = 1.0) -> Tilted:
        """The pairs tilted by a number for each step: `kl.Tilted` of them, for advantage-weighted regression."""
        reward, pairs = np.asarray(reward), self.pairs()
        if reward.shape != self.rewards.shape:
            raise InputError(
                f"reward: shape {reward.shape} for {len(self.rewards)} steps; pass one number for each step"
            )
        return Tilted(pairs, np.concatenate([reward, np.zeros(len(pairs.x) - len(reward))]), temperature)

    def _padded(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observations, actions and weights, with a row of weight 0 for each label and each choice."""
        rest = np.arange(max(self.inputs or 0, self.choices or 0))
        seen, done = self.observations[np.zeros_like(rest)], self.actions[np.zeros_like(rest)]
        if self.inputs is not None:
            seen = rest % self.inputs
        if self.choices is not None:
            done = np.broadcast_to((rest % self.choices).reshape(-1, *(1,) * (done.ndim - 1)), done.shape)
        return (
            np.concatenate([self.observations, seen]),
            np.concatenate([self.actions, done]),
            np.concatenate([weights, np.zeros(len(rest))]),
        )


def rollout(
    env: object,
    policy: object,
    episodes: int,
    seed: int = 0,
    greedy: bool = False,
    horizon: int | None = None,
    steps: int = 100_000,
) -> Rollout:
    """Play a fitted policy in an environment; `kl.KL(r.pairs(), q).minimize()` then imitates it.

    env       an id or an environment of any kind that `kl.Optimal` takes; a time limit of its own truncates episodes
    policy    a fitted `Conditional` over its actions; an action mask of the environment's restricts it
    greedy    take the most probable action (of labels ties at random, in a box the median) instead of drawing
    horizon   steps after which episodes are cut off; of a policy that depends on time, the horizon it was fitted for,
              where episodes end
    steps     the most steps of one episode

    Raises `InputError` for policies that do not fit, and for an episode that does not end.
    """
    if isinstance(env, FiniteMDP):
        raise InputError("env: a FiniteMDP is evaluated exactly; rollout is for environments that are played")
    for name, number in (("episodes", episodes), ("steps", steps)) + ((("horizon", horizon),) if horizon else ()):
        if isinstance(number, bool) or int(number) != number or number < 1:
            raise InputError(f"{name}: {number} is not a positive number of {name}")
    env = make(env) if isinstance(env, str) else env
    if isinstance(env, gym.Env) and _is_label(env.observation_space) and _is_label(env.action_space):
        return _of_labels(env, policy, episodes, seed, greedy, horizon, steps)
    if not isinstance(policy, FittedConditional):
        raise InputError(f"policy: {type(policy).__name__} is no fitted conditional; pass the q of a fit")
    return Rollout(*played(env, policy, episodes, seed, greedy, horizon, steps))


def _of_labels(
    env: Any, policy: object, episodes: int, seed: int, greedy: bool, horizon: int | None, steps: int
) -> Rollout:
    """Labels and one choice: the policy as a table, which may depend on time."""
    rng = np.random.default_rng(seed)
    states, actions = int(env.observation_space.n), int(env.action_space.n)
    table = log_policy_of(policy, states, actions, horizon)
    # Rows one below another: a policy that depends on time has a row for each t · S + s.
    cumulative = np.cumsum(np.exp(greedy_policy(table) if greedy else table).reshape(-1, actions), axis=1)
    timed = table.ndim == 3
    first, first_action = int(env.observation_space.start), int(env.action_space.start)
    taken: list[tuple[int, int, float, int]] = []
    terminated, last = np.zeros(episodes, bool), np.zeros(episodes, int)
    for episode in range(episodes):
        state, _ = env.reset(seed=int(rng.integers(2**31)) if episode == 0 else None)
        t = 0
        for t in range(horizon or steps):
            label = (t * states if timed else 0) + int(state) - first
            row = cumulative[label]
            action = min(int(np.searchsorted(row, rng.random() * row[-1], side="right")), actions - 1)
            state, reward, ends, truncated, _ = env.step(action + first_action)
            taken.append((label, action, float(reward), episode))
            if ends or truncated:
                terminated[episode] = ends
                break
        else:
            if horizon is None:
                raise InputError(f"steps: episode {episode} had not ended after {steps:,} steps; pass a horizon")
            terminated[episode] = timed
        last[episode] = int(state) - first + (min(t + 1, len(table) - 1) * states if timed else 0)
    observations, actions_taken, rewards, index = (np.array(column) for column in zip(*taken, strict=True))
    return Rollout(observations, actions_taken, rewards, index, terminated, last, len(cumulative), actions)


def _is_label(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Discrete)
