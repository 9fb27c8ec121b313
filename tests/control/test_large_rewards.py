"""Rewards whose squares single precision does not hold, and a discount of 0."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control.tabular.mdp import FiniteMDP
from kullback.errors import EnvironmentFault, InputError

POLICY = kl.Conditional(kl.Table(), dist.Categorical)


class Choice(gym.Env):
    """One step: action 1 gives the reward, action 0 nothing."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def __init__(self, reward):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 1, float(action) * self.reward, True, False, {}


@pytest.mark.parametrize("reward", [1.1e18, -1e19, 1e30, 1e300])
def test_rewards_beyond_are_named(reward):
    with pytest.raises(EnvironmentFault, match=r"reward .*, beyond 1e\+18, .* divide the rewards and the temperature"):
        kl.KL(POLICY, kl.Optimal(Choice(reward), temperature=abs(reward))).minimize(quiet=True, steps=500)


def test_the_largest_reward_is_learned_from():
    fit = kl.KL(POLICY, kl.Optimal(Choice(9e17), temperature=9e17, episodes=20)).minimize(quiet=True, steps=500)
    assert np.isfinite(fit.objective.value)
    assert not fit.message.startswith("the parameters became NaN")


def test_the_message_on_what_is_not_finite_is_as_before():
    with pytest.raises(EnvironmentFault, match="the reward nan, in step"):
        kl.KL(POLICY, kl.Optimal(Choice(np.nan))).minimize(quiet=True, steps=500)


@pytest.mark.parametrize("unit", [1.0, 1e19, 1e200, 1e307])
def test_tables_are_solved_in_any_unit(unit):
    """Soft value α log((1 + e)/2) of a choice between 0 and α."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 1] = transition[0, 1, 2] = 1.0
    transition[1, :, 1] = transition[2, :, 2] = 1.0
    reward = np.zeros((3, 2))
    reward[0, 1] = unit
    side = kl.Optimal(FiniteMDP(transition, reward, terminal=[1, 2], start=0), temperature=unit)
    found = kl.KL(POLICY, side).minimize(quiet=True).diagnostics["soft_value"]
    assert float(found) / unit == pytest.approx(np.log((1 + np.e) / 2), rel=1e-12)


def test_a_discount_of_0_is_one_step():
    """On a table V(s) = α log mean exp(r/α), whatever the dynamics and the horizon; a learner is told what would do."""
    random = np.random.default_rng(0)
    transition, reward = random.dirichlet(np.ones(4), (4, 3)), random.normal(size=(4, 3))
    value = 0.5 * np.log(np.mean(np.exp(reward[0] / 0.5)))
    for horizon in (None, 3):
        side = kl.Optimal(FiniteMDP(transition, reward, [3], 0), 0.5, discount=0, horizon=horizon)
        found = kl.KL(POLICY, side).minimize(quiet=True)
        assert found.diagnostics["soft_value"] == pytest.approx(value, rel=1e-12)
        assert found.diagnostics["log_z"] == pytest.approx(value / 0.5, rel=1e-12)
        assert found.diagnostics["kl"] == pytest.approx(0.0, abs=1e-12)
        assert found.diagnostics["trajectory_steps"] == 1.0
    with pytest.raises(InputError, match="horizon=1 counts the first reward alone"):
        kl.Optimal("CartPole-v1", discount=0)
