"""Rules that learn by playing tables against what is exactly optimal there.

A fit's soft value, from 100 episodes that took no part in its training, is compared with the optimal one: within 4.5 of
its standard errors (false alarms: 7 in a million) and what the policy still lacks, evaluated exactly and bounded.
"""

import numpyro.distributions as dist
import pytest

import kullback as kl

# environment, temperature, rule, nats that may be lacking; the quickest of each rule is always run
CASES = [
    ("FrozenLake-v1", 0.02, kl.control.TrajectoryGradient(steps=1_000_000), 0.15),
    ("FrozenLake-v1", 0.02, kl.control.SoftActorCritic(steps=200_000), 0.15),
    ("CliffWalking-v1", 1.0, kl.control.TiltAndProject(steps=100_000), 0.1),
    *(
        pytest.param(*case, marks=pytest.mark.long)
        for case in [
            ("CliffWalking-v1", 1.0, kl.control.TrajectoryGradient(steps=2_000_000), 0.3),
            ("Taxi-v4", 1.0, kl.control.TrajectoryGradient(steps=3_000_000), 0.6),
            ("Taxi-v4", 1.0, kl.control.SoftActorCritic(steps=200_000), 0.1),
            ("FrozenLake-v1", 0.02, kl.control.TiltAndProject(steps=200_000), 0.15),
            ("Taxi-v4", 1.0, kl.control.TiltAndProject(steps=200_000), 0.1),
        ]
    ),
]


@pytest.mark.parametrize(("env", "temperature", "rule", "lacking"), CASES, ids=lambda x: getattr(x, "name", x))
def test_the_exact_soft_value(env, temperature, rule, lacking):
    policy, target = kl.Conditional(kl.Table(), dist.Categorical), kl.Optimal(env, temperature)
    exact = kl.KL(policy, target).minimize().diagnostics
    found = kl.KL(policy, target).minimize(rule=rule, seed=3).diagnostics
    assert 0.0 <= found["kl_excess"] < lacking
    soft = found["soft_value"]
    gap = exact["soft_value"] - soft.value
    assert abs(gap - temperature * found["kl_excess"]) < 4.5 * soft.standard_error
    assert found["kl"] == pytest.approx(found["least_kl"] + found["kl_excess"])
