"""Recorded episodes: returns to go, advantages, advantage-weighted regression, and imitation in a box."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import advantages, returns_to_go
from kullback.errors import InputError

EPISODE = np.array([0, 1, 0, 1, 1, 2])
REWARD = np.array([1.0, 10.0, 2.0, 20.0, 30.0, -1.0])


def test_returns_to_go():
    np.testing.assert_allclose(returns_to_go(REWARD, EPISODE), [3, 60, 2, 50, 30, -1])
    np.testing.assert_allclose(returns_to_go(REWARD, EPISODE, 0.5), [2, 27.5, 2, 35, 30, -1])
    np.testing.assert_allclose(returns_to_go(REWARD, EPISODE, 0.5, [4.0, 0.0, 8.0]), [3, 27.5, 4, 35, 30, 3])
    np.testing.assert_allclose(returns_to_go(REWARD, EPISODE, 0.0), REWARD)


def test_returns_to_go_by_their_definition(rng):
    reward, episode = rng.normal(size=300), rng.integers(7, size=300)
    expected = np.empty(300)
    for e in range(7):
        rows = np.flatnonzero(episode == e)
        ahead = np.arange(len(rows)) - np.arange(len(rows))[:, None]
        expected[rows] = np.where(ahead >= 0, 0.9 ** np.maximum(ahead, 0), 0.0) @ reward[rows]
    np.testing.assert_allclose(returns_to_go(reward, episode, 0.9), expected, rtol=1e-12)


def test_a_baseline_is_learned_from_other_rows():
    """Every row has an observation of its own: fitted to itself its baseline is its return, and nothing is left."""
    seen, gained = np.arange(60), np.arange(60.0) % 7
    assert np.abs(advantages(seen, gained, folds=1)).max() < 1e-3
    crossed = advantages(seen, gained, folds=5)
    assert np.abs(crossed - (gained - gained.mean())).max() < 0.5


def test_rows_of_an_episode_are_judged_together():
    """Two rows of each episode share an observation and the luck: one must not tell the other's."""
    episode = np.repeat(np.arange(40), 2)
    seen, gained = episode, np.repeat(np.arange(40) % 5 * 1.0, 2)
    apart = advantages(seen, gained, episode=episode)
    assert np.abs(apart - (gained - gained.mean())).max() < 0.5
    leaked = advantages(seen, gained)
    assert np.abs(leaked).mean() < 0.6 * np.abs(apart).mean()


def test_expected_advantages_of_a_line(rng):
    """G = s + 2 a + noise with a standard normal and independent of s: Q − V = 2 a, of linear networks.

    A coefficient is off by about 1/√(0.8 · 4000) = 0.018, so that an error of 0.1 is more than five times that.
    """
    s, a = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1))
    gained = s[:, 0] + 2 * a[:, 0] + rng.normal(size=4000)
    found = advantages(s, gained, a, network=kl.Linear())
    slope, shift = np.polyfit(2 * a[:, 0], found, 1)
    assert abs(slope - 1) < 0.1
    assert abs(shift) < 0.1
    assert np.std(found - 2 * a[:, 0]) < 0.1


@pytest.mark.parametrize("kind", ["labels", "labels and a network", "arrays", "several choices"])
def test_expected_advantages_of_choices(rng, kind):
    """G = (−1)ˢ a + noise, a uniform on {0, 1}: Q − V = (−1)ˢ (a − ½)."""
    s, a = rng.integers(2, size=(2, 4000))
    sign = np.where(s == 0, 1.0, -1.0)
    gained = sign * a + rng.normal(size=4000)
    seen = {"arrays": np.stack([s, rng.normal(size=4000)], 1)}.get(kind, s)
    done = np.stack([a, rng.integers(3, size=4000)], 1) if kind == "several choices" else a
    network = kl.MLP((16,)) if kind in ("arrays", "labels and a network") else None
    found = advantages(seen, gained, done, network=network, folds=2)
    # Means of about 500 rows (170 with the second choice) are off by 0.045 (0.08); networks add some of their own.
    assert np.sqrt(np.mean((found - sign * (a - 0.5)) ** 2)) < 0.2


def test_the_lottery():
    """Win 1 with probability 0.1, else lose 1, against a safe 0: tilting by what came out gambles, by what is expected
    does not. The data have exactly these frequencies, so that only the cross-fitted mean of −0.8 is random: off by
    less than 0.03 in all but 1 of 1,000,000 samples (5 · 0.6/√8000), which moves 0.0180 by a factor e^±0.15."""
    n = 10_000
    action, seen = np.arange(2 * n) % 2, np.zeros(2 * n, int)
    won = np.arange(2 * n) // 2 % 10 == 0
    gained = np.where(action == 1, np.where(won, 1.0, -1.0), 0.0)
    risky = lambda reward: float(_policy(seen, action, reward, 0.2)(np.zeros(1, int)).probs[0, 1])  # noqa: E731
    assert risky(gained) == pytest.approx(0.937, abs=5e-4)
    assert risky(advantages(seen, gained)) == pytest.approx(0.937, abs=5e-3)
    assert risky(advantages(seen, gained, action)) == pytest.approx(0.0180, rel=0.16)


def test_advantage_weighted_regression_is_the_tilted_policy():
    """π(a∣s) ∝ β(a∣s) exp(A(s, a)/α), exactly where the data have exactly the frequencies β."""
    behaviour = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    advantage = np.array([[0.0, 1.0, -1.0], [2.0, -3.0, 0.0]])
    s, a = (np.repeat(x.ravel(), np.rint(behaviour.ravel() * 10).astype(int)) for x in np.indices((2, 3)))
    expected = behaviour * np.exp(advantage / 0.8)
    for reward in (advantage[s, a], lambda s, a: jnp.asarray(advantage)[s, a]):
        found = np.asarray(_policy(s, a, reward, 0.8)(np.arange(2)).probs)
        np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=2e-4)


