"""The identities of control, against the enumeration of every trajectory."""

import numpy as np
import pytest
from scipy.special import logsumexp
from tests.control.tabular.enumeration import random_mdp, random_policy, trajectories

from kullback.control import FiniteMDP, Optimal
from kullback.control.tabular.evaluation import evaluate
from kullback.control.tabular.soft_bellman import solve

HORIZON = 4
CASES = [(deterministic, discount) for deterministic in (True, False) for discount in (1.0, 0.8)]


def problem_of(rng, deterministic, discount, horizon: int | None = HORIZON):
    mdp = random_mdp(rng, deterministic)
    prior = np.exp(random_policy(rng, 3, 2))
    return Optimal(mdp, temperature=0.7, prior=prior, discount=discount, horizon=horizon).problem


@pytest.mark.parametrize(("deterministic", "discount"), CASES)
def test_kl_of_any_policy_is_that_of_its_trajectories(rng, deterministic, discount):
    problem = problem_of(rng, deterministic, discount)
    listed = list(trajectories(problem, HORIZON))
    prior = np.array([t.log_prob(problem.prior_by_time) for t in listed])
    tilted = prior + np.array([t.reward for t in listed]) / problem.temperature
    log_z = logsumexp(tilted)
    solution = solve(problem)
    assert np.exp(prior).sum() == pytest.approx(1.0)
    assert solution.log_partition == pytest.approx(log_z, abs=1e-12)

    for log_policy in (random_policy(rng, HORIZON, 3, 2), solution.log_policy):
        q = np.array([t.log_prob(log_policy) for t in listed])
        kl = np.exp(q) @ (q - (tilted - log_z))
        found = evaluate(problem, log_policy)
        excess = found.trajectory_kl(solution.log_policy)
        assert found.expected_return == pytest.approx(np.exp(q) @ [t.reward for t in listed], abs=1e-12)
        assert found.steps == pytest.approx(np.exp(q) @ [len(t.steps) for t in listed], abs=1e-12)
        assert found.trajectory_kl(problem.prior_by_time) == pytest.approx(np.exp(q) @ (q - prior), abs=1e-12)
        assert solution.least_kl + excess == pytest.approx(kl, abs=1e-11)
        value = found.expected_return / problem.temperature - found.trajectory_kl(problem.prior_by_time)
        assert excess == pytest.approx(solution.soft_value - value, abs=1e-11)
    assert evaluate(problem, solution.log_policy).trajectory_kl(solution.log_policy) == 0.0


@pytest.mark.parametrize(("deterministic", "discount"), CASES)
def test_no_policy_does_better(rng, deterministic, discount):
    problem = problem_of(rng, deterministic, discount)
    solution = solve(problem)
    for _ in range(20):
        found = evaluate(problem, solution.log_policy + 0.1 * rng.normal(size=solution.log_policy.shape))
        value = found.expected_return / problem.temperature - found.trajectory_kl(problem.prior_by_time)
        assert value < solution.soft_value


def test_least_kl_is_zero_only_without_chance(rng):
    assert solve(problem_of(rng, True, 1.0)).least_kl == pytest.approx(0.0, abs=1e-12)
    dear = FiniteMDP(np.eye(2)[[[0, 1], [0, 0]]], [[-1.0, -3.0], [0, 0]], terminal=[1], start=0)
    assert solve(Optimal(dear).problem).least_kl == 0.0
    assert solve(Optimal(dear, discount=0.8).problem).least_kl > 1e-3  # discounting is termination at random
    assert solve(problem_of(rng, False, 1.0)).least_kl > 1e-3


@pytest.mark.parametrize(("deterministic", "discount"), CASES)
def test_infinite_horizon_is_the_limit_of_finite_ones(rng, deterministic, discount):
    rng = np.random.default_rng(3)
    transition = np.array(
        [[[0.1, 0.5, 0.4], [0.6, 0.2, 0.2]], [[0.5, 0.0, 0.5], [0.2, 0.3, 0.5]], [[1, 0, 0], [1, 0, 0]]]
    )
    if deterministic:
        transition = np.eye(3)[[[1, 0], [2, 0], [0, 0]]]
    reward = rng.normal(size=(3, 2, 3)) - 1.0
    mdp = FiniteMDP(transition, reward, terminal=[2], start=[0.5, 0.5, 0.0])
    prior = np.exp(random_policy(rng, 3, 2))
    ahead = solve(Optimal(mdp, 0.7, prior, discount).problem)
    cut = solve(Optimal(mdp, 0.7, prior, discount, horizon=400).problem)
    assert ahead.soft_value == pytest.approx(cut.soft_value, abs=1e-9)
    assert ahead.log_partition == pytest.approx(cut.log_partition, abs=1e-9)
    np.testing.assert_allclose(ahead.log_policy[:2], cut.log_policy[0, :2], atol=1e-9)
    assert ahead.error < 1e-9
    policy = random_policy(rng, 3, 2)
    one, many = (evaluate(Optimal(mdp, 0.7, prior, discount, h).problem, policy) for h in (None, 2000))
    assert one.expected_return == pytest.approx(many.expected_return, abs=1e-9)
    np.testing.assert_allclose(one.occupancy, many.occupancy.sum(0), atol=1e-9)


def test_the_lottery_is_not_played_by_an_optimist():
    """Win 1 with probability 0.1 and lose 1 otherwise, or take a safe 0, at temperature 0.2."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, [1, 2]] = 0.1, 0.9
    transition[0, 1, 3] = 1.0
    reward = np.zeros((4, 2, 4))
    reward[0, 0, [1, 2]] = 1.0, -1.0
    mdp = FiniteMDP(transition, reward, terminal=[1, 2, 3], start=0)
    problem = Optimal(mdp, temperature=0.2).problem
    solution = solve(problem)
    assert np.exp(solution.log_policy[0, 0]) == pytest.approx(0.018, abs=5e-4)
    tilted = 0.5 * (0.1 * np.exp(5.0) + 0.9 * np.exp(-5.0))
    conditioned = tilted / (tilted + 0.5)
    assert conditioned == pytest.approx(0.937, abs=5e-4)
    assert solution.log_partition == pytest.approx(np.log(tilted + 0.5))


def test_entropy_and_kl_differ_by_log_actions_per_step_alive():
    """With the entropy as the bonus, staying alive earns α log|A| a step, so a dear but long way may win."""
    mdp = FiniteMDP(np.eye(2)[[[0, 1], [0, 0]]], [[-0.5, 0.0], [0, 0]], terminal=[1], start=0)
    kl_form = Optimal(mdp, temperature=1.0).problem
    entropy_form = FiniteMDP(np.eye(2)[[[0, 1], [0, 0]]], [[-0.5 + np.log(2), np.log(2)], [0, 0]], [1], 0)
    stay = [np.exp(solve(Optimal(m).problem).log_policy[0, 0]) for m in (mdp, entropy_form)]
    # V = log(½ e^(−½+V) + ½) in closed form, and V = log(e^(−½+V) + 1) for the entropy.
    assert stay[0] == pytest.approx(np.exp(-0.5) / 2)
    assert stay[1] == pytest.approx(np.exp(-0.5))
    policy = solve(kl_form).log_policy
    found = evaluate(kl_form, policy)
    entropy = -found.occupancy @ (np.exp(policy) * policy).sum(-1)
    assert found.trajectory_kl(kl_form.log_prior) == pytest.approx(found.steps * np.log(2) - entropy)
