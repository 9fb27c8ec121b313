"""A learnable side whose sizes are settled: a hashable structure, arrays held fixed, and where to start."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from kullback.runtime.files import pack

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

    def free_shapes(self) -> Params:
        """The free parameters as shapes, of a structure that has a specification."""
        raise NotImplementedError


@dataclass(frozen=True)
class Learnable:
    """A learnable side, ready to be fitted.

    structure  how parameters become a distribution
    fixed      pytree of arrays that are not learned
    initial    (rng, start) -> free parameters for the start-th start, NumPy arrays on the host
    wrap       (free) -> what `Fit.q` is: a NumPyro distribution or a fitted conditional
    members    how many members an ensemble has; `initial` starts one, the start-th, and with more than one `wrap` and
               `record` take the members' parameters stacked along a leading axis [members, ...] of every leaf
    remarks    what else a plan says of the side
    begin      (x, y, weights) -> fixed parameters that take the place of others where a network starts at a linear
               model of the rows that it learns from; None for a side that starts where it stands
    """

    structure: Structure
    fixed: Params
    initial: Callable[[np.random.Generator, int], Params]
    wrap: Callable[[Params], Any]
    conditional: bool = False
    members: int = 1
    remarks: tuple[str, ...] = ()
    begin: Callable[[Any, Any, Any], Params] | None = None

    def holding(self, **fixed: Any) -> Learnable:
        """The same with these arrays among its fixed parameters, in a fit as well."""
        wrap = lambda free: self.wrap(free).holding(**fixed)  # noqa: E731
        return replace(self, fixed={**self.fixed, **fixed}, wrap=wrap)

    @property
    def parameter_count(self) -> int:
        """How many free numbers there are, in all members."""
        one = jax.tree.leaves(self.initial(np.random.default_rng(0), 0))
        return self.members * sum(int(np.size(leaf)) for leaf in one)

    def record(self, name: str, free: Params) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What a file holds of a fit: a JSON specification and named arrays; None where a file cannot say it."""
        structure = self.structure.spec()
        if structure is None:
            return None
        free_spec, free_arrays = pack(free, "free")
        fixed_spec, fixed_arrays = pack(self.fixed, "fixed")
        spec = {"structure": structure, "name": name, "free": free_spec, "fixed": fixed_spec}
        if self.members > 1:
            spec["members"] = self.members
        return spec, {**free_arrays, **fixed_arrays}
