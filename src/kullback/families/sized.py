"""What a network is once its sizes are settled."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kullback.families.learnable import Params


@dataclass(frozen=True)
class InputSizes:
    """The shape of one input, and the number of labels where inputs are integers 0 … labels − 1."""

    shape: tuple[int, ...]
    labels: int | None = None

    @property
    def width(self) -> int:
        return self.labels if self.labels is not None else int(np.prod(self.shape))


class SizedNetwork(abc.ABC):
    """A network with its sizes settled: hashable, without arrays. `labels` is None unless its inputs are labels."""

    labels: int | None

    @abc.abstractmethod
    def init(self, rng: np.random.Generator, start: int = 0) -> Params:
        """Parameters of the start-th start, on the host, drawn so that the outputs start near 0."""

    @abc.abstractmethod
    def free_shapes(self) -> Params:
        """The parameters as shapes."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Any, key: jax.Array | None = None) -> jax.Array:
        """Inputs [n, ...] to outputs [n, width]; a key means training, where parts may be dropped at random."""

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether training draws at random, so that `apply` then needs a key."""

    @property
    @abc.abstractmethod
    def linear(self) -> bool:
        """Whether outputs are linear in real inputs, and must stay so however far these lie from the rest."""

    @abc.abstractmethod
    def penalized(self, params: Params) -> list[Any]:
        """The weights that a prior speaks of: those that multiply inputs; never biases, gains or shifts."""

    @abc.abstractmethod
    def spec(self) -> dict[str, Any]:
        """The network in JSON."""
