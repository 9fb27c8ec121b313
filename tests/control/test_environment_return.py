"""What is called the environment's return is the environment's: undiscounted, and cut off at its time limit."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP, FreshEpisodes, Optimal
from kullback.control.tabular.evaluation import episode as episode_of
from kullback.control.tabular.evaluation import evaluate, log_rows
from kullback.control.task import greedy
from kullback.result import Status
from kullback.rule import Request

# Each comparison of means is within 4.5 standard errors: false alarms 7 in a million.
WIDE = 4.5
SHORT = {"max_episode_steps": 20}


def policy():
    return kl.Conditional(kl.Table(), dist.Categorical)


def by_hand(env, probabilities, steps):
    """E[R] and E[steps] of a policy [S, A] or [T, S, A] over so many steps, from the environment's own table."""
    inner = env.unwrapped
    here, total, length = dict(enumerate(inner.initial_state_distrib)), 0.0, 0.0
    for t in range(steps):
        rows, after = probabilities[t] if probabilities.ndim == 3 else probabilities, {}
        for s, mass in here.items():
            length += mass
            for a, outcomes in inner.P[s].items():
                for p, successor, reward, ends in outcomes:
                    weight = mass * rows[s, a] * p
                    total += weight * reward
                    if not ends:
                        after[successor] = after.get(successor, 0.0) + weight
        here = {s: mass for s, mass in after.items() if mass > 0}
    return total, length


def returns_of(env, probabilities, episodes, rng):
    """Returns of episodes of the environment itself."""
    found = []
    cumulative = probabilities.cumsum(-1)
    state, _ = env.reset(seed=int(rng.integers(2**31)))
    for _ in range(episodes):
        total, over = 0.0, False
        while not over:
            row = cumulative[state]
            action = int(np.searchsorted(row, rng.random() * row[-1], side="right"))
            state, reward, terminated, truncated, _ = env.step(min(action, len(row) - 1))
            total, over = total + float(reward), terminated or truncated
        found.append(total)
        state, _ = env.reset()
    return np.array(found)


def tables(fit, states):
    """The policy as it draws, and the greedy one, ties shared."""
    logits = log_rows(fit.q(np.arange(states)), np.shape(fit.q([0]).logits)[-1])
    return {"sampled_return": np.exp(logits), "greedy_return": np.exp(greedy(logits))}


@pytest.mark.parametrize(
    ("name", "limited", "limit", "temperature", "discount"),
    [
        ("FrozenLake8x8-v1", {}, 200, 0.02, 1.0),
        ("FrozenLake8x8-v1", {"max_episode_steps": 60}, 60, 0.02, 0.95),
        ("FrozenLake-v1", SHORT, 20, 0.01, 1.0),
        ("Taxi-v4", {"max_episode_steps": 12}, 12, 0.1, 1.0),
        ("CliffWalking-v1", {"max_episode_steps": 9}, 9, 1.0, 1.0),
    ],
)
def test_the_return_of_a_table_ends_with_the_time_limit(name, limited, limit, temperature, discount):
    env = gym.make(name, **limited)
    fit = kl.KL(policy(), Optimal(env, temperature, discount=discount)).minimize()
    for kind, probabilities in tables(fit, env.observation_space.n).items():
        expected, steps = by_hand(env, probabilities, limit)
        assert fit.diagnostics[kind] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        if kind == "sampled_return":
            assert fit.diagnostics["steps"] == pytest.approx(steps, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "limited", "value", "returned"),
    [("FrozenLake8x8-v1", {}, 0.9259, 0.828), ("FrozenLake-v1", SHORT, 0.7805, 0.197)],
)
def test_the_environment_itself_returns_that(name, limited, value, returned):
    env = gym.make(name, **limited)
    fit = kl.KL(policy(), Optimal(env, 0.02 if name.startswith("FrozenLake8") else 0.01)).minimize()
    d, rng = fit.diagnostics, np.random.default_rng(5)
    assert d["greedy_value"] == pytest.approx(value, abs=1e-4)
    assert d["greedy_return"] == pytest.approx(returned, abs=1e-3)
    for kind, probabilities in tables(fit, env.observation_space.n).items():
        found = returns_of(env, probabilities, 800, rng)
        assert abs(found.mean() - d[kind]) < WIDE * found.std() / np.sqrt(len(found))
    # It is told from the value without a limit: that lies 10 standard errors off.
    assert abs(d["greedy_return"] - d["greedy_value"]) > 10 * np.sqrt(value * (1 - value) / 800)


@pytest.mark.parametrize("asked", [{}, {"discount": 0.9}, {"horizon": 30}, {"horizon": 15}], ids=str)
@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_played_returns_the_same(asked, compiled):
    """The table or the environment itself, with and without a horizon on either side of the limit."""
    target = Optimal(gym.make("FrozenLake-v1", **SHORT), 0.01, compiled=compiled, **asked)
    fit = kl.KL(policy(), target).minimize()
    played = kl.KL(fit.q, target).estimate(rule=FreshEpisodes(1500 if compiled else 300), seed=2)
    for name in ("greedy_return", "sampled_return", "steps"):
        found = played.diagnostics[name]
        assert abs(found.value - fit.diagnostics[name]) < WIDE * found.standard_error
    if compiled:
        # The soft value is that of trajectories that go on.
        soft = played.diagnostics["soft_value"]
        assert abs(soft.value - fit.diagnostics["soft_value"]) < WIDE * soft.standard_error
        assert not played.reason
    elif "horizon" not in asked and "discount" not in asked:
        assert "cut off by the time limit" in played.reason


