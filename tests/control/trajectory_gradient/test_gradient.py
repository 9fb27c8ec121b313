"""What is descended has the exact gradient of the KL between trajectories, on average over many seeds."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from tests.control.learning.setups import task_of
from tests.control.trajectory_gradient.setups import TwoSteps, device, playing_of, policy_in_box

import kullback as kl
from kullback.control import FiniteMDP
from kullback.control.envs.table import table_simulator
from kullback.control.learning.policy import RunningMoments
from kullback.control.trajectory_gradient import rule as blocks
from kullback.control.trajectory_gradient import update
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.trajectory_gradient.update import advantages, objective

STATES, ACTIONS, HORIZON, ALPHA = 3, 2, 4, 1.0
LEVEL = 1e-4  # false-alarm rate of each test, shared among the coordinates (Bonferroni)
FALSE = scipy.stats.norm.isf(LEVEL / (2 * STATES * ACTIONS * HORIZON))


def mdp(seed, terminal=None):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(STATES), (STATES, ACTIONS))
    return FiniteMDP(transition, rng.normal(size=(STATES, ACTIONS, STATES)), terminal, start=[0.5, 0.5, 0.0]).model()


def exact_values(model, log_prior, discount, logits):
    """J = E Σ γᵗ (r − α KL) and the soft values [H, S] by going backwards; differentiable in logits [H, S, A]."""
    shape = (STATES, ACTIONS)
    onward, gain = model.going_on.toarray().reshape(*shape, STATES), model.expected_reward.reshape(shape)
    value, values = jnp.zeros(STATES), []
    for t in reversed(range(HORIZON)):
        log_policy = jax.nn.log_softmax(logits[t])
        ahead = gain + discount * onward @ value - ALPHA * (log_policy - log_prior)
        value = jnp.where(model.acting, jnp.sum(jnp.exp(log_policy) * ahead, -1), 0.0)
        values.insert(0, value)
    return model.start @ value, jnp.stack(values)


@partial(jax.jit, static_argnums=(0, 5))
def gradients(config, fixed, parameters, state, hyper, penalty, seeds):
    """The gradient in the learned vector of the objective of one block from each seed [K, n], times its scale.

    penalty  the KL of a step is a penalty in the loss alone, and not in the rewards-to-go: what the rule must not do
    """

    def one(seed):
        lanes = blocks.start_lanes(config.simulator, parameters, jax.random.wrap_key_data(seed), config.sizes.lanes)
        now, told = state._replace(lanes=lanes), hyper._replace(seed=seed)
        key = jax.random.key(0)
        _, block = blocks.collected(config, fixed, parameters, now, blocks.keys_of(config, told, 0))
        targets = update.block_targets(config, fixed, now, block, told, jnp.exp(now.log_alpha), key)
        rows = targets.rows
        if penalty:
            over = block.terminated | block.truncated
            none = jnp.zeros_like(block.reward)
            plain = advantages(block.reward, none, none, over, over, block.valid, hyper.discount, 1.0)
            rows = rows._replace(advantage=plain.reshape(-1))
        return jax.grad(objective, 6)(
            config, targets.fixed, jnp.exp(now.log_alpha), 1.0, jnp.inf, 0.5, targets.x, rows, key
        )

    return jax.lax.map(one, seeds, batch_size=200)


def sampled(playing, state, blocks, penalty=False):
    """Gradients of J [blocks, n], one from each block, as the program estimates them."""
    config, training = playing.training.config, playing.training
    seeds = np.random.default_rng(1).integers(2**32, size=(blocks, 2), dtype=np.uint32)
    each = gradients(config, device(training.fixed), device(config.simulator.parameters), device(state), training.hyper,
                     penalty, jnp.asarray(seeds))  # fmt: skip
    return -config.sizes.block * np.asarray(each, np.float64)[:, : config.policy_size]


def z_scores(each, exact):
    """How many standard errors the mean is from what is exact; parameters without a gradient have none."""
    error = each.std(0, ddof=1) / np.sqrt(len(each))
    assert np.allclose(exact[error == 0], 0.0, atol=1e-6)
    return ((each.mean(0) - exact) / np.where(error > 0, error, 1.0))[error > 0]


def table(discount, weighted, rule=None, terminal=None):
    """(playing, state with a policy at random, its logits, log-prior, model)"""
    rng, model = np.random.default_rng(5), mdp(3, terminal)
    prior = rng.dirichlet(np.ones(ACTIONS), STATES)
    rows = np.log(np.broadcast_to(prior, (HORIZON, STATES, ACTIONS)).reshape(-1, ACTIONS))
    task = task_of(table_simulator(model, HORIZON), ALPHA, discount, prior=rows)
    rule = rule or TrajectoryGradient(lanes=4, block=HORIZON, lam=1.0, discounted_states=weighted)
    playing = playing_of(task, kl.Conditional(kl.Table(), dist.Categorical), rule)
    state, logits = playing.init(), rng.normal(size=(HORIZON, STATES, ACTIONS))
    # A critic that knows nothing: with λ = 1 it may say what it likes.
    critic = rng.normal(size=HORIZON * STATES)
    return playing, with_vector(playing, state, logits, critic), logits, np.log(prior), model


def with_vector(playing, state, logits, critic):
    """The state with a policy and a critic, both as tables; offsets and gains of outputs are undone."""
    fixed = playing.training.fixed.policy
    free = (logits.reshape(-1, ACTIONS) - fixed["offset"]) / fixed["gain"]
    x = np.concatenate([free.ravel(), critic]).astype(state.descent.x.dtype)
    one = np.ones_like(state.values.count)
    return state._replace(descent=state.descent._replace(x=x), values=RunningMoments(one, 0 * one, one))


def exact_gradient(playing, model, log_prior, discount, logits):
    with jax.enable_x64(True):
        value = lambda x: exact_values(model, log_prior, discount, x)[0]  # noqa: E731
        exact = np.asarray(jax.grad(value)(jnp.asarray(logits, jnp.float64)))
    return (exact.reshape(-1, ACTIONS) * playing.training.fixed.policy["gain"]).ravel()


@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_gradient_is_that_of_the_trajectory_kl(discount):
    playing, state, logits, log_prior, model = table(discount, weighted=True)
    exact = exact_gradient(playing, model, log_prior, discount, logits)
    each = sampled(playing, state, 20_000)
    assert np.abs(z_scores(each, exact)).max() < FALSE
    # The estimate is precise enough to tell: the gradient is many standard errors long.
    assert np.abs(z_scores(each, 0.0 * exact)).max() > 3 * FALSE


def test_a_penalty_without_rewards_to_go_is_wrong():
    """Fine print 7: the same rows with the KL of each step in the loss alone."""
    playing, state, logits, log_prior, model = table(1.0, weighted=True)
    exact = exact_gradient(playing, model, log_prior, 1.0, logits)
    assert np.abs(z_scores(sampled(playing, state, 20_000, penalty=True), exact)).max() > 3 * FALSE


def test_states_are_not_discounted_unless_asked():
    """Without the factor γᵗ it is the gradient of no discounted value, as usual in practice."""
    playing, state, logits, log_prior, model = table(0.7, weighted=False)
    exact = exact_gradient(playing, model, log_prior, 0.7, logits)
    assert np.abs(z_scores(sampled(playing, state, 20_000), exact)).max() > 3 * FALSE


def test_a_true_critic_is_unbiased_at_any_lambda():
    """With episodes that end early the last ones are cut by the block and bootstrapped. The states of the block then
    weigh as they are visited, so the exact gradient is taken as that of λ = 1 with the same blocks."""
    rule = TrajectoryGradient(lanes=4, block=HORIZON, lam=1.0)
    both = []
    for lam in (1.0, 0.3):
        playing, state, logits, log_prior, model = table(1.0, False, replace(rule, lam=lam), terminal=[2])
        values = np.asarray(exact_values(model, log_prior, 1.0, jnp.asarray(logits))[1])
        both.append(sampled(playing, with_vector(playing, state, logits, values.ravel()), 20_000))
    difference = both[0] - both[1]
    assert np.abs(z_scores(difference, np.zeros(difference.shape[1]))).max() < FALSE
    assert both[1].std(0).sum() < both[0].std(0).sum()


def test_gradient_in_a_box():
    """Against the exact gradient by quadrature over both actions."""
    rng, alpha = np.random.default_rng(2), 0.3
    rule = TrajectoryGradient(lanes=4, block=2, lam=1.0)
    playing = playing_of(task_of(TwoSteps(), alpha, cut_ends=True), policy_in_box(), rule)
    state = playing.init()
    x = state.descent.x.copy()
    size = playing.training.config.policy_size
    x[:size] = 0.5 * rng.normal(size=size)
    one = np.ones_like(state.values.count)
    state = state._replace(descent=state.descent._replace(x=x), inputs=state.inputs._replace(count=one))
    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(jax.grad(partial(value_in_box, playing, alpha)))(jnp.asarray(x[:size], jnp.float64)))
    assert np.abs(z_scores(sampled(playing, state, 20_000), exact)).max() < FALSE


def value_in_box(playing, alpha, vector):
    """J by Gauss and Hermite over both normals."""
    structure, fixed = playing.training.config.acting.structure, playing.training.fixed.policy
    tree, _ = playing.training.config.layout.tree(
        jnp.concatenate([vector, jnp.zeros(playing.training.start.size - len(vector))])
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def at(states):
        d = structure.distribution(tree, fixed, states).base_dist
        actions = d.squash(d.loc + d.scale * nodes)  # [n, nodes]
        return actions, np.log(2.0) - d.entropy()[:, 0]

    first = jnp.zeros((1, 2))
    actions, kl_first = at(first)
    seen = jnp.stack([actions[0], jnp.ones(80)], -1)
    second, kl_second = at(seen)
    later = (-2.0 * jnp.square(second + seen[:, :1])) @ weights - alpha * kl_second
    return (-jnp.square(actions[0] - 0.3) + later) @ weights - alpha * kl_first[0]
