"""Actions that are equally probable are equally greedy, however the policy is played and wherever it is counted."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP, FreshEpisodes, Optimal, rollout
from kullback.control.agent import Agent

# Shares of 2,000 draws of probability 1/2, within 4.5 standard deviations: false alarms 7 in a million.
WIDE = 4.5 * 0.5 / np.sqrt(2000)


@pytest.fixture(scope="module")
def tied():
    """One step that pays 1 or 0; at 10⁸ reward a nat the two actions differ by 10⁻⁸ nats, and 1/2 is paid."""
    transition = np.zeros((2, 2, 2))
    transition[:, :, 1] = 1.0
    arrays = FiniteMDP(transition, np.array([[1.0, 0.0], [0.0, 0.0]]), [1], 0)
    target = Optimal(arrays, temperature=1e8)
    return target, kl.KL(kl.Conditional(kl.Table(), dist.Categorical), target).minimize()


def test_what_is_reported_is_what_is_played(tied):
    target, fit = tied
    assert fit.diagnostics["greedy_return"] == pytest.approx(0.5)
    played = kl.KL(fit.q, target).estimate(rule=FreshEpisodes(2000), seed=1).diagnostics["greedy_return"]
    assert abs(played.value - 0.5) < WIDE


def test_an_agent_takes_either(tied):
    target, fit = tied
    one, batch = Agent(fit, target.env), Agent(fit, target.env)
    singly = [int(one.predict(0, deterministic=True)[0]) for _ in range(200)]
    assert abs(np.mean(singly) - 0.5) < np.sqrt(10) * WIDE
    assert abs(np.mean(batch(np.zeros(2000, int), greedy=True)) - 0.5) < WIDE


def test_the_environment_itself_returns_what_is_reported():
    """A nearly uniform policy crosses the lake in 1 of 72 episodes; one that goes to the left for ever never does.

    Two means of 1,500 episodes: within 4.5 standard errors.
    """
    lake = gym.make("FrozenLake-v1")
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), Optimal(lake, 1e6)).minimize()
    reported = fit.diagnostics["greedy_return"]
    assert reported == pytest.approx(0.01394, abs=1e-4)
    returns = rollout(lake, fit.q, 1500, seed=3, greedy=True).returns
    assert abs(returns.mean() - reported) < 4.5 * np.sqrt(reported / 1500)
    agent, total = Agent(fit, lake), 0.0
    for episode in range(1500):
        seen, over = lake.reset(seed=episode)[0], False
        while not over:
            seen, reward, terminated, truncated, _ = lake.step(agent(seen, greedy=True))
            total, over = total + float(reward), terminated or truncated
    assert abs(total / 1500 - reported) < 4.5 * np.sqrt(reported / 1500)
