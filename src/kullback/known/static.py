"""A hashable value that is part of the structure of a compiled program, not of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Static:
    """A pytree without leaves: two of equal value share one compiled program."""

    value: Any

    def tree_flatten(self) -> tuple[tuple[()], Any]:
        return (), self.value

    @classmethod
    def tree_unflatten(cls, value: Any, _: tuple[()]) -> Static:
        return cls(value)
