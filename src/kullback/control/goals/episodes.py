"""Episodes on the way to commanded goals: those that are learned from, and those that show what was learned."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.simulator import Stepper
from kullback.control.goals.goals import GoalInputs
from kullback.control.goals.task import GoalTask
from kullback.control.learning.policy import Acting, Fixed

LANES = 20  # episodes side by side that show what was learned


class Actor:
    """A policy on its way to goals. Of its actions a share `explore` is drawn uniformly, or it is greedy."""

    def __init__(
        self, task: GoalTask, structure: Any, free: Any, fixed: Any, seed: int, greedy: bool = False,
        explore: float = 0.0,
    ) -> None:  # fmt: skip
        self._actions = task.facts.actions
        self._acting, self._inputs, self._greedy = Acting(structure, self._actions), task.inputs, greedy
        self._free, self._fixed = jax.tree.map(jnp.asarray, (free, Fixed(fixed)))
        self._key, self._count = jax.random.key(seed), 0
        bounded = self._actions.is_discrete or self._actions.is_bounded
        self._explore = np.float32(explore) if explore > 0 and bounded else None

    def act(self, observation: Any, goal: Any, left: Any, mask: Any) -> np.ndarray:
        """Actions [n, *shape] at observations [n, ...] with so many steps left; real ones inside their box."""
        self._count += 1
        action = act(self._acting, self._inputs, self._greedy, self._free, self._fixed, (observation, goal, left), mask,
                     self._key, np.uint32(self._count), self._explore)  # fmt: skip
        return np.asarray(action) if self._actions.is_discrete else np.clip(action, *self._actions.bounds)


@partial(jax.jit, static_argnums=(0, 1, 2))
def act(
    acting: Acting, inputs: GoalInputs, greedy: bool, free: Any, fixed: Fixed, seen: tuple[Any, Any, Any], mask: Any,
    key: jax.Array, count: Any, explore: Any,
) -> jax.Array:  # fmt: skip
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
        achieved = goals.achieved(seen.following)
        rows.append((observation, seen.action, achieved))
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
    task: GoalTask, structure: Any, free: Any, fixed: Any, greedy: bool, seed: tuple[int, ...], episodes: int,
    commanded: np.ndarray | None = None, pool: np.ndarray | None = None,
) -> Reached:  # fmt: skip
    """Fresh episodes that end where the goal is reached, in rounds of a few lanes side by side.

    commanded  the goal of each episode [episodes, ...]; None draws them by the task's law
    pool       the goals achieved so far
    """
    stepper = task.stepper(min(LANES, episodes))
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
        reached |= ~over & goals.reached(goals.achieved(seen.following), goal)
        over |= reached | seen.terminated | seen.truncated
    return Reached(start, goal, reached, steps)


def _left(valid: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Steps to the end of each trajectory, this one included [T, lanes]; 0 for dead transitions."""
    left, after = np.zeros(valid.shape, np.int32), np.zeros(valid.shape[1], np.int32)
    for t in reversed(range(len(valid))):
        after = np.where(valid[t], np.where(over[t], 0, after) + 1, 0)
        left[t] = after
    return left


def _along(flags: Any, like: Any) -> Any:
    return flags.reshape(-1, *(1,) * (like.ndim - 1))
