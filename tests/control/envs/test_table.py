"""A table, played, follows the law in the table."""

from functools import partial

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from kullback.control.envs.spec import table_of
from kullback.control.envs.table import table_simulator
from kullback.control.tabular.evaluation import evaluate
from kullback.control.tabular.mdp import FiniteMDP, model_from_outcomes
from kullback.control.tabular.soft_bellman import solve
from kullback.control.task import TableProblem, greedy
from kullback.errors import InputError


def frozen_lake():
    return table_of(gym.make("FrozenLake-v1"))[0]


def garnet(rng, states=7, actions=3):
    """A random MDP with rows of different lengths, rewards of the transition, and one terminal state."""
    transition = rng.dirichlet(np.full(states, 0.3), (states, actions))
    transition[transition < 0.05] = 0.0
    transition /= transition.sum(-1, keepdims=True)
    start = np.array([0.5, 0.3, 0.2, *np.zeros(states - 3)])
    return FiniteMDP(transition, rng.normal(size=(states, actions, states)), [states - 1], start).model()


@partial(jax.jit, static_argnums=(0, 1))
def draws(simulator, many, parameters, state, action, key):
    keys = jax.random.split(key, many)
    return jax.vmap(simulator.step, (None, None, None, 0))(parameters, state, action, keys)


@partial(jax.jit, static_argnums=(0, 1, 2))
def episodes(simulator, many, steps, parameters, log_policy, key):
    """Returns and lengths of episodes by a policy over labels [L, A]; of those that had ended, and how many had."""

    def one(key):
        def step(carry, key):
            state, total, length, over = carry
            action_key, key = jax.random.split(key)
            action = jax.random.categorical(action_key, log_policy[simulator.observe(parameters, state)])
            state, reward, ended = simulator.step(parameters, state, action, key)
            carry = state, total + jnp.where(over, 0.0, reward), length + ~over, over | ended
            return carry, None

        first, key = jax.random.split(key)
        none = jnp.zeros((), jnp.result_type(float))
        carry = simulator.reset(parameters, first), none, jnp.zeros((), jnp.int32), jnp.array(False)
        return jax.lax.scan(step, carry, jax.random.split(key, steps))[0][1:]

    return jax.vmap(one)(jax.random.split(key, many))


def assert_frequencies(many, probability, level):
    """By the chi-square test at `level`; what has no probability never occurs."""
    assert many[probability == 0].sum() == 0
    many, probability = many[probability > 0], probability[probability > 0]
    if len(many) > 1:
        assert scipy.stats.chisquare(many, many.sum() * probability).pvalue > level


@pytest.mark.parametrize("kind", ["garnet", "lake", "sparse"])
def test_outcomes(kind, precision, rng):
    """False alarm: under 1 in 1,000 for the whole test, shared among the rows (Bonferroni)."""
    model = {"garnet": lambda: garnet(rng), "lake": frozen_lake, "sparse": lambda: one_way()}[kind]()
    simulator, n = table_simulator(model), 20_000
    level = 1e-3 / (model.states * model.actions)
    for state in range(model.states):
        for action in range(model.actions):
            rows = np.flatnonzero(model.pair == state * model.actions + action)
            after, reward, ends = draws(
                simulator, n, simulator.parameters, jnp.int32(state), jnp.int32(action), jax.random.key(state)
            )
            if not len(rows):
                assert (np.asarray(after) == state).all()
                assert (np.asarray(reward) == 0).all()
                assert np.asarray(ends).all()
                continue
            # Outcomes that nothing tells apart are one.
            outcomes = np.stack([model.successor[rows], model.reward[rows].astype(precision), model.ends[rows]], 1)
            kinds, index = np.unique(outcomes, axis=0, return_inverse=True)
            law = np.bincount(np.ravel(index), model.probability[rows])
            seen = np.stack([after, np.asarray(reward), ends], 1)
            where = (seen[:, None] == kinds[None]).all(-1)
            assert where.any(1).all()
            assert_frequencies(where.sum(0), law, level)
            assert (after.dtype, reward.dtype, ends.dtype) == (jnp.int32, precision, bool)


def one_way():
    """Sparse matrices, one outcome to every row, and a state that is terminal from the start on."""
    ahead = sp.csr_array(np.roll(np.eye(5), 1, axis=1))
    return FiniteMDP([ahead, sp.csr_array(np.eye(5))], np.arange(5.0), terminal=[4], start=[0, 0.5, 0, 0, 0.5]).model()


def test_starts(rng):
    """False alarm: under 1 in 1,000 for each of the three."""
    for model in (garnet(rng), table_of(gym.make("Taxi-v4"))[0], one_way()):
        simulator = table_simulator(model)
        states = jax.vmap(simulator.reset, (None, 0))(simulator.parameters, jax.random.split(jax.random.key(5), 40_000))
        assert_frequencies(np.bincount(states, minlength=model.states), model.start, 1e-3)


