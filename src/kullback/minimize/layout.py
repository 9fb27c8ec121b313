"""Parameters as one flat vector, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Layout:
    """Where each leaf of a pytree lies in a flat vector. Hashable."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(tree: Any) -> Layout:
        leaves, treedef = jax.tree.flatten(tree)
        return Layout(treedef, tuple(np.shape(leaf) for leaf in leaves))

    @staticmethod
    def flat(tree: Any) -> np.ndarray:
        """The leaves one after another, on the host."""
        return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)])

    def tree(self, vector: Any) -> Any:
        """The pytree back from the flat vector."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + int(np.prod(shape))
            leaves.append(vector[start:stop].reshape(shape))
            start = stop
        return jax.tree.unflatten(self.treedef, leaves)
