"""What the trajectory gradient finds, against exact soft values; its settings, and what it refuses."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from tests.control.learning.setups import sides, task_of
from tests.control.tabular.enumeration import random_mdp
from tests.control.trajectory_gradient.setups import Bandit, TwoSteps, fit, law_of, playing_of, policy_in_box, trained

import kullback as kl
from kullback.control import FiniteMDP
from kullback.control.envs.spaces import Actions
from kullback.control.learning.policy import RunningMoments
from kullback.control.learning.temperature import Annealed, TargetKL
from kullback.control.tabular.soft_bellman import solve
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.trajectory_gradient.update import in_units, ordered
from kullback.errors import EnvironmentFault, InputError
from kullback.result import Guarantee, Status
from kullback.rule import Applies, Missing, Request

TABLE = kl.Conditional(kl.Table(), dist.Categorical)
LINEAR = kl.Conditional(kl.Linear(), dist.Categorical)
THREE = Actions("choice", (), (3,))


def fitted(policy, optimal, rule, **request):
    """The fit of the rule, of a side as users write it."""
    q = optimal.known()
    p = policy.known().matched(q)
    assert isinstance(rule.check(p, q), Applies)
    return rule.run(p, q, Request(**{"seed": 0, "quiet": True, **request}))


@pytest.mark.parametrize("discount", [pytest.param(1.0, marks=pytest.mark.long), 0.8])
def test_small_mdp_reaches_the_exact_soft_value(discount, precision, rng):
    optimal = kl.Optimal(random_mdp(rng, states=5, actions=3), temperature=0.5, discount=discount)
    found = fitted(TABLE, optimal, TrajectoryGradient(steps=600_000))
    assert found.diagnostics["kl_excess"] < 0.03  # nats, exact
    assert abs(found.objective.value - exact_objective(found, optimal)) < 5 * found.objective.standard_error
    assert found.objective.guarantee is Guarantee.UNBIASED
    assert found.objective.dropped == ("log Z",)


def exact_objective(found, optimal):
    """−J/α of the fitted policy: that of 100 fresh episodes is within five standard errors of it."""
    return found.diagnostics["kl_excess"] - solve(optimal.problem).soft_value


@pytest.mark.long
def test_frozen_lake():
    optimal = kl.Optimal("FrozenLake-v1", temperature=0.02)
    found = fitted(TABLE, optimal, TrajectoryGradient())
    assert found.diagnostics["kl_excess"] < 0.1
    assert abs(found.objective.value - exact_objective(found, optimal)) < 5 * found.objective.standard_error


def test_lottery():
    """Fine print 1: +1 with probability 0.1, else −1, against a safe 0: 0.018 at temperature 0.2, and not 0.937."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 1], transition[0, 0, 2], transition[0, 1, 3] = 0.1, 0.9, 1.0
    reward = np.array([0.0, 1.0, -1.0, 0.0]) * np.ones((4, 2, 1))
    transition[1:, :, 1:] = np.eye(3)[:, None]
    optimal = kl.Optimal(FiniteMDP(transition, reward, terminal=[1, 2, 3], start=0), temperature=0.2)
    found = fitted(TABLE, optimal, TrajectoryGradient(steps=400_000))
    risky = float(np.exp(found.q([0]).log_prob(np.array([0])))[0])
    exact = 1.0 / (1.0 + np.exp(0.8 / 0.2))  # π ∝ exp(E[r]/α)
    assert abs(risky - exact) < 0.005


@pytest.mark.parametrize("kind", ["choices", "switches", "box"])
def test_bandits_of_every_kind(kind):
    """The most soft value is reached, to what the mean reward of 100,000 draws tells. False alarm: 1e-6."""
    actions, cls = {
        "choices": (Actions("choices", (2,), (3, 2)), dist.Categorical),
        "switches": (Actions("switches", (2,), (2, 2)), dist.Bernoulli),
        "box": (Actions("box", (2,), (), (-2.0, 0.0), (2.0, 1.0)), kl.TanhNormal),
    }[kind]
    bandit, alpha = Bandit(actions), 0.5
    rule = TrajectoryGradient(lanes=64, block=4, steps=40_000)
    here, _, _ = trained(task_of(bandit, alpha), kl.Conditional(kl.Linear(), cls), rule)
    draws = jax.vmap(lambda key: here.draw(key)[0][0])(jax.random.split(jax.random.key(1), 100_000))
    gains = sum(Bandit.gain(one, i) for i, one in enumerate(np.asarray(shares(actions, draws)).T))
    soft = gains.mean() - alpha * float(here.kl()[0])
    assert soft == pytest.approx(exact_bandit(actions, alpha), abs=5 * gains.std() / np.sqrt(100_000) + 2e-3)


