"""Reward has no unit of its own: with the temperature in the same unit, a training goes the same way."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP, Optimal

RULES = {
    "trajectory gradient": kl.control.TrajectoryGradient(lanes=8, block=32, rate=0.01, steps=2560),
    "soft actor–critic": kl.control.SoftActorCritic(lanes=2, block=4, warmup=16, batch=16, steps=320),
    "tilt and project": kl.control.TiltAndProject(lanes=2, block=4, warmup=16, batch=16, steps=320),
}


def learned(rule, unit):
    """The log-odds of a policy in two states, in each of which one action pays; every fourth step ends."""
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(3), (3, 2))
    reward = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    target = Optimal(FiniteMDP(transition, unit * reward, [2], 0), temperature=0.1 * unit, episodes=2)
    fit = kl.KL(kl.Conditional(kl.MLP((8,)), dist.Categorical), target).minimize(rule=RULES[rule], seed=1)
    logits = np.asarray(fit.q(np.arange(2)).logits, np.float64)
    return logits[:, 0] - logits[:, 1]


@pytest.mark.parametrize("rule", RULES)
def test_the_unit_of_reward_changes_nothing(rule):
    usual = learned(rule, 1.0)
    assert usual[0] > 0.05 > -0.05 > usual[1]  # it has learned something
    for unit in (2.0**-30, 2.0**30):
        np.testing.assert_allclose(learned(rule, unit), usual, rtol=0.01, atol=0.01)
