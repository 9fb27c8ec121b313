"""Our actions as an environment takes them, and the actions that an environment's mask allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array
from jaxtyping import Bool, Shaped

from kullback.control.envs.observations import Mismatch
from kullback.control.envs.spaces import Actions, write_action
from kullback.errors import InputError

spaces = gym.spaces


def check_actions(actions: Actions, lanes: int, action: Any) -> Shaped[np.ndarray, "lanes ..."]:
    """Actions of every lane: int64, or float64. Nothing is clipped to the bounds of a box.

    Raises `InputError` for another shape, and for actions that are not finite, which no environment is to blame for.
    """
    array = np.asarray(action, np.int64 if actions.is_discrete else np.float64)
    if array.shape != (lanes, *actions.shape):
        raise InputError(f"action: the shape is {array.shape}; pass actions [{lanes} lanes, *{actions.shape}]")
    if not actions.is_discrete and not np.isfinite(array).all():
        raise InputError("action: an action is not finite; the policy that it came from has diverged")
    return array


def writer_of(space: Any) -> Callable[[Shaped[np.ndarray, "lanes ..."]], Sequence[Any] | np.ndarray]:
    """write(action) gives the action of each lane as the environment wants it, and no array of it is ours."""
    if isinstance(space, spaces.Discrete):
        start, dtype = int(space.start), space.dtype
        return lambda action: (action + start if start else action).astype(dtype, copy=False)
    if isinstance(space, spaces.Box) and space.shape:
        return lambda action: action.astype(space.dtype)
    return lambda action: [write_action(space, one) for one in action]


def write_batch(space: Any, action: Shaped[np.ndarray, "lanes ..."]) -> Any:
    """The actions of all lanes as a vector environment of this single action space wants them."""
    rows = writer_of(space)(action)
    if isinstance(rows, np.ndarray):
        return rows
    return concatenate(space, rows, create_empty_array(space, n=len(rows), fn=np.zeros))


def all_allowed(actions: Actions, lanes: int) -> Bool[np.ndarray, "lanes ..."]:
    """The masks of so many lanes that allow every action there is; of no width for a box."""
    exists = actions.exists if actions.is_discrete else np.ones(0, bool)
    return np.tile(exists, (lanes, *[1] * exists.ndim))


def read_mask(space: Any, actions: Actions, mask: Any) -> Bool[np.ndarray, "... categories"]:
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


def _flat(mask: Any) -> np.ndarray:
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
