"""As the temperature falls, the policy's value is that of ordinary value iteration."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import root_scalar

import kullback as kl
from kullback.control import Optimal, rollout
from kullback.control.tabular.evaluation import evaluate
from kullback.control.tabular.soft_bellman import solve
from kullback.control.task import greedy

SLIPPERY_4, SLIPPERY_8 = ("FrozenLake-v1", {}), ("FrozenLake8x8-v1", {})
VALUES = [
    (SLIPPERY_4, None, 0.8235),
    (SLIPPERY_4, "limit", 0.7442),
    (SLIPPERY_8, None, 1.0),
    (SLIPPERY_8, "limit", 0.9132),
    (("Taxi-v4", {}), None, 7.93),
    (("CliffWalking-v1", {}), None, -13.0),
]


def made(which, *arguments, **settings):
    return Optimal(gym.make(which[0], **which[1]), *arguments, **settings)


@pytest.mark.parametrize(("which", "horizon", "value"), VALUES, ids=lambda x: str(x))
@pytest.mark.parametrize("temperature", [1e-5, 1e-8])
def test_cold_values(which, horizon, value, temperature):
    problem = made(which, temperature, horizon=horizon).problem
    solution = solve(problem)
    best = evaluate(problem, greedy(solution.log_policy))
    drawn = evaluate(problem, solution.log_policy)
    assert best.expected_return == pytest.approx(value, abs=6e-5)
    assert drawn.expected_return == pytest.approx(value, abs=1e-3)
    assert temperature * solution.soft_value == pytest.approx(value, abs=3e-3)
    assert temperature * solution.error < 1e-6


def test_hot_policies_are_the_prior():
    problem = made(("FrozenLake-v1", {}), 1e6).problem
    solution = solve(problem)
    np.testing.assert_allclose(np.exp(solution.log_policy), 0.25, atol=1e-6)
    assert 1e6 * solution.soft_value == pytest.approx(evaluate(problem, problem.log_prior).expected_return, rel=1e-5)


def test_deterministic_lake_has_no_least_kl():
    solution = solve(made(("FrozenLake-v1", {"is_slippery": False}), 0.1).problem)
    assert solution.least_kl == 0.0


def test_rollouts_agree_with_the_exact_values():
    """False alarm: under 1 in 10,000 for each of the two means, by the normal bound at 4 standard errors."""
    q = kl.Conditional(kl.Table(), dist.Categorical)
    fit = kl.KL(q, Optimal("FrozenLake-v1", 0.005)).minimize()
    untimed = gym.make("FrozenLake-v1", max_episode_steps=10_000)
    for is_greedy, name in ((True, "greedy_value"), (False, "sampled_value")):
        returns = rollout(untimed, fit.q, episodes=300, seed=1, greedy=is_greedy).returns
        exact = fit.diagnostics[name]
        assert abs(returns.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / len(returns))


def test_rollouts_of_a_policy_that_depends_on_time():
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), Optimal("CliffWalking-v1", 0.01, horizon=20)).minimize()
    played = rollout("CliffWalking-v1", fit.q, episodes=2, greedy=True, horizon=20)
    np.testing.assert_array_equal(played.returns, [-13.0, -13.0])
    np.testing.assert_array_equal(played.observations[:13] // 48, np.arange(13))


def test_kl_and_entropy_forms_differ_where_episodes_end():
    """Fine print 5: entropy is KL to uniform up to α log∣A∣ a step alive, so that the entropy form pays for staying."""
    alpha, discount = 0.5, 0.9
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 1] = transition[0, 1, 0] = transition[1, :, 1] = 1.0  # end, or stay
    policy = kl.Conditional(kl.Table(), dist.Categorical)

    def staying(bonus):
        reward = np.array([[bonus, bonus], [0.0, 0.0]])
        target = Optimal(kl.control.FiniteMDP(transition, reward, [1], 0), alpha, discount=discount)
        fit = kl.KL(policy, target).minimize()
        return float(fit.q([0]).probs[0, 1]), fit.diagnostics["soft_value"]

    # To the prior: V = α log(½ + ½ exp(γV/α)) has the solution 0, where both actions are worth the same.
    assert staying(0.0) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-9))
    # With entropy: V = α log(1 + exp(γV/α)).
    value = root_scalar(lambda v: v - alpha * np.log1p(np.exp(discount * v / alpha)), bracket=(0.0, 20.0)).root
    share, found = staying(alpha * np.log(2.0))
    assert found == pytest.approx(value, rel=1e-6)
    assert share == pytest.approx(1.0 / (1.0 + np.exp(-discount * value / alpha)), rel=1e-5)
    assert share > 0.8