def test_minibatches_weigh_rows(rng):
    """A network on batches, with held-out rows: within 0.02 nats of the tilted policy, which is that far (0.4 nats)
    from the behaviour."""
    n = 8000
    x = rng.uniform(-1, 1, size=(n, 1))
    a = rng.integers(3, size=n)
    advantage = np.where(a == 0, 1.5 * x[:, 0], np.where(a == 1, -1.5 * x[:, 0], 0.0))
    q = kl.Conditional(kl.MLP((16,)), dist.Categorical)
    fit = kl.KL(kl.Tilted(kl.Pairs(x, a), advantage, 0.5), q).minimize(rule="minibatches", quiet=True)
    at = np.linspace(-1, 1, 41)
    logits = np.stack([3 * at, -3 * at, 0 * at], 1)
    expected = dist.Categorical(logits=logits)
    uniform = dist.Categorical(logits=np.zeros((41, 3)))
    assert float(np.mean(kl.kl_divergence(expected, fit.q(at[:, None])))) < 0.02
    assert float(np.mean(kl.kl_divergence(expected, uniform))) > 0.3


@pytest.mark.parametrize("low", [-2.0, 0.0])
def test_imitation_in_a_box(rng, low):
    """A known policy u ∼ N(A s + b, 0.5), squashed onto a box: its parameters are recovered, whatever the units.

    The standard errors at n rows are 0.5/√n of a coefficient and 1/√(2 n) of log scale; five of them are exceeded in
    fewer than 1 of 100,000 samples for each of the ten numbers compared.
    """
    n = 4000
    s, slope, shift = rng.normal(size=(n, 3)), np.array([[1.0, -0.5], [0.3, 0.2], [0.0, 1.0]]), np.array([0.2, -0.1])
    u = s @ slope + shift + 0.5 * rng.normal(size=(n, 2))
    action = low + 4.0 * (0.5 + 0.5 * np.tanh(u))
    q = kl.Conditional(kl.Linear(), kl.TanhNormal, low=low, high=low + 4.0)
    fit = kl.KL(kl.Pairs(s, action), q).minimize(quiet=True)
    found = fit.q(np.concatenate([np.zeros((1, 3)), np.eye(3)])).base_dist
    loc = np.asarray(found.loc)
    assert np.abs(loc[0] - shift).max() < 5 * 0.5 / np.sqrt(n)
    assert np.abs(loc[1:] - loc[0] - slope).max() < 5 * 0.5 / np.sqrt(n)
    assert np.abs(np.log(np.asarray(found.scale)[0] / 0.5)).max() < 5 / np.sqrt(2 * n)


def test_a_network_imitates_in_a_box(rng):
    n = 4000
    s = rng.uniform(-1, 1, size=(n, 2))
    loc = np.sin(3 * s[:, :1]) * s[:, 1:]
    action = 5.0 * np.tanh(loc + 0.3 * rng.normal(size=(n, 1)))
    q = kl.Conditional(kl.MLP((32,)), kl.TanhNormal, low=-5.0, high=5.0)
    fit = kl.KL(kl.Pairs(s, action), q).minimize(quiet=True)
    assert fit.plan.rule.name == "minibatches"
    base = fit.q(s).base_dist
    assert np.sqrt(np.mean((np.asarray(base.loc) - loc) ** 2)) < 0.1
    assert np.mean(np.asarray(base.scale)) == pytest.approx(0.3, rel=0.1)
    assert fit.diagnostics["heldout_nll"] == pytest.approx(fit.diagnostics["train_nll"], abs=0.2)


BAD = [
    (lambda: returns_to_go(REWARD, EPISODE[:2]), "episode: shape"),
    (lambda: returns_to_go(REWARD, EPISODE - 1), "episode: shape"),
    (lambda: returns_to_go(REWARD, EPISODE * 1.0), "episode: shape"),
    (lambda: returns_to_go([np.nan], [0]), "rewards: they have NaN"),
    (lambda: returns_to_go(REWARD, EPISODE, 1.1), "discount: 1.1"),
    (lambda: returns_to_go(REWARD, EPISODE, 1.0, [0.0]), "beyond: shape"),
    (lambda: returns_to_go(REWARD, EPISODE, 1.0, [0.0, np.nan, 0.0]), "beyond: shape"),
    (lambda: advantages(EPISODE, REWARD[:3]), "returns: shape"),
    (lambda: advantages(EPISODE, REWARD * np.inf), "returns: they are not one finite number"),
    (lambda: advantages(EPISODE, REWARD, EPISODE[:3]), "actions: shape"),
    (lambda: advantages(EPISODE, REWARD, episode=EPISODE[:3]), "episode: shape"),
    (lambda: advantages(EPISODE, REWARD, folds=0), "folds: 0"),
    (lambda: advantages(EPISODE, REWARD, episode=EPISODE * 0), "folds: there is one episode only"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=range(len(BAD)))
def test_says_what_is_wrong(act, message):
    with pytest.raises(InputError, match=message):
        act()


def _policy(seen, action, reward, temperature):
    q = kl.Conditional(kl.Table(), dist.Categorical)
    return kl.KL(kl.Tilted(kl.Pairs(seen, action), reward, temperature), q).minimize(quiet=True).q
