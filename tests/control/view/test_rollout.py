"""Playing fitted policies in environments of every kind, and learning from what they did."""

import gymnasium as gym
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP, Optimal, advantages, rollout
from kullback.errors import InputError

spaces = gym.spaces
ACTIONS = {
    "choice": spaces.Discrete(3, start=5),
    "choices": spaces.MultiDiscrete([3, 2]),
    "switches": spaces.MultiBinary(2),
    "box": spaces.Box(-2.0, 1.0, (2,), np.float64),
    "number": spaces.Box(-2.0, 1.0, (), np.float64),
}


class Counter(gym.Env):
    """Shows (t, episode); episode e ends at step 3 + e, and pays 1 a step. It keeps the actions that it was sent."""

    sent: list = []  # noqa: RUF012

    def __init__(self, kind="choice", masked=False):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space, self.masked, self.episode = ACTIONS[kind], masked, -1
        Counter.sent = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self._seen(), self._info()

    def step(self, action):
        assert self.action_space.contains(action)
        Counter.sent.append(action)
        self.t += 1
        return self._seen(), 1.0, self.t == 3 + self.episode, False, self._info()

    def _seen(self):
        return np.array([self.t, self.episode], float)

    def _info(self):
        return {"action_mask": np.array([1, 0, 1], np.int8)} if self.masked else {}


