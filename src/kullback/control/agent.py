"""A fitted policy at work in an environment: from raw observations to actions, in the environment's own format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike
from numpyro.distributions import BernoulliLogits

from kullback.control.envs.gymnax_side import gymnax_simulator, is_gymnax
from kullback.control.envs.observations import Mismatch, empty_rows, read_batch, read_mask, reader_of, write_batch
from kullback.control.envs.spaces import Observations, actions_of, observations_of, write_action
from kullback.control.envs.spec import SUPPORTED, make, name_of
from kullback.control.learning.policy import Acting, Fixed, acting_of, answer, within_bounds
from kullback.control.tabular.mdp import FiniteMDP
from kullback.control.task import CHOOSERS
from kullback.distributions import TanhNormal
from kullback.errors import InputError
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure, block_size
from kullback.result import Fit

FEW = 8  # observations of a small vector environment


class Agent:
    """A fitted policy bound to an environment: `agent(observation)` is an action of it.

    Observations and actions are the environment's own (of Dict, Tuple and MultiDiscrete spaces too, and counted from
    where its Discrete spaces start), one or a batch [n, ...] as vector environments have them. `predict` is that of
    Stable-Baselines3, so that its `evaluate_policy(agent, env)` works.

    q     a fitted conditional, or a fit of one (`kl.load` returns one); of an ensemble the average acts
    env   an id or an environment of any kind that `kl.Optimal` takes, or a Stable-Baselines3 `VecEnv`
    seed  of the actions that are drawn: an integer or a JAX key

    Real actions are clipped to the bounds of their box, as far as the policy has mass outside it. A policy that was
    fitted with a horizon to a table depends on time: `agent(observation, time=t)`; `predict` counts by itself.
    Raises `InputError` where the policy does not fit the environment's spaces.
    """

    def __init__(self, q: object, env: object, seed: int | jax.Array = 0) -> None:
        q = q.q if isinstance(q, Fit) else q
        if not isinstance(q, FittedConditional):
            raise InputError(f"q: {type(q).__name__} is no policy; pass a fit to kl.Optimal, its q, or kl.load(path)")
        self.policy = q
        self.name, self.observation_space, self.action_space = spaces_of(env)
        self._seen = observations_of(self.observation_space, self.name)
        self._actions = actions_of(self.action_space, self.name)
        self.horizon = _horizon(q.structure, q.fixed, self._seen, self.name)
        self._acting = acting_of(q, self._actions)
        _check_actions(self._acting, q, self.name)
        self._read = reader_of(self.observation_space)
        # Once, so that a call moves nothing but the observation.
        self._free, self._fixed = jax.tree.map(jnp.asarray, (q.free, Fixed(q.fixed)))
        self._key = jax.random.key(seed) if isinstance(seed, int | np.integer) else seed
        self._drawn = 0

    def __call__(
        self, observation: object, greedy: bool = False, mask: object = None, time: ArrayLike | None = None
    ) -> Any:
        """The action at an observation, or those at a batch [n, ...] of them.

        greedy  the most probable action (of several equally probable ones any), in a box the median of each
                coordinate, and not a drawn one
        mask    the actions allowed, as the environment gives it (`info["action_mask"]`), or a sequence of n of them
        time    steps since the episode began, of a policy that depends on time

        Raises `InputError` for observations that the environment's space does not hold, NaN among them.
        """
        is_batch = _is_batch(self.observation_space, observation)
        rows = self._rows(observation, is_batch)
        if self.horizon is not None:
            rows = rows + self._times(time, len(rows)) * np.int32(self._states)
        action = self._act(rows, greedy, self._masks(mask, is_batch, len(rows)))
        return write_batch(self.action_space, action) if is_batch else write_action(self.action_space, action[0])

    def predict(
        self,
        observation: Any,
        state: object = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = False,
        action_masks: object = None,
    ) -> tuple[Any, Any]:
        """(action, state), as a policy of Stable-Baselines3 has it.

        state          None, or of a policy that depends on time the steps so far; pass back what was returned
        episode_start  which episodes begin at this observation
        action_masks   as sb3-contrib has them, or as Gymnasium has
        """
        if self.horizon is None:
            return self(observation, deterministic, action_masks), state
        n = len(observation) if _is_batch(self.observation_space, observation) else 1
        time = np.zeros(n, np.int32) if state is None else np.asarray(state, np.int32).reshape(n)
        if episode_start is not None:
            time = np.where(np.reshape(episode_start, -1), 0, time)
        return self(observation, deterministic, action_masks, time), time + 1

    @property
    def _states(self) -> int:
        assert self._seen.labels is not None
        return self._seen.labels

    def _rows(self, observation: object, is_batch: bool) -> np.ndarray:
        """Observations as rows that the network reads [n, ...]."""
        n = _length(self.observation_space, observation) if is_batch else 1
        rows = empty_rows(self._seen, n)
        try:
            if is_batch:
                space = self.observation_space
                whole = None if isinstance(space, gym.spaces.Box | gym.spaces.Discrete) else batch_space(space, n)
                read_batch(space, whole, self._read, rows, observation)
            else:
                self._read(rows, 0, observation)
        except Mismatch as error:
            raise InputError(f"observation: here is {error}; pass one of {self.name}, or a batch [n, ...]") from None
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise InputError("observation: it has a NaN or an infinite number; correct the environment")
        return rows

    def _masks(self, mask: Any, is_batch: bool, n: int) -> np.ndarray | None:
        if mask is None:
            return None
        if not self._actions.is_discrete:
            raise InputError(f"mask: the actions of {self.name} are real numbers, which no mask restricts")
        masks = list(mask) if is_batch else [mask]
        if not is_batch and np.ndim(mask) == 2 and len(mask) == 1:
            masks = list(mask)  # sb3-contrib has a row for its one environment
        if len(masks) != n:
            raise InputError(f"mask: {len(masks)} of them beside {n} observations; pass one each")
        try:
            return np.stack([read_mask(self.action_space, self._actions, one) for one in masks])
        except Mismatch as error:
            raise InputError(f"mask: here is {error}") from None

    def _times(self, time: ArrayLike | None, n: int) -> np.ndarray:
        assert self.horizon is not None
        if time is None:
            raise InputError(f"time: the policy depends on time; pass the steps since the start, up to {self.horizon}")
        times = np.broadcast_to(np.asarray(time, np.int32), n)
        if not ((times >= 0) & (times < self.horizon)).all():
            raise InputError(
                f"time: {time} is past the horizon of {self.horizon} steps, after which there is no policy"
            )
        return times

    def _act(self, rows: np.ndarray, greedy: bool, mask: np.ndarray | None) -> np.ndarray:
        n = len(rows)
        size = 1 if n == 1 else FEW if n <= FEW else block_size(n)
        parts = []
        for start in range(0, n, size):
            block = tuple(None if x is None else _filled(x[start : start + size], size) for x in (rows, mask))
            action = answer(self._acting, greedy, self._free, self._fixed, *block, self._key, np.uint32(self._drawn))
            parts.append(np.asarray(action)[: n - start])
            self._drawn += 1
        action = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return within_bounds(self._actions, action)

    def __repr__(self) -> str:
        return f"Agent({self.policy.name}, {self.name})"


def spaces_of(env: Any) -> tuple[str, Any, Any]:
    """The name of an environment, and the spaces of one observation and of one action.

    Raises `InputError` for what is no environment.
    """
    if isinstance(env, str):
        made = make(env)
        try:
            return spaces_of(made)
        finally:
            made.close()
    if isinstance(env, FiniteMDP):
        model = env.model()
        return model.name, gym.spaces.Discrete(model.states), gym.spaces.Discrete(model.actions)
    if is_gymnax(env):
        simulator = gymnax_simulator(env)
        shape, seen = simulator.facts.observations.shape, simulator.seen
        flat = isinstance(seen, gym.spaces.Box) and shape != seen.shape
        return simulator.facts.name, gym.spaces.Box(-np.inf, np.inf, shape) if flat else seen, simulator.space
    if isinstance(env, gym.vector.VectorEnv):
        return name_of(env), env.single_observation_space, env.single_action_space
    found = getattr(env, "observation_space", None), getattr(env, "action_space", None)
    if not all(isinstance(space, gym.Space) for space in found):
        raise InputError(f"env: {type(env).__name__} is no environment; supported are {SUPPORTED}")
    return name_of(env) if isinstance(env, gym.Env) else type(env).__name__, *found


def _horizon(structure: ConditionalStructure, fixed: Mapping[str, Any], seen: Observations, name: str) -> int | None:
    """The horizon of a policy that depends on time, or None; raises `InputError` where it reads other observations."""
    labels = structure.network.labels
    if labels is None:
        shape = np.shape(fixed["x_mean"])
        if seen.labels is not None or shape != seen.shape:
            has = f"of shape {seen.shape}" if seen.labels is None else f"that are integers below {seen.labels}"
            raise InputError(f"q: it was fitted to observations of shape {shape}, and {name} has some {has}")
        return None
    if seen.labels is None or labels % seen.labels:
        has = f"of shape {seen.shape}" if seen.labels is None else f"that are integers below {seen.labels}"
        raise InputError(
            f"q: it was fitted to observations that are integers below {labels}, and {name} has some {has}"
        )
    return None if labels == seen.labels else labels // seen.labels


def _check_actions(acting: Acting, q: FittedConditional, name: str) -> None:
    """Raise where the policy's outcomes are not actions of the environment."""
    actions, form = acting.actions, q.structure.form
    rows = jax.ShapeDtypeStruct((1, *np.shape(q.fixed.get("x_mean", ()))), np.float32)
    if q.structure.network.labels is not None:
        rows = jax.ShapeDtypeStruct((1,), np.int32)
    d = jax.eval_shape(acting.structure.distribution, q.free, q.fixed, rows)
    fits = tuple(d.event_shape) == actions.shape
    if actions.is_discrete:
        fits &= form.cls is CHOOSERS[actions.kind] and not q.structure.components and _choices(d) == actions.categories
    else:
        fits &= not d.is_discrete
        fits &= form.cls is not TanhNormal or (q.members == 1 and not q.structure.components)
    if not fits:
        raise InputError(
            f"q: {q.name} has outcomes that are not the {actions} of {name}; "
            "pass a policy that was fitted to this environment"
        )


def _choices(d: Any) -> int:
    base = getattr(d, "base_dist", d)
    return 2 if isinstance(base, BernoulliLogits) else base.logits.shape[-1]


def _first(space: gym.Space[Any], observation: Any) -> tuple[Any, Any]:
    """The first part of a composite observation that is not composite, and its space."""
    while isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        key: Any = next(iter(space.spaces)) if isinstance(space, gym.spaces.Dict) else 0
        try:
            space, observation = space.spaces[key], observation[key]
        except (TypeError, KeyError, IndexError):
            return space, None
    return space, observation


def _is_batch(space: gym.Space[Any], observation: Any) -> bool:
    """Whether these are n observations; what is neither one nor several is told apart by whoever reads it."""
    space, observation = _first(space, observation)
    try:
        return observation is not None and np.ndim(observation) == len(space.shape or ()) + 1
    except ValueError:  # ragged
        return False


def _length(space: gym.Space[Any], observation: object) -> int:
    return len(_first(space, observation)[1])


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    """Rows up to `size` of them, the last one repeated: few programs are compiled."""
    return x if len(x) == size else np.concatenate([x, np.repeat(x[-1:], size - len(x), 0)])
