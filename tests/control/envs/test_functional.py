"""Functional environments of Gymnasium do compiled what they do by themselves."""

import importlib
from typing import NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces
from gymnasium.envs.functional_jax_env import FunctionalJaxEnv
from gymnasium.experimental.functional import FuncEnv
from gymnasium.spaces.utils import flatten

from kullback.control.envs.functional import functional_simulator, is_functional
from kullback.control.envs.simulator import advance_lanes, start_lanes
from kullback.errors import InputError


class Settings(NamedTuple):
    drift: float = 0.1
    noise: float = 0.5
    walls: int = 4
    doubled: bool = False


USUAL = Settings()


class Walk(FuncEnv):
    """A noisy walk between walls. Its state begins as Python numbers, and what is seen of it is noisy."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3, start=-1)
    reach = 1.0

    def initial(self, rng, params=USUAL):
        return {"x": jax.random.uniform(rng, minval=-self.reach, maxval=self.reach), "turns": 0, "last": False}

    def transition(self, state, action, rng, params=USUAL):
        x = state["x"] + action + params.drift + params.noise * jax.random.normal(rng)
        return {"x": x, "turns": state["turns"] + 1, "last": jnp.array([action > 0])}

    def observation(self, state, rng, params=USUAL):
        return jnp.stack([state["x"] + 0.1 * jax.random.normal(rng), state["turns"]])

    def reward(self, state, action, next_state, rng, params=USUAL):
        worth = jnp.abs(next_state["x"]) - jnp.abs(state["x"])
        return 2 * worth if params.doubled else worth

    def terminal(self, state, rng, params=USUAL):
        return jnp.abs(state["x"]) > params.walls

    def get_default_params(self, **kwargs):
        return Settings(**kwargs)


class Branching(Walk):
    """Python code branches on a number of its parameters."""

    def reward(self, state, action, next_state, rng, params=USUAL):
        return 1.0 if params.drift > 0.05 else -1.0


class Column(Walk):
    """Rewards and ends with an axis too many."""

    def reward(self, state, action, next_state, rng, params=USUAL):
        return jnp.array([3])

    def terminal(self, state, rng, params=USUAL):
        return jnp.array([True])


class OfNumpy(Walk):
    def transition(self, state, action, rng, params=USUAL):
        return {"x": np.sin(state["x"]), "turns": 0, "last": False}


class Growing(Walk):
    def transition(self, state, action, rng, params=USUAL):
        return {**super().transition(state, action, rng, params), "turns": jnp.ones(jnp.size(state["turns"]) + 1)}

    def observation(self, state, rng, params=USUAL):
        return jnp.zeros(2)


class Composite(FuncEnv):
    """What it sees and does have parts."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Box(-1, 1, (2, 2)),
            "kind": spaces.Discrete(3, start=2),
            "pair": spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3]))),
        }
    )
    action_space = spaces.Dict({"turn": spaces.Discrete(2), "lift": spaces.MultiDiscrete([3, 4], start=[1, 0])})

    def initial(self, rng, params=None):
        return jax.random.uniform(rng, (2, 2))

    def transition(self, state, action, rng, params=None):
        return jnp.full((2, 2), action["turn"] + 10.0 * action["lift"][0] + 100.0 * action["lift"][1])

    def observation(self, state, rng, params=None):
        return {"place": state, "kind": jnp.array(4), "pair": (jnp.array([1, 0]), jnp.array([1, 2]))}

    def reward(self, state, action, next_state, rng, params=None):
        return 0

    def terminal(self, state, rng, params=None):
        return False


class Doors(Composite):
    """Whole numbers within bounds, as `tabular/CliffWalking-v0` has them."""

    observation_space = spaces.Discrete(6, start=3)
    action_space = spaces.Box(2, 4, (1,), np.int32)

    def initial(self, rng, params=None):
        return jnp.array(3)

    def transition(self, state, action, rng, params=None):
        return 3 + (state - 3 + action[0]) % 6

    def observation(self, state, rng, params=None):
        return state


def agreement(simulator, env, parameters, steps, choose):
    """Play both with the same keys and compare every observation, reward and end, until the first end."""
    step, observe = jax.jit(simulator.step), jax.jit(simulator.observe)
    observation, _ = env.reset(seed=5)
    key, rest = jax.random.split(jax.random.PRNGKey(5))  # as the environment does it
    state = jax.jit(simulator.reset)(parameters, key)
    types = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for t in range(steps):
        np.testing.assert_allclose(
            observe(parameters, state), np.asarray(observation, np.float32), rtol=1e-5, atol=1e-5
        )
        ours, theirs = choose(t)
        key, rest = jax.random.split(rest)
        state, reward, ended = step(parameters, state, ours, key)
        observation, payment, terminated, _, _ = env.step(theirs)
        assert float(reward) == pytest.approx(payment, rel=1e-5, abs=1e-5)
        assert bool(ended) == terminated
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == types
        if terminated:
            return t
    return steps


