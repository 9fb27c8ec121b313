"""A policy at work in the environment itself: to confirm exact values, and to make data for imitation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kullback.control.environment import make
from kullback.control.mdp import FiniteMDP
from kullback.control.policy import log_policy_of
from kullback.control.problem import greedy as greedy_policy
from kullback.errors import InputError
from kullback.known import Pairs


@dataclass(frozen=True, eq=False)
class Rollout:
    """Steps of several episodes, one after another.

    observations  [n] the policy's inputs: states, or t · S + s for a policy that depends on time
    actions, rewards, episode  [n]
    inputs, choices            how many inputs and actions there are, played or not
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    episode: np.ndarray
    inputs: int
    choices: int

    @property
    def returns(self) -> np.ndarray:
        """The undiscounted return of each episode."""
        return np.bincount(self.episode, self.rewards)

    def pairs(self) -> Pairs:
        """What was done where, as pairs for imitation: `kl.KL(r.pairs(), q).minimize()`.

        Inputs and actions that did not occur are listed with weight 0, so that q has room for all of them.
        """
        rest = max(self.inputs, self.choices)
        return Pairs(
            np.concatenate([self.observations, np.arange(rest) % self.inputs]),
            np.concatenate([self.actions, np.arange(rest) % self.choices]),
            np.concatenate([np.ones(len(self.actions)), np.zeros(rest)]),
        )


def rollout(
    env: Any,
    policy: Any,
    episodes: int,
    seed: int = 0,
    greedy: bool = False,
    horizon: int | None = None,
    steps: int = 100_000,
) -> Rollout:
    """Play a fitted policy in a Gymnasium environment with integer observations and actions.

    `kl.KL(r.pairs(), q).minimize()` then imitates it.

    env       an id or an environment; a time limit of its own truncates episodes
    policy    a fitted `Conditional` over Categorical actions
    greedy    take the most probable action (ties at random) instead of drawing
    horizon   the horizon that the policy was fitted for, if it depends on time; episodes end there
    steps     the most steps of one episode

    Raises `InputError` for environments and policies of other kinds, and for an episode that does not end.
    """
    if isinstance(env, FiniteMDP):
        raise InputError("env: a FiniteMDP is evaluated exactly; rollout is for Gymnasium environments")
    if episodes < 1:
        raise InputError(f"episodes: {episodes} is not a positive number of episodes")
    env, rng = make(env), np.random.default_rng(seed)
    if not (hasattr(env.observation_space, "n") and hasattr(env.action_space, "n")):
        raise InputError(
            f"env: its spaces are {env.observation_space} and {env.action_space}; Discrete ones are needed"
        )
    states, actions = int(env.observation_space.n), int(env.action_space.n)
    table = log_policy_of(policy, states, actions, horizon)
    # Rows one below another: a policy that depends on time has a row for each t · S + s.
    cumulative = np.cumsum(np.exp(greedy_policy(table) if greedy else table).reshape(-1, actions), axis=1)
    timed = table.ndim == 3
    taken: list[tuple[int, int, float, int]] = []
    for episode in range(episodes):
        state, _ = env.reset(seed=int(rng.integers(2**31)) if episode == 0 else None)
        for t in range(horizon or steps):
            label = (t * states if timed else 0) + int(state)
            row = cumulative[label]
            action = min(int(np.searchsorted(row, rng.random() * row[-1], side="right")), actions - 1)
            state, reward, terminated, truncated, _ = env.step(action)
            taken.append((label, action, float(reward), episode))
            if terminated or truncated:
                break
        else:
            if horizon is None:
                raise InputError(f"steps: episode {episode} had not ended after {steps:,} steps; pass a horizon")
    observations, played, rewards, index = (np.array(column) for column in zip(*taken, strict=True))
    return Rollout(observations, played, rewards, index, len(cumulative), actions)
