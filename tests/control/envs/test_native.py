"""The compiled twins do exactly what Gymnasium's own environments do."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium.envs.classic_control import CartPoleEnv

from kullback.control.envs.native import TWINS, Acrobot, CartPole, Pendulum, twin_of
from kullback.control.envs.simulator import advance_lanes, start_lanes

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")

N = 4000
# Wide enough that every branch is taken: walls, clipped speeds, ends. The last column says how far actions reach.
STATES = {
    "CartPole-v1": ([-2.5, -3.0, -0.23, -3.5], [2.5, 3.0, 0.23, 3.5]),
    "Pendulum-v1": ([-np.pi, -8.0], [np.pi, 8.0]),
    "Acrobot-v1": ([-np.pi, -np.pi, -4 * np.pi, -9 * np.pi], [np.pi, np.pi, 4 * np.pi, 9 * np.pi]),
    "MountainCar-v0": ([-1.2, -0.07], [0.6, 0.07]),
    "MountainCarContinuous-v0": ([-1.2, -0.07], [0.6, 0.07]),
}
STARTS = {
    "CartPole-v1": [(-0.05, 0.05)] * 4,
    "Pendulum-v1": [(-np.pi, np.pi), (-1.0, 1.0)],
    "Acrobot-v1": [(-0.1, 0.1)] * 4,
    "MountainCar-v0": [(-0.6, -0.4), (0.0, 0.0)],
    "MountainCarContinuous-v0": [(-0.6, -0.4), (0.0, 0.0)],
}


def acrobot(**settings):
    env = gym.make("Acrobot-v1")
    for name, value in settings.items():
        setattr(env.unwrapped, name, value)
    return env


def cart_pole(**settings):
    env = gym.make("CartPole-v1")
    for name, value in settings.items():
        setattr(env.unwrapped, name, value)
    return env


def pendulum(**settings):
    env = gym.make("Pendulum-v1", g=9.81)
    for name, value in settings.items():
        setattr(env.unwrapped, name, value)
    return env


CHANGED = {
    "a heavy pole": ("CartPole-v1", lambda: cart_pole(masspole=0.7, total_mass=1.7, length=0.8, tau=0.05)),
    "semi-implicit": ("CartPole-v1", lambda: cart_pole(kinematics_integrator="semi-implicit euler")),
    "Sutton and Barto": ("CartPole-v1", lambda: gym.make("CartPole-v1", sutton_barto_reward=True)),
    "a long rod": ("Pendulum-v1", lambda: pendulum(l=1.7, m=0.4, max_torque=1.0, max_speed=5, dt=0.1)),
    "the paper's acrobot": ("Acrobot-v1", lambda: acrobot(book_or_nips="nips")),
    "another acrobot": ("Acrobot-v1", lambda: acrobot(LINK_MASS_2=1.4, LINK_LENGTH_1=0.8, LINK_COM_POS_1=0.3, dt=0.1)),
    "strong torques": ("Acrobot-v1", lambda: acrobot(AVAIL_TORQUE=[-3.0, 0.5, 2.0], LINK_MOI=0.7, MAX_VEL_2=3.0)),
    "a fast car": ("MountainCar-v0", lambda: gym.make("MountainCar-v0", goal_velocity=0.03)),
    "a fast car, by force": (
        "MountainCarContinuous-v0",
        lambda: gym.make("MountainCarContinuous-v0", goal_velocity=0.03),
    ),
}


def by_gymnasium(env, states, actions):
    """What one step does to every state: the states, observations, rewards and ends after it."""
    inner, after = env.unwrapped, []
    inner.reset(seed=0)
    for state, action in zip(states, actions, strict=True):
        inner.state = np.array(state)
        if hasattr(inner, "steps_beyond_terminated"):
            inner.steps_beyond_terminated = None
        observation, reward, terminated, truncated, _ = inner.step(action)
        assert not truncated
        after.append((np.array(inner.state), observation, float(reward), bool(terminated)))
    return [np.array(column) for column in zip(*after, strict=True)]


def cases(env, which, rng):
    low, high = STATES[which]
    states = rng.uniform(low, high, (N, len(low)))
    space = env.action_space
    if isinstance(space, gym.spaces.Discrete):
        return states, rng.integers(int(space.n), size=N)
    return states, rng.uniform(2.0 * space.low, 2.0 * space.high, (N, *space.shape))  # half of them are clipped


def assert_equal(env, which, precision, rng):
    twin = twin_of(env)
    assert twin is not None
    states, actions = cases(env, which, rng)
    near = 1e-10 if precision is np.float64 else 1e-5
    if precision is np.float32:  # the same question to both
        states = states.astype(np.float32).astype(np.float64)
        if actions.dtype.kind == "f":
            actions = actions.astype(np.float32).astype(np.float64)
    step = jax.jit(jax.vmap(twin.step, (None, 0, 0, None)))
    observe = jax.jit(jax.vmap(twin.observe, (None, 0)))
    after, reward, terminated = step(twin.parameters, jnp.asarray(states), jnp.asarray(actions), jax.random.key(0))
    seen = observe(twin.parameters, after)
    expected, observation, payment, ended = by_gymnasium(env, states, actions)
    if which == "Pendulum-v1":  # the twin keeps the angle between −π and π
        after, expected = (
            np.stack([np.cos(x[:, 0]), np.sin(x[:, 0]), x[:, 1]], 1) for x in (np.asarray(after), expected)
        )
    if precision is np.float32:
        # Speeds of an acrobot change by hundreds within a step, and single precision has seven digits of the largest.
        near = near * (1.0 + np.abs(expected).max(0)) * (30.0 if which == "Acrobot-v1" else 1.0)
        edge = ended != np.asarray(terminated)  # a state within rounding of a threshold
        assert edge.sum() <= N // 1000
        np.testing.assert_allclose(reward[~edge], payment[~edge], rtol=1e-5, atol=1e-5)
        apart = np.abs(np.asarray(after) - expected)
        apart = np.where(expected**2 > 9.8, np.minimum(apart, np.abs(apart - 2 * np.pi)), apart)  # −π is π
        assert (apart / near).max() <= 1.0
    else:
        np.testing.assert_array_equal(terminated, ended)
        np.testing.assert_allclose(reward, payment, rtol=1e-12, atol=near)
        np.testing.assert_allclose(after, expected, rtol=0, atol=near)
        np.testing.assert_allclose(seen, observation, rtol=2e-7, atol=1e-7)
    assert seen.dtype == jnp.float32
    assert seen.shape[1:] == twin.facts.observations.shape
    return ended


@pytest.mark.parametrize("which", STATES)
def test_steps(which, precision, rng):
    """In double to 1e-10, of thousands of random states and actions, with every end and reward the same."""
    ended = assert_equal(gym.make(which), which, precision, rng)
    if which != "Pendulum-v1":
        assert 0.01 < ended.mean() < 0.99


@pytest.mark.parametrize("change", CHANGED)
def test_steps_with_other_constants(change, rng):
    which, make = CHANGED[change]
    with jax.enable_x64(True):
        assert_equal(make(), which, np.float64, rng)


def test_trajectories():
    """Many steps from one state, in the twin and in Gymnasium; rounding grows tenfold in half a second."""
    env = gym.make("CartPole-v1").unwrapped
    with jax.enable_x64(True):
        twin = twin_of(env)
        env.reset(seed=3)
        state, step = jnp.asarray(env.state), jax.jit(twin.step)
        for t in range(100):
            action = int(env.state[2] + 0.3 * env.state[3] > 0)
            observation, reward, terminated, _, _ = env.step(action)
            state, payment, ended = step(twin.parameters, state, jnp.asarray(action), jax.random.key(t))
            assert (float(payment), bool(ended)) == (reward, terminated)
            np.testing.assert_allclose(twin.observe(twin.parameters, state), observation, atol=1e-7)
        assert not terminated


@pytest.mark.parametrize("which", STARTS)
def test_starts(which, precision):
    """False alarm: under 1 in 1,000 for each coordinate, by the test of Kolmogorov and Smirnov."""
    twin = twin_of(gym.make(which))
    states = jax.vmap(twin.reset, (None, 0))(twin.parameters, jax.random.split(jax.random.key(1), 20_000))
    for column, (low, high) in zip(np.asarray(states, np.float64).T, STARTS[which], strict=True):
        assert column.min() >= low - 1e-7
        assert column.max() <= high + 1e-7
        if high > low:
            assert scipy.stats.kstest(column, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3
    correlation = np.corrcoef(states[:, :2].T)[0, 1] if STARTS[which][1] != (0.0, 0.0) else 0.0
    assert abs(correlation) < 4.0 / np.sqrt(len(states))  # false alarm: under 1 in 10,000


@pytest.mark.parametrize("which", STARTS)
def test_gymnasium_starts_in_the_same_bounds(which):
    """False alarm: under 1 in 1,000 for each coordinate."""
    env = gym.make(which).unwrapped
    env.reset(seed=0)
    states = np.array([env.reset() and np.array(env.state) for _ in range(2000)])
    for column, (low, high) in zip(states.T, STARTS[which], strict=True):
        if high > low:
            assert scipy.stats.kstest(column, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3
        else:
            assert (column == low).all()


@pytest.mark.parametrize("which", [*STATES, "CartPole-v0"])
def test_facts(which):
    env = gym.make(which)
    facts = twin_of(env).facts
    assert facts.name == which
    assert facts.limit == env.spec.max_episode_steps
    assert facts.threshold == env.spec.reward_threshold
    assert facts.observations.shape == env.observation_space.shape
    np.testing.assert_allclose(facts.observations.high, env.observation_space.high)
    if facts.actions.is_discrete:
        assert facts.actions.sizes == (env.action_space.n,)
    else:
        np.testing.assert_allclose(facts.actions.bounds[1], env.action_space.high)


def test_limits():
    assert twin_of(gym.make("CartPole-v1", max_episode_steps=7)).facts.limit == 7
    assert twin_of(gym.wrappers.TimeLimit(gym.make("CartPole-v1"), 9)).facts.limit == 9
    assert twin_of(gym.wrappers.TimeLimit(CartPoleEnv(), 11)).facts.limit == 11
    assert twin_of(CartPoleEnv()).facts.limit is None
    assert twin_of(gym.make("CartPole-v1").unwrapped).facts.limit is None


def test_an_unknown_threshold_is_not_the_usual_one():
    assert twin_of(gym.make("CartPole-v1", sutton_barto_reward=True)).facts.threshold is None
    assert twin_of(gym.make("MountainCar-v0", goal_velocity=0.01)).facts.threshold is None


def test_what_watches_is_looked_through():
    env = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.Autoreset(gym.make("Acrobot-v1")))
    assert isinstance(twin_of(env), Acrobot)


class Heavier(CartPoleEnv):
    """A subclass may do anything."""


class TimeLimit(gym.Wrapper):
    """Of the same name as Gymnasium's, but not it."""