def walking(env, limit=None):
    return FunctionalJaxEnv(env) if limit is None else gym.wrappers.TimeLimit(FunctionalJaxEnv(env), limit)


def test_it_does_what_gymnasium_does(precision):
    env = walking(Walk())
    simulator = functional_simulator(env)
    ended = agreement(simulator, env, simulator.parameters, 200, lambda t: (jnp.int32(t % 3), t % 3 - 1))
    assert 0 < ended < 200
    assert simulator.facts.actions.sizes == (3,)
    _, reward, _ = simulator.step((), simulator.reset((), jax.random.key(0)), jnp.int32(0), jax.random.key(0))
    assert reward.dtype == precision


def test_an_axis_too_many_is_dropped(precision):
    simulator = functional_simulator(Column())
    state = simulator.reset(simulator.parameters, jax.random.key(0))
    _, reward, ended = simulator.step(simulator.parameters, state, jnp.int32(0), jax.random.key(0))
    assert (reward.shape, reward.dtype, float(reward)) == ((), jnp.dtype(precision), 3.0)
    assert (ended.shape, bool(ended)) == ((), True)


def test_parameters_are_arguments():
    usual, windy = functional_simulator(Walk()), functional_simulator(Walk(), Settings(drift=2.0, noise=0.0))
    assert usual == windy
    assert hash(usual) == hash(windy)
    assert usual.parameters == (0.1, 0.5)
    state = usual.reset(windy.parameters, jax.random.key(0))
    after, _, _ = jax.jit(usual.step)(windy.parameters, state, jnp.int32(1), jax.random.key(1))
    assert float(after.inner["x"]) == pytest.approx(float(state.inner["x"]) + 2.0, abs=1e-6)
    assert functional_simulator(Walk(), Settings(walls=5)) != usual
    assert functional_simulator(Walk(), Settings(doubled=True)) != usual


def test_what_tells_programs_apart():
    usual = functional_simulator(Walk())
    assert functional_simulator(Walk({"reach": 0.1})) != usual
    marked = [functional_simulator(Walk({"mark": [np.full(2, x), {"b": 1, "a": None}]})) for x in (0.0, 0.0, 1.0)]
    assert marked[0] == marked[1] != marked[2]
    assert functional_simulator(Branching()) != usual
    assert functional_simulator(Walk(), limit=10) != usual
    compiled = Walk()
    compiled.transform(jax.jit)  # as gym.make does it
    assert functional_simulator(compiled) == usual
    assert functional_simulator(walking(Walk(), 9)) == functional_simulator(walking(compiled, 9))
    replaced = Walk()
    replaced.reward = lambda state, action, next_state, rng, params: 7.0  # pyright: ignore
    other = functional_simulator(replaced)
    assert other != usual
    state = other.reset(other.parameters, jax.random.key(0))
    assert float(other.step(other.parameters, state, jnp.int32(0), jax.random.key(0))[1]) == 7.0


def test_later_changes_do_not_reach_it():
    env = Walk()
    simulator = functional_simulator(env)
    env.reach = 1000.0
    states = jax.vmap(simulator.reset, (None, 0))(simulator.parameters, jax.random.split(jax.random.key(0), 100))
    assert np.abs(states.inner["x"]).max() <= 1.0


def test_python_may_branch_on_a_parameter():
    simulator = functional_simulator(Branching())
    assert simulator.parameters == ()
    assert functional_simulator(Branching(), Settings(drift=0.0)) != simulator
    state = simulator.reset((), jax.random.key(0))
    assert float(simulator.step((), state, jnp.int32(0), jax.random.key(0))[1]) == 1.0


def test_limits_and_wrappers():
    assert functional_simulator(walking(Walk(), 12)).facts.limit == 12
    assert functional_simulator(Walk(), limit=7).facts.limit == 7
    assert functional_simulator(Walk()).facts.limit is None
    assert is_functional(Walk())
    assert is_functional(walking(Walk(), 3))
    assert not is_functional(gym.wrappers.TransformReward(walking(Walk()), lambda r: 2 * r))
    assert not is_functional(gym.make("CartPole-v1"))
    assert not is_functional("CartPole-v1")


