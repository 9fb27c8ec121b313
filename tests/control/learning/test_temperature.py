"""Temperatures that are given, that move, and that are found."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control import FiniteMDP
from kullback.control.learning.temperature import Annealed, TargetKL, adapt, as_temperature, log_temperature
from kullback.control.tabular.rules import settled
from kullback.errors import InputError

# One state and one step: with rewards r the optimal policy is softmax(r/α), and log Z is in closed form.
REWARDS = np.array([1.0, 0.4, -2.0])
BANDIT = np.zeros((2, 3, 2))
BANDIT[..., 1] = 1.0


def bandit(temperature):
    return kl.Optimal(FiniteMDP(BANDIT, np.stack([REWARDS, 0 * REWARDS]), [1], 0), temperature)


def nats(alpha):
    p = np.exp(REWARDS / alpha - np.logaddexp.reduce(REWARDS / alpha))
    return float(np.sum(p * np.log(3 * p)))


@pytest.mark.parametrize("target", [0.01, 0.3, 1.0])
def test_the_temperature_that_spends_so_many_nats(target):
    fit = kl.KL(kl.Conditional(kl.Table(), dist.Categorical), bandit(TargetKL(target))).minimize()
    assert nats(fit.diagnostics["temperature"]) == pytest.approx(target, rel=1e-6)
    assert fit.diagnostics["prior_kl"] == pytest.approx(target, rel=1e-6)


def test_bounds_hold_where_nothing_spends_so_much():
    # Of three actions the greediest policy spends log 3 = 1.0986 nats.
    found = settled(bandit(TargetKL(1.2, lowest=0.05)).problem, 1e-9)
    assert found.temperature == pytest.approx(0.05)
    found = settled(bandit(TargetKL(1e-9, highest=7.0)).problem, 1e-9)
    assert found.temperature == pytest.approx(7.0)


def test_what_is_no_temperature():
    for wrong in (0.0, -1.0, np.inf, np.nan, True, "hot", None):
        with pytest.raises(InputError, match="temperature"):
            as_temperature(wrong)
    for make in (lambda: TargetKL(-1.0), lambda: Annealed(1.0, 0.0), lambda: TargetKL(0.1, start=2.0, highest=1.0)):
        with pytest.raises(InputError):
            make()


def test_a_schedule_is_geometric():
    numbers = as_temperature(Annealed(1.0, 0.01)).numbers
    at = [float(np.exp(log_temperature(numbers, 0.0, fraction, False))) for fraction in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(at, [1.0, 0.1, 0.01], rtol=1e-6)


def test_the_dual_ascends_towards_the_target():
    asked = TargetKL(0.3, start=5.0)
    numbers, log_alpha = as_temperature(asked).numbers, np.log(5.0)
    for _ in range(2000):
        log_alpha = float(adapt(numbers, np.asarray(log_alpha), np.asarray(nats(np.exp(log_alpha)))))
    assert nats(np.exp(log_alpha)) == pytest.approx(0.3, rel=1e-2)
