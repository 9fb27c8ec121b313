"""Between an environment's declared spaces and rows of numbers: observations and rewards in, actions and masks out.

What an environment returns is checked against its spaces before it is used.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from jaxtyping import Bool, Float, Shaped
from numpy.typing import ArrayLike

from kullback.control.envs.simulator import MOST_REWARD
from kullback.control.envs.spaces import Actions, Observations, read_observation, write_action
from kullback.errors import InputError

Read = Callable[[np.ndarray, int, Any], None]
spaces = gym.spaces


class Mismatch(Exception):
    """Something that the space does not hold; the text says what was there, and what the space has."""


def empty_rows(observations: Observations, lanes: int) -> Shaped[np.ndarray, "lanes ..."]:
    """Rows for observations of so many lanes: float32, or int32 labels."""
    return np.empty((lanes, *observations.shape), np.float32 if observations.labels is None else np.int32)


def reader_of(space: gym.Space[Any]) -> Read:
    """read(rows, lane, observation) writes an observation into its row; raises `Mismatch`."""
    if isinstance(space, spaces.Discrete):
        return _label_reader(space)
    if isinstance(space, spaces.Box):
        return _array_reader(space)

    def read(rows: np.ndarray, lane: int, observation: object) -> None:
        check(space, observation)
        rows[lane] = read_observation(space, observation)

    return read


def read_batch(
    space: gym.Space[Any],
    batch_space: gym.Space[Any] | None,
    read: Read,
    rows: Shaped[np.ndarray, "lanes ..."],
    batch: object,
) -> Shaped[np.ndarray, "lanes ..."]:
    """A vector environment's observations, into `rows`; raises `Mismatch`."""
    n = len(rows)
    if isinstance(space, spaces.Box):
        array = _numbers(batch, space, (n, *space.shape))
        rows[...] = array.reshape(rows.shape)
    elif isinstance(space, spaces.Discrete):
        array = _numbers(batch, space, (n,))
        _check_range(array, space.start, space.n, space)
        rows[...] = array.astype(np.int64) - int(space.start)
    else:
        lane = -1
        for lane, observation in enumerate(iterate(batch_space, batch)):
            read(rows, lane, observation)
        if lane != n - 1:
            raise Mismatch(f"{lane + 1} observations of {n} environments")
    return rows


def read_reward(reward: ArrayLike) -> float:
    """A reward as a number; raises `Mismatch` for what is none."""
    if type(reward) is not float:
        array = np.asarray(reward)
        if array.shape != () or array.dtype.kind not in "biuf":
            raise Mismatch(f"the reward {reward!r}, which is not a number")
        reward = float(array)
    if not -MOST_REWARD <= reward <= MOST_REWARD:
        raise Mismatch(f"the reward {reward}{_beyond(reward)}")
    return reward


def _beyond(reward: float) -> str:
    """What is wrong with a reward that is finite."""
    if not np.isfinite(reward):
        return ""
    return (
        f", beyond {MOST_REWARD:g}, and the squares of such returns are no numbers in single precision: divide the "
        "rewards and the temperature by the same power of 10"
    )


def read_rewards(rewards: object, lanes: int) -> Float[np.ndarray, " lanes"]:
    """A vector environment's rewards; raises `Mismatch`."""
    array = np.asarray(rewards)
    if array.shape != (lanes,) or array.dtype.kind not in "biuf":
        raise Mismatch(f"the rewards {rewards!r}, which are not {lanes} numbers")
    array = array.astype(np.float64)
    if not (np.abs(array) <= MOST_REWARD).all():
        lane = int(np.argmin(np.abs(array) <= MOST_REWARD))
        raise Mismatch(f"in lane {lane} the reward {array[lane]}{_beyond(array[lane])}")
    return array


def read_ends(ends: object, lanes: int) -> Bool[np.ndarray, " lanes"]:
    """A vector environment's flags of episodes that ended; raises `Mismatch`."""
    array = np.array(ends, bool)
    if array.shape != (lanes,):
        raise Mismatch(f"the flags {ends!r}, which are not {lanes}")
    return array


