"""Policies that never end, values without bound, large chains, tiny temperatures."""

import numpy as np
import pytest

from kullback.control import FiniteMDP, Optimal
from kullback.control.tabular import soft_bellman
from kullback.control.tabular.evaluation import evaluate
from kullback.control.tabular.soft_bellman import outcome_choices, solve
from kullback.control.task import greedy, kl_rows
from kullback.errors import FitError

LOOP = np.eye(2)[[[0, 1], [0, 0]]]  # stay, or leave for the terminal state


def log(policy):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(policy, float))


def test_a_policy_that_never_ends():
    stay = log([[1, 0], [0.5, 0.5]])
    for reward, value in ((-1.0, -np.inf), (0.0, 0.0), (1.0, np.inf)):
        problem = Optimal(FiniteMDP(LOOP, [reward, 0], [1], 0), 10.0).problem
        found = evaluate(problem, stay)
        assert found.expected_return == value
        assert found.steps == np.inf
        assert found.trajectory_kl(problem.log_prior) == np.inf
        assert found.trajectory_kl(stay) == 0.0


def test_an_endless_cycle_is_judged_by_its_average():
    cycle = np.zeros((3, 1, 3))
    cycle[[0, 1, 2], 0, [1, 0, 2]] = 1.0
    only = np.zeros((3, 1))
    for rewards, value in (([2.0, -1.0, 0], np.inf), ([1.0, -2.0, 0], -np.inf)):
        problem = Optimal(FiniteMDP(cycle, rewards, [2], 0), horizon=5).problem
        forever = Optimal(FiniteMDP(cycle, rewards, [2], 0), discount=0.9).problem
        assert np.isfinite(evaluate(problem, only).expected_return)
        assert np.isfinite(evaluate(forever, only).expected_return)
        endless = type(problem)(problem.model, 1.0, 1.0, None, problem.log_prior)
        assert evaluate(endless, only).expected_return == value


def test_values_without_bound_name_the_remedy():
    earning = FiniteMDP(LOOP, [1.0, 0.0], [1], 0)
    with pytest.raises(FitError, match=r"without bound.*discount= below 1, or horizon="):
        solve(Optimal(earning, 1.0).problem)
    assert np.isfinite(solve(Optimal(earning, 1.0, discount=0.9).problem).soft_value)
    assert solve(Optimal(earning, 1.0, horizon=3).problem).soft_value > 0
    trap = FiniteMDP(np.ones((1, 2, 1)), [1.0], start=0)
    with pytest.raises(FitError, match=r"never left \(0\).*discount= below 1, or horizon="):
        solve(Optimal(trap).problem)


def test_a_warm_enough_policy_leaves_in_spite_of_the_reward():
    """Staying earns 1, and costs log 2 nats at temperature 2: V = 2 log(½ e^((1+V)/2) + ½) is finite."""
    solution = solve(Optimal(FiniteMDP(LOOP, [1.0, 0.0], [1], 0), 2.0).problem)
    stay = np.exp(0.5) / 2
    assert np.exp(solution.log_policy[0, 0]) == pytest.approx(stay)
    assert solution.soft_value == pytest.approx(np.log(0.5 * np.exp(0.5) / (1 - stay)))


def test_a_partition_function_may_be_infinite_where_the_value_is_not():
    """One action that pays 1 and goes on with probability ½: E[R] = 2, and E[exp(R)] = Σ (e/2)^n is infinite."""
    mdp = FiniteMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [1.0, 0.0], [1], 0)
    solution = solve(Optimal(mdp).problem)
    assert solution.soft_value == pytest.approx(2.0)
    assert solution.log_partition == np.inf
    cold = solve(Optimal(mdp, 2.0).problem)
    half = np.exp(0.5) / 2
    assert cold.log_partition == pytest.approx(np.log(half / (1 - half)))


def test_states_at_rest_end_the_trajectory():
    """An absorbing state that pays nothing need not be called terminal."""
    named = solve(Optimal(FiniteMDP(LOOP, [[-1.0, 2.0], [0, 0]], [1], 0)).problem)
    loops = np.eye(2)[[[0, 1], [1, 1]]]
    found = solve(Optimal(FiniteMDP(loops, [[-1.0, 2.0], [0, 0]], start=0)).problem)
    assert found.soft_value == pytest.approx(named.soft_value)
    np.testing.assert_allclose(found.log_policy[0], named.log_policy[0])


def test_forbidden_actions_are_not_taken():
    mdp = FiniteMDP(LOOP, [[-1.0, -5.0], [0, 0]], [1], 0)
    solution = solve(Optimal(mdp, prior=[[0.0, 1.0], [0.5, 0.5]]).problem)
    np.testing.assert_array_equal(np.exp(solution.log_policy[0]), [0.0, 1.0])
    assert solution.soft_value == pytest.approx(-5.0)


def test_greedy_shares_ties():
    np.testing.assert_allclose(np.exp(greedy(log([[0.4, 0.4, 0.2]]))), [[0.5, 0.5, 0.0]])


def test_small_divergences_keep_their_digits():
    p = np.array([0.2, 0.3, 0.5])
    step = 1e-9 * np.array([1.0, -1.0, 0.0])
    expected = 0.5 * (step**2 / p).sum()
    assert kl_rows(np.log(p), np.log(p) + step / p) == pytest.approx(expected, rel=1e-5)
    assert kl_rows(log([0.5, 0.5, 0]), log([1.0, 0, 0])) == np.inf
    assert kl_rows(log([1.0, 0, 0]), log([0.5, 0.5, 0])) == pytest.approx(np.log(2))


def test_krylov_and_factorisation_agree(rng, monkeypatch):
    mdp = FiniteMDP(rng.dirichlet(np.full(60, 0.1), size=(60, 3)), rng.normal(size=(60, 3)), start=0)
    problem = Optimal(mdp, 0.1, discount=0.99).problem
    direct = solve(problem)
    monkeypatch.setattr(soft_bellman, "SMALL", 0)
    iterated = solve(problem)
    np.testing.assert_allclose(iterated.value, direct.value, atol=1e-8)
    assert iterated.error < 1e-8


def test_growth_is_shown_before_it_is_solved_for():
    mdp = FiniteMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [1.0, 0.0], [1], 0)
    for temperature, grows in ((1.0, True), (2.0, False)):
        assert outcome_choices(Optimal(mdp, temperature).problem).outgrows() is grows