def fitted(kind, members=1, spread=1.0):
    """A policy for the counter that does nearly the same everywhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2)) * 3
    if kind in ("box", "number"):
        y = rng.uniform(-1.9, 0.9, size=(400, 2) if kind == "box" else 400)
        q = kl.Conditional(kl.MLP((8,)), kl.TanhNormal, low=-2.0, high=1.0)
    elif kind == "choices":
        y, q = rng.integers(3, size=(400, 2)), kl.Conditional(kl.MLP((8,)), dist.Categorical)
    elif kind == "switches":
        y, q = rng.integers(2, size=(400, 2)), kl.Conditional(kl.MLP((8,)), dist.Bernoulli)
    else:
        y, q = rng.integers(3, size=400), kl.Conditional(kl.MLP((8,)), dist.Categorical, ensemble=members)
    return kl.KL(kl.Pairs(x, y), q).minimize(quiet=True, steps=50).q


@pytest.fixture(scope="module")
def chooser():
    return fitted("choice")


@pytest.mark.parametrize("kind", list(ACTIONS))
def test_what_was_done_is_recorded(kind):
    env = Counter(kind)
    r = rollout(env, fitted(kind), episodes=3, seed=1)
    lengths = [3, 4, 5]
    np.testing.assert_array_equal(r.episode, np.repeat([0, 1, 2], lengths))
    np.testing.assert_array_equal(r.observations[:, 0], np.concatenate([np.arange(n) for n in lengths]))
    np.testing.assert_array_equal(r.last, np.stack([lengths, [0, 1, 2]], 1))
    np.testing.assert_array_equal(r.returns, lengths)
    assert r.terminated.all()
    assert len(r.actions) == len(Counter.sent) == 12
    first = 5 if kind == "choice" else 0
    np.testing.assert_allclose(np.array(Counter.sent, float) - first, r.actions, atol=1e-6)
    np.testing.assert_allclose(r.returns_to_go(0.5)[:3], [1.75, 1.5, 1.0])
    again = rollout(Counter(kind), fitted(kind), episodes=3, seed=1)
    np.testing.assert_array_equal(again.actions, r.actions)
    pairs = r.pairs()
    np.testing.assert_array_equal(pairs.y[:12], r.actions)
    assert pairs.weights.sum() == 12


def test_greedy_actions_are_the_most_probable(chooser):
    r = rollout(Counter(), chooser, episodes=2, greedy=True)
    np.testing.assert_array_equal(r.actions, np.argmax(chooser(r.observations).probs, 1))


def test_masks_are_kept_to(chooser):
    r = rollout(Counter(masked=True), chooser, episodes=20)
    assert set(r.actions) == {0, 2}


def test_an_ensemble_and_a_tempered_policy_act():
    whole = fitted("choice", members=2)
    assert len(rollout(Counter(), whole, episodes=2).rewards) == 7
    cold = whole.tempered(1e-4)
    r = rollout(Counter(), cold, episodes=2)
    np.testing.assert_array_equal(r.actions, np.argmax(whole(r.observations).probs, 1))


def test_episodes_are_cut_off(chooser):
    r = rollout(Counter(), chooser, episodes=3, horizon=4)
    np.testing.assert_array_equal(r.terminated, [True, True, False])
    np.testing.assert_array_equal(r.returns, [3, 4, 4])
    # What is cut off has more to come: V of the last observation, here its t.
    togo = r.returns_to_go(0.5, value=lambda seen: seen[:, 0])
    assert togo[-1] == pytest.approx(1 + 0.5 * 4)
    assert togo[2] == togo[6] == 1
    with pytest.raises(InputError, match="steps: episode 1 had not ended after 3 steps; pass a horizon"):
        rollout(Counter(), chooser, episodes=3, steps=3)


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode)[:2])
def test_vector_environments(chooser, mode):
    env = gym.vector.SyncVectorEnv([Counter, Counter], autoreset_mode=mode)
    r = rollout(env, chooser, episodes=3)
    lanes = np.bincount(r.episode)
    assert sorted(lanes) == [3, 3, 4]
    for e in range(3):
        np.testing.assert_array_equal(r.observations[r.episode == e][:, 0], np.arange(lanes[e]))


def test_short_episodes_count_no_more_than_long_ones(chooser):
    """Each lane plays what it was told to: no episode is preferred because it ends first."""
    if "KullbackCounter-v0" not in gym.registry:
        gym.register("KullbackCounter-v0", Counter)
    r = rollout("KullbackCounter-v0", chooser, episodes=20)
    assert sorted(np.bincount(r.episode)) == [3] * 16 + [4] * 4


def test_tilted_steps(chooser):
    r = rollout(Counter(), chooser, episodes=4)
    tilted = r.tilted(r.returns_to_go(), temperature=2.0)
    weights = tilted.known().sample.weights
    n = len(r.rewards)
    np.testing.assert_allclose(weights[1:n] / weights[0], np.exp((r.returns_to_go()[1:] - r.returns_to_go()[0]) / 2))
    assert (weights[n:] == 0).all()
    fit = kl.KL(tilted, kl.Conditional(kl.Linear(), dist.Categorical)).minimize(quiet=True)
    assert fit.q(r.observations).probs.shape == (n, 3)
    with pytest.raises(InputError, match="reward: shape"):
        r.tilted(np.zeros(3))


def test_advantage_weighted_regression_on_the_lake():
    """A uniform policy's episodes on the slippery lake, tilted by expected advantages: nearly as good as the same tilt
    of the exact Q of the uniform policy, and three times as good as the uniform policy itself."""
    lake, uniform = Optimal("FrozenLake-v1", 0.01), np.full((16, 4), 0.25)
    q = kl.Conditional(kl.Table(), dist.Categorical)
    s, a = np.indices((16, 4)).reshape(2, -1)
    flat = kl.KL(kl.Pairs(s, a), q).minimize(quiet=True).q
    r = rollout("FrozenLake-v1", flat, episodes=8000, seed=0)
    found = advantages(r.observations, r.returns_to_go(), r.actions, r.episode)
    fit = kl.KL(r.tilted(found, 0.01), q).minimize(quiet=True)
    model = lake.model
    assert model is not None
    going, reward = model.going_on, model.expected_reward
    value = np.zeros(16)
    for _ in range(2000):
        action_value = (reward + going @ value).reshape(16, 4)
        value = (uniform * action_value).sum(1)
    weights = np.exp((action_value - action_value.max(1, keepdims=True)) / 0.01)
    best = kl.KL(kl.Pairs(s, a, weights.ravel()), q).minimize(quiet=True).q
    before, after, exact = (kl.KL(p, lake).estimate().diagnostics["sampled_return"] for p in (flat, fit.q, best))
    assert exact > 3 * before
    assert after > 0.6 * exact


BAD = [
    (lambda q: rollout("CartPole-v1", q, 1), r"policy: it takes arrays of shape \(2,\) and CartPole-v1 gives"),
    (lambda q: rollout("Taxi-v4", q, 1), r"x: inputs of shape \(\) where"),
    (lambda q: rollout(Counter("box"), q, 1), "policy: outcomes of CategoricalLogits of shape .* are no actions of"),
    (lambda q: rollout(Counter(), fitted("switches"), 1), "policy: outcomes of BernoulliLogits"),
    (lambda q: rollout(Counter(), None, 1), "policy: NoneType is no fitted conditional"),
    (lambda q: rollout(Counter(), q, 0), "episodes: 0"),
    (lambda q: rollout(Counter(), q, 1, horizon=-1), "horizon: -1"),
    (lambda q: rollout(Counter(), q, 1, steps=0), "steps: 0"),
    (lambda q: rollout(FiniteMDP(np.eye(2)[:, None], [1.0, 0.0], [1]), q, 1), "env: a FiniteMDP is evaluated exactly"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=range(len(BAD)))
def test_says_what_is_wrong(act, message, chooser):
    with pytest.raises(InputError, match=message):
        act(chooser)
