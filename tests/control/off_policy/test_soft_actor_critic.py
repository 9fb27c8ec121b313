"""Soft actor–critic against exact values, in any units; and what rules that learn off-policy share."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.control.learning.setups import sides, task_of
from tests.control.off_policy.setups import (
    CHOOSES,
    IN_BOX,
    SteppedWalk,
    Wait,
    Walk,
    fitted,
    lottery,
    numbers_of,
    random_mdp,
    run,
    solved,
    trained,
)

import kullback as kl
from kullback.control.envs.simulator import Facts
from kullback.control.envs.spaces import Actions, Observations
from kullback.control.envs.spec import EnvSpec
from kullback.control.learning.assessment import Report
from kullback.control.learning.policy import Choosing, InBox
from kullback.control.learning.temperature import as_temperature
from kullback.control.learning.training import Playing
from kullback.control.off_policy import replay
from kullback.control.off_policy.soft_actor_critic import SoftActorCritic
from kullback.control.off_policy.update import Moments, counted, nothing_seen, soft_value, units_of
from kullback.control.task import Task
from kullback.errors import EnvironmentFault, FileError, InputError
from kullback.result import Estimate, Status
from kullback.rule import Applies, Missing

RULE = SoftActorCritic(steps=120_000)
SHORT = SoftActorCritic(steps=240, capacity=240, warmup=64, batch=32, lanes=2)
FEW = SoftActorCritic(steps=2_000, tau=0.2, batch=64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_soft_values_of_random_tables(seed):
    target = kl.Optimal(random_mdp(seed), temperature=0.3)
    found = fitted(target, RULE, seed=seed).diagnostics
    assert 0.0 <= found["kl_excess"] < 0.02
    soft, exact = found["soft_value"], solved(target)["soft_value"]
    # Within 4.5 standard errors of 100 fresh episodes (false alarms: 7 in a million) and what the policy lacks.
    assert abs(soft.value - exact) < 4.5 * soft.standard_error + 0.3 * 0.02


def test_the_lottery_is_not_played():
    """Win 1 with probability 0.1, else lose 1, or a safe 0, at temperature 0.2: P(risky) = 1/(1 + exp(0.8/0.2))."""
    fit = fitted(kl.Optimal(lottery(), temperature=0.2), RULE)
    assert float(fit.q(np.arange(1)).probs[0, 0]) == pytest.approx(1.0 / (1.0 + np.exp(4.0)), abs=0.003)
    assert fit.objective.dropped == ("log Z",)
    assert fit.diagnostics["kl_excess"] < 1e-3


@pytest.mark.long
def test_frozen_lake():
    target = kl.Optimal("FrozenLake-v1", temperature=0.02)
    found = fitted(target, SoftActorCritic()).diagnostics
    assert 0.0 <= found["kl_excess"] < 0.1
    soft = found["soft_value"]
    assert abs(soft.value - solved(target)["soft_value"]) < 4.5 * soft.standard_error + 0.02 * 0.1


@pytest.mark.long
@pytest.mark.parametrize("env", ["CliffWalking-v1", "Taxi-v4"])
def test_long_ways(env):
    target = kl.Optimal(env, temperature=1.0)
    found = fitted(target, SoftActorCritic()).diagnostics
    assert 0.0 <= found["kl_excess"] < 0.05
    soft = found["soft_value"]
    assert abs(soft.value - solved(target)["soft_value"]) < 4.5 * soft.standard_error + 0.05


def test_a_small_temperature_gives_the_ordinary_optimum():
    target = kl.Optimal(random_mdp(3), temperature=1e-3)
    found = fitted(target, RULE).diagnostics["greedy_return"]
    best = solved(target)["greedy_return"]
    value = getattr(found, "value", found)
    assert abs(value - best) < 4.5 * getattr(found, "standard_error", 0.0) + 1e-3 * abs(best)


def test_a_divergence_that_is_asked_for_is_met():
    target = kl.Optimal(random_mdp(1), temperature=kl.control.TargetKL(0.3))
    fit = fitted(target, RULE)
    last = [line["kl"] for line in fit.history[-100:]]
    assert np.mean(last) == pytest.approx(0.3, rel=0.05)
    temperatures = [line["temperature"] for line in fit.history[-100:]]
    exact = solved(kl.Optimal(random_mdp(1), temperature=float(np.median(temperatures))))
    assert exact["prior_kl"] / exact["trajectory_steps"] == pytest.approx(0.3, rel=0.1)


def test_units_of_actions_change_nothing():
    """A thousand of a smaller unit: in double precision, only rounding tells them apart, and it grows slowly."""
    found = []
    with jax.enable_x64(True):
        for unit in (1.0, 1000.0):
            playing, state = trained(task_of(Walk(unit), 0.1, 0.99), IN_BOX, SHORT)
            found.append(np.asarray(state.learner.policy.x))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - playing.training.start[0]).max() > 0.01


@pytest.mark.parametrize("cut_ends", [False, True])
def test_time_limits_cut_off_but_do_not_end(cut_ends):
    """Paid 1 a step at γ = 0.9: V = 10 where the limit only cuts; where it ends, less."""
    task = task_of(Wait(), 0.5, 0.9, cut_ends=cut_ends)
    playing, state = trained(task, CHOOSES, FEW)
    config, learner = playing.training.config, state.learner
    fixed = playing.policy(state)[1]
    q = config.critics_at(learner.critics.x, fixed, np.ones((1, 1), np.float32))[:, 0, :2]
    values = np.asarray(learner.units.level + learner.units.scale * q)
    # A fifth of the transitions end, and nothing tells which: V = 1 + 0.9 · 4/5 · V.
    np.testing.assert_allclose(values, 1.0 / (1.0 - 0.9 * 0.8) if cut_ends else 10.0, rtol=0.02)


def test_what_a_mask_forbids_is_never_done():
    playing, state = trained(task_of(Wait(), 0.5, 0.9), CHOOSES, FEW)
    columns = playing.training.config.columns
    batch = columns.read(jnp.asarray(state.replay.rows[: int(state.replay.size)]))
    assert columns.masked
    assert set(np.unique(batch.action).tolist()) == {0, 1}
    assert float(np.max(batch.reward)) == 1.0


def test_stepping_learns_what_the_device_learns():
    """The environment draws nothing, so that the same keys make the same actions."""
    found = []
    for how in ({}, {"stepper": SteppedWalk}):
        playing, state = trained(task_of(Walk(), 0.1, 0.99, **how), IN_BOX, SHORT)
        found.append(np.asarray(state.learner.policy.x))
        assert int(state.replay.count) == 240
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)
    assert np.abs(found[0] - playing.training.start[0]).max() > 0.01


def test_dead_transitions_are_not_learned_from():
    """Their reward is NaN, and nothing of it arrives; steps count those that were lived."""
    task = task_of(Walk(), 0.1, 0.99, stepper=lambda lanes: SteppedWalk(lanes, spends=True))
    _, state = trained(task, IN_BOX, SHORT)
    assert np.isfinite(np.asarray(state.learner.critics.x)).all()
    lived = int(state.counters.steps)
    assert 240 <= lived < int(state.replay.count)
    assert float(state.statistics.recent[2] / state.statistics.weight) == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("steps_on_host", [False, True])
def test_resumed_is_bit_identical(steps_on_host, tmp_path, monkeypatch):
    if steps_on_host:
        task, other = (task_of(Walk(), alpha, 0.99, stepper=SteppedWalk) for alpha in (0.1, 0.2))
    else:
        task, other = (kl.Optimal("Pendulum-v1", temperature=alpha).task for alpha in (0.2, 0.3))
    monkeypatch.setattr("kullback.control.off_policy.rule.LINE", 40)
    monkeypatch.setattr("kullback.control.learning.assessment.assess", lambda *_: Report(Estimate(0.0), {}))
    whole = run(task, IN_BOX, SHORT)
    path, step, calls = tmp_path / "training", Playing.step, []

    def interrupted(self, state):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        # However many rounds a call makes.
        self.budget = 2
        return step(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Playing, "step", interrupted)
        part = run(task, IN_BOX, SHORT, checkpoint=path)
    assert part.status is Status.INTERRUPTED
    assert 100 < part.diagnostics["environment_steps"] < 240
    resumed = run(task, IN_BOX, SHORT, checkpoint=path)
    for one, again in zip(numbers_of(whole), numbers_of(resumed), strict=True):
        np.testing.assert_array_equal(one, again)
    assert whole.history == resumed.history
    assert [line["step"] for line in whole.history] == [40, 80, 120, 160, 200, 240]
    with pytest.raises(FileError):
        run(other, IN_BOX, SHORT, checkpoint=path)


def test_a_buffer_that_grows_changes_nothing(monkeypatch):
    """A buffer of another size is another program, which rounds differently: in double precision, little."""
    found = []
    with jax.enable_x64(True):
        for first in (replay.FIRST, 64):
            monkeypatch.setattr(replay, "FIRST", first)
            _, state = trained(task_of(Walk(), 0.1, 0.99), IN_BOX, SHORT)
            assert len(state.replay.rows) == 240
            found.append(np.asarray(state.learner.policy.x))
    np.testing.assert_allclose(found[0], found[1], rtol=0.0, atol=1e-10)


def test_a_goal_that_is_reached_ends_it():
    fit = run(task_of(Walk(), 0.1, 0.99), IN_BOX, replace(SHORT, steps=4_000, until=-4.0))
    assert fit.status is Status.CONVERGED
    assert "greedy policy returned" in fit.message
    assert fit.diagnostics["greedy_return"].value >= -4.0
    assert fit.diagnostics["environment_steps"] == fit.history[-1]["step"] < 4_000


def test_rewards_that_are_not_finite_are_said_to_be_the_environments():
    with pytest.raises(EnvironmentFault, match=r"Wait.*NaN"):
        trained(task_of(Wait(breaks=3), 0.5, 0.9), CHOOSES, FEW)


def test_parameters_that_fail_are_not_returned():
    """Rewards differ here; where they are all equal, the critics are right from the start, and no rate is too large."""
    rule = replace(SHORT, rate=1e30)
    playing, state = trained(task_of(Walk(), 0.1, 0.99), IN_BOX, rule)
    progress = playing.progress(state)
    assert progress.status is Status.DIVERGED
    assert "smaller rate" in progress.message
    assert np.isfinite(np.asarray(state.learner.policy.x)).all()
    assert int(state.counters.steps) < rule.steps


@pytest.mark.parametrize("discount", [1.0, 0.95])
def test_units_are_those_of_the_best_constant(discount, rng, precision):
    reward, ended = rng.normal(size=4000) + 2.0, (rng.random(4000) < 0.1).astype(float)
    moments = nothing_seen(precision)[0]
    for start in range(0, 4000, 400):
        part = slice(start, start + 400)
        moments = counted(moments, reward[part], ended[part], np.ones(400), 1e9)
    units = units_of(moments, 0.3, discount, True)
    rest = 1.0 - discount * (1.0 - ended)
    level = reward.mean() / rest.mean()
    assert float(units.level) == pytest.approx(level, rel=1e-4)
    assert float(units.scale) == pytest.approx(np.sqrt(np.mean((reward - level * rest) ** 2)), rel=1e-4)
    assert float(units.discount) == pytest.approx(discount)
    spent = units_of(moments._replace(kl=np.asarray(2.0)), 0.3, discount, True)
    going = (1.0 - ended).mean()
    assert float(spent.level) == pytest.approx((reward.mean() - 0.3 * discount * going * 2.0) / rest.mean(), rel=1e-4)
    assert float(units_of(moments, 0.3, discount, False).level) == 0.0


def test_without_an_end_and_a_discount_values_are_those_of_the_mean_reward():
    moments = Moments(*(np.float32(x) for x in (1000.0, 2.0, 5.0, 0.0, 0.0, 0.0)))
    units = units_of(moments, 1.0, 1.0, True)
    assert float(units.discount) == pytest.approx(0.999)
    assert float(units.level * (1.0 - units.discount)) == pytest.approx(2.0, rel=1e-4)
    assert float(units.scale) == pytest.approx(1.0, rel=1e-3)


def test_log_ratios_of_draws_are_those_of_the_density(key):
    """By the slope of the draw in the noise: π(a) = N(z) / |da/dz|, against the uniform prior."""
    with jax.enable_x64(True):
        loc, scale = jnp.array([[0.3, -2.0], [4.0, 0.0]]), jnp.array([[0.7, 1.5], [0.3, 2.0]])
        actions = Actions("box", (2,), (), (-1.0, 0.0), (3.0, 5.0))
        low, high = actions.bounds
        here = InBox(dist.Independent(kl.TanhNormal(loc, scale, low, high), 1), None, actions)
        action, ratio = here.draw(key)
        u = np.arctanh(2.0 * (np.asarray(action) - low) / (high - low) - 1.0)
        z = (u - loc) / scale
        slope = (high - low) / 2.0 * scale * (1.0 - np.tanh(u) ** 2)
        log_density = np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(slope), 1)
        np.testing.assert_allclose(ratio, log_density + np.log(20.0), rtol=1e-9)


def test_soft_values_are_sums_over_choices(rng):
    """V = Σ_a π (min Q − α log π/π₀), with the lesser of both critics for each action."""
    playing, state = trained(task_of(Wait(), 0.5, 0.9), CHOOSES, FEW)
    config, fixed = playing.training.config, playing.policy(state)[1]
    batch = config.columns.read(jnp.asarray(state.replay.rows[:8]))
    # After so few updates the policy is nearly its prior and the critics nearly nothing: anything would agree.
    policy, targets = state.learner.policy, state.learner.targets
    x, targets = (np.asarray(a + rng.normal(size=a.shape), np.asarray(a).dtype) for a in (policy.x, targets))
    learner = state.learner._replace(policy=policy._replace(x=x), targets=targets)
    value, kl_found = soft_value(config, fixed, learner, 0.7, batch, jax.random.key(0))
    here = config.at(x, fixed, batch.following, batch.following_mask)
    assert isinstance(here, Choosing)
    p = np.exp(np.asarray(here.log_policy, np.float64))[:, :2]
    both = np.asarray(config.critics_at(targets, fixed, batch.following), np.float64)[..., :2]
    lesser = both.min(0)
    assert (lesser < both.max(0) - 0.1).all()
    kl_exact = np.sum(p * np.log(p / 0.5), 1)
    assert (kl_exact > 0.01).all()
    np.testing.assert_allclose(kl_found, kl_exact, rtol=1e-4)
    terms = np.sum(p * np.abs(lesser), 1) + 0.7 * kl_exact
    np.testing.assert_array_less(np.abs(value - (np.sum(p * lesser, 1) - 0.7 * kl_exact)), 1e-5 * terms)


def test_what_it_takes():
    rule = SoftActorCritic()
    box = rule.check(*sides(task_of(Walk()), IN_BOX))
    assert isinstance(box, Applies)
    assert box.cost == 6.0
    assert box.dropped == ("log Z",)
    choice = rule.check(*sides(task_of(Wait()), CHOOSES))
    assert isinstance(choice, Applies)
    assert choice.cost == 6.5


def facts(actions):
    return Facts("Test", Observations((2,)), actions)


@pytest.mark.parametrize(
    ("actions", "policy", "reason"),
    [
        (Actions("choices", (2,), (2, 3)), kl.Conditional(kl.MLP(), dist.Categorical), "one action to choose"),
        (Actions("switches", (2,), (2, 2)), kl.Conditional(kl.MLP(), dist.Bernoulli), "one action to choose"),
        (Actions("box", (1,), (), (-np.inf,), (np.inf,)), kl.Conditional(kl.MLP(), dist.Normal), "no bounds|outside"),
        (Actions("box", (1,), (), (-1.0,), (1.0,)), kl.Conditional(kl.MLP(), dist.Normal), "outside the box"),
        (Actions("box", (1,), (), (-1.0,), (1.0,)), kl.Conditional(kl.MLP(), kl.TanhNormal, low=-2.0, high=2.0), "box"),
        (Actions("choice", (), (3,)), kl.Conditional(kl.MLP(), dist.Categorical, ensemble=2), "mixture"),
    ],
    ids=["choices", "switches", "no bounds", "outside", "another box", "an ensemble"],
)  # fmt: skip
def test_what_it_does_not_take(actions, policy, reason):
    task = Task(EnvSpec(facts(actions)), as_temperature(1.0), 1.0)
    verdict = SoftActorCritic().check(*sides(task, policy))
    assert isinstance(verdict, Missing)
    assert re.search(reason, verdict.reason)


def test_a_side_that_is_no_environment_is_not_taken():
    p, _ = sides(task_of(Wait()), CHOOSES)
    assert isinstance(SoftActorCritic().check(p, p), Missing)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lanes", 0), ("batch", 1.5), ("rate", -1.0), ("updates", np.nan), ("tau", 1.5), ("exploring", 1.0),
     ("until", np.inf), ("noise", "red"), ("warmup", True), ("capacity", 0)],
)  # fmt: skip
def test_bad_settings(name, value):
    with pytest.raises(InputError, match=name):
        SoftActorCritic(**{name: value})


def test_the_old_name_of_exploring_still_works():
    with pytest.warns(DeprecationWarning, match="exploring="):
        rule = SoftActorCritic(lanes=4, wandering=0.5)
    assert rule == SoftActorCritic(lanes=4, exploring=0.5)
    assert replace(rule, lanes=8).exploring == 0.5
