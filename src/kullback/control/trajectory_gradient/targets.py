"""What a block of transitions teaches: soft rewards, advantages and value targets, as rows to learn from."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kullback.control.learning.episode_statistics import LEAST
from kullback.control.learning.policy import Fixed
from kullback.control.learning.running_moments import Running, is_label, merged
from kullback.control.trajectory_gradient.advantages import advantages
from kullback.control.trajectory_gradient.state import Block, State
from kullback.control.trajectory_gradient.update import Numbers, Problem, Rows

PAST_BLOCKS = 8.0  # that the scales of value targets and of advantages remember


class Lesson(NamedTuple):
    """What a block says: rows to learn from, the arrays to read them by, and what was found on the way.

    x       the learned vector, with the critic's outputs in the units of the `values` found
    alpha   reward per nat
    inputs, values, power  those of the state after the block
    soft    r − α KL(π(·∣s)‖π₀(·∣s)) [T, n]; `kl`: its mean KL
    """

    rows: Rows
    fixed: Fixed
    x: Any
    alpha: Any
    inputs: Running
    values: Running
    power: Any
    soft: Any
    kl: Any


def scaled(fixed: Fixed, inputs: Running) -> Fixed:
    """The policy's arrays with inputs scaled as they have been seen."""
    return fixed._replace(policy={**fixed.policy, "x_mean": inputs.mean, "x_scale": inputs.scale})


def prepared(problem: Problem, fixed: Fixed, state: State, block: Block, numbers: Numbers, alpha: Any,
             key: jax.Array) -> Lesson:  # fmt: skip
    """Soft rewards, advantages and value targets of a block, by the policy and the critic that a state holds."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), block)
    dtype, shape = state.descent.x.dtype, block.reward.shape
    weight = flat.valid.astype(dtype)
    free, critic = problem.layout.tree(state.descent.x)
    here = problem.acting.at(free, scaled(fixed, state.inputs), flat.observation, flat.mask)
    kl, log_prob = here.kl(key), here.log_prob(flat.action)
    soft = (block.reward - alpha * kl.reshape(shape)).astype(dtype)

    inputs = _seen(state.inputs, flat, weight)
    # The first block also scales itself: a policy that has learned nothing hardly depends on its inputs.
    used = jax.tree.map(lambda new, old: jnp.where(state.inputs.count > 0, old, new), inputs, state.inputs)
    fixed, units = scaled(fixed, used), state.values
    both = jnp.concatenate([flat.observation, flat.following])
    # A critic that has seen nothing says 0 whatever the unit of reward: what it says by chance may be far larger.
    spread = jnp.where(units.count > 0, units.scale, 0.0)
    value, following = (units.mean + spread * problem.critic(critic, fixed.policy, both)[:, 0]).reshape(2, *shape)
    over = block.terminated | block.truncated
    ended = over if problem.cut_ends else block.terminated
    advantage = advantages(soft, value, following, ended, over, block.valid, numbers.discount, numbers.lam)
    target = (value + advantage).reshape(-1)
    values = merged(units, target, weight, PAST_BLOCKS * weight.size)
    critic = in_units(critic, units, values)
    share = weight / jnp.maximum(jnp.mean(weight), LEAST)
    states = share * numbers.discount**flat.elapsed if problem.discounted else share
    centred = _less_others(advantage, block.valid).reshape(-1).astype(dtype)
    rows = Rows(flat.observation, flat.mask, flat.action, log_prob, centred, (target - values.mean) / values.scale,
                states.astype(dtype), share)  # fmt: skip
    x = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves((free, critic))])
    mean = lambda each: jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1.0)  # noqa: E731
    new = 1.0 / jnp.minimum(state.blocks + 1.0, PAST_BLOCKS)
    power = state.power + new * (mean(jnp.square(centred)) - state.power)
    return Lesson(rows, fixed, x, alpha, inputs, values, power.astype(dtype), soft, mean(kl))


def _seen(inputs: Running, flat: Block, weight: Any) -> Running:
    """The moments of observations; labels have none."""
    if is_label(flat.observation):
        return inputs
    return merged(inputs, flat.observation.astype(weight.dtype), weight)


def in_units(critic: Any, old: Running, new: Running) -> Any:
    """The critic's last layer, such that old.mean + old.scale · output stays what it is in the new units.

    A critic that has seen nothing yet says the mean of the first block.
    Source: van Hasselt, Guez, Hessel, Mnih and Silver (2016), arXiv:1602.07714, proposition 1.
    """
    known = old.count > 0
    ratio = jnp.where(known, old.scale / new.scale, 1.0)
    shift = jnp.where(known, (old.mean - new.mean) / new.scale, 0.0)
    if not isinstance(critic, list):
        return ratio * critic + shift
    last = {**critic[-1], "weight": ratio * critic[-1]["weight"], "bias": ratio * critic[-1]["bias"] + shift}
    return [*critic[:-1], last]


def _less_others(advantage: Any, valid: Any) -> Any:
    """Advantages less their mean in the other lanes, which knows nothing of a lane's own actions: a baseline."""
    each, count = jnp.sum(advantage, 0), jnp.sum(valid, 0)
    others = jnp.sum(count) - count
    mean = (jnp.sum(each) - each) / jnp.maximum(others, 1)
    return jnp.where(valid, advantage - mean, 0.0).astype(advantage.dtype)