def shares(actions, draws):
    """What a bandit pays for: the choices, or how far through the box."""
    if actions.kind != "box":
        return draws
    low, high = actions.bounds
    return (draws - low) / (high - low)


def exact_bandit(actions, alpha):
    """α log E_π₀[exp(r/α)] of choices; in a box the most that the family can have."""
    if actions.kind == "box":
        return sum(best_in_box(place, alpha) for place in range(2))
    choices = [np.arange(size) for size in actions.sizes]
    return sum(alpha * np.log(np.mean(np.exp(Bandit.gain(x, i) / alpha))) for i, x in enumerate(choices))


def best_in_box(place, alpha):
    """The maximum of E[r] − α KL over laws tanh(Normal(loc, scale)), by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    @jax.jit
    def loss(x):
        law = kl.TanhNormal(x[0], jnp.exp(x[1]), 0.0, 1.0)
        gains = Bandit.gain(law.squash(x[0] + jnp.exp(x[1]) * nodes), place)
        return -(gains @ weights) / weights.sum() - alpha * law.entropy()

    return -scipy.optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead").fun


def test_masks_restrict_policy_and_prior():
    """The third action would pay most, and is forbidden: π ∝ exp(r/α) over the two others."""
    task = task_of(Bandit(THREE, forbidden=2), 0.5)
    here, _, _ = trained(task, LINEAR, TrajectoryGradient(lanes=64, block=4, steps=40_000))
    tilted = np.exp(Bandit.gain(np.arange(2), 0) / 0.5)
    np.testing.assert_allclose(np.exp(here.log_policy[0]), [*tilted / tilted.sum(), 0.0], atol=0.02)


def test_units_of_actions_change_nothing():
    """A box a thousand times as wide: the same policy in its units, but for rounding."""
    rule = TrajectoryGradient(lanes=8, block=16, steps=2_000)
    small, large = (
        trained(task_of(TwoSteps(unit), 0.3, cut_ends=True), policy_in_box(unit), rule)[0] for unit in (1.0, 1000.0)
    )
    key = jax.random.key(0)
    np.testing.assert_allclose(1000.0 * small.taken(True, key), large.taken(True, key), rtol=2e-3, atol=0.5)
    np.testing.assert_allclose(small.kl(), large.kl(), rtol=2e-3)
    assert float(small.kl()[0]) > 0.05


def test_new_units_leave_values_as_they_are():
    """The critic's last layer is rewritten where the scale of its targets moves."""
    playing = playing_of(task_of(Bandit(THREE), 0.5), kl.Conditional(kl.MLP((4,)), dist.Categorical))
    critic = playing.training.config.layout.tree(playing.training.start)[1]
    x, scaling = np.ones((1, 1)), {"x_mean": np.zeros(1), "x_scale": np.ones(1)}
    old, new = RunningMoments(1.0, 3.0, 4.0), RunningMoments(2.0, -1.0, 25.0)
    before, after = (playing.training.config.critic(c, scaling, x) for c in (critic, in_units(critic, old, new)))
    np.testing.assert_allclose(3.0 + 2.0 * before, -1.0 + 5.0 * after, rtol=1e-5)
    # A critic that has seen nothing yet says the mean.
    untaught = in_units(critic, RunningMoments(0.0, 0.0, 1.0), new)
    np.testing.assert_array_equal(playing.training.config.critic(untaught, scaling, x), before)


def test_trust_region_holds():
    rule = TrajectoryGradient(lanes=8, block=16, rate=0.3, trust=0.01)
    playing = playing_of(task_of(Bandit(THREE), 0.01), LINEAR, rule)
    state = playing.init()
    for _ in range(5):
        playing.budget = 1
        before, state = state, playing.played(state._replace(recording=state.recording.cleared()))
        here, there = (np.asarray(law_of(playing, s, before).log_policy, np.float64) for s in (before, state))
        assert 0.0 < np.sum(np.exp(here) * (here - there)) < 0.0101


def test_temperature_for_a_divergence():
    """The policy keeps the nats asked for, and the temperature is the one at which it is optimal to do so."""
    task = task_of(Bandit(THREE), TargetKL(0.3, start=0.5))
    here, _, state = trained(task, LINEAR, TrajectoryGradient(lanes=64, block=4, steps=80_000))
    assert float(here.kl()[0]) == pytest.approx(0.3, abs=0.02)
    tilted = np.exp(Bandit.gain(np.arange(3), 0) / np.exp(float(state.log_alpha)))
    policy = tilted / tilted.sum()
    assert (policy * np.log(3 * policy)).sum() == pytest.approx(0.3, abs=0.03)


