"""An environment that Gymnasium would make otherwise than it was given is played itself."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import Optimal
from kullback.control.envs.spec import changed_constant, why_alone

WRAPPERS = gym.wrappers


class Slope(gym.Env):
    """It pays `gain` for the second action; five steps. `count` and `seen` are its state, `map` differs by instance."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, gain=1.0):
        self.gain, self.count, self.seen = gain, 0, np.zeros(2)
        self.map = np.random.default_rng().normal(size=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        self.seen = self.seen + 1.0
        return np.zeros(2, np.float32), self.gain * float(action), self.count >= 5, False, {}


gym.register("kullback-test/Slope-v0", Slope)


def made(played=False, **changes):
    env = gym.make("kullback-test/Slope-v0", gain=2.0)
    if played:
        env.reset(seed=3)
        for _ in range(4):
            env.step(1)
    for name, value in changes.items():
        setattr(env.unwrapped, name, value)
    return env


@pytest.mark.parametrize("played", [False, True])
def test_a_constant_that_was_set_is_found_and_a_state_is_not(played):
    assert changed_constant(made(played)) == ""
    assert changed_constant(made(played, gain=-3.0)) == "gain"
    assert why_alone(made(played, gain=-3.0)) == "its gain is not as Gymnasium makes it"
    assert why_alone(WRAPPERS.FlattenObservation(made(played))) == ""


def test_what_was_set_is_what_is_learned():
    """With a gain of −3 the first action is best, which a copy with a gain of 2 would never show."""
    env = made(gain=-3.0)
    target = Optimal(env, temperature=0.1, episodes=4)
    rule = kl.control.TrajectoryGradient(block=16, epochs=4, minibatches=1, rate=0.05)
    problem = kl.KL(kl.Conditional(kl.MLP((4,)), dist.Categorical), target)
    assert "1 lane × 16 steps" in str(problem.plan(rule))
    fit = problem.minimize(rule=rule, steps=320)
    assert fit.diagnostics["greedy_return"].value == 0.0
    assert fit.diagnostics["sampled_return"].value <= 0.0


@pytest.mark.parametrize("wrapper", [WRAPPERS.NormalizeObservation, WRAPPERS.NormalizeReward])
def test_running_statistics_are_not_made_again(wrapper):
    env = wrapper(made())
    target = Optimal(env, 0.1, episodes=2)
    assert target.task.env.lanes == 1
    assert "a wrapper keeps statistics" in str(target.task)
    rule = kl.control.TrajectoryGradient(block=8, epochs=1, minibatches=1)
    policy = kl.Conditional(kl.MLP((4,)), dist.Categorical)
    fit = kl.KL(policy, target).minimize(rule=rule, steps=8)
    assert f"{wrapper.__name__} moved its statistics" in fit.diagnostics["greedy_return"].reason
    env.update_running_mean = False
    still = kl.KL(fit.q, Optimal(env, 0.1, episodes=2)).estimate()
    assert "statistics" not in still.diagnostics["greedy_return"].reason


def test_a_vector_environment_shares_them_and_says_so():
    envs = gym.vector.SyncVectorEnv([made] * 2)
    target = Optimal(gym.wrappers.vector.NormalizeObservation(envs), 0.1)
    assert target.task.env.lanes == 2
    assert "moved its statistics" in target.task.env.caveat
    assert "2 lanes ×" in str(kl.KL(kl.Conditional(kl.MLP(), dist.Categorical), target).plan())


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Blackjack-v1"]
)
def test_environments_of_gymnasium_that_were_played_are_as_it_makes_them(name):
    env = gym.make(name)
    assert why_alone(env) == ""
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(60):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    assert why_alone(env) == ""
    assert why_alone(type("Own", (Slope,), {})()) == "Gymnasium cannot make others like it"
