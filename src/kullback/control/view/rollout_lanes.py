"""Playing a policy of any kind in lanes side by side, step after step from the host."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import CategoricalLogits

from kullback.control.envs.hosted import on_the_host
from kullback.control.envs.simulator import Facts, Stepper
from kullback.control.learning.checks import CHOOSERS
from kullback.control.learning.inference import acting_of, answer, within_bounds
from kullback.control.learning.policy import Fixed
from kullback.errors import InputError
from kullback.families.conditional import FittedConditional

LANES = 16


class Player:
    """A fitted policy that acts in lanes: `act(observation, mask)` is an action for each row."""

    def __init__(self, policy: FittedConditional, facts: Facts, greedy: bool, seed: int) -> None:
        self._acting = acting_of(policy, facts.actions)
        self._free, self._fixed = jax.tree.map(jnp.asarray, (policy.free, Fixed(policy.fixed)))
        self._greedy, self._actions = greedy, facts.actions
        self._key, self._count = jax.random.key(seed), 0

    def act(self, observation: Any, mask: Any) -> np.ndarray:
        """Actions [n, *shape] at observations [n, ...]; real ones are clipped to the bounds of their box."""
        self._count += 1
        action = answer(self._acting, self._greedy, self._free, self._fixed, observation, mask, self._key,
                        np.uint32(self._count))  # fmt: skip
        return within_bounds(self._actions, action)


class _Column:
    """What the lanes saw of their episodes in progress, and of those that are over."""

    def __init__(self, lanes: int) -> None:
        self.going: list[list[tuple[Any, Any, float]]] = [[] for _ in range(lanes)]
        self.over: list[tuple[list[tuple[Any, Any, float]], bool, Any]] = []


def played(
    env: Any, policy: FittedConditional, episodes: int, seed: int, greedy: bool, horizon: int | None, steps: int
) -> tuple[Any, ...]:
    """The fields of a `Rollout`. Each lane plays a number of episodes that is settled before, so that short ones do not
    count more."""
    source = on_the_host(env, horizon)
    facts = source.facts
    require_actor(policy, facts)
    assert source.stepper is not None
    stepper = source.stepper(min(LANES, episodes))
    try:
        over = _episodes(stepper, Player(policy, facts, greedy, seed), episodes, seed, steps)
    finally:
        stepper.close()
    rows = [step for episode, _, _ in over for step in episode]
    observations, actions, rewards = (np.array(column) for column in zip(*rows, strict=True))
    number = np.repeat(np.arange(episodes), [len(episode) for episode, _, _ in over])
    terminated = np.array([ended for _, ended, _ in over])
    last = np.array([seen for _, _, seen in over])
    choices = facts.actions.categories if facts.actions.is_discrete else None
    return observations, actions, rewards, number, terminated, last, facts.observations.labels, choices


def _episodes(stepper: Stepper, player: Player, episodes: int, seed: int, steps: int) -> list[Any]:
    lanes = stepper.lanes
    quota = episodes // lanes + (np.arange(lanes) < episodes % lanes)
    column, count = _Column(lanes), np.zeros(lanes, int)
    stepper.reset(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    while (count < quota).any():
        seen = stepper.step(player.act(stepper.observation, stepper.mask))
        for lane in np.flatnonzero(np.asarray(seen.valid) & (count < quota)):
            going = column.going[lane]
            going.append((seen.observation[lane], seen.action[lane], float(seen.reward[lane])))
            if seen.terminated[lane] or seen.truncated[lane]:
                column.over.append((going, bool(seen.terminated[lane]), seen.following[lane]))
                column.going[lane] = []
                count[lane] += 1
            elif len(going) >= steps:
                number = len(column.over)
                raise InputError(f"steps: episode {number} had not ended after {steps:,} steps; pass a horizon")
    return column.over


def require_actor(policy: FittedConditional, facts: Facts) -> None:
    """Raise `InputError` where a policy's inputs or outcomes are not the environment's observations and actions."""
    labels = policy.structure.network.labels
    seen = facts.observations
    if labels != seen.labels or (labels is None and np.shape(policy.fixed["x_mean"]) != seen.shape):
        takes = f"{labels} labels" if labels is not None else f"arrays of shape {np.shape(policy.fixed['x_mean'])}"
        gives = f"{seen.labels} labels" if seen.labels is not None else f"arrays of shape {seen.shape}"
        raise InputError(f"policy: it takes {takes} and {facts.name} gives {gives}")
    example = seen.example[:1]
    d = jax.eval_shape(acting_of(policy, facts.actions).structure.distribution, policy.free, policy.fixed, example)
    base = d.base_dist if hasattr(d, "reinterpreted_batch_ndims") else d
    wanted = CHOOSERS.get(facts.actions.kind)
    fits = isinstance(base, wanted) if wanted is not None else not base.is_discrete
    if fits and wanted is CategoricalLogits:
        fits = base.logits.shape[-1] == facts.actions.categories
    if not fits or tuple(d.event_shape) != facts.actions.shape:
        raise InputError(f"policy: outcomes of {type(base).__name__} of shape {tuple(d.event_shape)} are no actions of "
                         f"{facts.name}, which has {facts.actions}")  # fmt: skip
