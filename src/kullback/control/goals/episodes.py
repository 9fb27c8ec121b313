"""Episodes towards commanded goals, and supervised learning from them with goals relabelled at each step.

The episodes that are kept are a `Block` with an axis before the others: [blocks, T, lanes, ...]. Many steps of learning
are one compiled program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from kullback.control.envs.simulator import Stepper
from kullback.control.goals.goals import GoalInputs, GoalTask
from kullback.control.learning.policy import Acting, Fixed
from kullback.families.conditional_structure import ConditionalStructure
from kullback.training.optimiser import DEFAULT, Descent, begin, descend

LANES = 20  # episodes side by side that show what was learned


class Actor:
    """A policy on its way to goals. Of its actions a share `explore` is drawn uniformly, or it is greedy."""

    def __init__(
        self,
        task: GoalTask,
        structure: ConditionalStructure,
        free: PyTree,
        fixed: PyTree,
        seed: int,
        greedy: bool = False,
        explore: float = 0.0,
    ) -> None:
        self._actions = task.env.facts.actions
        self._acting, self._inputs, self._greedy = Acting(structure, self._actions), task.inputs, greedy
        self._free, self._fixed = jax.tree.map(jnp.asarray, (free, Fixed(fixed)))
        self._key, self._count = jax.random.key(seed), 0
        bounded = self._actions.is_discrete or self._actions.is_bounded
        self._explore = np.float32(explore) if explore > 0 and bounded else None

    def act(
        self,
        observation: Shaped[Array | np.ndarray, "n ..."],
        goal: Shaped[Array | np.ndarray, "n ..."],
        left: Int[Array | np.ndarray, " n"],
        mask: Bool[Array | np.ndarray, "n ..."] | None,
    ) -> np.ndarray:
        """Actions [n, *shape] at observations [n, ...] with so many steps left; real ones inside their box."""
        self._count += 1
        action = act(
            self._acting,
            self._inputs,
            self._greedy,
            self._free,
            self._fixed,
            (observation, goal, left),
            mask,
            self._key,
            np.uint32(self._count),
            self._explore,
        )
        return np.asarray(action) if self._actions.is_discrete else np.clip(action, *self._actions.bounds)


@partial(jax.jit, static_argnums=(0, 1, 2))
def act(
    acting: Acting,
    inputs: GoalInputs,
    greedy: bool,
    free: PyTree,
    fixed: Fixed,
    seen: tuple[Any, Any, Any],
    mask: Bool[Array | np.ndarray, "n ..."] | None,
    key: jax.Array,
    count: Int[Array | np.ndarray, ""],
    explore: Float[Array | np.ndarray, ""] | float,
) -> jax.Array:
    """Actions on the way to goals, drawn by the count-th key or greedy: one compiled program."""
    here = acting.at(free, fixed, inputs.join(*seen, jnp), mask)
    own, other, which = jax.random.split(jax.random.fold_in(key, count), 3)
    action = here.taken(greedy, own)
    if greedy or explore is None:
        return action
    away = jax.random.uniform(which, action.shape[:1]) < explore
    return jnp.where(_along(away, action), here.prior_draw(other), action)


class Block(NamedTuple):
    """Trajectories of so many lanes: T steps of each.

    observation  [T, lanes, ...] what the policy saw, and `action` what it did
    achieved     [T, lanes, ...] the goal achieved after the step
    left         [T, lanes] the steps to the end of the trajectory, this one included; 0 for a dead transition
    """

    observation: Any
    action: Any
    achieved: Any
    left: Any


class Practice(NamedTuple):
    """A block, how many goals were commanded in it, and how many of these were reached."""

    block: Block
    commanded: int
    reached: int


def practice(
    task: GoalTask, stepper: Stepper, actor: Actor, pool: np.ndarray | None, seed: tuple[int, ...]
) -> Practice:
    """Play every lane for the horizon. An episode that is over is followed by another, and a goal that is reached by
    another: what a policy does at a goal is no example of how to leave it."""
    goals, lanes, rng = task.goals, stepper.lanes, np.random.default_rng(seed)
    stepper.reset(int(rng.integers(2**31)))
    goal = task.law.draw(rng, stepper.observation, pool)
    elapsed, begins, hit = np.zeros(lanes, np.int32), np.zeros(lanes, bool), np.zeros(lanes, bool)
    over, valid = np.zeros((task.horizon, lanes), bool), np.zeros((task.horizon, lanes), bool)
    rows: list[tuple[np.ndarray, ...]] = []
    commanded = reached = 0
    for t in range(task.horizon):
        for lost, again in ((begins, False), (hit & ~begins, True)):
            if lost.any():
                goal = np.where(_along(lost, goal), task.law.draw(rng, stepper.observation, pool, again), goal)
        observation = goals.seen(stepper.observation)
        left = np.maximum(task.horizon - elapsed, 1)
        seen = stepper.step(actor.act(observation, goal, left, stepper.mask))
        achieved = goals.achieved(np.asarray(seen.following))
        rows.append((observation, np.asarray(seen.action), achieved))
        valid[t], over[t] = seen.valid, seen.valid & (seen.terminated | seen.truncated)
        hit = valid[t] & goals.reached(achieved, goal)
        commanded += int((valid[t] & (hit | over[t] | (t == task.horizon - 1))).sum())
        reached += int(hit.sum())
        begins = over[t] | ~valid[t]  # a dead transition is followed by the true beginning
        elapsed = np.where(begins, 0, elapsed + 1)
    observation, action, achieved = (np.stack(column) for column in zip(*rows, strict=True))
    return Practice(Block(observation, action, achieved, _left(valid, over)), commanded, reached)


class Reached(NamedTuple):
    """n fresh episodes, one goal each.

    start    [n, ...] what was seen first
    goal     [n, ...] what was commanded
    reached  [n] whether it was reached
    steps    [n] the steps to it; those of the whole episode where it was not
    """

    start: np.ndarray
    goal: np.ndarray
    reached: np.ndarray
    steps: np.ndarray


def attempts(
    task: GoalTask,
    structure: ConditionalStructure,
    free: PyTree,
    fixed: PyTree,
    greedy: bool,
    seed: tuple[int, ...],
    episodes: int,
    commanded: np.ndarray | None = None,
    pool: np.ndarray | None = None,
) -> Reached:
    """Fresh episodes that end where the goal is reached, in rounds of a few lanes side by side.

    commanded  the goal of each episode [episodes, ...]; None draws them by the task's law
    pool       the goals achieved so far
    """
    assert task.env.stepper is not None
    stepper = task.env.stepper(min(LANES, episodes))
    actor = Actor(task, structure, free, fixed, int(np.random.SeedSequence(seed).generate_state(1)[0]), greedy)
    try:
        parts = []
        for start in range(0, episodes, stepper.lanes):
            rng = np.random.default_rng((*seed, start))
            stepper.reset(int(rng.integers(2**31)))
            if commanded is None:
                goal = task.law.draw(rng, stepper.observation, pool)
            else:
                goal = commanded[np.minimum(start + np.arange(stepper.lanes), episodes - 1)]
            parts.append(_round(task, stepper, actor, goal))
    finally:
        stepper.close()
    return Reached(*(np.concatenate(column)[:episodes] for column in zip(*parts, strict=True)))


def _round(task: GoalTask, stepper: Stepper, actor: Actor, goal: np.ndarray) -> Reached:
    """One episode in every lane."""
    goals, start = task.goals, task.goals.seen(stepper.observation)
    reached = goals.reached(goals.achieved(stepper.observation), goal)
    steps, over = np.zeros(stepper.lanes, int), reached.copy()
    for t in range(task.horizon):
        if over.all():
            break
        left = np.full(stepper.lanes, task.horizon - t, np.int32)
        seen = stepper.step(actor.act(goals.seen(stepper.observation), goal, left, stepper.mask))
        steps += ~over
        reached |= ~over & goals.reached(goals.achieved(np.asarray(seen.following)), goal)
        over |= reached | seen.terminated | seen.truncated
    return Reached(start, goal, reached, steps)


def _left(valid: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Steps to the end of each trajectory, this one included [T, lanes]; 0 for dead transitions."""
    left, after = np.zeros(valid.shape, np.int32), np.zeros(valid.shape[1], np.int32)
    for t in reversed(range(len(valid))):
        after = np.where(valid[t], np.where(over[t], 0, after) + 1, 0)
        left[t] = after
    return left