def test_annealing_ends_at_the_last_temperature():
    found = fit(task_of(Bandit(THREE), Annealed(2.0, 0.25)), LINEAR, TrajectoryGradient(steps=50_000))
    assert found.diagnostics["temperature"] == pytest.approx(0.25, rel=0.05)
    first, last = found.history[0], found.history[-1]
    assert first["temperature"] == pytest.approx(2.0, rel=0.05)
    assert {"step", "objective", "return", "kl", "temperature"} <= set(last)
    best = np.log(np.mean(np.exp(Bandit.gain(np.arange(3), 0) / 0.25)))
    assert last["objective"] == pytest.approx(-best, abs=0.5)


def test_until_ends_it():
    found = fit(task_of(Bandit(THREE), 0.1), LINEAR, TrajectoryGradient(until=0.75, steps=50_000))
    assert found.status is Status.CONVERGED
    assert "fresh episodes" in found.message
    assert found.diagnostics["environment_steps"] < 40_000


def test_a_temperature_at_its_bound_is_reported():
    task = task_of(Bandit(THREE), TargetKL(0.9, start=0.5, lowest=0.45))
    assert "bound" in fit(task, LINEAR, TrajectoryGradient(steps=20_000)).message


def test_divergence_keeps_the_last_good_policy():
    found = fit(task_of(Bandit(THREE), 0.5), LINEAR, TrajectoryGradient(rate=1e38, steps=50_000))
    assert found.status is Status.DIVERGED
    assert "smaller rate" in found.message
    assert np.isfinite(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.q.free)])).all()


def test_rewards_that_are_not_finite_are_the_environments_fault():
    playing = playing_of(task_of(Bandit(THREE, fails=True), 0.5), LINEAR, TrajectoryGradient())
    with pytest.raises(EnvironmentFault, match="NaN or infinite"):
        playing.step(playing.init())


@pytest.mark.parametrize("size", [1, 7, 37, 128, 1000, 1024, 37 * 41])
def test_minibatches_go_through_every_row(size):
    for words in np.random.default_rng(0).integers(2**32, size=(5, 2), dtype=np.uint32):
        assert sorted(np.asarray(ordered(jnp.asarray(words), size, jnp.arange(size))).tolist()) == list(range(size))


def test_what_it_cannot_play():
    task = task_of(Bandit(Actions("box", (1,), (), (-2.0,), (2.0,))), 0.5)
    rule = TrajectoryGradient()
    p, q = sides(task, kl.Conditional(kl.Linear(), kl.TanhNormal, low=np.full(1, -1.0), high=np.full(1, 1.0)))
    assert "box of actions" in rule.check(p, q).reason
    p, q = sides(task, kl.Conditional(kl.Linear(), dist.Normal))
    assert isinstance(rule.check(p, q), Missing)
    task = task_of(Bandit(THREE), 0.5)
    p, q = sides(task, kl.Conditional(kl.Linear(), dist.Categorical, ensemble=2))
    assert "mixture" in rule.check(p, q).reason
    p, q = sides(task, LINEAR)
    assert isinstance(rule.check(p, kl.Pairs(np.zeros((3, 1)), np.zeros(3, int)).known()), Missing)
    plan = rule.check(p, q)
    assert plan.cost == 5.0
    assert "8 lanes × 64 steps" in plan.note


@pytest.mark.parametrize(
    "setting",
    [
        {"lanes": 0},
        {"block": 1.5},
        {"rate": -1.0},
        {"lam": 1.1},
        {"trust": 0.0},
        {"until": np.nan},
        {"clip": 0},
        {"lanes": "many"},
    ],
)
def test_settings_that_mean_nothing(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        TrajectoryGradient(**setting)


def test_cart_pole():
    policy = kl.Conditional(kl.MLP((64, 64)), dist.Categorical)
    found = fitted(policy, kl.Optimal("CartPole-v1", temperature=0.1), TrajectoryGradient(until=475.0), seed=3)
    assert found.status is Status.CONVERGED
    assert found.diagnostics["environment_steps"] < 60_000
    env, returns = gym.make("CartPole-v1"), []
    act = jax.jit(lambda x: jnp.argmax(found.q.structure.distribution(found.q.free, found.q.fixed, x[None]).logits[0]))
    for seed in range(5):
        (seen, _), total, over = env.reset(seed=seed), 0.0, False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(int(act(seen)))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) > 400
