"""Fresh episodes against exact values of the same policy."""

from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control.envs.spec import EnvSpec
from kullback.control.envs.stepping import stepper_for
from kullback.control.fresh_episodes import FreshEpisodes
from kullback.control.learning.assessment import assess
from kullback.control.tabular.evaluation import evaluate, log_policy_of
from kullback.control.task import Fresh, Task, greedy
from kullback.errors import PlanError

# Each comparison is within 4.5 standard errors: false alarms 7 in a million.
WIDE = 4.5


def policy():
    return kl.Conditional(kl.Table(), dist.Categorical)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_a_table_is_played_as_it_is(discount):
    target = kl.Optimal("FrozenLake-v1", temperature=0.02, discount=discount)
    fit = kl.KL(policy(), target).minimize()
    played = kl.KL(fit.q, target).estimate(rule=FreshEpisodes(4000), seed=1)
    exact, found = fit.diagnostics, played.diagnostics
    for name in ("soft_value", "prior_kl"):
        assert abs(found[name].value - exact[name]) < WIDE * found[name].standard_error
    up_to = exact["kl"] - exact["log_z"]
    assert abs(played.value - up_to) < WIDE * played.standard_error
    assert played.dropped == ("log Z",)
    if discount == 1.0:
        for name in ("sampled_return", "greedy_return", "steps"):
            assert abs(found[name].value - exact[name]) < WIDE * found[name].standard_error
        assert exact["sampled_value"] > exact["sampled_return"]
        assert found["kl_lower_bound"] < exact["kl"]


def test_an_environment_that_steps_says_the_same():
    """Gymnasium cuts an episode at 100 steps, so the same policy is evaluated exactly over 100."""
    target = kl.Optimal("FrozenLake-v1", temperature=0.005)
    fit = kl.KL(policy(), target).minimize()
    problem = target.problem
    env = EnvSpec(problem.task.env.facts, stepper=lambda lanes: stepper_for(target.env, lanes))
    stepped = Task(env, target.temperature, 1.0, fresh=Fresh(1000))
    report = assess(stepped, stepped.acting(fit.q.structure), fit.q.free, stepped.fixed(fit.q.fixed), 0.005,
                    np.random.default_rng(3))  # fmt: skip
    limited = replace(problem, horizon=100)
    log_policy = log_policy_of(fit.q, 16, 4)
    for name, played in (("sampled_return", log_policy), ("greedy_return", greedy(log_policy))):
        exact = evaluate(limited, np.broadcast_to(played, (100, 16, 4))).expected_return
        found = report.numbers[name]
        assert abs(found.value - exact) < WIDE * found.standard_error
        assert exact > 0.5


def test_a_temperature_that_is_to_be_found_judges_no_given_policy():
    lake = kl.Optimal("FrozenLake-v1", temperature=kl.control.TargetKL(0.3))
    fit = kl.KL(policy(), lake).minimize()
    with pytest.raises(PlanError, match="temperature"):
        kl.KL(fit.q, lake).estimate(rule="fresh episodes")


def test_what_is_exact_is_so_at_the_temperature_that_was_found():
    lake = kl.Optimal("FrozenLake-v1", temperature=kl.control.TargetKL(0.3, start=0.05))
    rule = kl.control.TrajectoryGradient(steps=100_000)
    fit = kl.KL(policy(), lake).minimize(rule=rule)
    at = kl.Optimal("FrozenLake-v1", temperature=fit.diagnostics["temperature"])
    exact = kl.KL(fit.q, at).estimate()
    assert abs(fit.diagnostics["temperature"] - 0.05) > 1e-3
    assert fit.diagnostics["kl"] == pytest.approx(exact.value, rel=1e-6)


def test_bad_counts():
    with pytest.raises(kl.errors.InputError, match="episodes"):
        FreshEpisodes(1)
    assert np.isfinite(kl.KL(kl.KL(policy(), kl.Optimal("Taxi-v4")).minimize().q, kl.Optimal("Taxi-v4")).estimate(
        rule="fresh episodes").value)  # fmt: skip
