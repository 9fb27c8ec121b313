"""Tilt and project: the tilted policy by brute force, its price against SciPy, and the rule against exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from tests.control.learning.setups import sides, task_of
from tests.control.off_policy.setups import (
    CHOOSES,
    IN_BOX,
    Wait,
    Walk,
    fitted,
    lottery,
    random_mdp,
    solved,
    trained,
)

import kullback as kl
from kullback.control.learning.policy import NEVER
from kullback.control.off_policy.tilt_and_project import ForwardProjection, TiltAndProject, price_of_moving, tilted
from kullback.errors import InputError
from kullback.rule import Applies

RULE = TiltAndProject(steps=60_000)


def states(rng, spread=2.0, n=6, m=4):
    """Values, log-probabilities of an old policy and a prior of m actions in n states, and weights."""
    q = spread * rng.normal(size=(n, m))
    old, prior = (log_softmax(rng.normal(size=(n, m)), -1) for _ in range(2))
    return q, old, prior, rng.random(n) + 0.5


def test_the_tilted_policy_is_the_product_of_powers(rng):
    q, old, prior, _ = states(rng)
    alpha, eta = 0.4, 1.3
    powers = (alpha * prior + eta * old + q) / (alpha + eta)
    expected = np.exp(powers) / np.exp(powers).sum(-1, keepdims=True)
    found = tilted(q - alpha * (old - prior), old, alpha + eta)
    np.testing.assert_allclose(jnp.exp(found), expected, rtol=1e-4)


def test_no_other_policy_is_better(rng):
    """It maximises E_p[Q] − α KL(p‖π₀) − η KL(p‖π_old)."""
    q, old, prior, _ = states(rng, n=1)
    alpha, eta = 0.4, 1.3
    value = lambda log_p: np.sum(np.exp(log_p) * (q[0] - alpha * (log_p - prior[0]) - eta * (log_p - old[0])))  # noqa: E731
    best = np.asarray(tilted(q - alpha * (old - prior), old, alpha + eta), np.float64)[0]
    for _ in range(100):
        other = log_softmax(best + rng.normal(size=4) * 10 ** rng.uniform(-2, 1))
        assert value(other) < value(best) + 1e-5


@pytest.mark.parametrize("spread", [0.5, 3.0, 300.0])
@pytest.mark.parametrize("epsilon", [0.001, 0.1, 0.5])
def test_the_price_solves_the_dual(spread, epsilon, rng, precision):
    q, old, prior, weight = states(rng, spread)
    alpha = 0.01
    gain = q - alpha * (old - prior)

    def dual(log_price):
        price = np.exp(log_price)
        free = price * logsumexp(old + gain / price, axis=-1)
        return (price - alpha) * epsilon + np.average(free, weights=weight)

    best = minimize_scalar(dual, bounds=(np.log(alpha), np.log(1e6)), method="bounded", options={"xatol": 1e-10})
    price = float(price_of_moving(*(jnp.asarray(x, precision) for x in (gain, old, alpha, epsilon, weight))))
    assert price == pytest.approx(np.exp(best.x), rel=2e-3 if precision is np.float32 else 1e-5)
    log_p = np.asarray(tilted(gain, old, price))
    kl_found = np.average(np.sum(np.exp(log_p) * (log_p - old), -1), weights=weight)
    assert kl_found == pytest.approx(epsilon, rel=5e-3)


def test_a_free_move_has_no_price(rng, precision):
    q, old, prior, weight = states(rng, 0.1)
    args = (jnp.asarray(x, precision) for x in (q - 2.0 * (old - prior), old, 2.0, 5.0, weight))
    assert float(price_of_moving(*args)) == 2.0


def test_what_is_forbidden_stays_so(rng):
    q, old, _, weight = states(rng)
    allowed = np.array([1, 1, 0, 1], bool)
    q[:, 2] = 1e6
    old = np.where(allowed, old, NEVER)
    price = price_of_moving(*(jnp.asarray(x, jnp.float32) for x in (q, old, 0.1, 0.1, weight)))
    less = price_of_moving(*(jnp.asarray(x, jnp.float32) for x in (q[:, allowed], old[:, allowed], 0.1, 0.1, weight)))
    assert float(price) == pytest.approx(float(less), rel=1e-3)
    assert (np.asarray(tilted(q, old, price))[:, 2] < NEVER / 2).all()


def test_all_actions_alike_move_nothing():
    gain, old = jnp.ones((3, 4)), jnp.full((3, 4), -np.log(4.0))
    price = price_of_moving(gain, old, 0.1, 0.1, jnp.ones(3))
    np.testing.assert_allclose(tilted(gain, old, price), old, atol=1e-6)


def test_in_a_box_it_is_weights_of_draws():
    """E_p[a] by many weighted draws of the old policy against an integral of its density times exp(gain/price)."""
    task = task_of(Walk(), 0.1, 0.99)
    playing, state = trained(task, IN_BOX, TiltAndProject(steps=8, warmup=8, batch=32, draws=2))
    config, fixed = playing.training.config, playing.policy(state)[1]
    batch = config.columns.read(jnp.asarray(state.replay.rows[:1]))
    values = lambda observation, action: 3.0 * action[:, 0] - jnp.square(action[:, 0] - 0.2)  # noqa: E731
    alpha, price = 0.3, 1.1
    many = ForwardProjection(0.1, 100_000, 0.0, 0.05)
    x = state.learner.policy.x
    gain, log_base, score = many._actions(config, fixed, x, values, alpha, batch, jax.random.key(0))
    weights = np.exp(np.asarray(tilted(gain, log_base, price), np.float64))[0]
    law = config.at(x, fixed, batch.observation).policy
    action = np.asarray(law.sample(jax.random.key(0), (100_000,)))[:, 0, 0]
    np.testing.assert_allclose(
        score(config.at(x, fixed, batch.observation))[0], law.log_prob(action[:, None, None])[:, 0]
    )
    loc, scale = (float(part[0, 0]) for part in (law.base_dist.loc, law.base_dist.scale))

    def density(a):
        u = np.arctanh(a)
        log_old = -0.5 * ((u - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi)) - np.log1p(-(a**2))
        q = 3.0 * a - (a - 0.2) ** 2
        return np.exp(log_old + (q - alpha * (log_old + np.log(2.0))) / price)

    total = quad(density, -1, 1)[0]
    mean = quad(lambda a: a * density(a), -1, 1)[0] / total
    # The deviation of a weighted mean is sqrt(Σ w² (a − mean)²): within 4.5 of it, false alarms 7 in a million.
    assert abs(weights @ action - mean) < 4.5 * np.sqrt(np.sum(weights**2 * (action - mean) ** 2))


@pytest.mark.parametrize("seed", [0, 1])
def test_soft_values_of_random_tables(seed):
    target = kl.Optimal(random_mdp(seed), temperature=0.3)
    found = fitted(target, RULE, seed=seed).diagnostics
    assert 0.0 <= found["kl_excess"] < 0.02
    soft = found["soft_value"]
    # Within 4.5 standard errors of 100 fresh episodes (false alarms: 7 in a million) and what the policy lacks.
    assert abs(soft.value - solved(target)["soft_value"]) < 4.5 * soft.standard_error + 0.3 * 0.02


def test_the_lottery_is_not_played():
    fit = fitted(kl.Optimal(lottery(), temperature=0.2), RULE)
    assert float(fit.q(np.arange(1)).probs[0, 0]) == pytest.approx(1.0 / (1.0 + np.exp(4.0)), abs=0.003)


def test_a_small_temperature_gives_the_ordinary_optimum():
    target = kl.Optimal(random_mdp(3), temperature=1e-3)
    found, best = fitted(target, RULE).diagnostics["greedy_return"], solved(target)["greedy_return"]
    assert abs(getattr(found, "value", found) - best) < 4.5 * getattr(found, "standard_error", 0.0) + 1e-3 * abs(best)


@pytest.mark.long
@pytest.mark.parametrize(
    ("env", "temperature", "lacking"), [("FrozenLake-v1", 0.02, 0.1), ("CliffWalking-v1", 1.0, 0.05)]
)
def test_long_ways(env, temperature, lacking):
    target = kl.Optimal(env, temperature=temperature)
    found = fitted(target, TiltAndProject()).diagnostics
    assert 0.0 <= found["kl_excess"] < lacking
    soft = found["soft_value"]
    assert abs(soft.value - solved(target)["soft_value"]) < 4.5 * soft.standard_error + temperature * lacking


def test_a_walk_in_a_box_is_learned():
    playing, state = trained(task_of(Walk(), 0.1, 0.99), IN_BOX, TiltAndProject(steps=1_000))
    returns = np.asarray(playing._greedy(state, 2, 0).episodes.returns)
    assert returns.mean() > -1.0


def test_what_it_takes():
    for task, policy in ((task_of(Walk()), IN_BOX), (task_of(Wait()), CHOOSES)):
        verdict = TiltAndProject().check(*sides(task, policy))
        assert isinstance(verdict, Applies)
        assert verdict.cost == 7.0
        assert verdict.dropped == ("log Z",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", 0.0), ("draws", 1), ("anchor", -1.0), ("follow", 0.0), ("epsilon", True), ("lanes", 0)],
)
def test_bad_settings(name, value):
    with pytest.raises(InputError, match=name):
        TiltAndProject(**{name: value})