def _along(flags: np.ndarray | jax.Array, like: np.ndarray | jax.Array) -> Any:
    return flags.reshape(-1, *(1,) * (like.ndim - 1))


class Learner(NamedTuple):
    """A policy in training: its parameters on their way, and their average over the last steps."""

    descent: Descent
    average: Any


@dataclass(frozen=True)
class Program:
    """What is fixed of the compiled programs. Hashable.

    discount  an example that took h steps counts discountʰ
    updates   steps in one call, of `batch` examples each
    memory    steps that the average of parameters goes back over, about
    """

    structure: Any
    inputs: GoalInputs
    discount: float
    updates: int
    batch: int
    span: float
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT


def at_start(free: PyTree, optimiser: optax.GradientTransformation = DEFAULT) -> Learner:
    """A learner before its first step, on the host."""
    dtype = jnp.result_type(float)
    free = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), free)
    return Learner(begin(free, optimiser), free)


@partial(jax.jit, static_argnums=0)
def learn(
    program: Program,
    fixed: PyTree,
    memory: Block,
    filled: Int[Array | np.ndarray, ""],
    learner: Learner,
    rate: Float[Array | np.ndarray, ""],
    key: jax.Array,
) -> tuple[Learner, Float[Array, ""]]:
    """The learner after some steps along E_P[∇ log q], and the mean loss of these steps in nats.

    filled  how many blocks of the memory hold trajectories
    """
    usual = _usual_weight(program.discount, memory, filled)

    def body(i: jax.Array, carry: tuple[Learner, Any]) -> tuple[Learner, Any]:
        learner, total = carry
        index = _rows(jax.random.fold_in(key, 2 * i), program.batch, memory, filled)

        def objective(free: PyTree) -> Any:
            losses, weights = _losses(program, fixed, free, memory, index, jax.random.fold_in(key, 2 * i + 1))
            return jnp.mean(losses * weights) / usual

        loss, gradient = jax.value_and_grad(objective)(learner.descent.x)
        descent = descend(learner.descent, gradient, rate, program.descent)
        average = jax.tree.map(lambda old, new: old + (new - old) / program.span, learner.average, descent.x)
        return Learner(descent, average), total + loss

    learner, total = jax.lax.fori_loop(0, program.updates, body, (learner, jnp.zeros((), usual.dtype)))
    return learner, total / program.updates