def test_lanes(precision):
    simulator = functional_simulator(walking(Walk(), 20))

    @jax.jit
    def play(key):
        def step(lanes, key):
            action = jax.random.randint(key, (64,), 0, 3)
            return advance_lanes(simulator, simulator.parameters, lanes, action, jax.random.fold_in(key, 1))

        return jax.lax.scan(step, start_lanes(simulator, simulator.parameters, key, 64), jax.random.split(key, 100))

    _, seen = play(jax.random.key(0))
    assert seen.observation.dtype == jnp.float32
    assert (seen.following[..., 1] <= 20).all()
    assert seen.terminated.any()
    assert (np.asarray(seen.following)[np.asarray(seen.truncated)][:, 1] == 20).all()


def test_the_law_of_a_step():
    """False alarm: under 1 in 1,000."""
    simulator = functional_simulator(Walk())
    state = simulator.reset(simulator.parameters, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 10_000)
    after, _, _ = jax.vmap(simulator.step, (None, None, None, 0))(simulator.parameters, state, jnp.int32(2), keys)
    law = scipy.stats.norm(float(state.inner["x"]) + 1.1, 0.5)
    assert scipy.stats.kstest(np.asarray(after.inner["x"]), law.cdf).pvalue > 1e-3


def test_parts(precision):
    env = Composite()
    simulator = functional_simulator(env)
    assert simulator.facts.actions.sizes == (3, 4, 2)  # Dict spaces are sorted
    state = simulator.reset((), jax.random.key(0))
    after, reward, ended = simulator.step((), state, jnp.array([2, 3, 1]), jax.random.key(1))
    assert float(after.inner[0, 0]) == 1 + 10 * 3 + 100 * 3
    assert (reward.dtype, ended.dtype) == (jnp.dtype(precision), jnp.dtype(bool))
    expected = flatten(env.observation_space, jax.tree.map(np.asarray, env.observation(after.inner, None)))
    np.testing.assert_array_equal(simulator.observe((), after), np.asarray(expected, np.float32))


def test_whole_numbers(precision):
    simulator = functional_simulator(Doors())
    assert simulator.facts.observations.labels == 6
    assert (simulator.facts.actions.kind, simulator.facts.actions.sizes) == ("choices", (3,))
    state = simulator.reset((), jax.random.key(0))
    assert int(simulator.observe((), state)) == 0
    after, _, _ = simulator.step((), state, jnp.array([2]), jax.random.key(1))
    assert int(simulator.observe((), after)) == 4
    assert simulator.observe((), after).dtype == jnp.int32


@pytest.mark.parametrize(("env", "words"), [(OfNumpy(), "compiled by JAX"), (Growing(), "shapes")])
def test_what_cannot_be_compiled(env, words):
    with pytest.raises(InputError, match=words):
        functional_simulator(env)


def test_a_made_environment_has_its_parameters():
    with pytest.raises(InputError, match="func_env"):
        functional_simulator(walking(Walk()), Settings())


@pytest.mark.parametrize(
    "which", ["phys2d/CartPole-v1", "phys2d/Pendulum-v0", "tabular/Blackjack-v0", "tabular/CliffWalking-v0"]
)
def test_gymnasiums_own(which, precision):
    pytest.importorskip("flax")
    env = gym.make(which)
    assert is_functional(env)
    simulator = functional_simulator(env)
    actions, rng = simulator.facts.actions, np.random.default_rng(0)
    assert (simulator.facts.limit, simulator.facts.threshold) == (env.spec.max_episode_steps, env.spec.reward_threshold)

    def choose(t):
        if not actions.is_discrete:
            action = rng.uniform(-1, 1, actions.shape).astype(np.float32)
            return jnp.asarray(action), action
        action = rng.integers(actions.categories, size=actions.shape).astype(np.int32)
        return jnp.asarray(action), jnp.asarray(action)

    played = sum(agreement(simulator, env, simulator.parameters, 60, choose) for _ in range(3))
    assert played > 0
    assert functional_simulator(gym.make(which)) == simulator


def test_phys2d_takes_parameters():
    pytest.importorskip("flax")
    module = importlib.import_module("gymnasium.envs.phys2d.cartpole")
    env, moon = module.CartPoleFunctional(), module.CartPoleParams(gravity=1.6)
    simulator, other = functional_simulator(env), functional_simulator(env, moon)
    assert simulator == other
    assert simulator.parameters != other.parameters
    state = simulator.reset(simulator.parameters, jax.random.key(0))
    after = [
        simulator.step(p, state, jnp.int32(0), jax.random.key(0))[0].inner
        for p in (simulator.parameters, other.parameters)
    ]
    expected = [env.transition(state.inner, 0, None, params) for params in (env.default_params, moon)]
    np.testing.assert_allclose(after, expected, rtol=1e-5)
