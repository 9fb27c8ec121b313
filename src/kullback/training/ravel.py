"""Parameters as one flat vector, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax

from kullback.families.learnable import Params

State = TypeVar("State")


def on_host(kind: Callable[..., State], **leaves: Any) -> State:
    """A state of a compiled program whose leaves are NumPy arrays: nothing is compiled to make the first one."""
    return kind(**leaves)


@dataclass(frozen=True)
class Layout:
    """Where each leaf of a pytree lies in a flat vector. Hashable."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(tree: Params) -> Layout:
        leaves, treedef = jax.tree.flatten(tree)
        return Layout(treedef, tuple(np.shape(leaf) for leaf in leaves))

    @staticmethod
    def flat(tree: Params) -> np.ndarray:
        """The leaves one after another, on the host."""
        return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)])

    def tree(self, vector: Any) -> Any:
        """The pytree back from the flat vector; one split, whose gradient is one concatenation."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        on_host = isinstance(vector, np.ndarray)
        leaves = np.split(vector, np.cumsum(sizes)[:-1]) if on_host else lax.split(vector, sizes)
        return jax.tree.unflatten(
            self.treedef, [leaf.reshape(shape) for leaf, shape in zip(leaves, self.shapes, strict=True)]
        )

    def stacked(self, vectors: np.ndarray) -> Any:
        """The pytrees of the rows of `vectors` [m, n], stacked leaf by leaf; of one row, its pytree itself."""
        trees = [self.tree(vector) for vector in vectors]
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
