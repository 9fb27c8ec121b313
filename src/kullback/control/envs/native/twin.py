"""What every compiled twin of a Gymnasium environment is: its constants, read from the environment itself."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import actions_of, observations_of
from kullback.control.envs.spec import threshold_of
from kullback.control.tabular.environment import name_of, time_limit


@dataclass(frozen=True)
class Twin(Compiled):
    """A compiled environment with the dynamics, rewards, ends and law of the first state of one of Gymnasium's.

    Computed in JAX's default type; Gymnasium's are computed in double. Its constants are its parameters.
    """

    known: Facts
    constants: Any = field(compare=False)

    @property
    def facts(self) -> Facts:
        return self.known

    @property
    def parameters(self) -> Any:
        return self.constants

    @classmethod
    def of(cls, env: Any) -> Self | None:
        """The twin of a made environment, or None where it has other dynamics than are written here."""
        inner = env.unwrapped
        try:
            constants = cls.read(inner)
        except (AttributeError, TypeError, ValueError):  # no number where there should be one
            return None
        if constants is None or not all(np.isfinite(x).all() for x in constants):
            return None
        is_usual = constants == type(constants)()
        name, threshold = name_of(env), threshold_of(env) if is_usual else None
        seen, done = observations_of(inner.observation_space, name), actions_of(inner.action_space, name)
        return cls(Facts(name, seen, done, time_limit(env), threshold), constants)

    @classmethod
    @abc.abstractmethod
    def read(cls, inner: Any) -> Any:
        """The constants of an environment, a NamedTuple whose defaults are the usual ones.

        None where the environment has settings that are not followed here.
        """


def numbers(inner: Any, names: Iterable[str]) -> list[float]:
    """Attributes of an environment, as numbers; raises what `float` and `getattr` do."""
    return [float(getattr(inner, name)) for name in names]
