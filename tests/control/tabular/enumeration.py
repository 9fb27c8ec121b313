"""Every trajectory of a small decision process, one by one: the truth that the solvers are tested against."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kullback.control import FiniteMDP
from kullback.control.task import TableProblem


@dataclass
class Trajectory:
    """How probable the environment's part and the policy's part are, and what is collected."""

    environment: float
    steps: tuple[tuple[int, int, int], ...]  # (time, state, action)
    reward: float

    def log_prob(self, log_policy: np.ndarray) -> float:
        """log-probability under a policy [horizon, S, A]."""
        return float(np.log(self.environment) + sum(log_policy[step] for step in self.steps))


def trajectories(problem: TableProblem, horizon: int) -> Iterator[Trajectory]:
    """Every trajectory of at most `horizon` steps; discounting ends one at random after each step."""
    model = problem.model

    def grow(t: int, state: int, p: float, steps: tuple, reward: float) -> Iterator[Trajectory]:
        if t == horizon or not model.acting[state]:
            yield Trajectory(p, steps, reward)
            return
        for row in np.flatnonzero(model.state == state):
            q = p * model.probability[row]
            onward = (*steps, (t, state, int(model.action[row])))
            total = reward + model.reward[row]
            if model.ends[row]:
                yield Trajectory(q, onward, total)
                continue
            if problem.discount < 1:
                yield Trajectory(q * (1 - problem.discount), onward, total)
            yield from grow(t + 1, int(model.successor[row]), q * problem.discount, onward, total)

    for state in np.flatnonzero(model.start):
        yield from grow(0, int(state), float(model.start[state]), (), 0.0)


def random_mdp(rng: np.random.Generator, deterministic: bool = False, states: int = 3, actions: int = 2) -> FiniteMDP:
    """States that lead to each other and to a last one, which is terminal; two start states unless deterministic."""
    transition = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    if deterministic:
        transition = np.eye(states)[transition.argmax(-1)]
    start = 0 if deterministic else np.array([0.6, 0.4] + [0.0] * (states - 2))
    return FiniteMDP(transition, rng.normal(size=(states, actions, states)), terminal=[states - 1], start=start)


def random_policy(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Log-probabilities of random policies [*shape]."""
    return np.log(rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]))
