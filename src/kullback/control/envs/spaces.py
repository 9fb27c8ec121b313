"""What a Gymnasium space means: how observations enter a network, and what an action is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.spaces.utils import flatten, flatten_space
from numpyro.distributions import constraints

from kullback.errors import InputError

Kind = Literal["choice", "choices", "switches", "box"]
spaces = gym.spaces


@dataclass(frozen=True)
class Observations:
    """How observations enter a network. Hashable.

    shape   of one observation; () for labels
    labels  how many there are, where an observation is one of finitely many (a Discrete space)
    low, high  its bounds, one number for each coordinate in C order; infinite where there are none
    """

    shape: tuple[int, ...]
    labels: int | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def example(self) -> np.ndarray:
        """A few observations, from which sizes are taken: every label, or two rows of zeros."""
        return np.arange(self.labels) if self.labels is not None else np.zeros((2, *self.shape), np.float32)


@dataclass(frozen=True)
class Actions:
    """What an action is. Hashable.

    kind   "choice" of one of several (Discrete), "choices" (MultiDiscrete: one choice in each place), "switches"
           (MultiBinary), or "box" (Box: real numbers between bounds)
    shape  of one action
    sizes  how many choices there are in each place, in C order; () for a box
    low, high  the bounds of a box, one number for each coordinate in C order
    """

    kind: Kind
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def categories(self) -> int:
        """The most choices in one place."""
        return max(self.sizes)

    @property
    def is_discrete(self) -> bool:
        return self.kind != "box"

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of a box [*shape]."""
        return np.array(self.low).reshape(self.shape), np.array(self.high).reshape(self.shape)

    @cached_property
    def exists(self) -> np.ndarray:
        """Which choices there are, booleans [*shape, categories]: places may have different numbers of them."""
        sizes = np.array(self.sizes).reshape(*self.shape, 1)
        return np.arange(self.categories) < sizes

    @property
    def support(self) -> Any:
        """Where a policy may lie, as a NumPyro constraint.

        One distribution chooses in all places, so it has everywhere as many choices as the widest of them; those that
        are not there (`exists`) nobody takes.
        """
        if self.kind == "switches":
            return constraints.independent(constraints.boolean, len(self.shape))
        if self.kind == "box":
            low, high = self.bounds
            base = constraints.interval(low, high) if self.is_bounded else constraints.real
            return constraints.independent(base, len(self.shape)) if self.shape else base
        base = constraints.integer_interval(0, self.categories - 1)
        return constraints.independent(base, len(self.shape)) if self.shape else base

    @property
    def is_bounded(self) -> bool:
        """Whether its width is a number in single precision: the largest numbers there are bound nothing."""
        with np.errstate(over="ignore"):
            width = np.asarray(self.high, np.float32) - np.asarray(self.low, np.float32)
        return bool(np.isfinite(width).all())

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"{self.sizes[0]} actions"
        if self.kind == "box":
            return f"actions in a box of {int(np.prod(self.shape))} dimensions"
        return f"{len(self.sizes)} choices at once"


def observations_of(space: Any, name: str = "env") -> Observations:
    """What an observation space means: labels, an array, or the flattened parts of a composite space.

    Raises `InputError` for what is no array of a fixed size (Text, Sequence, Graph), and for one without a number.
    """
    if isinstance(space, spaces.Discrete):
        return Observations((), int(space.n))
    if not _is_any(space):
        raise InputError(
            f"env: the observation space {space} of {name} holds nothing; where there is nothing to see, "
            "gymnasium.wrappers.TransformObservation(env, lambda x: 0, gymnasium.spaces.Discrete(1)) "
            "says so"
        )
    if isinstance(space, spaces.Box):
        shape = space.shape or (1,)
        return Observations(shape, None, _numbers(space.low), _numbers(space.high))
    flat = None if _holds_text(space) else _flattened(space)
    if flat is None:
        raise InputError(
            f"env: the observation space {space} of {name} is no array of a fixed size, which a network "
            f"needs; {_remedy(space)}"
        )
    return Observations(flat.shape, None, _numbers(flat.low), _numbers(flat.high))