def not_finite(rows: Shaped[np.ndarray, "lanes ..."]) -> tuple[int, str] | None:
    """The first lane whose observation is not finite, and what to say of it; None where all are."""
    if rows.dtype.kind != "f" or math.isfinite(np.vdot(rows, rows)) or np.isfinite(rows).all():
        return None  # a finite square says it in less time
    lane, *index = (int(i[0]) for i in np.nonzero(~np.isfinite(rows)))
    return lane, f"an observation that is {rows[lane, *index]} at {index}"


def check(space: gym.Space[Any], observation: object, part: str = "") -> None:
    """Raise `Mismatch` where an observation is not of the kind, shape and range of its space.

    Bounds of boxes are not checked: many environments overstep theirs, and a network reads what is beyond them too.
    """
    if isinstance(space, spaces.Box):
        _numbers(observation, space, space.shape, part)
    elif isinstance(space, spaces.MultiBinary):
        _check_range(_numbers(observation, space, space.shape, part), 0, 2, space, part)
    elif isinstance(space, spaces.MultiDiscrete):
        _check_range(_numbers(observation, space, space.shape, part), space.start, space.nvec, space, part)
    elif isinstance(space, spaces.Discrete):
        _check_range(_numbers(observation, space, (), part), space.start, space.n, space, part)
    elif isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping) or not space.spaces.keys() <= observation.keys():
            has = f"the keys {list(observation)}" if isinstance(observation, Mapping) else type(observation).__name__
            raise Mismatch(f"an observation{part} of {has}, and its space has the keys {list(space.spaces)}")
        for key, inner in space.spaces.items():
            check(inner, observation[key], f"{part}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        if not isinstance(observation, Sequence | np.ndarray) or len(observation) != len(space.spaces):
            raise Mismatch(f"an observation{part} {observation!r}, and its space has {len(space.spaces)} parts")
        for index, inner in enumerate(space.spaces):
            check(inner, observation[index], f"{part}[{index}]")


def _array_reader(space: gym.spaces.Box) -> Read:
    shape, dtype = space.shape, space.dtype

    def read(rows: np.ndarray, lane: int, observation: Any) -> None:
        if type(observation) is np.ndarray and observation.dtype is dtype and observation.shape == shape:
            rows[lane] = observation
        else:
            rows[lane] = _numbers(observation, space, shape)

    return read


def _label_reader(space: gym.spaces.Discrete) -> Read:
    start, n = int(space.start), int(space.n)

    def read(rows: np.ndarray, lane: int, observation: Any) -> None:
        try:
            label = operator.index(observation) - start
        except TypeError:
            raise Mismatch(f"the observation {observation!r}, and its space is {space}") from None
        if not 0 <= label < n:
            raise Mismatch(f"the observation {observation!r}, and its space is {space}")
        rows[lane] = label

    return read


def _numbers(observation: Any, space: Any, shape: tuple[int, ...], part: str = "") -> np.ndarray:
    """An observation as an array of the shape and kind of its space; a float64 passes for a float32."""
    try:
        array = np.asarray(observation)
    except ValueError:  # ragged
        raise Mismatch(f"the observation{part} {observation!r}, which is no array") from None
    if array.shape != shape:
        raise Mismatch(f"an observation{part} of shape {array.shape}, and its space has {shape}")
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, space.dtype, "same_kind"):
        raise Mismatch(f"an observation{part} of dtype {array.dtype}, and its space has {space.dtype}")
    return array


def _check_range(array: np.ndarray, start: Any, sizes: Any, space: gym.Space[Any], part: str = "") -> None:
    index = array.astype(np.int64) - np.asarray(start, np.int64)
    if ((index < 0) | (index >= sizes)).any():
        raise Mismatch(f"the observation{part} {array.tolist()}, and its space is {space}")


# Actions as an environment takes them, and masks.


def check_actions(actions: Actions, lanes: int, action: object) -> Shaped[np.ndarray, "lanes ..."]:
    """Actions of every lane: int64, or float64. Nothing is clipped to the bounds of a box.

    Raises `InputError` for another shape, and for actions that are not finite, which no environment is to blame for.
    """
    array = np.asarray(action, np.int64 if actions.is_discrete else np.float64)
    if array.shape != (lanes, *actions.shape):
        raise InputError(f"action: the shape is {array.shape}; pass actions [{lanes} lanes, *{actions.shape}]")
    if not actions.is_discrete and not np.isfinite(array).all():
        raise InputError("action: an action is not finite; the policy that it came from has diverged")
    return array


