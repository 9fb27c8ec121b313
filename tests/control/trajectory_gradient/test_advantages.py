"""Advantages against a slow loop, and against the exact ones of a small decision process."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from tests.control.learning.setups import task_of
from tests.control.trajectory_gradient.setups import playing_of

import kullback as kl
from kullback.control.envs.table import table_simulator
from kullback.control.tabular.mdp import FiniteMDP
from kullback.control.trajectory_gradient import rule as blocks
from kullback.control.trajectory_gradient import update
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.trajectory_gradient.update import advantages


def slow(reward, value, following, terminated, over, valid, discount, lam):
    """Every sum written out."""
    steps, lanes = reward.shape
    result = np.zeros((steps, lanes))
    for t in range(steps):
        for i in range(lanes):
            weight = 1.0
            for k in range(t, steps):
                if not valid[k, i]:
                    break
                ahead = 0.0 if terminated[k, i] else following[k, i]
                result[t, i] += weight * (reward[k, i] + discount * ahead - value[k, i])
                weight *= discount * lam
                if over[k, i]:
                    break
    return result


@pytest.mark.parametrize(("discount", "lam"), [(1.0, 1.0), (0.9, 0.8), (0.99, 0.0)])
def test_slow_loop(discount, lam, rng, precision):
    shape = 12, 5
    terminated, truncated = rng.random(shape) < 0.15, rng.random(shape) < 0.15
    over = terminated | truncated
    # As in an environment that spends a step on each reset: after the end of an episode comes a dead transition.
    valid = ~np.vstack([np.zeros((1, 5), bool), over[:-1]])
    over, terminated = over & valid, terminated & valid
    valid = ~np.vstack([np.zeros((1, 5), bool), over[:-1]])
    reward, value, following = rng.normal(size=(3, *shape)).astype(precision)
    given = reward, value, following, terminated, over, valid, discount, lam
    np.testing.assert_allclose(advantages(*given), slow(*given), rtol=1e-4, atol=1e-5)


def test_rewards_without_end_of_lambda_one_are_returns():
    reward = jnp.asarray([[1.0], [2.0], [4.0]])
    none, end = jnp.zeros((3, 1)), jnp.asarray([[False], [False], [True]])
    got = advantages(reward, none, none, end, end, jnp.ones((3, 1), bool), 0.5, 1.0)
    np.testing.assert_allclose(got[:, 0], [3.0, 4.0, 4.0])


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_true_critic_gives_exact_advantages(lam):
    """E[A∣s, a] = Q(s, a) − E_π[Q(s, ·)] for any λ where the critic is right. False alarm: 1 in 1,000 (Bonferroni)."""
    rng, alpha, discount, states, actions, lanes = np.random.default_rng(4), 0.7, 0.9, 4, 3, 20_000
    transition = rng.dirichlet(np.ones(states), (states, actions))
    model = FiniteMDP(transition, rng.normal(size=(states, actions, states)), [3], [0.5, 0.3, 0.2, 0.0]).model()
    task = task_of(table_simulator(model), alpha, discount)
    rule = TrajectoryGradient(lanes=lanes, block=6, lam=lam)
    playing = playing_of(task, kl.Conditional(kl.Table(), dist.Categorical), rule)
    logits = rng.normal(size=(states, actions))
    policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    onward = model.going_on.toarray().reshape(states, actions, states)
    gain = model.expected_reward.reshape(states, actions)
    divergence = (policy * np.log(policy * actions)).sum(-1)
    paid = ((policy * gain).sum(-1) - alpha * divergence) * model.acting
    chain = np.einsum("sa,sat->st", policy, onward)
    value = np.linalg.solve(np.eye(states) - discount * chain, paid)
    q = gain + discount * onward @ value
    exact = q - (policy * q).sum(-1, keepdims=True)

    state, config, training = playing.init(), playing.training.config, playing.training
    fixed = training.fixed.policy
    x = np.concatenate([((logits - fixed["offset"]) / fixed["gain"]).ravel(), value]).astype(state.descent.x.dtype)
    one = np.ones_like(state.values.count)
    state = state._replace(descent=state.descent._replace(x=x), values=state.values._replace(count=one))
    keys = blocks.keys_of(config, training.hyper, 0)
    _, block = jax.jit(blocks.collected, static_argnums=0)(
        config, training.fixed, config.simulator.parameters, state, keys
    )
    targets = update.block_targets(config, training.fixed, state, block, training.hyper, alpha, jax.random.key(0))
    got, at, did = np.asarray(targets.rows.advantage).reshape(6, lanes)[0], block.observation[0], block.action[0]
    level = scipy.stats.norm.isf(1e-3 / (2 * 3 * actions))
    for s in range(3):
        for a in range(actions):
            some = got[(at == s) & (did == a)]
            # The mean over the other lanes is 0 up to 1/√lanes, and taken off.
            error = np.hypot(some.std(ddof=1) / np.sqrt(len(some)), got.std() / np.sqrt(6 * lanes))
            assert abs(some.mean() - exact[s, a]) < level * error + 1e-6