def test_rare_outcomes():
    """False alarm: under 1 in 1,000, by the law of a count."""
    rare = 2e-6
    model = model_from_outcomes(
        1, 1, (np.zeros(3, int), np.zeros(3, int), np.zeros(3, int)), np.array([rare, 1 - 2 * rare, rare]),
        np.array([1.0, 0.0, 2.0]), np.zeros(3, bool), np.ones(1),
    )  # fmt: skip
    simulator, n = table_simulator(model), 4_000_000
    _, reward, _ = draws(simulator, n, simulator.parameters, jnp.int32(0), jnp.int32(0), jax.random.key(0))
    low, high = scipy.stats.poisson(n * rare).ppf([2.5e-4, 1 - 2.5e-4])
    for value in (1.0, 2.0):
        assert low <= (np.asarray(reward) == value).sum() <= high


def test_thresholds_are_the_law_to_32_bits(rng):
    model = garnet(rng)
    threshold = table_simulator(model).parameters.threshold.astype(np.float64)
    for pair in range(model.states * model.actions):
        rows = model.probability[model.pair == pair]
        if len(rows):
            words = np.diff(np.concatenate([[-1.0], threshold[pair, : len(rows)]]))
            np.testing.assert_allclose(words / 2.0**32, rows, atol=2.0**-32)
            assert threshold[pair, len(rows) - 1 :].min() == 2.0**32 - 1.0


@pytest.mark.parametrize("which", ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1"])
def test_returns_of_the_exact_policy(which, precision):
    """False alarm: under 1 in 10,000 for each of the two means, by the normal bound at 4 standard errors."""
    model = table_of(gym.make(which))[0]
    problem = TableProblem(model, 0.05, 1.0, None, np.full((model.states, model.actions), -np.log(model.actions)))
    policy = greedy(solve(problem).log_policy)
    exact, simulator = evaluate(problem, policy), table_simulator(model)
    steps = 1500 if which == "FrozenLake-v1" else 60
    returns, lengths, over = episodes(
        simulator, 3000, steps, simulator.parameters, jnp.asarray(policy), jax.random.key(1)
    )
    assert np.asarray(over).all()
    for found, expected in ((returns, exact.expected_return), (lengths, exact.steps)):
        found = np.asarray(found, np.float64)
        assert abs(found.mean() - expected) <= 4.0 * found.std() / np.sqrt(len(found)) + 1e-5


def test_returns_with_a_horizon(precision, rng):
    """The policy depends on time through the label. False alarm: under 1 in 10,000."""
    model, horizon = frozen_lake(), 30
    problem = TableProblem(model, 0.02, 1.0, horizon, np.full((model.states, model.actions), -np.log(model.actions)))
    policy = solve(problem).log_policy
    exact, simulator = evaluate(problem, policy), table_simulator(model, horizon)
    assert simulator.facts.observations.labels == horizon * model.states
    assert simulator.facts.limit is None
    table = jnp.asarray(policy).reshape(horizon * model.states, model.actions)
    returns, lengths, over = episodes(simulator, 20_000, horizon, simulator.parameters, table, jax.random.key(2))
    assert np.asarray(over).all()
    for found, expected in ((returns, exact.expected_return), (lengths, exact.steps)):
        found = np.asarray(found, np.float64)
        assert abs(found.mean() - expected) <= 4.0 * found.std() / np.sqrt(len(found))


def test_labels_count_time():
    model = one_way()
    simulator = table_simulator(model, 3)
    step, p, key = jax.jit(simulator.step), simulator.parameters, jax.random.key(0)
    state, seen = jnp.int32(1), []
    for _ in range(3):
        state, _, ended = step(p, state, jnp.int32(1), key)
        seen.append((int(simulator.observe(p, state)), bool(ended)))
    assert seen == [(1 * 5 + 1, False), (2 * 5 + 1, False), (2 * 5 + 1, True)]


def test_where_nothing_follows_it_is_over():
    simulator = table_simulator(one_way())
    after, reward, ended = simulator.step(simulator.parameters, jnp.int32(4), jnp.int32(0), jax.random.key(0))
    assert (int(after), float(reward), bool(ended)) == (4, 0.0, True)


def test_facts_and_shared_programs(rng):
    first, second = garnet(rng), garnet(rng)
    one, other = table_simulator(first), table_simulator(second)
    assert one == other
    assert hash(one) == hash(other)
    assert table_simulator(first, 5) != one
    assert (one.facts.observations.labels, one.facts.actions.sizes) == (7, (3,))
    limited = table_simulator(frozen_lake(), limit=100, threshold=0.7)
    assert (limited.facts.name, limited.facts.limit, limited.facts.threshold) == ("FrozenLake-v1", 100, 0.7)
    repr(limited)


def test_too_long_a_horizon():
    with pytest.raises(InputError, match="horizon"):
        table_simulator(frozen_lake(), 2**28)
