"""Peers in reinforcement learning, with the settings that rl-zoo3 2.9.2 publishes, trained until they have solved.

    .venv-bench/bin/python -m benchmarks.control_peers "SB3 PPO" CartPole-v1 0

prints one line of JSON. Networks are two layers of 64; everything else is as published.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.control_judge import Judge, Policy


def falling(value: float) -> Callable[[float], float]:
    """A setting that falls to 0 as a straight line."""
    return lambda remaining: remaining * value


@dataclass(frozen=True)
class Settings:
    """How a peer learns one environment.

    steps       after which it gives up
    every       steps between judgements; on-policy learners are judged after each update at the most
    copies      of the environment side by side
    normalised  observations and rewards are divided by running scales
    """

    steps: int
    every: int
    algorithm: dict[str, Any]
    copies: int = 1
    normalised: bool = False


SMALL = {"net_arch": [64, 64]}
CARTPOLE = Settings(
    steps=100_000,
    every=256,
    copies=8,
    algorithm={
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": falling(1e-3),
        "clip_range": falling(0.2),
    },
)
ACROBOT = Settings(
    steps=1_000_000,
    every=4_096,
    copies=16,
    normalised=True,
    algorithm={"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4, "ent_coef": 0.0},
)
LUNAR_LANDER = Settings(
    steps=1_000_000,
    every=16_384,
    copies=16,
    algorithm={
        "n_steps": 1024,
        "batch_size": 64,
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "n_epochs": 4,
        "ent_coef": 0.01,
    },
)
PENDULUM = Settings(steps=20_000, every=200, algorithm={"learning_rate": 1e-3, "policy_kwargs": SMALL})
MOUNTAIN_CAR = Settings(
    steps=50_000,
    every=1_000,
    algorithm={
        "learning_rate": 3e-4,
        "buffer_size": 50_000,
        "batch_size": 512,
        "ent_coef": 0.1,
        "train_freq": 32,
        "gradient_steps": 32,
        "gamma": 0.9999,
        "tau": 0.01,
        "learning_starts": 0,
        "use_sde": True,
        "policy_kwargs": {**SMALL, "log_std_init": -3.67, "use_expln": True},
    },
)
PEERS: dict[str, dict[str, Settings]] = {
    "SB3 PPO": {"CartPole-v1": CARTPOLE, "Acrobot-v1": ACROBOT, "LunarLander-v3": LUNAR_LANDER},
    "SB3 SAC": {"Pendulum-v1": PENDULUM, "MountainCarContinuous-v0": MOUNTAIN_CAR},
    "SBX PPO": {"CartPole-v1": CARTPOLE},
    "SBX SAC": {"Pendulum-v1": PENDULUM},
}
LIBRARIES = {"SB3": "stable_baselines3", "SBX": "sbx"}


class Solved(Exception):
    """Ends training between an update and the next rollout, where no callback can."""


def greedy(model: Any) -> Policy:
    """Greedy actions; observations are scaled as in training."""
    scaling = model.get_vec_normalize_env()

    def actions(observations: Any) -> Any:
        given = observations if scaling is None else scaling.normalize_obs(observations)
        return model.predict(given, deterministic=True)[0]

    return actions


def model_of(peer: str, env: str, settings: Settings, seed: int) -> Any:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    library, algorithm = peer.split()
    made = make_vec_env(env, settings.copies, seed=seed)
    if settings.normalised:
        made = VecNormalize(made, gamma=settings.algorithm["gamma"])
    learner = getattr(importlib.import_module(LIBRARIES[library]), algorithm)
    return learner("MlpPolicy", made, seed=seed, **settings.algorithm)


def watcher(judge: Judge, every: int, found: dict[str, Any]) -> Any:
    """A callback that judges after every so many steps, and raises `Solved`."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Watcher(BaseCallback):
        due = every

        def _on_rollout_start(self) -> None:
            if self.model.num_timesteps < self.due:
                return
            self.due += every
            policy = greedy(self.model)
            if judge.promising(policy):
                found.update(judge.confirmed(policy))
                if found["solved"]:
                    raise Solved

        def _on_step(self) -> bool:
            return True

    return Watcher()


def train(peer: str, env: str, seed: int, started: float, steps: int | None = None) -> dict[str, Any]:
    """Trains one peer until it has solved, or for `steps`; `started` is the monotonic time when its process began."""
    settings = PEERS[peer][env]
    model = model_of(peer, env, settings, seed)
    judge, found = Judge(env, seed, started), {"solved": False}
    judge.training_begins()
    try:
        model.learn(steps or settings.steps, callback=watcher(judge, settings.every, found))
        found |= judge.confirmed(greedy(model))
    except Solved:
        pass
    return judge.report(peer, model.num_timesteps, found)


if __name__ == "__main__":
    peer, env, seed = sys.argv[1:]
    print(json.dumps(train(peer, env, int(seed), time.monotonic())))
