"""Advantages where episodes follow one another without a step between them, and where a time limit cuts them off."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.signal import lfilter
from tests.control.learning.setups import task_of
from tests.control.trajectory_gradient.setups import playing_of

import kullback as kl
from kullback.control.envs.table import table_simulator
from kullback.control.tabular.mdp import FiniteMDP
from kullback.control.trajectory_gradient import rule as blocks
from kullback.control.trajectory_gradient import update
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.trajectory_gradient.update import advantages


@pytest.mark.parametrize("lam", [0.5, 1.0])
def test_nothing_is_carried_from_one_episode_to_the_one_before(lam, rng):
    """Each episode by itself, by a recursive filter; one that was cut off is bootstrapped, one that ended is not."""
    discount, steps, lanes = 0.9, 14, 6
    terminated, truncated = rng.random((steps, lanes)) < 0.2, rng.random((steps, lanes)) < 0.3
    truncated &= ~terminated
    over = terminated | truncated
    reward, value, following = rng.normal(size=(3, steps, lanes))
    want = np.zeros((steps, lanes))
    for lane in range(lanes):
        for part in np.split(np.arange(steps), np.flatnonzero(over[:, lane]) + 1):
            ahead = following[part, lane] * ~terminated[part, lane]
            surprise = reward[part, lane] + discount * ahead - value[part, lane]
            want[part, lane] = lfilter([1.0], [1.0, -discount * lam], surprise[::-1])[::-1]
    valid = np.ones((steps, lanes), bool)
    got = advantages(reward, value, following, terminated, over, valid, discount, lam)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("horizon", [False, True])
def test_a_time_limit_is_no_end_unless_a_horizon_was_asked_for(horizon):
    """A reward of 1 a step without end is worth 1/(1 − γ) = 10. The policy is the prior, so that nothing is spent.

    To a critic that says so no step is a surprise where the limit only cuts off; the last before a horizon lacks the 9
    that would be to come.
    """
    lanes, limit, discount = 4, 3, 0.9
    model = FiniteMDP(np.ones((1, 2, 1)), np.ones(1)).model()
    task = task_of(table_simulator(model, limit=limit), 1.0, discount, cut_ends=horizon)
    rule = TrajectoryGradient(lanes=lanes, block=2 * limit, lam=0.0)
    playing = playing_of(task, kl.Conditional(kl.Table(), dist.Categorical), rule)
    state, config, training = playing.init(), playing.training.config, playing.training
    x = np.concatenate([np.zeros(2), [10.0]]).astype(state.descent.x.dtype)
    one = np.ones_like(state.values.count)
    state = state._replace(descent=state.descent._replace(x=x), values=state.values._replace(count=one))
    keys = blocks.keys_of(config, training.hyper, 0)
    _, block = blocks.collected(config, training.fixed, config.simulator.parameters, state, keys)
    targets = update.block_targets(
        config, training.fixed, state, block, training.hyper, jnp.asarray(1.0), jax.random.key(0)
    )
    np.testing.assert_array_equal(block.truncated[:, 0], [False, False, True] * 2)
    target = np.asarray(targets.values.mean + targets.values.scale * targets.rows.target).reshape(2 * limit, lanes)
    want = np.where(block.truncated & horizon, 1.0, 10.0)
    np.testing.assert_allclose(target, want, rtol=1e-5)