def test_the_environment_itself_is_stepped_where_no_compiled_one_may_be():
    assert Optimal("Taxi-v4", compiled=False).known().facts.task.env.compiled is None
    assert Optimal("Taxi-v4").known().facts.task.env.compiled is not None
    assert Optimal("Taxi-v4", compiled=False).problem.task.env.facts.limit == 200
    assert Optimal(FiniteMDP(np.eye(2)[[[0, 1], [0, 0]]], [1.0, 0.0], [1], 0), compiled=False).problem.task.env.compiled


def test_an_environment_without_its_limit_has_none():
    bare = gym.make("FrozenLake-v1").unwrapped
    target = Optimal(bare, 0.01, compiled=False, episodes=40)
    assert target.problem.limit is None
    stepper = target.problem.task.env.stepper(3)  # others, made from its spec
    stepper.reset(0)
    assert not any(stepper.step(np.zeros(3, int)).truncated.any() for _ in range(150))  # to the left, along the edge
    d = kl.KL(policy(), target).minimize().diagnostics
    assert d["greedy_return"] == d["greedy_value"]


def test_training_on_a_table_is_cut_off_as_its_environment_is():
    lake = gym.make("FrozenLake-v1", max_episode_steps=5)
    rule = kl.control.TrajectoryGradient(lanes=16, block=16, steps=2000)
    fit = kl.KL(policy(), Optimal(lake, 0.1)).minimize(rule=rule)
    assert all(line["length"] <= 5 for line in fit.history)
    assert fit.diagnostics["greedy_return"].value == 0.0  # the goal is six steps away
    assert fit.diagnostics["steps"].value <= 5


@pytest.mark.parametrize("states", [3, 700])
def test_a_long_limit_by_squaring_and_stepwise(states, rng):
    """With few states by squaring; truth by the sum of a geometric series, (1 − xⁿ) / (1 − x)."""
    stay, limit = 0.999, 5000
    transition = np.zeros((states, 1, states))
    transition[:, 0, -1] = 1.0
    transition[0, 0] = 0.0
    transition[0, 0, [0, -1]] = stay, 1 - stay
    problem = Optimal(FiniteMDP(transition, np.eye(states)[0], [states - 1], 0)).problem
    limited = replace(problem, limit=limit, is_arrays=False)
    found = episode_of(limited, evaluate(limited, np.zeros((states, 1))))
    expected = (1 - stay**limit) / (1 - stay)
    assert found.expected_return == pytest.approx(expected, rel=1e-10)
    assert found.steps == pytest.approx(expected, rel=1e-10)


def test_a_return_that_does_not_exist_is_left_out():
    """Rewards of 1 and −1 in turn have no sum; discounted by 0.9 they are worth 1/(1 + 0.9)."""
    swing = np.zeros((2, 1, 2))
    swing[[0, 1], 0, [1, 0]] = 1.0
    target = Optimal(FiniteMDP(swing, [1.0, -1.0], start=0), discount=0.9)
    found = kl.KL(policy(), target).minimize().diagnostics
    assert found["greedy_value"] == found["greedy_return"] == pytest.approx(1 / 1.9)
    endless = replace(target.problem, is_arrays=False)
    assert np.isnan(episode_of(endless, evaluate(endless, np.zeros((2, 1)))).expected_return)
    alone = kl.KL(policy(), target).minimize().q.on(np.arange(2)).known()
    numbers = kl.control.PolicyEvaluation().run(alone, target.known().holding(facts=endless), Request()).diagnostics
    assert "greedy_return" not in numbers
    assert numbers["greedy_value"] == pytest.approx(1 / 1.9)


class Shy(gym.Wrapper):
    """It hides its time limit: no wrapper of Gymnasium's own is named so."""


Shy.__name__ = "TimeLimit"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: gym.wrappers.TransformReward(gym.make("FrozenLake-v1"), lambda r: 2 * r), "wrapper TransformReward"),
        (lambda: gym.wrappers.TimeAwareObservation(gym.make("FrozenLake-v1"), flatten=True), "TimeAwareObservation"),
        (lambda: gym.make("Taxi-v4", fickle_passenger=True), "passenger is fickle"),
        (lambda: Shy(gym.make("FrozenLake-v1")), "wrapper TimeLimit"),
    ],
)
def test_a_table_that_is_not_what_the_environment_does_is_played(make, why):
    target = Optimal(make(), 0.1)
    assert target.model is None
    assert why in str(target.known().facts)


def test_a_wrapped_table_learns_and_counts_what_the_wrapper_gives():
    wrapped = gym.wrappers.TransformReward(gym.make("FrozenLake-v1", is_slippery=False), lambda r: 10 * r)
    rule = kl.control.TrajectoryGradient(until=9.9)
    fit = kl.KL(policy(), Optimal(wrapped, 0.1, episodes=10)).minimize(steps=60_000, rule=rule)
    assert fit.diagnostics["greedy_return"].value == pytest.approx(10.0)
    assert fit.status is Status.CONVERGED


@pytest.mark.parametrize("watching", [gym.wrappers.RecordEpisodeStatistics, gym.wrappers.OrderEnforcing])
def test_wrappers_that_watch_leave_the_table(watching):
    target = Optimal(watching(gym.wrappers.TimeLimit(gym.make("FrozenLake-v1"), 7)))
    assert target.model is not None
    assert target.problem.limit == 7
    assert Optimal(target.env, horizon="limit").horizon == 7
    assert Optimal(gym.make("FrozenLake-v1", max_episode_steps=-1)).problem.limit is None