def with_new_step():
    env = CartPoleEnv()
    env.step = lambda action: (np.zeros(4, np.float32), 0.0, False, False, {})  # pyright: ignore
    return env


@pytest.mark.parametrize(
    "make",
    [
        lambda: Heavier(),
        lambda: with_new_step(),
        lambda: TimeLimit(CartPoleEnv()),
        lambda: gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda r: 2 * r),
        lambda: gym.wrappers.ClipAction(gym.make("Pendulum-v1")),
        lambda: gym.wrappers.FlattenObservation(gym.make("CartPole-v1")),
        lambda: gym.make("FrozenLake-v1"),
        lambda: acrobot(torque_noise_max=0.1),
        lambda: acrobot(book_or_nips="neither"),
        lambda: acrobot(LINK_MOI="heavy"),
        lambda: cart_pole(gravity=np.nan),
        lambda: cart_pole(gravity=None),
        lambda: "CartPole-v1",
    ],
)
def test_what_has_no_twin(make):
    assert twin_of(make()) is None


def test_programs_are_shared():
    light, heavy = twin_of(cart_pole()), twin_of(cart_pole(masspole=0.5))
    assert light.constants != heavy.constants
    usual = twin_of(gym.make("CartPole-v1"))
    assert (usual, hash(usual)) == (light, hash(light))
    longer = twin_of(gym.make("CartPole-v1", max_episode_steps=900))
    assert longer != usual
    assert twin_of(gym.make("Pendulum-v1")) != usual
    hash(heavy.facts)


@pytest.mark.parametrize("which", STATES)
def test_lanes(which, precision):
    """In many lanes at once: types that stay, time limits that truncate."""
    twin = twin_of(gym.make(which, max_episode_steps=5))

    def step(lanes, key):
        action_key, key = jax.random.split(key)
        actions = twin.facts.actions
        if actions.is_discrete:
            action = jax.random.randint(action_key, (6,), 0, actions.categories)
        else:
            action = jax.random.uniform(action_key, (6, *actions.shape), minval=-1.0)
        return advance_lanes(twin, twin.parameters, lanes, action, key)

    @jax.jit
    def play(key):
        return jax.lax.scan(step, start_lanes(twin, twin.parameters, key, 6), jax.random.split(key, 10))

    _, seen = play(jax.random.key(0))
    assert seen.observation.dtype == jnp.float32
    assert seen.reward.dtype == precision
    assert np.isfinite(seen.following).all()
    np.testing.assert_array_equal(seen.truncated[4], ~seen.terminated[:5].any(0))


def test_every_class_has_its_twin():
    assert TWINS[CartPoleEnv] is CartPole
    assert isinstance(twin_of(pendulum()), Pendulum)
    assert {twin_of(gym.make(which)).__class__ for which in STATES} == set(TWINS.values())