@partial(jax.jit, static_argnums=0)
def relabelled_losses(
    program: Program, fixed: PyTree, free: PyTree, block: Block, key: jax.Array
) -> tuple[Float[Array, " lanes"], Float[Array, " lanes"]]:
    """Of each lane of one block: the weighted sum of losses of its steps, each relabelled once, and that of weights."""
    _, steps, lanes = block.left.shape
    index: Any = tuple(jnp.ravel(i) for i in jnp.indices((1, steps, lanes)))
    losses, weights = _losses(program, fixed, free, block, index, key)
    return jnp.sum((losses * weights).reshape(steps, lanes), 0), jnp.sum(weights.reshape(steps, lanes), 0)


def _rows(key: jax.Array, n: int, memory: Block, filled: Int[Array | np.ndarray, ""]) -> tuple[Any, Any, Any]:
    """The places of n steps in the memory."""
    keys = jax.random.split(key, 3)
    bounds = (filled, *memory.left.shape[1:])
    return tuple(jax.random.randint(k, (n,), 0, bound) for k, bound in zip(keys, bounds, strict=True))  # type: ignore[return-value]


def _losses(
    program: Program, fixed: PyTree, free: PyTree, memory: Block, index: tuple[Any, Any, Any], key: jax.Array
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """−log q(a∣s, g) of steps, each with a goal that its trajectory achieved later, and the weight of the steps.

    The pair of a step and the goal h steps on has the weight γʰ. h is drawn in proportion to it from 1 … left, and what
    that leaves for the step is the sum of these, Σ γʰ.
    """
    block, t, lane = index
    left = memory.left[index]
    ahead = _ahead(jax.random.uniform(key, left.shape), left, program.discount)
    goal = memory.achieved[block, jnp.minimum(t + ahead - 1, memory.left.shape[1] - 1), lane]
    x = program.inputs.join(memory.observation[index], goal, ahead, jnp)
    weights = _weight(left, program.discount)
    losses = -program.structure.distribution(free, fixed, x).log_prob(memory.action[index])
    return jnp.where(left > 0, losses, 0.0), weights


def _ahead(u: Float[Array, ...], left: Any, discount: float) -> Any:
    """h from 1 … left in proportion to γʰ, by the inverse of its distribution function at u in [0, 1)."""
    if discount == 1.0:
        h = 1 + jnp.floor(u * left)
    else:
        rate = np.log(discount)
        h = jnp.ceil(jnp.log1p(u * jnp.expm1(rate * left)) / rate)
    return jnp.clip(h, 1, jnp.maximum(left, 1)).astype(jnp.int32)


def _weight(left: jax.Array, discount: float) -> Any:
    """Σ_{h = 1 … left} γʰ."""
    if discount == 1.0:
        return left.astype(jnp.result_type(float))
    return discount * jnp.expm1(np.log(discount) * left) / (discount - 1.0)


def _usual_weight(discount: float, memory: Block, filled: Int[Array | np.ndarray, ""]) -> Any:
    """The mean weight of the steps in the memory."""
    there = jnp.arange(memory.left.shape[0]) < filled
    weights = _weight(memory.left, discount) * there[:, None, None]
    return jnp.sum(weights) / (filled * np.prod(memory.left.shape[1:]))
