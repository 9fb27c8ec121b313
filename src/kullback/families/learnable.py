"""A learnable side whose sizes are settled: a hashable structure, arrays held fixed, and where to start."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

Params = Any  # a pytree of arrays


class Structure(abc.ABC):
    """How parameters become a distribution. Hashable and without arrays, so it keys compiled programs.

    Two sides of the same structure share one compiled program, whatever their numbers.
    """

    @abc.abstractmethod
    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        """The NumPyro distribution at unconstrained parameters `free`; batched over `inputs` for a conditional."""

    @abc.abstractmethod
    def spec(self) -> dict[str, Any] | None:
        """The structure in JSON, from which it is rebuilt; None where a file cannot say it."""


@dataclass(frozen=True)
class Learnable:
    """A learnable side, ready to be fitted.

    structure  how parameters become a distribution
    fixed      pytree of arrays that are not learned
    initial    (rng, start) -> free parameters for the start-th start, NumPy arrays on the host
    wrap       (free) -> what `Fit.q` is: a NumPyro distribution or a fitted conditional
    """

    structure: Structure
    fixed: Params
    initial: Callable[[np.random.Generator, int], Params]
    wrap: Callable[[Params], Any]
    conditional: bool = False

    @property
    def parameter_count(self) -> int:
        """How many free numbers there are."""
        return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.initial(np.random.default_rng(0), 0)))

    def record(self, free: Params) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What a file holds of a fit: a JSON specification and named arrays."""
        spec = self.structure.spec()
        if spec is None:
            return None
        arrays = {**_named("free", free), **_named("fixed", self.fixed)}
        return spec, arrays


def _named(prefix: str, tree: Params) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {prefix + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