def writer_of(space: gym.Space[Any]) -> Callable[[Shaped[np.ndarray, "lanes ..."]], Sequence[Any] | np.ndarray]:
    """write(action) gives the action of each lane as the environment wants it, and no array of it is ours."""
    if isinstance(space, spaces.Discrete):
        start, dtype = int(space.start), space.dtype
        return lambda action: (action + start if start else action).astype(dtype, copy=False)
    if isinstance(space, spaces.Box) and space.shape:
        return lambda action: action.astype(space.dtype)
    return lambda action: [write_action(space, one) for one in action]


def write_batch(space: gym.Space[Any], action: Shaped[np.ndarray, "lanes ..."]) -> Any:
    """The actions of all lanes as a vector environment of this single action space wants them."""
    rows = writer_of(space)(action)
    if isinstance(rows, np.ndarray):
        return rows
    return concatenate(space, rows, create_empty_array(space, n=len(rows), fn=np.zeros))


def all_allowed(actions: Actions, lanes: int) -> Bool[np.ndarray, "lanes ..."]:
    """The masks of so many lanes that allow every action there is; of no width for a box."""
    exists = actions.exists if actions.is_discrete else np.ones(0, bool)
    return np.tile(exists, (lanes, *[1] * exists.ndim))


def read_mask(space: gym.Space[Any], actions: Actions, mask: object) -> Bool[np.ndarray, "... categories"]:
    """Which actions a mask allows.

    Read are arrays of the length of a Discrete space; for other spaces the masks that Gymnasium's `sample(mask=)`
    takes, part by part, or those of all places one after the other, as sb3-contrib has them.
    Raises `Mismatch` for what is neither, and for a mask that allows nothing in some place.
    """
    if isinstance(space, spaces.Discrete) and type(mask) is np.ndarray and mask.shape == actions.exists.shape:
        allowed = mask.astype(bool)
        if allowed.any():
            return allowed
    try:
        places = _flat(mask) if _is_flat(mask, sum(actions.sizes)) else _places(space, mask)
    except (TypeError, ValueError, KeyError, IndexError):
        places = np.zeros(0, bool)
    if places.size != sum(actions.sizes):
        raise Mismatch(f"the action mask {mask!r}, which does not fit the action space {space}")
    allowed = actions.exists.copy()
    allowed[actions.exists] = places
    if not allowed.any(axis=-1).all():
        raise Mismatch(f"the action mask {mask!r}, which allows nothing")
    return allowed


def _is_flat(mask: Any, size: int) -> bool:
    if isinstance(mask, Sequence):
        return len(mask) == size and all(np.isscalar(one) for one in mask)
    return not isinstance(mask, Mapping) and np.shape(mask) == (size,)


def _flat(mask: object) -> np.ndarray:
    return np.asarray(mask).astype(bool)


def _places(space: Any, mask: Any) -> np.ndarray:
    """Gymnasium's own masks as the flags of all places, one after the other."""
    if mask is None:
        return np.ones(_count(space), bool)
    if isinstance(space, spaces.Discrete):
        return _flat(mask).reshape(int(space.n))
    if isinstance(space, spaces.MultiBinary):  # 0 and 1 allow just that, 2 both
        only = np.ravel(np.asarray(mask))
        return np.stack([only != 1, only != 0], axis=-1).ravel()
    if isinstance(space, spaces.MultiDiscrete):
        return _rows(space.nvec, mask)
    if isinstance(space, spaces.Dict):
        return np.concatenate([_places(part, mask[key]) for key, part in space.spaces.items()])
    return np.concatenate([_places(part, one) for part, one in zip(space.spaces, mask, strict=True)])


def _rows(sizes: np.ndarray, mask: Any) -> np.ndarray:
    """Masks nested as the places of a MultiDiscrete space are."""
    if sizes.ndim == 0:
        return np.ones(int(sizes), bool) if mask is None else _flat(mask).reshape(int(sizes))
    return np.concatenate([_rows(inner, one) for inner, one in zip(sizes, mask, strict=True)])


def _count(space: Any) -> int:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return sum(_count(part) for part in parts)
    if isinstance(space, spaces.MultiBinary):
        return 2 * int(np.prod(space.shape))
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.sum(space.nvec))
