"""Actions of several choices, also where places have different numbers of them, and observations of every kind."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import softmax

import kullback as kl
from kullback.control import Agent, Optimal, Reaching, RelabelledImitation, TrajectoryGradient, rollout

S = gym.spaces
BOX = S.Box(-1.0, 1.0, (2,))
ACTIONS = {
    "unequal": S.MultiDiscrete([3, 2]),
    "of two axes, from 5 on": S.MultiDiscrete([[2, 3], [4, 1]], start=[[-1, 5], [5, 5]]),
    "a dict": S.Dict(a=S.Discrete(3), b=S.Discrete(2)),
    "a tuple": S.Tuple((S.Discrete(2, start=4), S.MultiDiscrete([3, 5]), S.MultiBinary(2))),
}
OBSERVATIONS = {
    "multi": S.MultiDiscrete([3, 2]),
    "dict": S.Dict(a=S.Discrete(3), b=S.Discrete(2)),
    "tuple": S.Tuple((S.MultiBinary(2), S.Box(0, 1, (2, 2)))),
}
BRIEF = TrajectoryGradient(lanes=2, block=8, epochs=1, minibatches=1, steps=32)


class Sum(gym.Env):
    """Three steps, each paying the sum of the choices, counted from 0; it takes no action outside its space."""

    def __init__(self, seen=BOX, space=ACTIONS["unequal"]):
        self.observation_space, self.action_space = seen, space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), counted(self.action_space, action), self.steps == 3, False, {}


def counted(space, action):
    """The sum of the choices, counted from 0."""
    if isinstance(space, S.Dict):
        return sum(counted(space[key], action[key]) for key in space)
    if isinstance(space, S.Tuple):
        return sum(counted(part, one) for part, one in zip(space, action, strict=True))
    return float(np.sum(action - np.asarray(getattr(space, "start", 0))))


def policy():
    return kl.Conditional(kl.MLP((8,)), dist.Categorical)


def probabilities(fit, observations):
    logits = np.asarray(fit.q(observations).base_dist.logits, np.float64)
    return softmax(logits, axis=-1)


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS.keys())
def test_every_place_has_its_own_number_of_choices(space, tmp_path):
    env = Sum(space=space)
    target = Optimal(env, 0.5, episodes=2)
    fit = kl.KL(policy(), target).minimize(rule=BRIEF)
    actions = target.task.env.facts.actions
    found = probabilities(fit, np.zeros((1, 2), np.float32))[0]
    assert (found[~actions.exists] == 0).all()
    assert (found[actions.exists] > 0.02).all()
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-6)

    fit.save(tmp_path / "policy")
    agent = Agent(kl.load(tmp_path / "policy"), env)
    drawn = [agent(np.zeros(2, np.float32)) for _ in range(20)]
    assert all(space.contains(action) for action in [*drawn, agent(np.zeros(2, np.float32), greedy=True)])
    if space is ACTIONS["unequal"]:
        rollout(env, fit.q, episodes=2)
        again = kl.KL(kl.learnable(fit.q), target).minimize(rule=BRIEF)
        assert (probabilities(again, np.zeros((1, 2), np.float32))[0][~actions.exists] == 0).all()


@pytest.mark.parametrize("seen", OBSERVATIONS.values(), ids=OBSERVATIONS.keys())
def test_observations_of_several_parts(seen):
    fit = kl.KL(policy(), Optimal(Sum(seen), 0.5, episodes=2)).minimize(rule=BRIEF)
    assert 0 <= fit.diagnostics["greedy_return"].value <= 9


def test_the_policy_is_the_closed_form():
    """What is done changes nothing later, so π*(a) ∝ exp(Σ a/α) over the choices that there are, place by place."""
    fit = kl.KL(policy(), Optimal(Sum(S.Discrete(1)), 1.0, episodes=50)).minimize(
        rule=TrajectoryGradient(steps=12_000, lam=0.0)
    )
    found = probabilities(fit, np.zeros(1, int))[0]
    np.testing.assert_allclose(found[0], softmax([0.0, 1.0, 2.0]), atol=0.04)
    np.testing.assert_allclose(found[1], [*softmax([0.0, 1.0]), 0.0], atol=0.04)


class Pair(Sum):
    """It goes to where the first choice says, and observes that."""

    def step(self, action):
        self.steps += 1
        assert self.action_space.contains(action), action
        return int(action[0]), 0.0, False, self.steps == 3, {}


def test_goals_are_reached_by_unequal_choices():
    env = gym.wrappers.TimeLimit(Pair(S.Discrete(3)), 3)
    rule = RelabelledImitation(episodes=4, updates=2, batch=8, steps=24)
    fit = kl.KL(Reaching(env), kl.Conditional(kl.MLP((8,)), dist.Categorical)).minimize(rule=rule)
    side = Reaching(env)
    found = softmax(np.asarray(fit.q(side.inputs([0, 1], [2, 2])).base_dist.logits, np.float64), axis=-1)
    assert (found[:, 1, 2] == 0).all()
    assert (found[:, 0] > 0).all()
