"""Fresh episodes against exact values of the same policy."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control.fresh_episodes import FreshEpisodes
from kullback.control.simulators.stepping import stepper_for
from kullback.control.task import Task

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
            reference = exact.get(name, None)
            assert abs(found[name].value - reference) < WIDE * found[name].standard_error
        assert found["kl_lower_bound"] < exact["kl"]


def test_an_environment_that_steps_says_the_same():
    target = kl.Optimal("FrozenLake-v1", temperature=0.02)
    fit = kl.KL(policy(), target).minimize()
    facts = target.problem.task.facts
    stepped = Task(facts, target.temperature, 1.0, stepper=lambda lanes: stepper_for(target.env, lanes))
    import jax

    from kullback.control.learning.episodes import assess

    report = assess(stepped, stepped.acting(fit.q.structure), fit.q.free, stepped.fixed(fit.q.fixed), 0.02,
                    jax.random.key(3), 1000)  # fmt: skip
    # Gymnasium cuts an episode at 100 steps, which about 5 in 100 reach: returns are compared on the same footing.
    limited = kl.KL(policy(), kl.Optimal("FrozenLake-v1", temperature=0.02, horizon="limit")).minimize()
    assert report.numbers["sampled_return"].value <= limited.diagnostics["sampled_return"] + WIDE * 0.016


def test_bad_counts():
    with pytest.raises(kl.errors.InputError, match="episodes"):
        FreshEpisodes(1)
    assert np.isfinite(kl.KL(kl.KL(policy(), kl.Optimal("Taxi-v4")).minimize().q, kl.Optimal("Taxi-v4")).estimate(
        rule="fresh episodes").value)  # fmt: skip