def read_observation(space: gym.Space[Any], observation: Any) -> np.ndarray:
    """One observation as a row that a network reads: an int32 label, or float32 [*shape]."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(int(observation) - int(space.start), np.int32)
    if isinstance(space, spaces.Box):
        return np.asarray(observation, np.float32).reshape(space.shape or (1,))
    return np.asarray(flatten(space, observation), np.float32)


def actions_of(space: gym.Space, name: str = "env") -> Actions:
    """What an action space means. A Dict or a Tuple is one action if its parts are all discrete, or all boxes.

    Raises `InputError` for other spaces, empty ones, and mixtures of discrete and continuous parts.
    """
    if not _is_any(space):
        raise InputError(f"env: the action space {space} of {name} is empty; give it a part")
    if isinstance(space, spaces.Discrete):
        return Actions("choice", (), (int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        return Actions("choices", space.shape, tuple(int(n) for n in np.ravel(space.nvec)))
    if isinstance(space, spaces.MultiBinary):
        return Actions("switches", space.shape, (2,) * int(np.prod(space.shape)))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return Actions("box", space.shape, (), _numbers(space.low), _numbers(space.high))
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = [actions_of(part, name) for part in _parts(space)]
        if all(part.is_discrete for part in parts):
            sizes = tuple(n for part in parts for n in part.sizes)
            return Actions("choices", (len(sizes),), sizes)
        if not any(part.is_discrete for part in parts):
            low, high = (tuple(x for part in parts for x in getattr(part, end)) for end in ("low", "high"))
            return Actions("box", (len(low),), (), low, high)
        raise InputError(
            f"env: the action space {space} of {name} mixes choices and real numbers; "
            "gymnasium.wrappers.TransformAction(env, f, space) makes it one, by a function f from a "
            "space of one kind"
        )
    if isinstance(space, spaces.Box):
        raise InputError(
            f"env: the action space {space} of {name} is a Box of whole numbers; "
            "gymnasium.wrappers.TransformAction(env, lambda a: a, gymnasium.spaces.MultiDiscrete("
            "env.action_space.high - env.action_space.low + 1, start=env.action_space.low)) makes it "
            "one of choices"
        )
    raise InputError(
        f"env: the action space {space} of {name} is none of Box, Discrete, MultiDiscrete, MultiBinary, "
        "and Dict or Tuple of these"
    )


def write_action(space: gym.Space[Any], action: np.ndarray) -> Any:
    """One action of ours [*shape] as the environment wants it."""
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(int(action) + int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(action, space.dtype).reshape(space.shape) + space.start
    if isinstance(space, spaces.MultiBinary):
        return np.asarray(action, space.dtype).reshape(space.shape)
    if isinstance(space, spaces.Box):
        return np.asarray(action, space.dtype).reshape(space.shape)
    flat, values = np.ravel(action), []
    for part in _parts(space):
        width = _width(part)
        values.append(write_action(part, flat[0] if part.shape == () else flat[:width]))
        flat = flat[width:]
    return dict(zip(space.spaces, values, strict=True)) if isinstance(space, spaces.Dict) else tuple(values)


def _is_any(space: gym.Space[Any]) -> bool:
    """Whether there is a number in what a space holds."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return any(map(_is_any, _parts(space)))
    return 0 not in (getattr(space, "shape", None) or ())


def _flattened(space: gym.Space[Any]) -> Any:
    """The Box of a composite space's flattened observations, or None where it has none."""
    try:
        flat = flatten_space(space)
    except (NotImplementedError, ValueError):
        return None
    return flat if isinstance(flat, spaces.Box) else None


def _remedy(space: gym.Space[Any]) -> str:
    """The wrapper that makes a space one that a network reads."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        kept = [key for key, part in parts if not _holds_text(part) and _flattened(part) is not None]
        if kept:
            return f"gymnasium.wrappers.FilterObservation(env, {kept}) leaves out the parts that are none"
    return "gymnasium.wrappers.TransformObservation(env, f, box) makes it one, by a function f into that box"


def _holds_text(space: gym.Space[Any]) -> bool:
    """Gymnasium flattens texts to the numbers of their letters, which mean nothing to a network."""
    if isinstance(space, spaces.Dict | spaces.Tuple | spaces.OneOf):
        return any(_holds_text(part) for part in _parts(space))
    return isinstance(space, spaces.Text)


def _width(space: Any) -> int:
    """How many numbers one action of a space is."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return sum(_width(part) for part in _parts(space))
    return int(np.prod(space.shape))


def _parts(space: Any) -> list[Any]:
    return list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)


def _numbers(bound: np.ndarray) -> tuple[float, ...]:
    return tuple(float(x) for x in np.ravel(bound))
