"""Our side of the benchmarks of reinforcement learning: the reverse KL to the optimal trajectories, minimised.

    .venv-bench/bin/python -m benchmarks.control_ours CartPole-v1 0

prints one line of JSON, with the fields of the peers'. Training is the call of `minimize`, with whatever it plays to
see whether it has solved; `again` is the same call once more, in a process that has the programs in memory.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.control_judge import Judge, Policy, now
from benchmarks.runner import OURS

HIDDEN = (64, 64)


@dataclass(frozen=True)
class Settings:
    """What is minimised, and by which rule of `kullback.control`; `options` are the rule's own.

    until  the mean greedy return at which it stops: above the threshold by a standard error or more, since the hundred
           episodes that judge it here are others, of which a few on Acrobot never swing up
    """

    rule: str
    until: float
    temperature: float
    discount: float
    options: dict[str, Any] = field(default_factory=dict)


ON_POLICY, OFF_POLICY = "TrajectoryGradient", "SoftActorCritic"
SETTINGS = {
    "CartPole-v1": Settings(ON_POLICY, 480.0, temperature=0.1, discount=0.98),
    "Acrobot-v1": Settings(ON_POLICY, -90.0, temperature=0.1, discount=0.99),
    "LunarLander-v3": Settings(ON_POLICY, 205.0, temperature=0.1, discount=0.999),
    "Pendulum-v1": Settings(OFF_POLICY, -190.0, temperature=0.2, discount=0.99),
    "MountainCarContinuous-v0": Settings(OFF_POLICY, 90.5, temperature=0.1, discount=0.9999),
}


def stated(env: str) -> tuple[Any, Any]:
    """What a user writes before there is training: the divergence, and the rule."""
    import numpyro.distributions as dist

    import kullback as kl
    from kullback import control

    settings = SETTINGS[env]
    optimal = kl.Optimal(env, temperature=settings.temperature, discount=settings.discount)
    rule = getattr(control, settings.rule)(until=settings.until, **settings.options)
    law = dist.Categorical if settings.rule == ON_POLICY else kl.TanhNormal
    return kl.KL(kl.Conditional(kl.MLP(HIDDEN), law), optimal), rule


def greedy(q: Any) -> Policy:
    """The likeliest action, or the median of a continuous one."""

    def actions(observations: np.ndarray) -> np.ndarray:
        law = q(observations)
        law = getattr(law, "base_dist", law)  # of several numbers that are one action
        return np.asarray(law.median if hasattr(law, "median") else law.logits.argmax(-1))

    return actions


def train(peer: str, env: str, seed: int, started: float) -> dict[str, Any]:
    """One training, as the peers' `train`, and then the same again."""
    from kullback.cli.commands import keep_compilations

    keep_compilations()
    judge = Judge(env, seed, started)
    divergence, rule = stated(env)
    judge.training_begins()
    fitted = divergence.minimize(rule=rule, seed=seed, quiet=True)
    line = judge.report(peer, fitted.diagnostics["environment_steps"], {})
    divergence, rule = stated(env)
    before = now()
    divergence.minimize(rule=rule, seed=seed, quiet=True)
    wall, cpu = now() - before
    return {**line, **judge.confirmed(greedy(fitted.q)), "again_seconds": wall, "again_cpu_seconds": cpu}


if __name__ == "__main__":
    env, seed = sys.argv[1:]
    print(json.dumps(train(OURS, env, int(seed), time.monotonic())))
