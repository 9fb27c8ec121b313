"""Interrupted and resumed, on the device and by steps; both ways of playing learn the same; faults lose nothing."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.control.envs.scripted import Scripted, registered
from tests.control.learning.setups import task_of
from tests.control.trajectory_gradient.setups import TwoSteps, playing_of, policy_in_box, reward

import kullback as kl
from kullback.control.envs.simulator import Stepper, Transition
from kullback.control.learning.training import Playing
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.errors import EnvironmentFault, FileError
from kullback.result import Status
from kullback.rule import Request

POLICY = kl.Conditional(kl.MLP((8,)), dist.Categorical)
RULE = TrajectoryGradient(lanes=4, block=16, epochs=2, steps=64 * 12)


def fitted(optimal, **request):
    q = optimal.known()
    return RULE.run(POLICY.known().matched(q), q, Request(seed=0, quiet=True, **request))


def numbers_of(found):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((found.q.free, found.q.fixed))]


@pytest.mark.parametrize("compiled", [True, False])
def test_resumed_is_bit_identical(compiled, tmp_path, monkeypatch):
    optimal = kl.Optimal("CartPole-v1", temperature=0.1, compiled=compiled)
    # However many blocks a call makes: the interrupted one makes them one by one.
    monkeypatch.setattr("kullback.control.learning.training._SECONDS", 1e-9)
    whole = fitted(optimal)
    path, step, calls = tmp_path / "training", Playing.step, []

    def interrupted(self, state):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        self.budget = 1
        return step(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Playing, "step", interrupted)
        part = fitted(optimal, checkpoint=path)
    assert part.status is Status.INTERRUPTED
    assert part.diagnostics["environment_steps"] < whole.diagnostics["environment_steps"]
    resumed = fitted(optimal, checkpoint=path)
    for one, other in zip(numbers_of(whole), numbers_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [line["step"] for line in whole.history] == [line["step"] for line in resumed.history]
    assert whole.history == resumed.history
    with pytest.raises(FileError):
        fitted(kl.Optimal("CartPole-v1", temperature=0.2, compiled=compiled), checkpoint=path)


class SteppedTwoSteps(Stepper):
    """`TwoSteps` on the host, with a dead transition at each reset if `spends` says so."""

    def __init__(self, lanes, spends=False):
        self.facts, self.lanes, self.mask, self.spends = TwoSteps().facts, lanes, None, spends

    def reset(self, seed):
        self.observation, self.over = np.zeros((self.lanes, 2), np.float32), np.zeros(self.lanes, bool)

    def step(self, action):
        seen, action = self.observation, np.asarray(action, np.float32)
        paid = np.asarray(jax.vmap(reward)(seen, action[:, 0]))
        following = np.stack([action[:, 0], seen[:, 1] + 1.0], -1).astype(np.float32)
        dead = self.over
        cut = (following[:, 1] > 1.5) & ~dead
        following[dead] = 0.0
        paid = np.where(dead, np.nan, paid)
        self.over = cut & self.spends
        self.observation = np.where((cut & ~self.over)[:, None], 0.0, following).astype(np.float32)
        return Transition(seen, action, paid, np.zeros_like(cut), cut, following, ~dead)

    def state(self):
        return {"observation": self.observation, "over": self.over}

    def restore(self, state):
        self.observation, self.over = state["observation"], state["over"]
        return ""

    def close(self):
        pass


def test_stepping_learns_what_the_device_learns():
    """The environment draws nothing, so that the same keys make the same actions."""
    rule = TrajectoryGradient(lanes=8, block=16, epochs=2, minibatches=2, rate=1e-3, steps=128 * 4)
    found = []
    for how in ({}, {"stepper": SteppedTwoSteps}):
        task = task_of(TwoSteps(), 0.3, cut_ends=True, **how)
        playing = playing_of(task, policy_in_box(), rule)
        state = playing.init()
        while int(state.counters.steps) < rule.steps:
            state = playing.step(state)
        found.append(np.asarray(state.descent.x))
    np.testing.assert_allclose(found[0], found[1], atol=2e-4)
    assert np.abs(found[0] - playing.training.start).max() > 0.01


def test_dead_transitions_are_not_learned_from():
    """Their reward is NaN, and nothing of it arrives; steps count those that were lived."""
    rule = TrajectoryGradient(lanes=8, block=15, epochs=2, steps=400)
    task = task_of(TwoSteps(), 0.3, cut_ends=True, stepper=lambda lanes: SteppedTwoSteps(lanes, spends=True))
    playing = playing_of(task, policy_in_box(), rule)
    state = playing.step(playing.init())
    assert np.isfinite(np.asarray(state.descent.x)).all()
    assert int(state.counters.steps) == 8 * 10 * int(state.counters.updates)
    assert int(state.statistics.finished) == 8 * 5 * int(state.counters.updates)
    assert float(playing.history(state)[-1]["length"]) == pytest.approx(2.0, rel=1e-5)


def test_a_fault_keeps_what_was_learned(tmp_path, monkeypatch):
    monkeypatch.setattr("kullback.control.learning.training._SECONDS", 1e-9)
    bad = {"at": 400}

    def script(env, action):
        bad["at"] -= 1
        return env.seen(reward=np.nan if bad["at"] < 0 else 1.0, truncated=env.time == 10)

    with registered(lambda **_: Scripted(script)) as name:
        optimal = kl.Optimal(name, temperature=0.5)
        with pytest.raises(EnvironmentFault, match="reward"):
            fitted(optimal, checkpoint=tmp_path / "training")
        bad["at"] = 10**9
        found = fitted(optimal, checkpoint=tmp_path / "training")
    assert found.history[0]["step"] == 64.0
    assert found.diagnostics["environment_steps"] == RULE.steps


def test_a_fit_goes_on_from_where_it_stands(rng):
    """A warm start keeps the scales of inputs: before the first update it is the policy that was fitted."""
    optimal = kl.Optimal("CartPole-v1", temperature=0.1)
    first = fitted(optimal)
    q = optimal.known()
    p = kl.learnable(first.q).known().matched(q)
    algorithm = RULE.algorithm(q.facts, p.learnable, Request(seed=1))
    free, fixed = algorithm.policy(algorithm.init())
    x = rng.normal(size=(5, 4)).astype(np.float32)
    again = p.learnable.structure.distribution(free, fixed.policy, x)
    np.testing.assert_allclose(again.logits, first.q(x).logits, rtol=1e-5, atol=1e-6)
    algorithm.close()
