"""When a policy has solved an environment, and what a run is reported as: the same for peers and ours.

Solved is a mean return of at least the threshold over 100 fresh greedy episodes in the Gymnasium environment. While a
learner trains, ten episodes say whether the hundred are worth playing. What this takes counts for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

Policy = Callable[[np.ndarray], np.ndarray]  # greedy actions of a batch of observations
THRESHOLDS = {
    "CartPole-v1": 475.0,
    "Pendulum-v1": -200.0,
    "Acrobot-v1": -100.0,
    "MountainCarContinuous-v0": 90.0,
    "LunarLander-v3": 200.0,
}
SCREENED, CONFIRMED = 10, 100  # episodes


def returns(policy: Policy, env: str, seeds: np.ndarray) -> np.ndarray:
    """The return of one episode from each seed, all played side by side; those that are over wait for the rest."""
    games = [gym.make(env, disable_env_checker=True) for _ in seeds]
    observations = np.stack([game.reset(seed=int(seed))[0] for game, seed in zip(games, seeds, strict=True)])
    totals, playing = np.zeros(len(games)), np.ones(len(games), bool)
    while playing.any():
        actions = policy(observations)
        for i in np.flatnonzero(playing):
            observations[i], reward, terminated, truncated, _ = games[i].step(actions[i])
            totals[i] += float(reward)
            playing[i] = not (terminated or truncated)
    return totals


def now() -> np.ndarray:
    """Wall and CPU seconds; the first is the same clock in every process of a machine."""
    return np.array([time.monotonic(), time.process_time()])


@dataclass
class Judge:
    """Judges one run of a process that began at the monotonic time `started`; `seed` decides which episodes it sees.

    begun   the clocks when training began
    paused  wall and CPU seconds that judging took since then
    """

    env: str
    seed: int
    started: float
    begun: np.ndarray = field(default_factory=now)
    paused: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def __post_init__(self) -> None:
        self.fresh = np.random.default_rng([self.seed, CONFIRMED])

    def training_begins(self) -> None:
        self.begun = now()

    def play(self, policy: Policy, episodes: int) -> np.ndarray:
        """Returns of episodes that were never seen before; the time is taken off."""
        before = now()
        played = returns(policy, self.env, self.fresh.integers(2**31, size=episodes))
        self.paused += now() - before
        return played

    def promising(self, policy: Policy) -> bool:
        return bool(self.play(policy, SCREENED).mean() >= THRESHOLDS[self.env])

    def confirmed(self, policy: Policy) -> dict[str, Any]:
        """Whether the policy solves the environment, and its returns, as fields of a report."""
        played = self.play(policy, CONFIRMED)
        return {
            "solved": bool(played.mean() >= THRESHOLDS[self.env]),
            "mean_return": played.mean(),
            "standard_error": played.std(ddof=1) / CONFIRMED**0.5,
        }

    def report(self, name: str, steps: int, quality: dict[str, Any]) -> dict[str, Any]:
        """The run so far as one line of JSON; seconds are without those of judging."""
        training = now() - self.begun - self.paused
        whole = now() - self.paused - np.array([self.started, 0.0])
        return {
            "peer": name,
            "env": self.env,
            "seed": self.seed,
            "steps": steps,
            "training_seconds": training[0],
            "training_cpu_seconds": training[1],
            "seconds_from_process_start": whole[0],
            "cpu_seconds_from_process_start": whole[1],
            **quality,
        }
