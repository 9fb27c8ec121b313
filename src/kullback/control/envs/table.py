"""A transition table as an environment: simulated by itself, or the environment behind it as the table labels it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import Actions, Observations
from kullback.control.tabular.mdp import Model
from kullback.errors import InputError

WORDS = 2**32  # how many values one random word takes


class Outcomes(NamedTuple):
    """What follows every (state, action), a row each at s · A + a, padded to the K outcomes of the longest row.

    threshold  [S · A, K] uint32: outcome k is drawn where a random word is above k of them; the last is never passed
    successor  [S · A, K] int32
    reward, ends  [S · A, K]
    first      [n] int32, the states that an episode may start in
    first_threshold  [n] uint32
    """

    threshold: np.ndarray
    successor: np.ndarray
    reward: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    first_threshold: np.ndarray


@dataclass(frozen=True)
class TableSimulator(Compiled):
    """A `Model` as a compiled environment: its state is one integer, t · S + s with a horizon and s without.

    The observation is that label. With a horizon of H steps there are H · S labels, and step H terminates; only without
    one does the time limit truncate, as labels for later times are to be learned as well. A state in which nothing
    follows pays 0 and terminates, whatever is done there. Outcomes are drawn by one random word of 32
    bits against the cumulative probabilities, in both precisions, so that a probability is off by at most 2⁻³².
    """

    name: str
    states: int
    actions: int
    horizon: int | None = None
    limit: int | None = None
    threshold: float | None = None
    is_arrays: bool = False
    outcomes: Outcomes = field(compare=False, repr=False, kw_only=True)

    @property
    def facts(self) -> Facts:
        labels = self.states * (self.horizon or 1)
        seen, done = Observations((), labels), Actions("choice", (), (self.actions,))
        return Facts(self.name, seen, done, self.limit if self.horizon is None else None, self.threshold)

    @property
    def parameters(self) -> Outcomes:
        return self.outcomes

    def reset(self, parameters: Outcomes, key: jax.Array) -> jax.Array:
        first = jnp.asarray(parameters.first)
        if len(first) == 1:
            return first[0]
        return first[jnp.searchsorted(jnp.asarray(parameters.first_threshold), _word(key))]

    def observe(self, parameters: Outcomes, state: jax.Array) -> jax.Array:
        if self.horizon is None:
            return state
        last = (self.horizon - 1) * self.states  # there is no label for step H: nothing is to come
        return jnp.where(state < last + self.states, state, last + state % self.states)

    def step(
        self, parameters: Outcomes, state: jax.Array, action: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        time, here = jnp.divmod(state, self.states) if self.horizon else (0, state)
        row = here * self.actions + action.astype(jnp.int32)
        threshold = jnp.asarray(parameters.threshold)[row]
        k = jnp.sum(_word(key) > threshold) if len(threshold) > 1 else 0
        successor, reward, ends = (
            jnp.asarray(table)[row, k] for table in (parameters.successor, parameters.reward, parameters.ends)
        )
        if self.horizon is None:
            return successor, reward, ends
        return (time + 1) * self.states + successor, reward, ends | (time + 1 >= self.horizon)


def table_simulator(
    model: Model,
    horizon: int | None = None,
    limit: int | None = None,
    threshold: float | None = None,
    is_arrays: bool = False,
) -> TableSimulator:
    """A model as an environment that is played.

    horizon  steps after which it terminates, the observation then being t · S + s; None for no end but the model's
    limit    steps after which the environment truncates; None for no limit
    threshold  the return at which its authors call it solved
    is_arrays  whether it was given as arrays, so that no environment counts its return in another way

    Raises `InputError` for a horizon with more labels than an int32 can tell apart.
    """
    if model.states * ((horizon or 0) + 1) >= 2**31:
        raise InputError(
            f"horizon: {horizon:,} steps × {model.states:,} states are too many to sample; pass a shorter one"
        )
    return TableSimulator(
        model.name, model.states, model.actions, horizon, limit, threshold, is_arrays, outcomes=_outcomes(model)
    )


def _outcomes(model: Model) -> Outcomes:
    pairs = model.states * model.actions
    many = np.bincount(model.pair, minlength=pairs)
    begin = np.cumsum(many) - many
    place = np.arange(len(model.pair)) - begin[model.pair]  # of each outcome within its row; rows are sorted
    shape = (pairs, max(int(many.max()), 1))
    probability = np.zeros(shape)
    probability[model.pair, place] = model.probability
    # Where nothing follows, one stays, is paid nothing, and it is over.
    successor = np.repeat(np.arange(pairs, dtype=np.int32)[:, None] // model.actions, shape[1], axis=1)
    reward, ends = np.zeros(shape), np.ones(shape, bool)
    for table, values in ((successor, model.successor), (reward, model.reward), (ends, model.ends)):
        table[model.pair, place] = values
    first = np.flatnonzero(model.start > 0).astype(np.int32)
    threshold = _thresholds(probability, many)
    first_threshold = _thresholds(model.start[first][None], np.array([len(first)]))[0]
    return Outcomes(threshold, successor, reward, ends, first, first_threshold)


def _thresholds(probability: np.ndarray, many: np.ndarray) -> np.ndarray:
    """The most that a random word may be for outcomes 0 to k to be drawn [rows, K]; the last of `many` has the rest."""
    words = np.clip(np.round(np.cumsum(probability, axis=1) * WORDS) - 1.0, 0.0, WORDS - 1.0)
    words[np.arange(words.shape[1]) >= many[:, None] - 1] = WORDS - 1.0
    return words.astype(np.uint32)


def _word(key: jax.Array) -> jax.Array:
    return jax.random.bits(key, (), jnp.uint32)


class AsTable(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """States as the labels s, or with a horizon t · S + s after t steps, the last of which ends the episode.

    A table knows of no action masks: its prior allows what `prior=` says, and so they are left out.
    """

    action_masks = None

    def __init__(self, env: gym.Env[Any, Any], horizon: int | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, horizon=horizon)
        super().__init__(env)
        assert isinstance(env.observation_space, gym.spaces.Discrete)
        self._states, self._horizon, self._time = int(env.observation_space.n), horizon, 0
        self.observation_space = gym.spaces.Discrete(self._states * (horizon or 1))

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        self._time = 0
        return self.env.reset(**settings)[0], {}

    def step(self, action: jax.Array) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        state, reward, terminated, truncated, _ = self.env.step(action)
        if self._horizon is None:
            return state, reward, terminated, truncated, {}
        self._time += 1
        is_last = self._time >= self._horizon
        # There is no label for the time after the last step: nothing is to come.
        label = min(self._time, self._horizon - 1) * self._states + int(state)
        return label, reward, terminated or is_last, truncated and not is_last, {}
