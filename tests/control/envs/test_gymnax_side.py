"""gymnax environments do compiled what they do by themselves, and their time limit truncates.

gymnax needs an older Gymnasium than the pinned one, so small classes of the same interface stand for it; where gymnax
is installed, its own environments are played too.
"""

import dataclasses
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kullback.control.envs.gymnax_side import as_gymnasium, gymnax_simulator, is_gymnax
from kullback.control.envs.simulator import advance_lanes, start_lanes
from kullback.errors import InputError


class Discrete:
    def __init__(self, n):
        self.n, self.shape, self.dtype = n, (), jnp.int32


class Box:
    def __init__(self, low, high, shape, dtype=jnp.float32):
        self.low, self.high, self.shape, self.dtype = low, high, shape, dtype


class Dict:
    def __init__(self, spaces):
        self.spaces = spaces


class Tuple(Dict):
    pass


class Odd:
    pass


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Params:
    wind: float = 0.25
    max_steps_in_episode: int = 6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Position:
    x: Any
    time: Any


class Old:
    """A walk that ends beyond 3, in the interface before 1.0: its own end includes the time limit."""

    name = "Walk-old"

    def __init__(self, strides=(-1.0, 1.0)):
        self.strides = jnp.array(strides)
        self.names = jnp.arange(len(strides))

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        state = Position(jax.random.uniform(key), 0)
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        x = state.x + self.strides[self.names[action]] + params.wind + 0.1 * jax.random.normal(key)
        state = Position(x, state.time + 1)
        return self.get_obs(state), state, jnp.abs(x), self.is_terminal(state, params), {}

    def get_obs(self, state):
        return jnp.array([state.x, state.time])

    def fell(self, state):
        return jnp.abs(state.x) > 3

    def is_terminal(self, state, params):
        return self.fell(state) | (state.time >= params.max_steps_in_episode)

    def action_space(self, params):
        return Discrete(len(self.strides))

    def observation_space(self, params):
        return Box(-jnp.finfo(jnp.float32).max, jnp.array([4.0, params.max_steps_in_episode]), (2,))


class Environment(Old):
    """The same in the interface since 1.0, named as the class there that decides on truncation."""

    name = "Walk-new"

    def is_terminal(self, state, params):
        return self.fell(state)

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode


class OwnTruncation(Environment):
    def is_truncated(self, state, params):
        return state.x > 2


class Wrapper:
    def __init__(self, env):
        self._env = env

    def __getattr__(self, name):
        return getattr(self._env, name)


class LogWrapper(Wrapper):
    pass


class FlattenObservationWrapper(Wrapper):
    pass


class StickyActionWrapper(Wrapper):
    pass


class Picture(Environment):
    """Observations with two axes and actions in a box."""

    def observation_space(self, params):
        return Box(0, 1, (2, 3), jnp.int32)

    def action_space(self, params):
        return Box(-1.0, 1.0, (2,))

    def get_obs(self, state):
        return jnp.zeros((2, 3), bool).at[0, 1].set(True)

    def step_env(self, key, state, action, params):
        state = Position(state.x + jnp.sum(action), state.time + 1)
        return self.get_obs(state), state, state.x, self.is_terminal(state, params), {}


def played(simulator, steps, seed=0, lanes=32):
    @jax.jit
    def play(parameters, key):
        def step(lanes, key):
            actions, action_key = simulator.facts.actions, jax.random.fold_in(key, 1)
            if actions.is_discrete:
                action = jax.random.randint(action_key, (n, *actions.shape), 0, actions.categories)
            else:
                action = jax.random.uniform(action_key, (n, *actions.shape), minval=-1.0)
            return advance_lanes(simulator, parameters, lanes, action, key)

        n = lanes
        return jax.lax.scan(step, start_lanes(simulator, parameters, key, n), jax.random.split(key, steps))

    return play(simulator.parameters, jax.random.key(seed))[1]


@pytest.mark.parametrize("kind", [Old, Environment])
def test_the_time_limit_truncates(kind, precision):
    """An end by the walk's own rule terminates, also at the last step; the limit alone truncates."""
    simulator = gymnax_simulator(kind())
    assert simulator.facts.limit == 6
    seen = played(simulator, 60)
    x, time = np.moveaxis(np.asarray(seen.following), -1, 0)
    np.testing.assert_array_equal(seen.terminated, np.abs(x) > 3)
    np.testing.assert_array_equal(seen.truncated, (np.abs(x) <= 3) & (time == 6))
    assert (np.asarray(seen.terminated) & (time == 6)).any()
    assert seen.truncated.any()
    assert time.max() == 6
    assert (seen.observation.dtype, seen.reward.dtype) == (jnp.float32, precision)


@pytest.mark.parametrize("kind", [Old, Environment])
def test_it_does_what_the_environment_does(kind):
    env, params = kind(), Params(wind=0.5)
    simulator, key = gymnax_simulator((env, params)), jax.random.key(4)
    state = simulator.reset(simulator.parameters, key)
    observation, inner = env.reset_env(key, params)
    for t in range(4):
        np.testing.assert_allclose(simulator.observe(simulator.parameters, state), observation, rtol=1e-6)
        key = jax.random.fold_in(key, t)
        state, reward, ended = simulator.step(simulator.parameters, state, jnp.int32(t % 2), key)
        observation, inner, payment, _, _ = env.step_env(key, inner, jnp.int32(t % 2), params)
        assert float(reward) == pytest.approx(float(payment), rel=1e-6)
        assert bool(ended) == (abs(float(inner.x)) > 3)


def test_it_computes_in_single_precision():
    """gymnax is written in it; the same seeds give the same episodes under both settings, however it was made."""
    seen = {}
    for made in (False, True):
        for x64 in (False, True):
            with jax.enable_x64(made):
                env = Environment()
            with jax.enable_x64(x64):
                simulator = gymnax_simulator(env)
                keys = jax.random.split(jax.random.key(1), 10)
                state = jax.vmap(simulator.reset, (None, 0))(simulator.parameters, keys)
                state, _, _ = jax.vmap(simulator.step, (None, 0, None, 0))(
                    simulator.parameters, state, jnp.int32(1), keys
                )
                assert state.inner.x.dtype == jnp.float32
                seen[made, x64] = np.asarray(state.inner.x)
    assert len({tuple(x) for x in seen.values()}) == 1


def test_parameters_and_programs():
    usual, windy = gymnax_simulator(Environment()), gymnax_simulator((Environment(), Params(wind=3.0)))
    assert usual == windy
    assert hash(usual) == hash(windy)
    assert (usual.parameters, windy.parameters) == ((0.25,), (3.0,))
    assert gymnax_simulator(Environment(), Params(max_steps_in_episode=9)).facts.limit == 9
    assert gymnax_simulator(Environment(), Params(max_steps_in_episode=9)) != usual
    assert gymnax_simulator(Environment((-2.0, 1.0))) != usual
    assert gymnax_simulator(Old()) != usual


def test_later_changes_do_not_reach_it():
    env = Environment()
    simulator = gymnax_simulator(env)
    env.strides = jnp.array([100.0, 100.0])
    assert np.abs(played(simulator, 5).following[..., 0]).max() < 10


def test_spaces():
    facts = gymnax_simulator(Environment()).facts
    assert (facts.name, facts.actions.sizes, facts.observations.shape) == ("Walk-new", (2,), (2,))
    assert facts.observations.low == (-np.inf, -np.inf)
    assert facts.observations.high == (4.0, 6.0)
    both = as_gymnasium(Dict({"b": Discrete(3), "a": Tuple([Box(0, jnp.ones(2), (2,)), Discrete(2)])}))
    assert both == gym.spaces.Dict(
        {"b": gym.spaces.Discrete(3), "a": gym.spaces.Tuple([gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(2)])}
    )
    assert as_gymnasium(Box(0, 1, (2, 2), jnp.bool)).shape == (2, 2)
    assert as_gymnasium(Box(0.0, 1.0, ())).shape == ()
    with pytest.raises(InputError, match="no space Odd"):
        as_gymnasium(Odd())


def test_pictures_and_forces(precision):
    simulator = gymnax_simulator(Picture())
    assert simulator.facts.observations.shape == (2, 3)
    np.testing.assert_array_equal(simulator.facts.actions.bounds[1], [1.0, 1.0])
    seen = played(simulator, 8, lanes=4)
    assert (seen.observation.shape, seen.observation.dtype) == ((8, 4, 2, 3), jnp.float32)
    flat = gymnax_simulator(LogWrapper(FlattenObservationWrapper(Picture())))
    assert flat.facts.observations.shape == (6,)
    np.testing.assert_array_equal(played(flat, 8, lanes=4).observation, seen.observation.reshape(8, 4, 6))


def test_wrappers():
    assert gymnax_simulator(LogWrapper(Environment())) == gymnax_simulator(Environment())
    with pytest.raises(InputError, match="StickyActionWrapper"):
        gymnax_simulator(StickyActionWrapper(Environment()))


def test_its_own_truncation():
    with pytest.raises(InputError, match="is_truncated"):
        gymnax_simulator(OwnTruncation())


def test_what_is_one():
    assert is_gymnax(Environment())
    assert is_gymnax((Old(), Params()))
    assert is_gymnax(LogWrapper(Environment()))
    assert not is_gymnax(gym.make("CartPole-v1"))
    assert not is_gymnax("CartPole-v1")
    assert not is_gymnax((1, 2))


REAL = [
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "Breakout-MinAtar",
    "DeepSea-bsuite",
    "FrozenLake-misc",
    "Catch-bsuite",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", REAL)
def test_gymnaxs_own(which, precision):
    """By its own `step`, with the same keys until the first end; and in lanes, where the limit truncates."""
    gymnax = pytest.importorskip("gymnax")
    if which not in gymnax.registered_envs:
        pytest.skip("this version lacks it")
    env, params = gymnax.make(which)
    simulator, key = gymnax_simulator((env, params)), jax.random.key(0)
    assert simulator.facts.limit == params.max_steps_in_episode
    reset, step, actions = jax.jit(simulator.reset), jax.jit(simulator.step), simulator.facts.actions
    state = reset(simulator.parameters, key)
    with jax.enable_x64(False):
        observation, inner = env.reset(key, params)
    for t in range(30):
        np.testing.assert_allclose(simulator.observe(simulator.parameters, state), observation, rtol=1e-4, atol=1e-5)
        key = jax.random.fold_in(key, t)
        action = np.zeros(actions.shape, np.float32 if not actions.is_discrete else np.int32)
        state, reward, ended = step(simulator.parameters, state, jnp.asarray(action), jax.random.split(key)[0])
        with jax.enable_x64(False):
            observation, inner, payment, *done, _ = env.step(key, inner, jnp.asarray(action), params)
        assert float(reward) == pytest.approx(float(payment), rel=1e-4, abs=1e-5)
        if t + 1 < params.max_steps_in_episode:  # where versions before 1.0 say that the limit ends it
            assert bool(ended) == bool(done[0])
        if bool(done[0]):
            break
    seen = played(gymnax_simulator((env, dataclasses.replace(params, max_steps_in_episode=5))), 20)
    assert not (np.asarray(seen.terminated) & np.asarray(seen.truncated)).any()
    late = np.asarray(seen.truncated)[4] | np.asarray(seen.terminated)[:5].any(0)
    assert late.all()
